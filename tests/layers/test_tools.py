"""Layers in the hands of PyTorch's tools: averages, adapters, hooks, pruning, replicas, shards, threads, exports."""

from __future__ import annotations

import copy
import io
import pickle
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.layers import CASES, INPUTS, MIXTURES, every_layer, parts, some
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torchliquid import CTRNN, LTC, CfC, InputError, NeuralODE, backends, stream
from torchliquid.solvers import Solver
from torchliquid.wirings import AutoNCP, Random

NEAR = {"rtol": 0.0, "atol": 2e-6}
ON_BOTH = pytest.mark.parametrize("code", ["native", "reference"], indirect=True)


@pytest.fixture
def code(request):
    """The kernels or the reference, whichever a test names."""
    if request.param == "native" and not backends.native.available():
        pytest.skip("built without the kernels: the reference alone runs")
    with backends.use(None if request.param == "native" else request.param):
        yield request.param


def sample(*sizes: int):
    torch.manual_seed(3)
    return torch.randn(*sizes, INPUTS), torch.rand(*sizes)


# Weights that are averaged, loaded and looked at.


@every_layer
def test_averaging_equal_weights_changes_nothing(make):
    layer, (x, spans) = some(make), sample(2, 4)
    expected = layer(x, None, spans)[0]
    averaged = AveragedModel(layer, multi_avg_fn=get_ema_multi_avg_fn(0.9999), use_buffers=True)
    for _ in range(3):
        averaged.update_parameters(layer)
    torch.testing.assert_close(averaged(x, None, spans)[0], expected, **NEAR)
    own = copy.deepcopy(layer)
    for value in own.state_dict().values():
        value.mul_(0.5).add_(value)  # an average by hand, in place
    own = copy.deepcopy(layer)
    mean = {
        n: 0.3 * a + 0.7 * b for (n, a), b in zip(layer.state_dict().items(), own.state_dict().values(), strict=True)
    }
    own.load_state_dict(mean)
    torch.testing.assert_close(own(x, None, spans)[0], expected, rtol=0, atol=1e-5)
    own.load_state_dict({n: v.half() for n, v in layer.state_dict().items()})
    assert not list(layer.buffers())


@pytest.mark.parametrize("seed", [1, 2])
def test_files_that_hold_synapses_by_their_places_load(seed):
    layer = LTC(INPUTS, Random(6, 2, 0.5, random_seed=seed))
    old = {name: value for name, value in layer.state_dict().items() if not name.endswith("mask")}
    cell = layer.rnn_cell
    old |= {"rnn_cell.synapse_index": cell.synapse_index, "rnn_cell.sensory_index": cell.sensory_index}
    again, other = (LTC(INPUTS, Random(6, 2, 0.5, random_seed=s)) for s in (seed, 3))
    again.load_state_dict(old)
    x = torch.randn(2, 3, INPUTS)
    assert torch.equal(again(x)[0], layer(x)[0])
    with pytest.raises(RuntimeError, match="another wiring"):
        other.load_state_dict(old)


def test_layers_saved_whole_under_earlier_names_load():
    layer, (x, spans) = CTRNN(INPUTS, 4, solver="rk4"), sample(2, 4)
    cell = layer.rnn_cell
    cell.__dict__["by"] = cell.__dict__.pop("stepper")
    saved = pickle.dumps(layer, protocol=0).replace(b"torchliquid.solvers.solver\n", b"torchliquid.layers.ode\n")
    assert b"torchliquid.layers.ode" in saved
    again = pickle.loads(saved)
    assert again.rnn_cell.stepper == Solver("rk4")
    cell.stepper = cell.__dict__.pop("by")
    assert torch.equal(again(x, None, spans)[0], layer(x, None, spans)[0])


# Parts that are more than their weights.


