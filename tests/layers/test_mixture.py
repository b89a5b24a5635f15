"""A mixture of liquid experts against its cells called one sample after the other, and what it saves."""

import copy
import pickle
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.layers import CASES, INPUTS, MIXTURES, some

from torchliquid import LTC, CfC, InputError, LrcSSM, MixtureOfLiquid, backends
from torchliquid.wirings import AutoNCP


def by_hand(layer, x, spans, h, reset):
    """One sequence (T, C) by the router's and the experts' own cells, sample by sample."""
    cell = layer.rnn_cell
    router, *experts, waited = (part.clone() for part in h.split(cell.sizes))
    outputs, called = [], []
    for sample, span, restart in zip(x, spans, reset, strict=True):
        if restart:
            router, waited = torch.zeros_like(router), torch.zeros_like(waited)
            experts = [torch.zeros_like(expert) for expert in experts]
        waited = waited + span
        routed, router, *_ = layer.router(sample[None], router, span[None])
        p = torch.softmax(cell.gate(routed[0]), 0)
        chosen = sorted(range(len(experts)), key=lambda k: -p[k].item())[: cell.top_k]
        output = 0.0
        for k in chosen:
            answer, experts[k] = layer.experts[k](sample[None], experts[k], waited[k : k + 1])
            output = output + p[k] * answer[0]
        waited = torch.where(torch.isin(torch.arange(len(waited)), torch.tensor(chosen)), 0.0, waited)
        outputs.append(output)
        called.append(chosen)
    return torch.stack(outputs), torch.cat([router, *experts, waited]), called


@pytest.mark.parametrize("name", MIXTURES)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 999), batch=st.integers(1, 5), time=st.integers(1, 30), resets=st.sampled_from([0.0, 0.2]))
def test_each_expert_steps_over_the_time_since_its_last_call(name, seed, batch, time, resets):
    layer = some(CASES[name], seed).double()
    x, spans = torch.randn(batch, time, INPUTS).double(), (3 * torch.rand(batch, time) - 0.5).clamp_min(0).double()
    lengths, reset = torch.randint(1, time + 1, (batch,)), torch.rand(batch, time) < resets
    hx = torch.rand(batch, layer.state_size).double()  # the last E of it are times
    output, last, states = layer(x, hx, spans, lengths, reset if resets else None, return_states=True)
    for i, n in enumerate(lengths.tolist()):
        expected, end, _ = by_hand(layer, x[i, :n], spans[i, :n], hx[i], reset[i, :n])
        torch.testing.assert_close(output[i, :n], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(last[i], end, rtol=0, atol=1e-12)
        torch.testing.assert_close(states[i, n - 1], end, rtol=0, atol=1e-12)
        assert not output[i, n:].any()


@pytest.mark.parametrize("name", MIXTURES)
def test_an_expert_runs_over_its_own_samples_alone(name, monkeypatch):
    layer = some(CASES[name], 3)
    x, spans = torch.randn(4, 50, INPUTS), torch.rand(4, 50)
    seen = {id(expert): 0 for expert in layer.experts}
    for expert in layer.experts:
        run = expert._run
        monkeypatch.setattr(
            expert,
            "_run",
            lambda over, run=run, expert=expert: (
                seen.__setitem__(id(expert), seen[id(expert)] + int(over.lengths.sum())),
                run(over),
            )[1],
        )
    layer(x, None, spans)
    assert sum(seen.values()) == layer.rnn_cell.top_k * x[..., 0].numel()
    torch.testing.assert_close(layer.load * x[..., 0].numel(), torch.tensor([float(n) for n in seen.values()]))
    never = layer.load.argmin()
    with torch.no_grad():
        layer.rnn_cell.gate.bias[never] -= 100.0
    before = seen[id(layer.experts[never])]
    _, hx = layer(x, torch.ones(4, layer.state_size), spans)
    assert seen[id(layer.experts[never])] == before  # it was not run at all
    kept = hx.split(layer.rnn_cell.sizes, 1)
    assert (kept[1 + never] == 1).all()
    torch.testing.assert_close(kept[-1][:, never], 1 + spans.sum(1))


@pytest.mark.parametrize("name", MIXTURES)
def test_the_kernels_give_what_the_reference_gives(name):
    layer = some(CASES[name])
    x, spans = torch.randn(3, 40, INPUTS), torch.rand(3, 40)
    outputs = {}
    for kernels in (None, "reference"):
        with backends.use(kernels):
            layer.zero_grad()
            output, _ = layer(x, None, spans)
            output.square().sum().backward()
            outputs[kernels] = [output, *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]
    torch.testing.assert_close(outputs[None], outputs["reference"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MIXTURES)
def test_gradients_of_a_fixed_choice(name):
    layer = some(CASES[name], 5).double()
    x = torch.randn(2, 6, INPUTS).double().requires_grad_()
    spans, hx = torch.rand(2, 6).double().requires_grad_(), torch.rand(2, layer.state_size).double().requires_grad_()

    def call(x, spans, hx, gate):
        return torch.func.functional_call(layer, {"rnn_cell.gate.weight": gate}, (x, hx, spans))

    p = layer.rnn_cell.run(x, spans, hx)[2].probabilities.sort(-1, descending=True).values
    k = layer.rnn_cell.top_k
    assert (p[..., k - 1] - p[..., k]).min() > 1e-4  # far from where the choice jumps
    torch.autograd.gradcheck(call, (x, spans, hx, layer.rnn_cell.gate.weight), eps=1e-7, atol=1e-5, fast_mode=True)
    layer(x, None, spans)[0].sum().backward()
    assert layer.rnn_cell.gate.weight.grad.abs().sum() > 0  # the router learns
    assert next(layer.router.parameters()).grad.abs().sum() > 0


def test_the_loss_of_an_uneven_load():
    layer = some(CASES["mixture"])
    x = torch.randn(8, 30, INPUTS)
    lengths = torch.randint(1, 31, (8,))
    layer.eval()(x, lengths=lengths)
    assert layer.balance_loss() == 0.0
    layer.train()(x, lengths=lengths)
    valid = torch.arange(30) < lengths[:, None]
    routing = layer.rnn_cell.run(x, torch.ones(8, 30), torch.zeros(8, layer.state_size), lengths)[2]
    called = torch.nn.functional.one_hot(routing.chosen[..., 0], 3)[valid].float().mean(0)
    torch.testing.assert_close(layer.load, called)
    copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))  # though a graph hangs on it
    assert all(other.balance_loss() == 0.0 for other in copies)
    found = layer.balance_loss()
    torch.testing.assert_close(found, 0.01 * 3 * (called * routing.probabilities[valid].mean(0)).sum())
    assert layer.balance_loss() == 0.0
    found.backward()
    with torch.no_grad():  # it pushes down those that are called most
        layer.rnn_cell.gate.bias -= 300 * layer.rnn_cell.gate.bias.grad
    before = layer.load
    layer(x, lengths=lengths)
    assert layer.load.max() < before.max()


