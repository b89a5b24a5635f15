"""What torchliquid.torch_private promises of the PyTorch that is installed, and that it holds all there is."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import torchliquid
from tests.helpers.needed import needs
from torchliquid import torch_private as private

PACKAGE = Path(torchliquid.__file__).parent


def private_names(source: str) -> list[str]:
    """Of torch, as written: ``torch._C`` or ``from torch.utils._pytree import tree_map``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute():
                found.append(ast.unparse(node))
            case ast.Import():
                found += [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                found += [f"{module}.{alias.name}" for alias in node.names]
    return [
        name
        for name in found
        if name.startswith(("torch.", "forward_ad."))
        and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
    ]


def test_no_other_file_uses_what_pytorch_does_not_document():
    source = "import torch\ntorch.utils._pytree.tree_map\nfrom torch._C import x\nself._a\ntorch.a.__name__"
    assert set(private_names(source)) == {"torch.utils._pytree.tree_map", "torch.utils._pytree", "torch._C.x"}
    found = {str(path.relative_to(PACKAGE)): private_names(path.read_text()) for path in PACKAGE.rglob("*.py")}
    assert found.pop("torch_private.py")
    assert {path: names for path, names in found.items() if names} == {}


def test_transforms_are_seen():
    seen = {}

    def look(name):
        def look(x):
            seen[name] = private.is_transformed(), private.is_vmapped(x), private.is_forward_mode()
            return (x * x).sum()

        return look

    x = torch.ones(2, 3)
    look("none")(x)
    torch.func.grad(look("grad"))(x)
    torch.vmap(look("vmap"))(x)
    torch.vmap(torch.func.grad(look("grad in vmap")))(x)
    torch.func.jvp(look("jvp"), (x,), (x,))
    with forward_ad.dual_level():
        look("dual")(forward_ad.make_dual(x, x))
    assert seen == {
        "none": (False, False, False),
        "grad": (True, False, False),
        "vmap": (True, True, False),
        "grad in vmap": (True, True, False),
        "jvp": (True, False, True),
        "dual": (False, False, True),
    }


@pytest.mark.parametrize("batched", [False, True])
def test_a_batch_of_gradients_is_seen(batched):
    seen = []

    class Look(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            seen.append(private.is_batch_of_gradients(grad))
            return grad

    x = torch.ones(3, requires_grad=True)
    given = torch.eye(3) if batched else torch.ones(3)
    torch.autograd.grad(Look.apply(x), x, given, is_grads_batched=batched)
    assert seen == [batched]


@pytest.fixture(scope="module")
def doubled():
    """An operator that differentiates within itself."""

    def run(x: Tensor) -> Tensor:
        with private.with_autograd():
            leaf = x.detach().requires_grad_()
            (grad,) = torch.autograd.grad((leaf * leaf).sum(), leaf)
        return grad.clone()

    op = torch.library.custom_op("torchliquid_tests::doubled", run, mutates_args=(), schema="(Tensor x) -> Tensor")
    op.register_fake(lambda x: private.keep_whole(torch.ops.torchliquid_tests.doubled.default) or torch.empty_like(x))
    private.decomposition(torch.ops.torchliquid_tests.doubled.default)(lambda x: x + x)
    return op


def test_autograd_is_back_within_an_operator(doubled):
    x = torch.randn(4)
    torch.testing.assert_close(doubled(x), 2 * x)
    with torch.no_grad():
        torch.testing.assert_close(doubled(x), 2 * x)
    torch.testing.assert_close(torch.compile(doubled, backend="aot_eager", fullgraph=True)(x), 2 * x)


@pytest.mark.parametrize("variable", ["", "1"])
def test_inductor_calls_an_operator_that_onnx_takes_apart(doubled, variable, monkeypatch):
    needs("openssl")  # by which inductor tells its compiled headers apart
    monkeypatch.setenv("CI", variable)
    torch._dynamo.reset()
    x = torch.randn(4)
    torch.testing.assert_close(torch.compile(lambda x: doubled(x) + 1, fullgraph=True)(x), 2 * x + 1)


class Scanned(torch.nn.Module):
    """Running sums, each also times a weight."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        def step(total: Tensor, row: Tensor, weight: Tensor) -> list[Tensor]:
            return [total + row, (total + row) * weight]

        return private.graph_scan(step, [torch.zeros_like(x[0])], [x], (weight,))[1]


def test_a_scan_is_exported_for_any_length():
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    x, weight = torch.randn(5, 3), torch.randn(3)
    shapes = {"x": {0: torch.export.Dim("time", min=2)}, "weight": None}
    graph = torch.export.export(Scanned(), (x, weight), dynamic_shapes=shapes)
    torch.testing.assert_close(graph.module()(x[:3], weight), x[:3].cumsum(0) * weight)
    file = io.BytesIO()
    torch.onnx.export(Scanned(), (x, weight), dynamo=True, dynamic_shapes=shapes).save(file)
    session = runtime.InferenceSession(file.getvalue())
    names = [i.name for i in session.get_inputs()]
    (sums,) = session.run(None, dict(zip(names, (x[:4].numpy(), weight.numpy()), strict=True)))
    torch.testing.assert_close(torch.from_numpy(sums), x[:4].cumsum(0) * weight)


def test_trees_keep_their_structure():
    tree = ["a", (1, [torch.ones(2)], None), {}]
    leaves, structure = private.tree_flatten(tree)
    assert private.tree_unflatten(leaves, structure)[:1] == ["a"]
    assert private.tree_map(lambda leaf: leaf, [1, (2, None)]) == [1, (2, None)]


def test_a_tensor_without_values_is_known():
    with torch._subclasses.fake_tensor.FakeTensorMode() as mode:
        assert isinstance(mode.from_tensor(torch.ones(2)), private.FakeTensor)
    assert not isinstance(torch.ones(2), private.FakeTensor)
