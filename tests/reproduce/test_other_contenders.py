"""The contenders beside the papers': against second implementations, in pieces, padded, and at something to learn."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from torchliquid.models.state_space import StateSpace, StateSpaceLayer
from torchliquid.reproduce.contenders import TableModel
from torchliquid.reproduce.neural_cde import NeuralCDE
from torchliquid.reproduce.protocols import NAMES, protocol
from torchliquid.reproduce.trial import FITTED

NETWORKS = {
    "state space": lambda: StateSpace(4, 6, states=3),
    "neural CDE": lambda: NeuralCDE(4, 6, hidden=5),
    "neural CDE, masked": lambda: NeuralCDE(4, 6, hidden=5, masked=True),
}


@pytest.fixture(params=NETWORKS)
def case(request):
    torch.manual_seed(0)
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    x[..., 2:] = (x[..., 2:] > 0).double()
    return NETWORKS[request.param]().double(), x, torch.rand(3, 9, dtype=torch.float64) * 3


def test_pieces_give_the_numbers_of_the_whole(case):
    network, x, spans = case
    whole, end = network(x, spans)
    first, state = network(x[:, :4], spans[:, :4])
    second, last = network(x[:, 4:], spans[:, 4:], state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    for a, b in zip(last, end, strict=True):
        torch.testing.assert_close(a, b)


def test_no_sample_knows_a_later_one_and_padding_changes_nothing(case):
    network, x, spans = case
    lengths = torch.tensor([9, 5, 2])
    before, state = network(x, spans, lengths)
    changed, other = x.clone(), spans.clone()
    for i, n in enumerate(lengths):
        changed[i, n:], other[i, n:] = 7.0, 2.0
    after, again = network(changed, other, lengths)
    for i, n in enumerate(lengths):
        torch.testing.assert_close(after[i, :n], before[i, :n])
    for a, b in zip(again, state, strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(network(changed, other)[0], network(x, spans)[0])


def test_a_state_space_layer_is_the_sum_over_all_samples_before():
    """A second implementation: each state as a sum of faded drives, in NumPy."""
    torch.manual_seed(1)
    layer = StateSpaceLayer(2, 3).double()
    x, spans = torch.randn(1, 6, 2, dtype=torch.float64), torch.rand(1, 6, dtype=torch.float64) * 2
    before = torch.zeros(1, 2, 3, 2, dtype=torch.float64)
    decay, frequency = layer.rate.detach().numpy()
    rate = -np.exp(decay) + 1j * frequency
    step, u = np.exp(layer.log_step.detach().numpy()), layer.norm(x)[0].detach().numpy()
    clock = np.cumsum(spans[0].numpy())
    for t in range(6):
        _, last = layer(x[0, : t + 1], spans[0, : t + 1], before, torch.ones(t + 1, dtype=torch.int64))
        want = sum(
            np.exp(rate * step * (clock[t] - clock[s])) * (np.exp(rate * step) - 1) / rate * u[s] for s in range(t + 1)
        )
        np.testing.assert_allclose(last[0].detach().numpy(), [want.real, want.imag], rtol=1e-10)


def test_a_neural_cde_follows_a_tight_solution_along_the_lines():
    torch.manual_seed(6)  # No hidden unit is at ReLU's corner between two samples: RK4 has its order.
    network = NeuralCDE(3, 4, hidden=8).double()
    x, spans = 0.1 * torch.randn(1, 7, 3, dtype=torch.float64), torch.full((1, 7), 0.1, dtype=torch.float64)
    features, _ = network(x, spans)

    def slope(change):
        def at(_, z):
            with torch.no_grad():
                inner = torch.relu(network.inner(torch.from_numpy(z)))
                return change @ torch.tanh(network.field(inner)).view(4, 4).numpy()

        return at

    z = network.start(x[0, 0]).detach().numpy()
    for i in range(1, 7):
        change = torch.cat([x[0, i] - x[0, i - 1], spans[0, i : i + 1]]).numpy()
        z = solve_ivp(slope(change), (0, 1), z, rtol=1e-10, atol=1e-12).y[:, -1]
        np.testing.assert_allclose(features[0, i].detach().numpy(), z, atol=1e-5)


def test_values_not_observed_do_not_reach_a_masked_cde():
    torch.manual_seed(3)
    network = NeuralCDE(4, 5, masked=True)
    x, spans = torch.randn(2, 6, 4), torch.rand(2, 6)
    x[..., 2:] = (x[..., 2:] > 0).float()
    other = torch.cat([torch.where(x[..., 2:] > 0, x[..., :2], torch.tensor(99.0)), x[..., 2:]], -1)
    torch.testing.assert_close(network(x, spans)[0], network(other, spans)[0])


@pytest.mark.parametrize("make", [lambda: StateSpace(1, 8, states=4), lambda: NeuralCDE(1, 8)])
def test_it_learns_what_one_sample_alone_does_not_show(make):
    """The difference to the sample before: a readout of each sample alone has an error of about 1."""
    torch.manual_seed(4)
    network, readout = make(), torch.nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*network.parameters(), *readout.parameters()], 0.01)
    for _ in range(150):
        x = torch.randn(32, 8, 1)
        error = (readout(network(x, torch.ones(32, 8))[0])[:, 1:] - (x[:, 1:] - x[:, :-1])).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error < 0.5


@pytest.mark.parametrize("name", NAMES)
def test_every_contender_of_a_table_is_made_and_has_a_gradient(name):
    table = protocol(name)
    masked = name == "physionet"
    x, spans, lengths = torch.randn(2, 5, 6), torch.ones(2, 5), torch.tensor([5, 3])
    x[..., 3:] = (x[..., 3:] > 0).float()
    for contender in table.settings:
        if contender in FITTED:
            continue
        torch.manual_seed(0)
        model = TableModel(table, contender, 6, 2, masked)
        out = model(x, spans, lengths if masked else None)
        assert out.shape == ((2, 2) if masked else (2, 5, 2)), contender
        out.square().sum().backward()
        assert model.readout.weight.grad.abs().sum() > 0, contender
        assert model.live_parameters() > 0
