"""Which readings and gaps a device may take for real: by what the training part had, or by limits that are set.

What is farther from the training part than that part is wide is told of and used all the same, as Python does: it may
be news, not a fault. What lies beyond a limit that somebody set is broken: the last good reading is held, the usual gap
taken, as for an infinite one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from torchliquid.data.columns import nearest
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.errors import InputError

GAPS = 10.0
"""A gap that is so many times the longest of the training part is told of."""

HELD, SPAN, KEPT, REFUSED, RANGE, GAP, CLIPPED = (2**i for i in range(7))
"""What model_step can return, added up."""


@dataclass(frozen=True, eq=False)
class Plausible:
    """Limits of raw readings and of the time between samples.

    Attributes:
        low, high: (C,) float32; infinite where there is none.
        set_by_hand: (C,) where somebody set them: readings beyond are held.
        longest_gap: float32; infinite where there is none.
        gap_set_by_hand: longer ones count as the usual gap then.
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
        """(T, C) true where a reading is a finite number outside of its limits."""
        return np.isfinite(inputs) & ((inputs < self.low) | (inputs > self.high))

    def too_long(self, elapsed: np.ndarray) -> np.ndarray:
        """(T,) true where a time is a finite number beyond its limit."""
        return np.isfinite(elapsed) & (elapsed > self.longest_gap)

    def cleaned(self, inputs: np.ndarray, elapsed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same with NaN where a limit that was set is passed: what is left to a network."""
        inputs = np.where(self.beyond(inputs) & self.set_by_hand, np.float32(np.nan), inputs)
        return inputs, np.where(self.too_long(elapsed) & self.gap_set_by_hand, np.float32(np.nan), elapsed)

    def statuses(self, scales: Preprocessing, inputs: np.ndarray, elapsed: np.ndarray, first: np.ndarray) -> np.ndarray:
        """What model_step returns for readings (T, C) and times (T,), but for what happens inside the network.

        Args:
            first: (T,) where a sample is its state's first, whose time is not looked at.
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
    """What was kept of the training part, and what is set.

    Args:
        limits: the smallest and largest reading of channels, in their own units.
        longest_gap: in the recording's unit of time.

    Raises:
        InputError: no such channel, or limits that leave nothing.
    """
    n = scales.n_channels
    low, high = np.full(n, -np.inf), np.full(n, np.inf)
    if scales.low is not None and scales.high is not None:
        reach = scales.high - scales.low
        known = (reach > 0) & np.isfinite(scales.unit)  # a channel that stood still says nothing of its range
        low[known], high[known] = (scales.low - reach)[known], (scales.high + reach)[known]
    by_hand = np.zeros(n, dtype=bool)
    for channel, (least, most) in (limits or {}).items():
        if channel not in scales.channels:
            raise InputError(f"--plausible {channel!r}: no such channel; {nearest(channel, scales.channels)}")
        if not least < most:
            raise InputError(f"--plausible {channel!r}: {least:g} must be less than {most:g}")
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
    """Whole numbers in the order of floats; both zeros are 0 and -1, next to each other."""
    bits = values.astype(np.float32).view(np.int32)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
