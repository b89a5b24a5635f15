"""Which readings and gaps a device accepts as real, by the range of the training part or by limits set by hand.

A reading farther outside the training part's range than this range is wide is reported but used, as in Python: it may
be real. A reading beyond a limit that was set by hand counts as faulty: the last good reading is used. A gap beyond
such a limit counts as the usual gap, as an infinite one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from torchliquid.data.columns import nearest
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.errors import InputError

GAPS = 10.0
"""Gaps that are this many times the longest of the training part are reported."""

HELD, SPAN, KEPT, REFUSED, RANGE, GAP, CLIPPED = (2**i for i in range(7))
"""The bits of model_step's return value."""


@dataclass(frozen=True, eq=False)
class Plausible:
    """Limits of raw readings and of the time between samples.

    Attributes:
        low, high: (C,) float32; infinite without a limit.
        set_by_hand: (C,) whether the limits were set by hand. Readings beyond such limits are replaced by the last good
            ones.
        longest_gap: float32; infinite without a limit.
        gap_set_by_hand: whether ``longest_gap`` was set by hand. Longer gaps then count as the usual gap.
    """

    low: np.ndarray
    high: np.ndarray
    set_by_hand: np.ndarray
    longest_gap: np.float32
    gap_set_by_hand: bool

    @property
    def limited(self) -> bool:
        """Whether any reading has a limit."""
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())

    def beyond(self, inputs: np.ndarray) -> np.ndarray:
        """(T, C) true where a reading is finite and outside its limits."""
        return np.isfinite(inputs) & ((inputs < self.low) | (inputs > self.high))

    def too_long(self, elapsed: np.ndarray) -> np.ndarray:
        """(T,) true where a time is finite and beyond its limit."""
        return np.isfinite(elapsed) & (elapsed > self.longest_gap)

    def cleaned(self, inputs: np.ndarray, elapsed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Readings and times with NaN where a limit set by hand is exceeded: what the network gets to see."""
        inputs = np.where(self.beyond(inputs) & self.set_by_hand, np.float32(np.nan), inputs)
        return inputs, np.where(self.too_long(elapsed) & self.gap_set_by_hand, np.float32(np.nan), elapsed)

    def statuses(self, scales: Preprocessing, inputs: np.ndarray, elapsed: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The status that model_step returns for readings (T, C) and times (T,), except for what happens inside the
        network.

        Args:
            first: (T,) where a sample is its state's first, whose time is ignored.
        """
        beyond = self.beyond(inputs)
        broken = ~scales.observed(inputs.astype(np.float64)) & ~np.isnan(inputs)
        held = broken | (beyond & self.set_by_hand)
        impossible = ~((elapsed >= 0) & np.isfinite(elapsed))
        long = self.too_long(elapsed)
        replaced = (impossible | (long & self.gap_set_by_hand)) & ~first
        status: np.ndarray = (
            held.any(1) * HELD + replaced * SPAN + (beyond & ~broken).any(1) * RANGE + (long & ~first) * GAP
        )
        return status


def plausible(
    scales: Preprocessing,
    limits: Mapping[str, tuple[float, float]] | None = None,
    longest_gap: float | None = None,
) -> Plausible:
    """The limits of a model: those that its training part gives, and those that are set by hand.

    Args:
        limits: the smallest and largest plausible reading of channels, in their own units.
        longest_gap: in the recording's unit of time.

    Raises:
        InputError: there is no such channel, or the limits exclude everything.
    """
    n = scales.n_channels
    low, high = np.full(n, -np.inf), np.full(n, np.inf)
    if scales.low is not None and scales.high is not None:
        reach = scales.high - scales.low
        known = (reach > 0) & np.isfinite(scales.unit)  # a constant channel does not show its range
        low[known], high[known] = (scales.low - reach)[known], (scales.high + reach)[known]
    by_hand = np.zeros(n, dtype=bool)
    for channel, (least, most) in (limits or {}).items():
        if channel not in scales.channels:
            raise InputError(f"--plausible {channel!r}: there is no such channel; {nearest(channel, scales.channels)}")
        if not least < most:
            raise InputError(
                f"--plausible {channel!r}: the smallest reading {least:g} must be less than the largest, {most:g}"
            )
        i = scales.channels.index(channel)
        low[i], high[i], by_hand[i] = least, most, True
    if longest_gap is not None and not longest_gap > 0:
        raise InputError(f"--longest-gap {longest_gap:g}: give a time above 0, in {scales.time_unit}")
    gap = longest_gap
    if gap is None:
        gap = GAPS * scales.longest_gap if scales.longest_gap and scales.longest_gap > 0 else np.inf
    with np.errstate(over="ignore"):
        return Plausible(
            low.astype(np.float32), high.astype(np.float32), by_hand, np.float32(gap), longest_gap is not None
        )


def in_order(values: np.ndarray) -> np.ndarray:
    """Integers in the order of floats; the two zeros are 0 and -1, next to each other."""
    bits = values.astype(np.float32).view(np.int32)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
