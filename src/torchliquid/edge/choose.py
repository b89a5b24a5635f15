"""How wide the integers of an export are: chosen by what each choice costs in accuracy, measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from torchliquid.edge.cores.integers import Widths
from torchliquid.edge.network import Network
from torchliquid.edge.quantize import weights
from torchliquid.errors import InputError

NEARLY = 1.25
"""Where no choice with int8 weights stays under the limit, the first whose error is at most so many times the least."""

MARGIN = 0.8
"""Of the limit, what the error may be on the samples that widths are chosen on: it is a little larger on others."""

CANDIDATES = (Widths(8, 8, 8), Widths(8, 8, 16), Widths(16, 8, 16), Widths(8, 16, 16), Widths(16, 16, 16))
"""Of int8 weights, from the narrowest values on."""


class Errors(dict[Widths, float]):
    """The measured error of each choice that was tried; infinite where the numbers do not fit."""

    def __init__(self, measure: Callable[[Widths], float]) -> None:
        self._measure = measure

    def __missing__(self, widths: Widths) -> float:
        try:
            self[widths] = self._measure(widths)
        except InputError as error:
            self[widths], self.reason = math.inf, error
        return self[widths]

    def least(self) -> Widths:
        """The best of those tried.

        Raises:
            InputError: none fits.
        """
        best = min(self, key=self.__getitem__)
        if math.isinf(self[best]):
            raise self.reason
        return best


def values_alone(network: Network, errors: Errors, limit: float) -> Widths:
    """The narrowest values with int8 weights whose error is at most ``limit``, or nearly the least; at most half of the
    limit where inputs or states are int8, which are the first to leave what the samples show."""
    candidates = [widths for widths in CANDIDATES if _has_hidden(network) or widths.hidden == 8]
    for widths in candidates:
        errors[widths]
    reached = max(limit, NEARLY * errors[errors.least()])

    def good(widths: Widths) -> bool:
        return errors[widths] <= (reached if min(widths.input, widths.state) == 16 else limit / 2)

    return next((widths for widths in candidates if good(widths)), errors.least())


def layer_by_layer(network: Network, errors: Errors, limit: float) -> Widths:
    """Few bytes under :data:`MARGIN` of the ``limit``: of 16 bits everywhere, each layer's weights are narrowed in
    turn, those first that take the most bytes, and stay narrow where the error allows; the least error where nothing is
    so small.
    Values stay in int16: they are few, and the first to leave what the samples show."""
    limit *= MARGIN
    counts = weights(network)
    narrow = Widths(16, 16 if _has_hidden(network) else 8, 16)
    if errors[narrow] <= limit:
        return narrow
    chosen = replace(narrow, wide=frozenset(counts))
    if errors[chosen] > limit:
        return errors.least()
    for name in sorted(counts, key=lambda name: -counts[name]):
        narrower = replace(chosen, wide=chosen.wide - {name})
        if errors[narrower] <= limit:
            chosen = narrower
    return chosen


def _has_hidden(network: Network) -> bool:
    """Whether it has values between inputs and states."""
    return any(core.has_hidden for core in network.cores)