class LoRA(nn.Module):
    """An adapter of rank 2 around a linear map."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(2, base.in_features))
        self.up = nn.Parameter(torch.randn(base.out_features, 2))

    @property
    def weight(self):
        return self.base.weight

    @property
    def bias(self):
        return self.base.bias

    def forward(self, x):
        return self.base(x) + x @ self.down.T @ self.up.T


def merged(module: nn.Module) -> nn.Module:
    """The same with its adapters multiplied out."""
    module = copy.deepcopy(module)
    for name, part in list(module.named_modules()):
        if isinstance(part, LoRA):
            with torch.no_grad():
                part.base.weight += part.up @ part.down
            home, _, last = name.rpartition(".")
            setattr(module.get_submodule(home), last, part.base)
    return module


PLACES = {
    "ff1": lambda: (CfC(INPUTS, 4, backbone_units=5), "rnn_cell.ff1"),
    "time_b": lambda: (CfC(INPUTS, 4, mode="no_gate", backbone_layers=0), "rnn_cell.time_b"),
    "backbone": lambda: (CfC(INPUTS, 4, backbone_units=5, backbone_layers=2), "rnn_cell.backbone.1"),
    "pure": lambda: (CfC(INPUTS, 4, mode="pure", backbone_units=5), "rnn_cell.ff1"),
    "wired gate": lambda: (CfC(INPUTS, AutoNCP(7, 2)), "rnn_cell.layer_1.time_a"),
    "memory": lambda: (LTC(INPUTS, 4, mixed_memory=True), "lstm.input_map"),
    "memory's state": lambda: (CfC(INPUTS, 4, mixed_memory=True), "lstm.recurrent_map"),
    "projection": lambda: (CfC(INPUTS, 4, 2), "fc"),
    "ct-gru": lambda: (CASES["ctgru"](), "rnn_cell.gates"),
    "gru-d": lambda: (CASES["grud"](), "rnn_cell.state_decay"),
    "ode-rnn": lambda: (CASES["neural ode"](), "rnn_cell.hidden"),
    "ode-rnn by dopri5": lambda: (NeuralODE(INPUTS, 4, solver="dopri5"), "rnn_cell.out"),
    "second layer": lambda: (CfC(INPUTS, 4, num_layers=2), "others.0.rnn_cell.ff2"),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_adapter_is_called_and_trained(place):
    torch.manual_seed(0)
    layer, name = PLACES[place]()
    plain = copy.deepcopy(layer)
    home, _, last = name.rpartition(".")
    setattr(layer.get_submodule(home), last, LoRA(layer.get_submodule(name)))
    (x, spans), lengths = sample(3, 4), torch.tensor([4, 2, 3])
    output, hx = layer(x, None, spans, lengths)
    expected, last_state = merged(layer)(x, None, spans, lengths)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts(hx), parts(last_state), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(output, plain(x, None, spans, lengths)[0], atol=1e-2)
    output.sum().backward()
    assert layer.get_submodule(name).up.grad.abs().max() > 0


def test_any_module_in_a_backbone_is_called():
    torch.manual_seed(0)
    layer = CfC(INPUTS, 4, activation="tanh", backbone_units=5)
    layer.rnn_cell.backbone.append(nn.LayerNorm(5))
    h, (x, spans) = torch.randn(2, 4), sample(2, 1)
    cell = layer.rnn_cell
    z = torch.tanh(cell.backbone[1](torch.tanh(cell.backbone[0](torch.cat([x[:, 0], h], 1)))))
    s = torch.sigmoid(cell.time_a(z) * spans + cell.time_b(z))
    expected = (1 - s) * torch.tanh(cell.ff1(z)) + s * torch.tanh(cell.ff2(z))
    torch.testing.assert_close(layer(x, h, spans)[1], expected)


def test_what_a_wirings_mask_can_not_reach_is_refused_by_name():
    layer = CfC(INPUTS, AutoNCP(7, 2))
    layer.rnn_cell.layer_1.ff1 = LoRA(layer.rnn_cell.layer_1.ff1)
    with pytest.raises(InputError, match="ff1 is a LoRA"):
        layer(torch.randn(1, 2, INPUTS))


@pytest.mark.parametrize("name", ["cfc deep", "cfc ncp", "ctgru", "grud", "neural ode", "cfc memory"])
def test_hooks_of_parts_run_at_every_sample_and_may_change_what_they_see(name):
    layer, (x, spans) = some(CASES[name]), sample(2, 4)
    expected = layer(x, None, spans)[0]
    linear = [m for m in layer.rnn_cell.modules() if isinstance(m, nn.Linear)]
    calls = []
    hooks = [m.register_forward_hook(lambda *_: calls.append(1)) for m in linear]
    torch.testing.assert_close(layer(x, None, spans)[0], expected, **NEAR)
    assert len(calls) >= 4 * len(linear)
    for hook in hooks:
        hook.remove()
    linear[0].register_forward_hook(lambda m, i, o: 0 * o)
    assert not torch.allclose(layer(x, None, spans)[0], expected, atol=1e-4)


@every_layer
def test_hooks_of_a_cell_see_its_steps(make):
    layer, (x, spans), lengths = some(make), sample(2, 4), torch.tensor([4, 2])
    expected, last = layer(x, None, spans, lengths)
    calls = []
    layer.rnn_cell.register_forward_hook(lambda *_: calls.append(1))
    output, hx = layer(x, None, spans, lengths)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(parts(hx), parts(last), rtol=1e-5, atol=1e-5)
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("name", "home", "weight"),
    [
        ("cfc", "rnn_cell.ff1", "weight"),
        ("cfc ncp", "rnn_cell.layer_0.ff2", "weight"),
        ("ltc", "rnn_cell", "w"),
        ("ctrnn", "rnn_cell", "weight"),
        ("ltc memory", "lstm.recurrent_map", "weight"),
        ("grud", "rnn_cell.update", "weight_ih"),
    ],
)
def test_pruned_weights_stay_pruned_and_the_others_learn(name, home, weight):
    layer, (x, spans) = some(CASES[name]), sample(4, 3)
    part = layer.get_submodule(home)
    prune.random_unstructured(part, weight, 0.5)
    mask = getattr(part, f"{weight}_mask")
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        layer(x, None, spans)[0].square().sum().backward()
        optimiser.step()
    output = layer(x, None, spans)[0]
    assert (getattr(part, weight)[mask == 0] == 0).all()
    prune.remove(part, weight)
    assert (getattr(part, weight)[mask == 0] == 0).all()
    torch.testing.assert_close(layer(x, None, spans)[0], output)


def test_the_older_norms_of_weights_work():
    layer, (x, spans) = some(CASES["cfc"]), sample(2, 3)
    expected = layer(x, None, spans)[0]
    torch.nn.utils.weight_norm(layer.rnn_cell.ff1)
    torch.testing.assert_close(layer(x, None, spans)[0], expected, **NEAR)
    torch.nn.utils.spectral_norm(layer.rnn_cell.time_a)
    for _ in range(2):
        layer(x, None, spans)[0].sum().backward()


def test_a_stream_calls_what_is_there():
    layer, x = some(CASES["cfc"]), torch.randn(4, INPUTS)
    layer.rnn_cell.ff1 = LoRA(layer.rnn_cell.ff1)
    live = stream(layer)
    found = [live.step(row.numpy(), 0.5) for row in x]
    expected = layer(x, None, 0.5)[0].detach().numpy()
    assert np.allclose(found, expected, atol=1e-6)


# Replicas, shards, other storages.


@every_layer
def test_replicas_without_parameters_of_their_own(make):
    layer, (x, spans) = some(make), sample(2, 3)
    replica = layer._replicate_for_data_parallel()
    for name, module in layer.named_modules():  # as nn.parallel.replicate does
        home, _, last = name.rpartition(".")
        here = replica if not name else module._replicate_for_data_parallel()
        if name:
            replica.get_submodule(home)._modules[last] = here
        for key, parameter in module._parameters.items():
            setattr(here, key, None if parameter is None else parameter.clone())
    assert not list(replica.parameters())
    torch.testing.assert_close(replica(x, None, spans)[0], layer(x, None, spans)[0], **NEAR)


def test_quantised_linear_maps_are_called():
    layer, (x, spans) = some(CASES["cfc"]), sample(2, 3)
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(layer), {nn.Linear}, torch.qint8)
    assert not list(quantised.parameters())
    assert (quantised(x, None, spans)[0] - layer(x, None, spans)[0]).abs().max() < 0.1


@every_layer
def test_storages_can_still_be_resized_after_a_pass(make):
    layer, (x, spans) = some(make), sample(2, 3)
    x.requires_grad_()
    layer(x, None, spans)[0].sum().backward()
    out = x.detach()
    torch.cat([torch.ones(9), torch.ones(90)], out=out)
    for parameter in layer.parameters():
        parameter.untyped_storage().resize_(0)


@pytest.fixture
def one_process():
    if not torch.distributed.is_available():
        pytest.skip("this PyTorch has no torch.distributed")
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1)
        yield
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["ltc memory", "cfc ncp", "ctrnn"])
@pytest.mark.filterwarnings("ignore")
def test_sharded_layers_train_as_whole_ones(name, one_process):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    x, spans = sample(3, 4)

    def trained(layer):
        optimiser, losses = torch.optim.SGD(layer.parameters(), 0.05), []
        for _ in range(3):
            optimiser.zero_grad()
            loss = layer(x, None, spans)[0].square().sum()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        return losses

    expected = trained(some(CASES[name]))
    mesh = init_device_mesh("cpu", (1,))
    cell = type(some(CASES[name]).rnn_cell)
    cpu = {"device_id": torch.device("cpu")}
    shards = [
        FullyShardedDataParallel(some(CASES[name]), use_orig_params=True, **cpu),
        FullyShardedDataParallel(some(CASES[name]), use_orig_params=False, **cpu),
        FullyShardedDataParallel(some(CASES[name]), auto_wrap_policy=ModuleWrapPolicy({cell}), **cpu),
        fully_shard(some(CASES[name]), mesh=mesh),
    ]
    inner = some(CASES[name])
    fully_shard(inner.rnn_cell, mesh=mesh)
    shards.append(fully_shard(inner, mesh=mesh))
    for shard in shards:
        assert trained(shard) == pytest.approx(expected, rel=1e-4)


# Constraints, threads, optimisers.


def clamped(**options):
    torch.manual_seed(0)
    return LTC(INPUTS, 6, implicit_param_constraints=False, **options)


def test_threads_that_make_and_train_layers_leave_each_other_alone():
    faults = []

    def watched(run):
        try:
            for _ in range(15):
                run()
        except Exception as error:  # whatever it is
            faults.append(error)

    def train_linear():
        linear = nn.Linear(3, 3)
        optimiser = torch.optim.SGD(linear.parameters(), 0.1)
        linear(torch.ones(2, 3)).sum().backward()
        optimiser.step()

    def train_ltc():
        layer = LTC(INPUTS, 4, implicit_param_constraints=False)
        optimiser = torch.optim.SGD(layer.parameters(), 0.1)
        layer(torch.ones(2, 3, INPUTS))[0].sum().backward()
        optimiser.step()

    threads = [threading.Thread(target=watched, args=(run,)) for run in [train_linear] * 2 + [train_ltc] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_importing_layers_hooks_no_optimiser():
    from torch.optim import optimizer

    assert not optimizer._global_optimizer_post_hooks
    assert not optimizer._global_optimizer_pre_hooks


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_constraints_hold_within_the_steps_of_lbfgs(search):
    layer, (x, _) = clamped(), sample(8, 10)
    target = torch.rand(8, 10, 6)
    optimiser = torch.optim.LBFGS(layer.parameters(), lr=1.0, max_iter=20, line_search_fn=search)

    def closure():
        optimiser.zero_grad()
        loss = (layer(x)[0] - target).square().mean()
        loss.backward()
        return loss

    first = float(closure().detach())
    for _ in range(8):
        last = float(optimiser.step(closure).detach())
    assert last < first
    assert all(p.isfinite().all() for p in layer.parameters())


def test_negative_weights_from_a_file_are_put_back():
    layer, (x, _) = clamped(), sample(2, 3)
    weights = layer.state_dict()
    weights["rnn_cell.w"] = weights["rnn_cell.w"] - 0.5
    layer.load_state_dict(weights)
    inside = {n: v.clamp(min=0) if n.endswith(".w") else v for n, v in weights.items()}
    other = clamped()
    other.load_state_dict(inside)
    assert torch.equal(layer(x)[0], other(x)[0])
    assert (layer.state_dict()["rnn_cell.w"] >= 0).all()


@ON_BOTH
def test_a_weight_outside_its_range_counts_as_at_its_edge_in_every_tool(code):
    layer, (x, spans) = clamped().double() if code == "reference" else clamped(), sample(2, 3)
    x, spans = x.to(layer.rnn_cell.dtype), spans.to(layer.rnn_cell.dtype)
    weights = {n: p.detach() - 0.3 if n.endswith("w") else p.detach() for n, p in layer.named_parameters()}
    at_edge = {n: v.clamp(min=0) if n in ("rnn_cell.w", "rnn_cell.sensory_w") else v for n, v in weights.items()}
    call = torch.func.functional_call
    assert torch.equal(call(layer, weights, (x, None, spans))[0], call(layer, at_edge, (x, None, spans))[0])
    slope = torch.func.grad(lambda w: call(layer, w, (x, None, spans))[0].sum())(weights)
    edge = torch.func.grad(lambda w: call(layer, w, (x, None, spans))[0].sum())(at_edge)
    for name in weights:
        torch.testing.assert_close(slope[name], edge[name])


# Compilation, on the kernels and on the reference.

COMPILED = [name for name in CASES if name not in ("ltc unmapped", "ctrnn", "cfc pure", "cfc ncp no_gate", "ltc ncp")]
COMPILED = [name for name in COMPILED if name not in ("grud", "ltc euler", "ltc ncp rk4")] + ["ctrnn rk4"]


@ON_BOTH
@pytest.mark.parametrize(
    ("name", "backend"),
    [(name, "eager") for name in sorted(set(COMPILED))]
    + [(name, "aot_eager") for name in ("cfc", "ctrnn rk4", "ltc memory", "ctgru")],
)
def test_compiled_gradients_are_the_eager_ones(name, backend, code):
    torch._dynamo.reset()
    layer, (x, spans) = some(CASES[name]), sample(3, 5)
    lengths, reset = torch.tensor([5, 2, 4]), torch.zeros(3, 5, dtype=torch.bool)
    reset[0, 2] = True
    results = []
    for run in (layer, torch.compile(layer, backend=backend)):
        layer.zero_grad()
        leaf = x.clone().requires_grad_()
        output, hx = run(leaf, None, spans, lengths, reset)
        # The state of autocast at the way back counts for nothing in a kernel; for plain PyTorch it does.
        with torch.autocast("cpu", torch.bfloat16, enabled=code == "native"):
            (output.square().sum() + sum(part.sum() for part in parts(hx))).backward()
        results.append([output, leaf.grad, *(p.grad for p in layer.parameters())])
    for one, other in zip(*results, strict=True):
        if one is not None:
            torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-6)


class Exact(nn.Linear):
    """A linear map in full precision, whatever is around it: what our layers hold to."""

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            return super().forward(x), x


@pytest.mark.parametrize("name", ["cfc deep", "ltc memory", "grud"])
def test_compiled_within_autocast_gradients_are_at_least_as_near_as_those_of_a_linear_map(name):
    from torch._functorch import config

    def difference(module):
        found = []
        for run in (module, torch.compile(module, backend="aot_eager")):
            torch._dynamo.reset()
            module.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                output = run(x)[0]
            output.float().square().mean().backward()
            found.append([p.grad.clone() for p in module.parameters() if p.grad is not None])
        return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in zip(*found, strict=True))

    layer, (x, _) = some(CASES[name]), sample(5, 7)
    assert difference(layer) <= 2e-5 + 5 * difference(Exact(INPUTS, 4))
    if hasattr(config, "backward_pass_autocast"):
        with config.patch(backward_pass_autocast="off"):
            assert difference(layer) <= 2e-5


# Leaving PyTorch.


class Mine(nn.Module):
    """A user's module with a layer in it: a whole sequence, and one step."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.readout = layer, nn.Linear(layer.output_size, 2)

    def forward(self, x, spans):
        output, hx = self.layer(x, None, spans)
        step, hx = self.layer(x[:, :1], hx, spans[:, :1])
        return self.readout(output), self.readout(step), *parts(hx)


