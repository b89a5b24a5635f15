"""The ways to run a recurrence, and which of them does."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor

from torchliquid.backends import native, reference, triton
from torchliquid.cells.recurrence import Recurrence, Sequences, States
from torchliquid.errors import InputError
from torchliquid.tracing import is_traced

log = logging.getLogger(__name__)


@runtime_checkable
class Backend(Protocol):
    """A module with the functions of one way to run recurrences."""

    takes: str
    """Which tensors, for the message where they are others."""

    missing: str
    """The message where it is not there."""

    def available(self) -> bool:
        """Whether it is there."""

    def has(self, cell: Any) -> bool:
        """Whether it knows this recurrence, with its settings."""

    def supports(self, *tensors: Tensor | None) -> bool:
        """Whether it takes these tensors, here and now."""

    def run(self, cell: Any, over: Sequences) -> States:
        """The states after each sample, and the memory's cell states."""

    def state_space(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """See :func:`torchliquid.cells.state_space.state_space`."""


BACKENDS: dict[str, Backend] = {
    "triton": cast(Backend, triton),
    "native": cast(Backend, native),
    "reference": cast(Backend, reference),
}
"""By name, the fastest first; the last one runs everything."""

_named: str | None = None


def use(name: str | None) -> AbstractContextManager[None]:
    """Run the recurrences by ``"reference"``, ``"native"`` or ``"triton"`` code; None: by the fastest that can. From
    now on, or within ``with use(...):``. With one of the last two a call that the kernels can't take, such as one in
    float64, is an :class:`InputError`.

    Raises:
        InputError: another name; ``"native"`` where the package was built without its kernels; ``"triton"`` where
            that can't be imported.
    """
    global _named
    if name is not None and name not in BACKENDS:
        raise InputError(f"kernels are {' or '.join(repr(n) for n in reversed(BACKENDS))}, not {name!r}")
    if name is not None and not BACKENDS[name].available():
        raise InputError(BACKENDS[name].missing)
    before, _named = _named, name
    return _until_its_end(before)


@contextmanager
def _until_its_end(before: str | None) -> Iterator[None]:
    global _named
    try:
        yield
    finally:
        _named = before


def chosen(cell: Recurrence | None = None, tensors: Sequence[Tensor] = ()) -> Backend:
    """What runs a recurrence with these tensors; without one, what runs those that every backend has.

    Raises:
        InputError: as :func:`run`.
    """
    if not is_traced():  # what a kernel computes leaves no trace
        for name, backend in BACKENDS.items():
            if _named in (None, name) and backend.available() and (cell is None or backend.has(cell)):
                if backend.supports(*tensors):
                    if backend is reference and not _named and tensors and tensors[0].device.type != "cpu":
                        _say_once(tensors[0].device.type)
                    return backend
                if _named:
                    raise InputError(f"the {name} kernels take {backend.takes}: use(None) for other calls")
    return BACKENDS["reference"]


@cache
def _say_once(device: str) -> None:
    log.warning(
        f"liquid layers on {device} run by the PyTorch reference, which is slower: the Triton kernels take "
        f"{triton.takes}, and need Triton (pip install 'torchliquid[gpu]')"
    )


use(os.environ.get("TORCHLIQUID_KERNELS") or None)
