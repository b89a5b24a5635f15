"""No tool and no form of call that works with ncps's layers may fail with ours."""

import contextlib
import copy
import io
import pickle

import ncps.torch as peer
import ncps.wirings
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import torchliquid as tl
from torchliquid import InputError, wirings

C = 3
LAYERS = {
    "ltc": (lambda: peer.LTC(C, ncps.wirings.AutoNCP(9, 2)), lambda: tl.LTC(C, wirings.AutoNCP(9, 2))),
    "cfc": (lambda: peer.CfC(C, 6, backbone_units=7), lambda: tl.CfC(C, 6, backbone_units=7)),
    "wired cfc": (lambda: peer.CfC(C, ncps.wirings.AutoNCP(9, 2)), lambda: tl.CfC(C, wirings.AutoNCP(9, 2))),
}


class Around(nn.Module):
    """Something around a linear map, as adapters are."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 2 * self.inner(x)


def gate(layer):
    """A module inside the layer that is a linear map in both packages; None in an LTC."""
    return next((m for n, m in layer.named_modules() if n.endswith("time_a")), None)


def run(layer, *args, **options):
    output, hx = layer(*args, **options)
    output.sum().backward()
    return output, hx


def replaced(layer):
    for module in layer.modules():
        if hasattr(module, "time_a"):
            module.time_a = Around(module.time_a)
    return run(layer, torch.randn(2, 4, C))


def hooked(layer):
    calls = []
    part = gate(layer)
    if part is not None and not hasattr(layer, "wired_mode") and layer.__class__.__module__.startswith("ncps"):
        part.register_forward_hook(lambda *_: calls.append(1))
    layer.rnn_cell.register_forward_hook(lambda *_: calls.append(1))
    run(layer, torch.randn(2, 4, C))
    assert calls


def optimised(layer):
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=3, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = layer(torch.ones(2, 4, C))[0].square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)


def moved_state(layer):
    kept = {name: value * 0.5 + value * 0.5 for name, value in layer.state_dict().items()}
    layer.load_state_dict(kept)
    for value in layer.state_dict().values():
        value.mul_(1.0)


def averaged(layer):
    mean = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    x = torch.randn(2, 4, C)
    mean.update_parameters(layer)
    mean.update_parameters(layer)
    torch.testing.assert_close(mean(x)[0], layer(x)[0])


def resized(layer):
    x = torch.randn(2, 4, C)
    layer(x)
    torch.cat([torch.ones(200)], out=x)


def traced(layer):
    x = torch.randn(2, 4, C)
    torch.testing.assert_close(torch.jit.trace(layer, (x,), check_trace=False)(x)[0], layer(x)[0])


def in_onnx(layer):
    torch.onnx.export(layer, (torch.randn(2, 4, C),), io.BytesIO(), dynamo=False)


def frozen(layer):
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    layer(torch.randn(2, 4, C, requires_grad=True))[0].sum().backward()


def by_vmap(layer):
    weights = dict(layer.named_parameters())
    x = torch.randn(2, 4, C)
    vmap(grad(lambda w, one: functional_call(layer, w, (one.unsqueeze(0),))[0].sum()), (None, 0))(weights, x)


def normed(layer):
    part = gate(layer)
    if part is not None:
        parametrizations.weight_norm(part)
    run(layer, torch.randn(2, 4, C))


def pruned(layer):
    part = gate(layer)
    if part is not None:
        prune.l1_unstructured(part, "weight", 0.3)
    for _ in range(2):
        run(layer, torch.randn(2, 4, C))


def quantised(layer):
    made = torch.ao.quantization.quantize_dynamic(layer, {nn.Linear}, torch.qint8)
    made(torch.randn(2, 4, C))


def saved(layer):
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    layer.load_state_dict(torch.load(file))
    copy.deepcopy(layer)(torch.randn(2, 4, C))
    pickle.loads(pickle.dumps(layer))(torch.randn(2, 4, C))


TOOLS = {
    "a batch": lambda m: run(m, torch.randn(2, 4, C)),
    "one sequence": lambda m: run(m, torch.randn(4, C)),
    "a state": lambda m: run(m, torch.randn(2, 4, C), torch.zeros(2, m.state_size)),
    "no sequences": lambda m: m(torch.randn(0, 4, C)),
    "one grid": lambda m: run(m, torch.randn(2, 4, C), timespans=torch.rand(1, 4)),
    "one grid, one sequence": lambda m: run(m, torch.randn(4, C), timespans=torch.rand(1, 4)),
    "spans of one sequence": lambda m: run(m, torch.randn(1, 4, C), timespans=torch.rand(1, 4)),
    "double precision": lambda m: run(m.double(), torch.randn(2, 4, C).double()),
    "half precision": lambda m: m.bfloat16()(torch.randn(2, 4, C).bfloat16()),
    "inference": lambda m: torch.inference_mode()(m)(torch.randn(2, 4, C)),
    "names": lambda m: (m.state_size, m.output_size),
    "names of wired ones": lambda m: (m.synapse_count, m.sensory_synapse_count, m.sensory_size, m.motor_size),
    "constraints": lambda m: m.rnn_cell.apply_weight_constraints(),
    "averages": averaged,
    "arithmetic on state": moved_state,
    "another module": replaced,
    "hooks": hooked,
    "lbfgs": optimised,
    "resized storage": resized,
    "trace": traced,
    "onnx": in_onnx,
    "frozen": frozen,
    "vmap of gradients": by_vmap,
    "norm": normed,
    "pruning": pruned,
    "quantised": quantised,
    "saved": saved,
    "data parallel replica": lambda m: m._replicate_for_data_parallel(),
    "compiled": lambda m: run(torch.compile(m, backend="eager"), torch.randn(2, 4, C)),
    "compiled cell": lambda m: (
        setattr(m, "rnn_cell", torch.compile(m.rnn_cell, backend="eager")) or run(m, torch.randn(2, 4, C))
    ),
    "second derivatives": lambda m: torch.autograd.functional.hessian(
        lambda x: m(x)[0].square().sum(), torch.randn(1, 2, C)
    ),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.filterwarnings("ignore")
def test_what_works_with_ncps_works_here(tool, name):
    torch._dynamo.reset()
    theirs, ours = (make() for make in LAYERS[name])
    try:
        TOOLS[tool](theirs)
    except Exception:  # whatever it is: it does not work there, and may be refused here
        with contextlib.suppress(InputError, AttributeError):
            TOOLS[tool](ours)
    else:
        TOOLS[tool](ours)