SIZES = ((2, 5), (3, 9), (1, 1))


def agrees(run, module):
    for size in SIZES:
        x, spans = sample(*size)
        for found, true in zip(run(x, spans), module(x, spans), strict=True):
            torch.testing.assert_close(torch.as_tensor(found), true.detach(), rtol=0, atol=5e-6)


@every_layer
@pytest.mark.filterwarnings("ignore")
def test_a_trace_keeps_batch_and_time_free(make):
    module = Mine(some(make)).eval()
    traced, file = torch.jit.trace(module, sample(2, 5), check_trace=False), io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    agrees(torch.jit.load(file), module)


def session(model: bytes):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime runs what was exported")
    made = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [given.name for given in made.get_inputs()]
    return lambda *tensors: made.run(None, dict(zip(names, (t.numpy() for t in tensors), strict=True)))


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("ltc euler", "ltc ncp rk4", *MIXTURES)])
@pytest.mark.filterwarnings("ignore")
def test_the_older_onnx_exporter_makes_a_loop(name):
    module, file = Mine(some(CASES[name])).eval(), io.BytesIO()
    free = {"x": {0: "batch", 1: "time"}, "spans": {0: "batch", 1: "time"}}
    torch.onnx.export(module, sample(2, 5), file, dynamo=False, input_names=list(free), dynamic_axes=free)
    agrees(session(file.getvalue()), module)


