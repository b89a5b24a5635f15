"""Whether PyTorch is tracing: recording operations in a trace or a graph, where values are not available."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from torchliquid.torch_private import FakeTensor, is_transformed

_graph_loops: ContextVar[bool] = ContextVar("graph_loops", default=False)


def is_traced() -> bool:
    """Whether ``torch.jit.trace`` is running."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined]
    return tracing


def is_written_down() -> bool:
    """Whether a trace or an export is running, whose result other programs run."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return is_traced() or _graph_loops.get() or torch.compiler.is_compiling()


def is_for_onnx() -> bool:
    """Whether a graph for ONNX is being made."""
    return _graph_loops.get() or torch.onnx.is_in_onnx_export()


@contextmanager
def graph_loops() -> Iterator[None]:
    """A context in which a loop over time becomes one ``torch.ops.higher_order.scan`` if a graph is being made."""
    token = _graph_loops.set(True)
    try:
        yield
    finally:
        _graph_loops.reset(token)


def values_are_hidden(tensor: Tensor) -> bool:
    """Whether Python cannot branch on values: compiled, exported, traced, on the meta device or in a torch.func
    transform."""
    return (
        torch.compiler.is_compiling()
        or is_transformed()
        or is_traced()
        or tensor.is_meta
        or isinstance(tensor, FakeTensor)
    )
