"""The recurrences as plain functions, under the names and with the arguments that they had before there were cells.

:mod:`torchliquid.cells` has the recurrences, :mod:`torchliquid.backends` runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torchliquid.backends import chosen, native, operators, reference, run, state_space, use
from torchliquid.cells import States

__all__ = ["cfc", "chosen", "ctgru", "ctrnn", "lrcssm", "ltc", "native", "ode_rnn", "reference", "state_space", "use"]


def _function(operator: operators.Operator) -> Callable[..., States]:
    def function(*args: Any) -> States:
        missing = operator.schema.count(",") + (9 if operator.mixed else 6) - len(args)
        return run(*operator.taken([*args, *[None] * missing]))

    return function


ltc, cfc, ctrnn, ctgru, ode_rnn, lrcssm = map(_function, operators.OPERATORS.values())
