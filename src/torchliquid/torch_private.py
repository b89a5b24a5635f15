"""Everything of PyTorch that this package uses and PyTorch does not document, so that a new version is checked here.

``tests/test_torch_private.py`` says what each must do, and that no other file uses more; ``make test-lowest`` and
``make test-newest`` run it with the oldest and the newest version.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.autograd import forward_ad
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

__all__ = [
    "FakeTensor",
    "decomposition",
    "graph_scan",
    "is_batch_of_gradients",
    "is_forward_mode",
    "is_transformed",
    "is_vmapped",
    "keep_whole",
    "tree_flatten",
    "tree_map",
    "tree_unflatten",
    "with_autograd",
]


def is_transformed() -> bool:
    """Whether a transform of ``torch.func`` is at work."""
    return torch._C._are_functorch_transforms_active()


def is_forward_mode() -> bool:
    """Whether this runs within ``torch.autograd.forward_ad.dual_level``."""
    return forward_ad._current_level >= 0


def is_vmapped(*tensors: Tensor) -> bool:
    """Whether ``torch.func.vmap`` runs over one of them, at whatever depth of transforms."""
    while tensors:
        if any(map(torch._C._functorch.is_batchedtensor, tensors)):
            return True
        wrapped = filter(torch._C._functorch.is_functorch_wrapped_tensor, tensors)
        tensors = tuple(torch._C._functorch.get_unwrapped(t) for t in wrapped)
    return False


def is_batch_of_gradients(grad: Tensor) -> bool:
    """Whether a backward pass was given many gradients at once: ``is_grads_batched=True``, ``vectorize=True``."""
    return torch._C._functorch.is_legacy_batchedtensor(grad)


def decomposition(op: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates what ``torch.onnx`` takes an operator apart with. A FakeTensor looks there as well, for shapes."""
    return torch._decomp.register_decomposition(op)


def keep_whole(op: Any) -> None:
    """Tell Inductor, where it compiles, that an operator is called as it is although it has a decomposition: where the
    variable ``CI`` is set, it otherwise stops there."""
    lowering = sys.modules.get("torch._inductor.lowering")
    if os.environ.get("CI") and lowering is not None and op not in lowering.lowerings:
        tag = torch._library.utils.get_layout_constraint_tag(op, with_default=True)
        lowering.make_fallback(op, layout_constraint=lowering.tag_to_layout_constraint(tag), warn=False)


@contextmanager
def with_autograd() -> Iterator[None]:
    """An operator runs below autograd; within this, autograd is back, and nothing else that was switched off."""
    included, excluded = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    for key in ("AutogradFunctionality", "AutogradOther", "AutogradNestedTensor"):
        excluded = excluded.remove(getattr(torch._C.DispatchKey, key))
    with torch._C._ForceDispatchKeyGuard(included, excluded), torch.enable_grad():
        yield


def graph_scan(
    step: Callable[..., Sequence[Tensor]], carried: list[Tensor], series: list[Tensor], others: tuple[Tensor, ...]
) -> list[Tensor]:
    """One ``scan`` of a graph, over the first axis of ``series``: ``step(*carried, *sample, *others)`` gives what is
    carried on and what is kept of each sample; results are the last carried and the kept ones, stacked."""
    from torch._higher_order_ops.scan import scan_op

    results: list[Tensor] = scan_op(step, carried, series, others)
    return results
