"""Each recurrence as one ``torch.library`` operator with its gradient, for ``torch.compile`` and ``torch.export``.

Traced step by step, a hundred samples of an LTC become thousands of graph nodes and take minutes to compile. As an
operator, they are one node in the forward and one in the backward pass. An operator such as ``torchliquid::ltc`` runs
the backend that supports its tensors. Its gradient runs this code again and backpropagates through it; operators can
be differentiated once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchliquid import cells, scan
from torchliquid.backends import native
from torchliquid.backends.table import chosen
from torchliquid.cells.recurrence import Sequences, States, tensors_of
from torchliquid.solvers import Solver
from torchliquid.torch_private import decomposition, keep_whole, tree_flatten, tree_unflatten, with_autograd
from torchliquid.tracing import graph_loops

SEQUENCES = "Tensor inputs, Tensor timespans, Tensor state, Tensor? lengths, "
MEMORY = "Tensor? memory_drive, Tensor? memory_weight, Tensor? cell, "


class Operator(NamedTuple):
    """The operator of a recurrence.

    Attributes:
        name: name of the operator; its gradient has the suffix ``_backward``.
        schema: schema of the recurrence's own arguments.
        make: creates the recurrence from these arguments.
        mixed: whether it can have a memory in front.
    """

    name: str
    schema: str
    make: Callable[..., Any]
    mixed: bool = True

    def taken(self, args: Sequence[Any]) -> tuple[Any, Sequences]:
        """The recurrence and the sequences from the operator's arguments."""
        inputs, timespans, state, lengths, *own, reset = args
        drive = weight = c = None
        if self.mixed:
            *own, drive, weight, c = own
        return self.make(*own), Sequences(inputs, timespans, state, lengths, drive, weight, c, reset)


OPERATORS = {
    cells.LTC: Operator(
        "ltc",
        "Tensor[] leak, Tensor[] synapses, Tensor synapse_index, Tensor[] sensory, Tensor sensory_index, "
        "SymInt unfolds, float epsilon",
        cells.LTC,
    ),
    cells.CfC: Operator(
        "cfc",
        "Tensor[]? backbone, Tensor[] heads, SymInt[] layer_sizes, str mode, str activation, Tensor[]? dropout_masks",
        # Ahead-of-time compilation replaces an empty list by None.
        lambda backbone, heads, sizes, mode, activation, masks: cells.CfC(
            backbone or [], heads, sizes, mode, activation, masks or []
        ),
    ),
    cells.CTRNN: Operator(
        "ctrnn",
        "Tensor weight, Tensor bias, Tensor? rate, str solver, SymInt unfolds",
        lambda weight, bias, rate, *solver: cells.CTRNN(weight, bias, rate, Solver(*solver)),
    ),
    cells.CTGRU: Operator(
        "ctgru",
        "Tensor gates, Tensor gates_bias, Tensor signal, Tensor signal_bias, SymInt scales",
        cells.CTGRU,
        mixed=False,
    ),
    cells.ODERNN: Operator(
        "ode_rnn",
        "Tensor[] field, Tensor[] update, str solver, SymInt unfolds",
        lambda flow, update, *solver: cells.ODERNN(flow, update, Solver(*solver)),
        mixed=False,
    ),
    cells.LrcSSM: Operator(
        "lrcssm",
        "Tensor[] synapses, Tensor vleak, Tensor[] elastance, bool exponential",
        cells.LrcSSM,
        mixed=False,
    ),
}
"""The operators by class of recurrence."""


def has(cell: Any) -> bool:
    """Whether a recurrence has an operator: those with a compiled kernel do."""
    return type(cell) in OPERATORS and native.has(cell)


def call(cell: Any, over: Sequences) -> States:
    """Run a recurrence by its operator; see :func:`torchliquid.backends.run`."""
    states, cell_states = getattr(torch.ops.torchliquid, OPERATORS[type(cell)].name)(*arguments(cell, over))
    return states, cell_states


def arguments(cell: Any, over: Sequences) -> tuple[Any, ...]:
    """The arguments of a recurrence's operator."""
    own: list[Any] = []
    for value in cell:
        own += (value.name, value.unfolds) if isinstance(value, Solver) else (value,)
    if type(cell) is cells.LTC:
        own.pop()  # the operator always uses the fused solver
    inputs, timespans, state, lengths, *memory, reset = over
    return (inputs, timespans, state, lengths, *own, *(memory if OPERATORS[type(cell)].mixed else ()), reset)


def _register(operator: Operator) -> None:
    name = operator.name
    schema = f"{SEQUENCES}{operator.schema}, {MEMORY if operator.mixed else ''}Tensor? reset"

    def run(args: Sequence[Any]) -> States:
        cell, over = operator.taken(args)
        return chosen(cell, [*tensors_of(over), *tensors_of(cell)]).run(cell, over)

    def forward(*args: Any) -> States:
        with torch.autocast(args[0].device.type, enabled=False):
            return run(args)

    def forward_shapes(*args: Any) -> States:
        keep_whole(getattr(torch.ops.torchliquid, name).default)
        inputs, _, state = args[:3]
        batch, time, _ = inputs.shape
        units = state.shape[1]
        with_cells = operator.mixed and args[-2] is not None
        return inputs.new_empty(batch, time, units), inputs.new_empty(batch, time if with_cells else 0, units)

    def backward(grad_states: Tensor, grad_cells: Tensor, *args: Any) -> list[Tensor]:
        leaves, structure = tree_flatten(args)
        with with_autograd(), torch.autocast(grad_states.device.type, enabled=False):
            leaves = [leaf.detach().requires_grad_() if _differentiable(leaf) else leaf for leaf in leaves]
            results = run(tree_unflatten(leaves, structure))
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

    def made(what: str, run: Any, shapes: Any, schema: str) -> Any:
        op = torch.library.custom_op(what, run, mutates_args=(), schema=schema)
        op.register_fake(shapes)
        return op

    op = made(f"torchliquid::{name}", forward, forward_shapes, f"({schema}) -> (Tensor, Tensor)")
    given = f"(Tensor grad_states, Tensor grad_cells, {schema}) -> Tensor[]"
    backward_op = made(f"torchliquid::{name}_backward", backward, backward_shapes, given)
    op.register_autograd(gradients, setup_context=keep)

    @decomposition(getattr(torch.ops.torchliquid, name).default)
    def decomposed(*args: Any) -> States:
        if not torch.onnx.is_in_onnx_export():
            return forward_shapes(*args)
        with graph_loops():
            return scan.run(*operator.taken(args))


def _differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


for _operator in OPERATORS.values():
    _register(_operator)
