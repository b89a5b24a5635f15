"""Layers taken over from ncps: same outputs and gradients, wherever ncps is right."""

import ncps.torch as peer
import ncps.wirings
import numpy as np
import pytest
import torch

from torchliquid import InputError, from_ncps
from torchliquid.layers.memory import MemoryCell

C = 3


def ncp():
    return ncps.wirings.NCP(5, 4, 2, 3, 2, 3, 2, seed=7)


LAYERS = {
    "ltc": lambda: peer.LTC(C, 5),
    "ltc autoncp": lambda: peer.LTC(C, ncps.wirings.AutoNCP(9, 2), return_sequences=False),
    "ltc ncp memory": lambda: peer.LTC(C, ncp(), mixed_memory=True),
    "ltc clamped": lambda: peer.LTC(
        C, ncps.wirings.Random(6, 3, 0.4), False, implicit_param_constraints=False, ode_unfolds=3
    ),
    "ltc unmapped": lambda: peer.LTC(
        C, ncps.wirings.FullyConnected(5, 2, self_connections=False), input_mapping="linear", output_mapping=None
    ),
    **{
        f"cfc {mode} {name}": lambda mode=mode, options=options: peer.CfC(C, 6, mode=mode, **options)
        for mode in ("default", "no_gate", "pure")
        for name, options in {
            "plain": {"backbone_units": 7},
            "deep": {"backbone_units": 7, "backbone_layers": 3, "backbone_dropout": 0.3, "activation": "gelu"},
            "bare": {"backbone_layers": 0},
            "memory proj": {"backbone_units": 7, "mixed_memory": True, "proj_size": 2, "activation": "relu"},
        }.items()
    },
    **{
        f"cfc {mode} wired": lambda mode=mode: peer.CfC(C, ncp(), mode=mode, proj_size=4, return_sequences=False)
        for mode in ("default", "no_gate", "pure")
    },
    "cfc wired memory": lambda: peer.CfC(C, ncps.wirings.AutoNCP(9, 2), mixed_memory=True),
    "cfc tanh": lambda: peer.CfC(C, 4, activation="tanh", batch_first=False),
    "cfc silu": lambda: peer.CfC(C, 4, activation="silu"),
}


def same(theirs, ours, run):
    """Outputs within 1e-6; gradients of every parameter, and of the input, within 1e-5 of their size."""
    results, grads = [], []
    for module in (theirs, ours):
        torch.manual_seed(1)
        x = torch.randn(4, 5, C, requires_grad=True)
        outputs = run(module, x)
        weights = [torch.randn(o.shape) for o in outputs]
        sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)).backward()
        results.append(outputs)
        grads.append({"input": x.grad, **{n: p.grad for n, p in module.named_parameters() if p.grad is not None}})
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    mapped = gradients_by_our_names(grads[0], theirs, ours)
    assert mapped.keys() == grads[1].keys()
    for name, grad in grads[1].items():
        peers = mapped[name].reshape(grad.shape)
        torch.testing.assert_close(grad, peers, rtol=1e-5, atol=1e-5 * max(1.0, float(peers.abs().max())))


def gradients_by_our_names(grads, theirs, ours):
    cells = {n: m for n, m in ours.named_modules() if hasattr(m, "synapse_index")}
    mapped = {}
    for name, grad in grads.items():
        home, _, last = name.rpartition(".")
        if home in cells and grad.dim() == 2:
            index = cells[home].sensory_index if last.startswith("sensory_") else cells[home].synapse_index
            grad = grad[index[0], index[1]]
        if "backbone" in name:  # their linear layers stand between activations
            head, _, rest = name.partition("backbone.")
            number, _, last = rest.partition(".")
            linear = [i for i, m in enumerate(theirs.get_submodule(head + "backbone")) if hasattr(m, "weight")]
            name = f"{head}backbone.{linear.index(int(number))}.{last}"
        mapped[name] = grad
    return mapped


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_layers(make):
    torch.manual_seed(0)
    theirs = make().eval()
    ours = from_ncps(theirs)
    assert not ours.training
    layout = (lambda x: x) if theirs.batch_first else (lambda x: x.transpose(0, 1))
    units = theirs.state_size

    def run(module, x):
        torch.manual_seed(2)
        h = torch.rand(4, units) - 0.5
        hx = (h, torch.rand(4, units)) if theirs.use_mixed else h
        output, last = module(layout(x), hx)
        return [output, *(last if isinstance(last, tuple) else (last,))]

    same(theirs, ours, run)

    def run_one_with_times(module, x):  # one sequence alone is where ncps takes its timespans right
        spans = torch.linspace(0.1, 2, 5)
        one = x[:1]
        output, last = module(layout(one), None, layout(spans.reshape(1, 5)))
        return [output, *(last if isinstance(last, tuple) else (last,))]

    theirs.zero_grad()
    same(theirs, from_ncps(theirs), run_one_with_times)


MASK = np.random.default_rng(0).integers(0, 2, (C + 4, 4))
CELLS = {
    "ltc cell": lambda: peer.LTCCell(ncp(), C),
    "ltc cell implicit": lambda: peer.LTCCell(ncp(), C, implicit_param_constraints=True, epsilon=1e-3),
    "cfc cell": lambda: peer.CfCCell(C, 4, backbone_units=5),
    "cfc cell masked": lambda: peer.CfCCell(C, 4, backbone_layers=0, sparsity_mask=MASK),
    **{f"wired {mode}": lambda mode=mode: peer.WiredCfCCell(C, ncp(), mode) for mode in ("default", "no_gate", "pure")},
}


@pytest.mark.parametrize("make", CELLS.values(), ids=CELLS.keys())
def test_cells(make):
    torch.manual_seed(0)
    theirs = make()
    ours = from_ncps(theirs)
    units = ours.state_size

    def run(module, x):
        hx = torch.zeros(4, units)
        outputs = []
        for t in range(5):
            # A column of spans is the form that broadcasts rightly in ncps.
            output, hx = module(x[:, t], hx, torch.linspace(0.2, 1.5, 4).unsqueeze(1) + t)
            outputs.append(output)
        return [*outputs, hx]

    same(theirs, ours, run)


def test_place_precision_and_wiring_come_along():
    theirs = peer.LTC(C, ncps.wirings.AutoNCP(9, 2)).double()
    ours = from_ncps(theirs)
    assert ours.rnn_cell.w.dtype == torch.float64
    assert type(ours.wiring).__name__ == "AutoNCP"
    assert ours.wiring.seed == 22222
    assert ours.wiring.get_graph().edges == theirs._wiring.get_graph().edges
    assert isinstance(from_ncps(peer.CfC(C, 4, mixed_memory=True)).lstm, MemoryCell)


def test_other_modules_are_refused():
    with pytest.raises(InputError, match=r"not a torch\.nn\.modules\.rnn\.GRU"):
        from_ncps(torch.nn.GRU(2, 3))
