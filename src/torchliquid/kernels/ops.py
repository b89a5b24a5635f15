"""Each recurrence as one ``torch.library`` operator with its gradient, for ``torch.compile`` and ``torch.export``.

Traced step by step, a hundred samples of an LTC are thousands of graph nodes and minutes of compilation; as an
operator they are one node forward and one backward. ``torchliquid::ltc`` and the others take what
:mod:`torchliquid.kernels.reference` takes, and run whatever code the dispatcher chooses for their tensors. Their
gradient runs that code again and goes back through it; they can be differentiated once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

import torchliquid.kernels as kernels
from torchliquid.kernels import reference
from torchliquid.kernels.scan import graph_loops

MEMORY = "Tensor? memory_drive, Tensor? memory_weight, Tensor? cell, Tensor? reset"
SCHEMAS = {
    "ltc": "Tensor inputs, Tensor timespans, Tensor state, Tensor? lengths, Tensor[] leak, Tensor[] synapses, "
    "Tensor synapse_index, Tensor[] sensory, Tensor sensory_index, SymInt unfolds, float epsilon, " + MEMORY,
    "cfc": "Tensor inputs, Tensor timespans, Tensor state, Tensor? lengths, Tensor[]? backbone, Tensor[] heads, "
    "SymInt[] layer_sizes, str mode, str activation, Tensor[]? dropout_masks, " + MEMORY,
    "ctrnn": "Tensor inputs, Tensor timespans, Tensor state, Tensor? lengths, Tensor weight, Tensor bias, "
    "Tensor? rate, str solver, SymInt unfolds, " + MEMORY,
    "ctgru": "Tensor inputs, Tensor timespans, Tensor state, Tensor? lengths, Tensor gates, Tensor gates_bias, "
    "Tensor signal, Tensor signal_bias, SymInt scales, Tensor? reset",
    "ode_rnn": "Tensor inputs, Tensor timespans, Tensor state, Tensor? lengths, Tensor[] field, Tensor[] update, "
    "str solver, SymInt unfolds, Tensor? reset",
}


def _register(name: str, arguments: str) -> tuple[Any, Any]:
    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        args = _with_lists(name, args)
        with torch.autocast(args[0].device.type, enabled=False):
            states, cells = getattr(kernels.chosen(args), name)(*args)
        return states, cells

    def forward_shapes(*args: Any) -> tuple[Tensor, Tensor]:
        _keep_whole(getattr(torch.ops.torchliquid, name).default)
        inputs, _, state = args[:3]
        batch, time, _ = inputs.shape
        units = state.shape[1]
        with_cells = arguments.endswith(MEMORY) and args[-2] is not None
        return inputs.new_empty(batch, time, units), inputs.new_empty(batch, time if with_cells else 0, units)

    def backward(grad_states: Tensor, grad_cells: Tensor, *args: Any) -> list[Tensor]:
        leaves, structure = tree_flatten(_with_lists(name, args))
        with _autograd(), torch.autocast(grad_states.device.type, enabled=False):
            leaves = [leaf.detach().requires_grad_() if _differentiable(leaf) else leaf for leaf in leaves]
            again = tree_unflatten(leaves, structure)
            results = getattr(kernels.chosen(again), name)(*again)
            pairs = [(r, g) for r, g in zip(results, (grad_states, grad_cells), strict=True) if r.requires_grad]
            outputs, given = zip(*pairs, strict=True)
            sources = [leaf for leaf in leaves if _differentiable(leaf)]
            grads = torch.autograd.grad(outputs, sources, given, allow_unused=True, materialize_grads=True)
        return [grad.clone(memory_format=torch.contiguous_format) for grad in grads]

    def backward_shapes(grad_states: Tensor, grad_cells: Tensor, *args: Any) -> list[Tensor]:
        return [leaf.new_empty(leaf.shape) for leaf in tree_flatten(args)[0] if _differentiable(leaf)]

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        leaves, ctx.structure = tree_flatten(inputs)
        ctx.save_for_backward(*(leaf for leaf in leaves if isinstance(leaf, Tensor)))
        ctx.others = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves]

    def gradients(ctx: Any, grad_states: Tensor, grad_cells: Tensor) -> tuple[Any, ...]:
        saved = iter(ctx.saved_tensors)
        leaves = [next(saved) if other is None else other[0] for other in ctx.others]
        args = tree_unflatten(leaves, ctx.structure)
        grads = iter(backward_op(grad_states, grad_cells, *args))

        def of(arg: Any) -> Any:
            if isinstance(arg, Sequence) and not isinstance(arg, str) and all(isinstance(a, Tensor) for a in arg):
                return [of(a) for a in arg]
            return next(grads) if _differentiable(arg) else None

        return tuple(of(arg) for arg in args)

    def operator(what: str, run: Any, shapes: Any, schema: str) -> Any:
        op = torch.library.custom_op(what, run, mutates_args=(), schema=schema)
        op.register_fake(shapes)
        return op

    op = operator(f"torchliquid::{name}", forward, forward_shapes, f"({arguments}) -> (Tensor, Tensor)")
    given = f"(Tensor grad_states, Tensor grad_cells, {arguments}) -> Tensor[]"
    backward_op = operator(f"torchliquid::{name}_backward", backward, backward_shapes, given)
    op.register_autograd(gradients, setup_context=keep)

    # What torch.onnx takes operators apart with. A FakeTensor looks there as well, to know a result's shape.
    @torch._decomp.register_decomposition(getattr(torch.ops.torchliquid, name).default)
    def decomposed(*args: Any) -> tuple[Tensor, Tensor]:
        if not torch.onnx.is_in_onnx_export():
            return forward_shapes(*args)
        with graph_loops():
            states, cells = getattr(reference, name)(*_with_lists(name, args))
        return states, cells

    return op, backward_op


def _with_lists(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A CfC's backbone and dropout as lists: ahead-of-time compilation makes None of an empty one."""
    if name != "cfc":
        return args
    return tuple([] if i in (4, 9) and arg is None else arg for i, arg in enumerate(args))


def _keep_whole(op: Any) -> None:
    """Tell Inductor, where it compiles, that an operator is called as it is although torch.onnx can take it apart:
    where the variable ``CI`` is set, it otherwise stops at an operator that has a decomposition."""
    lowering = sys.modules.get("torch._inductor.lowering")
    if os.environ.get("CI") and lowering is not None and op not in lowering.lowerings:
        tag = torch._library.utils.get_layout_constraint_tag(op, with_default=True)
        lowering.make_fallback(op, layout_constraint=lowering.tag_to_layout_constraint(tag), warn=False)


@contextmanager
def _autograd() -> Iterator[None]:
    """An operator runs below autograd; within this, autograd is back, and nothing else that was switched off."""
    included, excluded = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    for key in ("AutogradFunctionality", "AutogradOther", "AutogradNestedTensor"):
        excluded = excluded.remove(getattr(torch._C.DispatchKey, key))
    with torch._C._ForceDispatchKeyGuard(included, excluded), torch.enable_grad():
        yield


def _differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


ltc, ltc_backward = _register("ltc", SCHEMAS["ltc"])
cfc, cfc_backward = _register("cfc", SCHEMAS["cfc"])
ctrnn, ctrnn_backward = _register("ctrnn", SCHEMAS["ctrnn"])
ctgru, ctgru_backward = _register("ctgru", SCHEMAS["ctgru"])
ode_rnn, ode_rnn_backward = _register("ode_rnn", SCHEMAS["ode_rnn"])
