"""The table of backends, and the choice between them."""

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
    """The interface of a backend, which is a module."""

    takes: str
    """The supported tensors, for error messages."""

    missing: str
    """The error message if the backend is not available."""

    def available(self) -> bool:
        """Whether the backend is available."""

    def has(self, cell: Any) -> bool:
        """Whether the backend has this recurrence, with its settings."""

    def supports(self, *tensors: Tensor | None) -> bool:
        """Whether the backend supports these tensors in the current context."""

    def run(self, cell: Any, over: Sequences) -> States:
        """The states after each sample, and the memory's cell states."""

    def state_space(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """See :func:`torchliquid.cells.state_space.state_space`."""


BACKENDS: dict[str, Backend] = {
    "triton": cast(Backend, triton),
    "native": cast(Backend, native),
    "reference": cast(Backend, reference),
}
"""The backends by name, the fastest first. The last one runs everything."""

_named: str | None = None


def use(name: str | None) -> AbstractContextManager[None]:
    """Select the backend ``"reference"``, ``"native"`` or ``"triton"``; None: the fastest that supports a call.

    The choice holds from now on, or within ``with use(...):``. With ``"native"`` or ``"triton"``, a call that the
    kernels do not support, for example in float64, raises an :class:`InputError`.

    Raises:
        InputError: the name is unknown; the package was built without its kernels (``"native"``), or Triton cannot be
            imported (``"triton"``).
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
    """The backend for a recurrence with these tensors; without a cell, for recurrences that every backend has.

    Raises:
        InputError: the selected backend does not support the tensors.
    """
    if not is_traced():  # kernels cannot be traced
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
