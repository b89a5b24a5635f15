"""A device that is not there: its tensors lie in this machine's memory, but mixing them with the CPU's is an error.

Importing this registers it with PyTorch for the whole process. It is stricter than a GPU, which copies a CPU tensor of
indices by itself, and lets nobody know.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from torchliquid.torch_private import with_autograd

NAME = "pretended"
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "is_nonzero", "equal")
"""Operators whose result the host needs, so that it waits until the device has done all its work."""
WITH_THE_HOSTS = ("copy_", "_pack_padded_sequence", "_pack_padded_sequence_backward")
"""Operators that take tensors of both: lengths of packed sequences stay on the CPU."""

waited: list[str] = []
"""What the host has waited for: those operators, and copies to the device and back."""


class There(Tensor):
    """A tensor on the device; ``memory`` is where it really lies."""

    memory: Tensor

    @staticmethod
    def __new__(cls, memory: Tensor) -> There:
        make: Any = Tensor._make_wrapper_subclass  # type: ignore[attr-defined]
        kind: dict[str, Any] = {"dtype": memory.dtype, "device": f"{NAME}:0"}
        made: There = make(cls, memory.shape, memory.stride(), memory.storage_offset(), **kind)
        made.memory = memory
        return made

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, *args, **kwargs or {})


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    leaves, structure = tree_flatten((args, kwargs))
    name = op._schema.name.removeprefix("aten::")
    there = [x for x in leaves if isinstance(x, There)]
    mixed = bool(there) and any(isinstance(x, Tensor) and x.dim() and not isinstance(x, There) for x in leaves)
    back = bool(there) and any(isinstance(x, torch.device) and x.type != NAME for x in leaves)
    if mixed and name not in WITH_THE_HOSTS:
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found at least two devices")
    if name in WAITS or mixed or back:
        waited.append(name)
    if torch.Tag.inplace_view in op.tags:
        with no_dispatch():  # of the tensor itself, beside that of its memory
            op(*args, **kwargs)
    args, kwargs = tree_unflatten([_memory(x) for x in leaves], structure)
    own = {id(x.memory): x for x in there}
    with with_autograd() if name in INSTEAD else nullcontext():
        result = INSTEAD.get(name, op)(*args, **kwargs)
    if back:
        return result
    if name == "_pack_padded_sequence":
        return There(result[0]), result[1]
    return tree_map(lambda x: (own[id(x)] if id(x) in own else There(x)) if isinstance(x, Tensor) else x, result)


def _memory(x: Any) -> Any:
    return x.memory if isinstance(x, There) else torch.device("cpu") if isinstance(x, torch.device) else x


def _gru(from_x: Tensor, from_h: Tensor, h: Tensor, *biases: Tensor | None) -> tuple[Tensor, Tensor]:
    if biases[0] is not None and biases[1] is not None:
        from_x, from_h = from_x + biases[0], from_h + biases[1]
    return _gru_of(kept := torch.cat([from_x, from_h, h], 1)), kept


def _gru_of(kept: Tensor) -> Tensor:
    r, z, n, from_r, from_z, from_n, h = kept.chunk(7, 1)
    z = torch.sigmoid(z + from_z)
    return (1 - z) * torch.tanh(n + torch.sigmoid(r + from_r) * from_n) + z * h


def _gru_back(grad: Tensor, kept: Tensor, biased: bool) -> tuple[Tensor | None, ...]:
    n, back = grad.shape[1], torch.autograd.functional.vjp(_gru_of, kept, grad)[1]
    from_x, from_h, h = (part.contiguous() for part in back.split([3 * n, 3 * n, n], 1))
    return from_x, from_h, h, *((from_x.sum(0), from_h.sum(0)) if biased else (None, None))


def _lstm(from_x: Tensor, from_h: Tensor, c: Tensor, *biases: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    gates = sum((bias for bias in biases if bias is not None), from_x + from_h)
    return *_lstm_of(gates, c), gates


def _lstm_of(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _lstm_back(
    grad_h: Tensor | None, grad_c: Tensor | None, c: Tensor, new: Tensor, gates: Tensor, biased: bool
) -> tuple[Tensor | None, ...]:
    grads = tuple(torch.zeros_like(c) if grad is None else grad for grad in (grad_h, grad_c))
    to_gates, to_c = torch.autograd.functional.vjp(_lstm_of, (gates, c), grads)[1]
    return to_gates, to_c, to_gates.sum(0) if biased else None


INSTEAD: dict[str, Callable[..., Any]] = {
    "_thnn_fused_gru_cell": _gru,
    "_thnn_fused_gru_cell_backward": _gru_back,
    "_thnn_fused_lstm_cell": _lstm,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_back,
    "_conj": torch.ops.aten._conj_physical,
    "_efficientzerotensor": torch.ops.aten.zeros,
}
"""Operators that the CPU has in pieces only, and others whose result it does not have at once."""


def _tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
    made = _make(data, **options)
    return made if device is None else made.to(device)


_make, torch.tensor = torch.tensor, _tensor  # which would copy without a word to a dispatcher
_setup_privateuseone_for_python_backend(NAME)
_made = torch.library.Library("_", "IMPL")
_made.fallback(_run, "PrivateUse1")
_sized = torch.library.Library("aten", "IMPL")
for _name in ("arange", "arange.start", "arange.start_step", "eye", "eye.m", "linspace", "randperm"):
    # PyTorch would make them empty and let the operator change their size.
    _op, _, _form = _name.partition(".")
    _sized.impl(_name, partial(_run, getattr(getattr(torch.ops.aten, _op), _form or "default")), "PrivateUse1")
