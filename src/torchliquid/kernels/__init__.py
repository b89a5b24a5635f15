"""The recurrences, each as one function over whole sequences, run by the fastest code that can.

Each takes what the function of its name in :mod:`torchliquid.kernels.reference` takes. Float32 on the CPU goes to the
compiled kernels; anything else, and everything where the package was built without them, to the reference. :func:`use`
or the environment variable ``TORCHLIQUID_KERNELS`` choose by hand. Under ``torch.compile`` and
``torch.export`` a recurrence is one operator, see :mod:`torchliquid.kernels.ops`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from torchliquid.errors import InputError
from torchliquid.kernels import native, reference
from torchliquid.kernels.scan import is_traced

__all__ = ["cfc", "chosen", "ctgru", "ctrnn", "ltc", "ode_rnn", "state_space", "use"]

_chosen: str | None = None


def use(name: str | None) -> None:
    """Run the recurrences by ``"reference"`` or ``"native"`` code; None: native where it can. With ``"native"`` a call
    that the kernels can't take, such as one in float64, is an :class:`InputError`.

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


def ltc(*args: Any) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.kernels.reference.ltc`; all arguments by position."""
    if _as_operator():
        return ops.ltc(*args)
    return chosen(args).ltc(*args)


def cfc(*args: Any) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.kernels.reference.cfc`; all arguments by position."""
    if _as_operator():
        return ops.cfc(*args)
    return chosen(args).cfc(*args)


def ctrnn(*args: Any) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.kernels.reference.ctrnn`; all arguments by position."""
    if _as_operator():
        return ops.ctrnn(*args)
    return chosen(args).ctrnn(*args)


def ctgru(*args: Any) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.kernels.reference.ctgru`; all arguments by position."""
    if _as_operator():
        return ops.ctgru(*args)
    return chosen(args).ctgru(*args)


def ode_rnn(*args: Any) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.kernels.reference.ode_rnn`; all arguments by position."""
    if _as_operator():
        return ops.ode_rnn(*args)
    return chosen(args).ode_rnn(*args)


def state_space(*args: Any) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.kernels.reference.state_space`; all arguments by position."""
    return chosen(args).state_space(*args)


def chosen(args: Iterable[Any]) -> ModuleType:
    """The module that runs a recurrence with these arguments: ``native`` or ``reference``."""
    if _chosen == "reference" or is_traced():  # what a kernel computes leaves no trace
        return reference
    if not native.available():
        return reference
    if native.supports(*_tensors(args)):
        return native
    if _chosen == "native":
        raise InputError("the compiled kernels take float32 on the CPU, outside torch.func: use(None) for other calls")
    return reference


def _as_operator() -> bool:
    # An operator knows no torch.func transform: inside one, even a compiled one, the reference is traced.
    return torch.compiler.is_compiling() and not torch._C._are_functorch_transforms_active()


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(v for v in value if isinstance(v, Tensor))
    return found


from torchliquid.kernels import ops  # noqa: E402  (its operators call this module)
