"""The recurrences, each as one function over whole sequences, run by the fastest code that can.

``ltc`` and ``cfc`` take what :func:`torchliquid.kernels.reference.ltc` and :func:`~torchliquid.kernels.reference.cfc`
take. Float32 on the CPU goes to the compiled kernels; anything else, and everything where the package was built
without them, to the reference. :func:`use` or the environment variable ``TORCHLIQUID_KERNELS`` choose by hand.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import Tensor

from torchliquid.errors import InputError
from torchliquid.kernels import native, reference

__all__ = ["cfc", "ltc", "use"]

log = logging.getLogger(__name__)
_chosen: str | None = None
_said = False


def use(name: str | None) -> None:
    """Run the recurrences by ``"reference"`` or ``"native"`` code; None: native where it can.

    Raises:
        InputError: another name; ``"native"`` where the package was built without its kernels.
    """
    global _chosen
    if name not in (None, "reference", "native"):
        raise InputError(f"kernels are 'reference' or 'native', not {name!r}")
    if name == "native" and not native.available():
        raise InputError("the compiled kernels are not there: install a wheel, or build with a C++17 compiler")
    _chosen = name


use(os.environ.get("TORCHLIQUID_KERNELS") or None)


def ltc(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.kernels.reference.ltc`."""
    return (native if _native_takes(args, kwargs) else reference).ltc(*args, **kwargs)


def cfc(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.kernels.reference.cfc`."""
    return (native if _native_takes(args, kwargs) else reference).cfc(*args, **kwargs)


def _native_takes(args: Any, kwargs: Any) -> bool:
    if _chosen == "reference" or torch.compiler.is_compiling():
        return False
    if not native.available():
        _say_once()
        return False
    return native.supports(*_tensors(args), *_tensors(kwargs.values()))


def _tensors(values: Any) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(v for v in value if isinstance(v, Tensor))
    return found


def _say_once() -> None:
    global _said
    if not _said:
        _said = True
        log.warning("torchliquid was built without its kernels: the slower PyTorch reference runs")
