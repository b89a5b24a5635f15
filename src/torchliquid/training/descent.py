"""The training loop, for models and for the networks of published tables."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from torchliquid.layers import MixtureOfLiquid

T = TypeVar("T")


class NotFiniteError(RuntimeError):
    """A loss, a gradient or an answer is no longer finite; the message says which."""


def descend(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    stretches: Iterable[Iterable[T]],
    loss_of: Callable[[T], Tensor],
    look: Callable[[float], Any],
    enough: Callable[[], bool],
    clip: float | None = None,
    updated: Callable[[], object] = lambda: None,
    using: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> None:
    """Train until ``enough`` returns True, or the batches end. Even after an error, the model ends with the weights of
    the best validation, or with its first weights if there was none.

    Args:
        stretches: for each validation, the batches before it.
        loss_of, clip, updated: as in :func:`advance`.
        look: validates the model: from the mean loss since the previous validation to a score, higher is better.
        enough: called after each validation; whether to stop.
        using: as in :func:`advance`; validations also run in this context.

    Raises:
        NotFiniteError: as :func:`advance`.
        Exception: whatever ``loss_of``, ``look`` or ``enough`` raised.
    """
    best, weights = None, copy.deepcopy(model.state_dict())
    try:
        for batches in stretches:
            loss = advance(model, optimizer, batches, loss_of, clip, updated, using)
            with using():
                score = look(loss)
                if best is None or score > best:
                    best, weights = score, copy.deepcopy(model.state_dict())
                if enough():
                    return
    finally:
        model.load_state_dict(weights)
        model.eval()


def stretches(batches: Iterator[T], updates: int, apart: int) -> Iterator[Iterator[T]]:
    """``updates`` batches, in stretches of ``apart`` batches, each followed by a validation."""
    for begun in range(0, updates, apart):
        yield itertools.islice(batches, min(apart, updates - begun))


def advance(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[T],
    loss_of: Callable[[T], Tensor],
    clip: float | None = None,
    updated: Callable[[], object] = lambda: None,
    using: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> float:
    """Update the weights with each batch. Returns the mean loss, with the balance loss of mixtures.

    Args:
        loss_of: the loss of a batch.
        clip: maximum norm of the gradient; None: it is not clipped.
        updated: called after each update.
        using: a context for computing gradients, such as one in which the weights are rounded.

    Raises:
        NotFiniteError: the loss, or the norm of a clipped gradient, is not finite.
    """
    model.train()
    mixtures = [part for part in model.modules() if isinstance(part, MixtureOfLiquid)]
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        with using():
            loss = loss_of(batch)
            for mixture in mixtures:
                loss = loss + mixture.balance_loss()
            loss.backward()
        size = loss if clip is None else nn.utils.clip_grad_norm_(model.parameters(), clip)
        if not torch.isfinite(size):
            raise NotFiniteError("the loss is no longer finite")
        optimizer.step()
        updated()
        losses.append(loss.item())
    return sum(losses) / len(losses)
