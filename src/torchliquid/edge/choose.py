"""Chooses the widths of an export's integers by the measured error of each choice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from torchliquid.edge.cores.integers import Widths
from torchliquid.edge.network import Network
from torchliquid.edge.quantize import weights
from torchliquid.errors import InputError

NEARLY = 1.25
"""If no choice with int8 weights stays under the limit, take the first whose error is at most this many times the least
error."""

MARGIN = 0.8
"""Share of the limit that may be used up on the samples that widths are chosen on. On other samples the error is a
little larger."""

CANDIDATES = (Widths(8, 8, 8), Widths(8, 8, 16), Widths(16, 8, 16), Widths(8, 16, 16), Widths(16, 16, 16))
"""Choices with int8 weights, the narrowest values first."""


class Errors(dict[Widths, float]):
    """The measured error of each choice that was tried; infinite if the numbers do not fit."""

    def __init__(self, measure: Callable[[Widths], float]) -> None:
        self._measure = measure

    def __missing__(self, widths: Widths) -> float:
        try:
            self[widths] = self._measure(widths)
        except InputError as error:
            self[widths], self.reason = math.inf, error
        return self[widths]

    def least(self) -> Widths:
        """The choice with the smallest error so far.

        Raises:
            InputError: no choice fits.
        """
        best = min(self, key=self.__getitem__)
        if math.isinf(self[best]):
            raise self.reason
        return best


def values_alone(network: Network, errors: Errors, limit: float) -> Widths:
    """Int8 weights with the narrowest values whose error is at most ``limit`` or close to the smallest error. With int8
    inputs or states, which exceed the sampled range first, the error may be at most half the limit."""
    candidates = [widths for widths in CANDIDATES if _has_hidden(network) or widths.hidden == 8]
    for widths in candidates:
        errors[widths]
    reached = max(limit, NEARLY * errors[errors.least()])

    def good(widths: Widths) -> bool:
        return errors[widths] <= (reached if min(widths.input, widths.state) == 16 else limit / 2)

    return next((widths for widths in candidates if good(widths)), errors.least())


def layer_by_layer(network: Network, errors: Errors, limit: float) -> Widths:
    """Int8 weights in as many layers as :data:`MARGIN` of the ``limit`` allows. It starts with 16 bits everywhere and
    narrows one layer after the other, the largest first; a layer stays narrow if the error allows it. If no choice
    meets the limit, it returns the one with the smallest error.

    Values stay in int16: they are few, and they exceed the sampled range first."""
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
    """Whether the network has values between its inputs and its states."""
    return any(core.has_hidden for core in network.cores)
