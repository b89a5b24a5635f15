"""Layers under what PyTorch does to modules: compile, export, torch.func, copies, other devices."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from tests.helpers.layers import CASES, INPUTS, every_layer, parts, some, state
from tests.helpers.needed import needs
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

from torchliquid import LTC, CfC, InputError, backends
from torchliquid.backends import operators
from torchliquid.wirings import AutoNCP, Random

COMPILED = ["ltc ncp", "ltc memory", "cfc deep", "cfc ncp pure memory"]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


def run(module, x, hx, spans, lengths):
    output, last = module(x, hx, spans, lengths)
    (output.sum() + sum(h.square().sum() for h in parts(last))).backward()
    return output, *parts(last), x.grad, spans.grad, *(p.grad for p in module.parameters())


def arguments(layer):
    torch.manual_seed(5)
    x, spans = torch.randn(4, 6, INPUTS, requires_grad=True), torch.rand(4, 6, requires_grad=True)
    return x, state(layer, 4), spans, torch.tensor([6, 2, 1, 5])


@pytest.mark.parametrize(
    ("name", "backend"), [("ltc ncp", "inductor"), *((name, "aot_eager") for name in COMPILED[1:])]
)
def test_compile_in_one_graph(name, backend):
    if backend == "inductor":
        needs("openssl")  # by which it tells its compiled headers apart
    layer = some(CASES[name])
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend=backend)
    for a, b in zip(run(layer, *arguments(layer)), run(compiled, *arguments(layer)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_long_sequence_is_a_handful_of_nodes():
    seen = []

    def count(graph, _):
        seen.append(len(graph.graph.nodes))
        return graph.forward

    layer = LTC(INPUTS, 4)
    compiled = torch.compile(layer, backend=count, fullgraph=True)
    x = torch.randn(2, 100, INPUTS)
    torch.testing.assert_close(compiled(x)[0], layer(x)[0], rtol=0, atol=2e-6)
    assert len(seen) == 1
    assert seen[0] < 60


@pytest.mark.parametrize("name", COMPILED)
def test_export_with_a_free_batch_and_length(name):
    layer = some(CASES[name]).eval()
    x, spans = torch.randn(3, 5, INPUTS), torch.rand(3, 5)
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    shapes = {"input": {0: batch, 1: time}, "timespans": {0: batch, 1: time}}
    program = torch.export.export(layer, (x,), {"timespans": spans}, dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    for size, length in ((3, 5), (2, 9)):
        x, spans = torch.randn(size, length, INPUTS), torch.rand(size, length)
        torch.testing.assert_close(again(x, timespans=spans)[0], layer(x, timespans=spans)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 1])])
@pytest.mark.parametrize("name", ["ltc memory", "cfc deep", "cfc ncp pure memory"])
def test_the_operators_keep_the_rules_of_operators(name, lengths, dtype, monkeypatch):
    """Schema, fake shapes, autograd: PyTorch's own checks on the arguments that a layer gives."""
    calls = []
    monkeypatch.setattr(backends, "run", lambda *args: calls.append(args) or (None, None))
    layer = some(CASES[name]).to(dtype)
    with pytest.raises(TypeError):
        layer(torch.randn(2, 4, INPUTS, dtype=dtype), state(layer, 2, dtype), torch.rand(2, 4), lengths)
    args = operators.arguments(*calls[0])
    detach = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.detach(), args)
    real = torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda t: t.requires_grad_() if t.is_floating_point() else t, detach
    )
    torch.library.opcheck(getattr(torch.ops.torchliquid, name.split()[0]).default, real)


@every_layer
def test_torch_func(make):
    layer = some(make).double()
    weights = dict(layer.named_parameters())
    x = torch.randn(3, 4, INPUTS).double()

    def loss(weights, x):
        return functional_call(layer, weights, (x,))[0].square().sum()

    loss(weights, x).backward()
    gradient = grad(loss)(weights, x)
    each = vmap(grad(loss), (None, 0))(weights, x)
    for name, parameter in layer.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(gradient[name], expected)
        torch.testing.assert_close(each[name].sum(0), expected)
    torch.testing.assert_close(vmap(lambda one: layer(one)[0])(x), layer(x)[0])
    jacobian = jacrev(lambda one: layer(one)[0][-1])(x[0])
    assert jacobian.shape == (layer.output_size, 4, INPUTS)


def test_an_ensemble_by_vmap():
    layers = [some(CASES["cfc ncp"], seed) for seed in range(3)]
    weights, buffers = stack_module_state(layers)
    x = torch.randn(2, 4, INPUTS)
    outputs = vmap(lambda w, b: functional_call(layers[0], (w, b), (x,))[0], (0, 0))(weights, buffers)
    torch.testing.assert_close(outputs, torch.stack([layer(x)[0] for layer in layers]), rtol=0, atol=2e-6)