def test_of_equals_the_first_are_called_and_an_empty_batch_costs_nothing():
    layer = some(CASES["mixture"]).train()
    with torch.no_grad():
        layer.rnn_cell.gate.weight.zero_()
        layer.rnn_cell.gate.bias.zero_()
    layer(torch.randn(4, 20, INPUTS))
    assert layer.load.tolist() == [1.0, 0.0, 0.0]
    output, _ = layer(torch.randn(0, 5, INPUTS))
    (output.sum() + layer.balance_loss()).backward()
    assert layer.load.tolist() == [0.0, 0.0, 0.0]
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("name", MIXTURES)
def test_within_autocast_the_same_experts_answer_the_same(name):
    layer, x, spans = some(CASES[name]), torch.randn(3, 40, INPUTS), torch.rand(3, 40)
    expected, _ = layer(x, None, spans)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = layer(x, None, spans)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("name", MIXTURES)
def test_in_pieces_in_parallel_and_by_the_last_sample_it_says_the_same(name):
    layer, x, spans = some(CASES[name]), torch.randn(3, 40, INPUTS), torch.rand(3, 40)
    lengths = torch.tensor([3, 40, 17])
    whole, end = layer(x, None, spans)
    first, between = layer(x[:, :7], None, spans[:, :7])
    then, last = layer(x[:, 7:], between, spans[:, 7:])
    torch.testing.assert_close(torch.cat([first, then], 1), whole)
    torch.testing.assert_close(last, end)
    layer.over_time = "parallel"
    torch.testing.assert_close(layer(x, None, spans)[0], whole, rtol=1e-4, atol=1e-5)
    layer.over_time = "sequential"
    layer.return_sequences = False
    alone, _ = layer(x, None, spans, lengths)
    torch.testing.assert_close(alone, whole[torch.arange(3), lengths - 1])
    x[1, 4] = torch.nan  # which stays where it is
    torch.testing.assert_close(layer(x, None, spans, lengths)[0][[0, 2]], alone[[0, 2]])


