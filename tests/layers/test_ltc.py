"""What the LTC paper proves, and how parameters are kept physical."""

import copy
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchliquid import LTC, LTCCell, backends, cells
from torchliquid.wirings import NCP, AutoNCP, FullyConnected, Random, Wiring

seeds = st.integers(0, 10_000)
sizes = st.sampled_from([0.0, 1.0, 1e3, 1e15, 1e30, 1e300])


def trained(seed, **options):
    """A cell with parameters as far away as training may take them."""
    torch.manual_seed(seed)
    cell = LTCCell(Random(5, 2, 0.3, seed), 3, **options).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.add_(torch.randn_like(p) * 2)
        cell.input_w.uniform_(0.1, 3.0)
    return cell


@given(seeds, sizes, st.floats(0, 1e6), st.integers(1, 8))
def test_the_state_stays_between_the_reversal_potentials(seed, size, span, unfolds):
    cell = trained(seed, ode_unfolds=unfolds)
    levels = torch.cat([cell.erev, cell.sensory_erev, cell.vleak]).detach()
    # epsilon, a conductance towards nothing, pulls to 0 by parts in 10^8
    low, high = levels.min().clamp_max(0.0), levels.max().clamp_min(0.0)
    start = low + (high - low) * torch.rand(4, 5).double()
    x = size * torch.randn(4, 6, 3).double()
    states, _ = cell.recur(x, span * torch.rand(4, 6).double(), start)
    slack = 1e-9 * (high - low)
    assert ((states >= low - slack) & (states <= high + slack)).all()
    inside = cell.epsilon / cell.positive("gleak").min() * (high - low) + slack
    start = levels.min() + (levels.max() - levels.min()) * torch.rand(4, 5).double()
    states, _ = cell.recur(x, torch.ones(4, 6).double(), start)
    assert ((states >= levels.min() - inside) & (states <= levels.max() + inside)).all()


@given(seeds, sizes)
def test_time_constants_stay_inside_their_bounds(seed, size):
    cell = trained(seed)
    x, v = size * torch.randn(6, 3).double(), 10 * torch.randn(6, 5).double()
    tau = cell.time_constants(x, v)
    gleak, _, cm = cell.leak()
    most = gleak.clone().index_add(0, cell.synapse_index[1], cell.positive("w"))
    most = most.index_add(0, cell.sensory_index[1], cell.positive("sensory_w"))
    assert (tau >= cm / most * (1 - 1e-12)).all()
    assert (tau <= cm / gleak * (1 + 1e-12)).all()

    # The solver has the same ones: what one of its steps takes over from the leak tells the conductance.
    span = 0.7
    vleak = cell.vleak.detach().requires_grad_()
    over = cells.Sequences(cell.map_inputs(x).unsqueeze(1), torch.full((6, 1), span, dtype=torch.float64), v)
    synapses = (cell.synapses(), cell.synapse_index, cell.sensory_synapses(), cell.sensory_index)
    new, _ = backends.run(cells.LTC((gleak, vleak, cm), *synapses, 1, 0.0), over)
    taken = torch.stack([torch.autograd.grad(row.sum(), vleak, retain_graph=True)[0] for row in new[:, 0]])
    torch.testing.assert_close(taken, span * gleak / (cm + span * cm / tau), rtol=1e-9, atol=0)


@given(seeds)
def test_a_span_of_zero_leaves_the_state_exactly(seed):
    cell = trained(seed).float()
    v = torch.randn(3, 5)
    assert torch.equal(cell(torch.randn(3, 3), v, 0.0)[1], v)