def test_compiled_torch_func():
    layer = some(CASES["cfc"])
    weights, x = dict(layer.named_parameters()), torch.randn(3, 2, INPUTS)

    def loss(weights, x):
        return functional_call(layer, weights, (x,))[0].sum()

    expected = grad(loss)(weights, x)
    compiled = torch.compile(grad(loss), fullgraph=True, backend="aot_eager")(weights, x)
    for name in weights:
        torch.testing.assert_close(compiled[name], expected[name])


@every_layer
def test_copies_and_state_dicts(make):
    layer = some(make)
    x = torch.randn(2, 4, INPUTS)
    expected = layer(x)[0]
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    copies = [
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(file, weights_only=False),
        some(make, 1),
    ]
    copies[-1].load_state_dict(layer.state_dict())
    for again in copies:
        assert torch.equal(again(x)[0], expected)


@every_layer
def test_made_without_memory_and_filled_later(make):
    with torch.device("meta"):
        layer = make()
    output, _ = layer(torch.empty(2, 4, INPUTS, device="meta"))
    assert output.is_meta
    assert output.shape == (2, 4, layer.output_size)
    assert layer.live_parameters() == make().live_parameters()
    x, made = torch.randn(2, 4, INPUTS), make()

    def emptied():
        layer.to_empty(device="cpu")
        for tensor in (*layer.parameters(), *layer.buffers()):
            tensor.data.fill_(float("nan") if tensor.is_floating_point() else -(2**40))

    emptied()
    for module in layer.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert layer(x)[0].isfinite().all()
    emptied()
    layer.load_state_dict(made.state_dict())
    assert torch.equal(layer(x)[0], made(x)[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: CfC(INPUTS, AutoNCP(20, 4, seed=seed)),
        lambda seed: LTC(INPUTS, Random(8, 4, 0.5, random_seed=seed)),  # every seed has as many synapses
    ],
)
def test_weights_of_another_wiring_are_refused(make):
    weights = make(1).state_dict()
    with pytest.raises(RuntimeError, match="another wiring"):
        make(2).load_state_dict(weights)
    of_ncps = {name: value for name, value in weights.items() if "index" not in name and "mask" not in name}
    again, x = make(1), torch.randn(2, 4, INPUTS)
    again.load_state_dict(of_ncps)
    whole = make(1)
    whole.load_state_dict(weights)
    make(1).load_state_dict(copy.deepcopy(whole).bfloat16().state_dict())
    assert torch.equal(again(x)[0], whole(x)[0])


@every_layer
def test_a_state_set_to_zero_leaves_outputs_and_gradients_alone(make):
    layer, x = make(), torch.randn(3, 1, INPUTS)
    output, hx = layer(x)
    before = output.detach().clone()
    for part in parts(hx):
        part[1] = 0
    assert torch.equal(output, before)
    (layer(x, hx)[0].sum() + output.sum()).backward()


@every_layer
def test_hooks_run_once_and_autocast_takes_a_half_precision_state(make):
    layer, calls = make(), []
    x = torch.randn(3, 4, INPUTS)
    _, hx = layer(x)
    layer.register_forward_hook(lambda *_: calls.append(1))
    layer(torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([4, 3, 1]), batch_first=True))
    with torch.autocast("cpu", torch.bfloat16):
        half = tuple(part.bfloat16() for part in parts(hx))
        again, _ = layer(x.bfloat16(), half if isinstance(hx, tuple) else half[0])
        if not isinstance(hx, tuple):
            layer.rnn_cell(x[:, 0].bfloat16(), half[0])
    assert len(calls) == 2
    assert again.dtype == torch.float32
    assert again.isfinite().all()


def test_an_ltc_with_a_parametrised_weight_leaves_other_optimisers_alone():
    class Squared(torch.nn.Module):
        def forward(self, x):
            return x.square()

    layer = LTC(INPUTS, 4, implicit_param_constraints=False)
    torch.nn.utils.parametrize.register_parametrization(layer.rnn_cell, "w", Squared())
    with torch.no_grad():
        layer.rnn_cell.gleak.fill_(-1.0)
    layer(torch.randn(2, 3, INPUTS))[0].sum().backward()
    torch.optim.SGD(layer.parameters(), 0.0).step()
    assert (layer.rnn_cell.gleak == 0).all()
    torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), 0.1).step()


def test_a_batch_of_gradients_is_refused_by_the_kernels_and_taken_by_the_reference():
    layer, x = CfC(INPUTS, 4), torch.randn(2, 3, INPUTS)
    jacobian = torch.autograd.functional.jacobian
    if backends.native.available():
        with pytest.raises(InputError, match="jacrev"):
            jacobian(lambda x: layer(x)[0], x, vectorize=True)
    expected = jacobian(lambda x: layer(x)[0], x)
    with backends.use("reference"):
        torch.testing.assert_close(jacobian(lambda x: layer(x)[0], x, vectorize=True), expected)


def test_importing_the_package_does_not_load_torch():
    code = "import sys, torchliquid; assert 'torch' not in sys.modules; torchliquid.wirings; torchliquid.InputError"
    subprocess.run([sys.executable, "-c", code + "; assert 'torch' not in sys.modules"], check=True)