def test_a_hook_that_would_not_be_called_is_refused():
    layer, seen = some(CASES["mixture"]), []
    hook = layer.experts[1].register_forward_hook(lambda *_: seen.append(0))
    with pytest.raises(InputError, match="put it on its rnn_cell"):
        layer(torch.randn(2, 5, INPUTS))
    hook.remove()
    for expert in layer.experts:
        expert.rnn_cell.register_forward_hook(lambda *_: seen.append(0))
    layer(torch.randn(2, 5, INPUTS))
    assert seen


@pytest.mark.parametrize(("experts", "top_k"), [(1, 1), (3, 3)])
def test_one_expert_or_all_of_them(experts, top_k):
    layer = MixtureOfLiquid([CfC(3, 4) for _ in range(experts)], CfC(3, 2), top_k)
    x, spans = torch.randn(2, 9, 3), torch.rand(2, 9)
    output, _ = layer(x, None, spans)
    share = layer.rnn_cell.run(x, spans, torch.zeros(2, layer.state_size))[2].probabilities
    expected = sum(share[..., k, None] * expert(x, None, spans)[0] for k, expert in enumerate(layer.experts))
    torch.testing.assert_close(output, expected)
    assert layer.load.tolist() == [1.0] * experts
    torch.testing.assert_close(layer.balance_loss(), torch.tensor(0.01))


def test_resets_of_other_sequences_and_compiled_calls_change_nothing():
    torch.compiler.reset()  # of what other tests compiled
    layer = some(CASES["mixture of others"])
    x, spans = torch.randn(2, 12, INPUTS), torch.rand(2, 12)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, None, spans)[0], layer(x, None, spans)[0])
    lost = layer.balance_loss()
    compiled(x, None, spans)
    assert layer.balance_loss() == lost != 0  # training goes on as without
    reset = torch.zeros(2, 12, dtype=torch.bool)
    reset[1, 6] = True
    with_reset, hx = layer(x, None, spans, reset=reset)
    alone, end = layer(x[1:, 6:], None, spans[1:, 6:])
    torch.testing.assert_close(with_reset[0], layer(x, None, spans)[0][0])
    torch.testing.assert_close(with_reset[1:, 6:], alone)
    torch.testing.assert_close(hx[1:], end)


def test_what_cannot_be_mixed_is_refused():
    one, two = CfC(3, 4), CfC(3, 4)
    router = CfC(3, 2)
    for message, experts, k in (
        ("top_k is 3, and there are 2 experts", [one, two], 3),
        ("top_k must be at least 1", [one, two], 0),
        ("twice", [one, one], 1),
        ("twice", [one, router], 1),
        (r"experts\[1\] takes 2 inputs", [one, CfC(2, 4)], 1),
        (r"experts\[1\] has 5 outputs", [one, LTC(3, 5)], 1),
        (r"experts\[1\] is a layer such as CfC", [one, torch.nn.GRU(3, 4)], 1),
        ("single layer", [one, CfC(3, 4, num_layers=2)], 1),
        ("mixed memory", [one, CfC(3, 4, mixed_memory=True)], 1),
    ):
        with pytest.raises(InputError, match=message):
            MixtureOfLiquid(experts, router, k)
    with pytest.raises(InputError, match="balance"):
        MixtureOfLiquid([one, two], router, balance=-1.0)
    with pytest.raises(InputError, match="mixture"), warnings.catch_warnings(action="ignore"):
        torch.onnx.export(MixtureOfLiquid([one, two], router), (torch.randn(1, 5, 3),), "no.onnx", dynamo=False)


def test_an_expert_warns_of_spans_that_its_solver_cannot_take(caplog):
    layer = MixtureOfLiquid([LrcSSM(2, 3) for _ in range(4)], CfC(2, 2))
    with torch.no_grad():
        layer.rnn_cell.gate.bias += torch.tensor([9.0, 0.0, 0.0, 0.0])
    layer(torch.randn(1, 30, 2))
    assert not caplog.records
    assert layer.rnn_cell.instability(5.0) is not None
    assert MixtureOfLiquid([LTC(2, AutoNCP(7, 2)), CfC(2, 2)], CfC(2, 2)).rnn_cell.instability(5.0) is None