def test_small_steps_approach_the_differential_equation():
    """The solver follows dv/dt, and its error falls with its steps."""
    cell = LTCCell(NCP(3, 3, 2, 2, 2, 2, 2), 3).double()
    x, v = torch.randn(2, 3).double(), torch.rand(2, 8).double()
    n = 20_000
    w, mu, sigma, erev = cell.synapses()
    sw, smu, ssigma, serev = cell.sensory_synapses()
    gleak, vleak, cm = cell.leak()
    current = gleak * (vleak - v)
    for k, (pre, post) in enumerate(cell.synapse_index.T.tolist()):
        g = w[k] * torch.sigmoid(sigma[k] * (v[:, pre] - mu[k]))
        current[:, post] += g * (erev[k] - v[:, post])
    for k, (pre, post) in enumerate(cell.sensory_index.T.tolist()):
        g = sw[k] * torch.sigmoid(ssigma[k] * (x[:, pre] - smu[k]))
        current[:, post] += g * (serev[k] - v[:, post])
    euler = v + current / cm / n
    # One solver step of a tiny length is the equation's own, written out neuron by neuron above, to second order.
    torch.testing.assert_close(cell(x, v, 1 / n)[1], euler, rtol=0, atol=1e-7)
    errors = []
    fine = LTCCell(cell.wiring, None, ode_unfolds=4096).double()
    fine.load_state_dict(cell.state_dict())
    truth = fine(x, v, 1.0)[1]
    for unfolds in (4, 16, 64):
        cell.ode_unfolds = unfolds
        errors.append(float((cell(x, v, 1.0)[1] - truth).abs().max().detach()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize("implicit", [True, False])
def test_physical_values_start_in_the_published_ranges(implicit):
    cell = LTC(8, 100, implicit_param_constraints=implicit).rnn_cell  # some of so many lie near each edge
    ranges = {"gleak": (0.001, 1), "cm": (0.4, 0.6), "w": (0.001, 1), "sensory_w": (0.001, 1)}
    for name, (low, high) in ranges.items():
        values = cell.positive(name)
        assert low - 1e-6 <= values.min() < low + 0.15 * (high - low)
        assert high - 0.15 * (high - low) < values.max() <= high + 1e-6
    assert 3 <= cell.sigma.min() < cell.sigma.max() <= 8
    assert set(cell.erev.tolist()) == {-1.0, 1.0}


OPTIMISERS = [
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    partial(torch.optim.LBFGS, max_iter=1),  # more would leave the range within a step
]


@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("how", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_clamping_is_part_of_every_optimisers_step(kind, how):
    torch.manual_seed(0)
    layer = how(LTC(3, AutoNCP(8, 2), implicit_param_constraints=False))
    bystander = LTC(3, 4, implicit_param_constraints=False)
    versions = [p._version for p in bystander.parameters()]
    cell = layer.rnn_cell
    with torch.no_grad():
        cell.w[0] = 1e-4
    optimiser = kind(layer.parameters(), lr=1.0)
    x = torch.randn(2, 3, 3)

    def closure():
        optimiser.zero_grad()
        loss = layer(x)[0].sum() + 10 * sum(p.sum() for p in layer.parameters())
        loss.backward()
        return loss

    optimiser.step(closure)
    assert cell.w[0] == 0
    optimiser.step(closure)
    for name in ("w", "sensory_w", "gleak", "cm"):
        assert (getattr(cell, name) >= 0).all()
    assert layer(x)[0].isfinite().all()
    v = torch.rand(2, 8)
    assert torch.equal(cell(x[:, 0], v, 0.0)[1], v)
    assert [p._version for p in bystander.parameters()] == versions


def test_both_classes_have_the_same_default():
    assert LTC(3, 4).rnn_cell.implicit_param_constraints
    assert LTCCell(FullyConnected(4), 3).implicit_param_constraints


def test_parameters_are_one_a_synapse_ordered_by_target():
    layer = LTC(5, AutoNCP(20, 3))
    cell = layer.rnn_cell
    assert cell.w.shape == cell.mu.shape == cell.sigma.shape == cell.erev.shape == (layer.wiring.synapse_count,)
    assert cell.sensory_w.shape == (layer.wiring.sensory_synapse_count,)
    assert (cell.synapse_index[1].diff() >= 0).all()
    matrix = torch.zeros(20, 20)
    matrix[cell.synapse_index[0], cell.synapse_index[1]] = cell.erev.detach()
    assert torch.equal(matrix, torch.tensor(layer.wiring.adjacency_matrix).float())


@given(seeds, st.booleans())
def test_live_parameters_are_those_that_move_the_output(seed, mixed):
    """Against the gradient over a long random sequence."""
    wiring = Random(6, 1, 0.85, seed)
    torch.manual_seed(seed)
    layer = LTC(4, wiring, mixed_memory=mixed).double()
    # mid-range inputs and soft synapses: no gradient rounds to zero
    with torch.no_grad():
        layer.rnn_cell.sigma.fill_(1.0)
        layer.rnn_cell.sensory_sigma.fill_(1.0)
    layer(torch.rand(2, 12, 4).double(), tuple(torch.rand(2, 2, 6).double()) if mixed else torch.rand(2, 6).double())[
        0
    ].sum().backward()
    moved = sum(int(p.grad.count_nonzero()) for p in layer.parameters() if p.grad is not None)
    assert layer.live_parameters() == moved


def test_a_neuron_with_no_way_out_does_not_count():
    wiring = Wiring(3)
    wiring.set_output_dim(1)
    wiring.build(2)
    wiring.add_sensory_synapse(0, 1, 1)
    wiring.add_synapse(1, 0, 1)
    wiring.add_synapse(0, 2, 1)
    wiring.add_sensory_synapse(1, 2, -1)
    # neurons 0 and 1 with 3 each, two synapses with 4 each, one input's and one output's mapping
    assert LTC(2, wiring).live_parameters() == 2 * 3 + 2 * 4 + 2 + 2