@pytest.mark.parametrize(
    "name",
    ["ltc memory", "cfc", pytest.param("grud", marks=pytest.mark.slow)]
    + [
        pytest.param(n, marks=pytest.mark.slow)
        for n in ("ltc ncp", "cfc ncp pure memory", "ctgru", "neural ode", "ltc ncp rk4")
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_onnx_exporter_makes_a_scan(name):
    pytest.importorskip("onnxscript", reason="torch.onnx.export(dynamo=True) needs it")
    module, file = Mine(some(CASES[name])).eval(), io.BytesIO()
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time")}
    torch.onnx.export(module, sample(2, 5), dynamo=True, dynamic_shapes=(free, free), verbose=False).save(file)
    agrees(session(file.getvalue()), module)


class Called(nn.Module):
    """A layer made and called in one of the forms, with what else that form is given."""

    def __init__(self, name, form):
        super().__init__()
        self.form, made = form, FORMS[form][0]
        self.layer = some(CASES[name], **made).eval()

    def forward(self, x, spans, more):
        output, hx, *states = self.layer(x, None, spans, **FORMS[self.form][1](more))
        return output, *parts(hx), *states


FORMS = {
    "both ways, with lengths": (
        {"num_layers": 2, "bidirectional": True, "dropout": 0.2},
        lambda more: {"lengths": more.sum(1) + 1},
    ),
    "reset": ({}, lambda more: {"reset": more}),
    "states": ({"return_sequences": False, "return_states": True}, lambda more: {"reset": more}),
}


def agrees_in_form(run, module):
    for batch, time in SIZES:
        given = (*sample(batch, time), torch.rand(batch, time - 1 if "both" in module.form else time) < 0.3)
        for found, true in zip(run(*given), module(*given), strict=True):
            torch.testing.assert_close(torch.as_tensor(found), true.detach(), rtol=0, atol=5e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["ltc memory", "cfc ncp", "grud", "ctgru", "ode lstm"])
@pytest.mark.filterwarnings("ignore")
def test_a_trace_keeps_every_form(name, form):
    module = Called(name, form)
    given = (*sample(2, 5), torch.rand(2, 4 if "both" in form else 5) < 0.3)
    agrees_in_form(torch.jit.trace(module, given, check_trace=False), module)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["reset", "states"])
@pytest.mark.parametrize("name", ["ltc memory", "cfc ncp", "grud", "ctgru", "ode lstm"])
@pytest.mark.filterwarnings("ignore")
def test_the_onnx_exporter_keeps_every_form(name, form):
    pytest.importorskip("onnxscript", reason="torch.onnx.export(dynamo=True) needs it")
    module, file = Called(name, form), io.BytesIO()
    given = (*sample(2, 5), torch.rand(2, 5) < 0.3)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time")}
    torch.onnx.export(module, given, dynamo=True, dynamic_shapes=(free, free, free), verbose=False).save(file)
    agrees_in_form(session(file.getvalue()), module)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ltc ncp", "cfc", "cfc ncp", "cfc bare no_gate", "ctrnn"])
@pytest.mark.filterwarnings("ignore")
def test_compiled_ahead_of_time(name, tmp_path: Path):
    layer = some(CASES[name]).eval()
    free = {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("time", max=64)}
    x, spans = sample(2, 5)
    program = torch.export.export(layer, (x, None, spans), dynamic_shapes=(free, None, free))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "layer.pt2"))
    loaded = torch._inductor.aoti_load_package(package)
    for size in ((2, 5), (3, 7)):
        x, spans = sample(*size)
        for found, true in zip(loaded(x, None, spans), layer(x, None, spans), strict=True):
            torch.testing.assert_close(found, true.detach(), **NEAR)


@pytest.mark.parametrize("make", [lambda: LTC(INPUTS, 4, solver="dopri5"), lambda: CTRNN(INPUTS, 4, solver="tsit5")])
def test_adaptive_steps_are_refused_where_values_can_not_be_seen(make):
    layer, (x, _) = make(), sample(2, 3)
    for run in (
        lambda: torch.func.vmap(lambda one: layer(one)[0])(x),
        lambda: torch.func.vmap(torch.func.grad(lambda one: layer(one)[0].sum()))(x),
        lambda: torch.jit.trace(layer, (x,), check_trace=False),
        lambda: torch.export.export(layer, (x,)),
    ):
        with pytest.raises(InputError, match="steps"):
            run()
    with pytest.raises(InputError, match="adjoint"):
        torch.func.grad(lambda one: CTRNN(INPUTS, 4, solver="dopri5", adjoint=True)(one)[0].sum())(x)
    torch.func.grad(lambda one: layer(one)[0].sum())(x)
