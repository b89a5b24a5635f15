"""From raw readings to what a network is fed: one rule for a whole series and for one live sample at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError

LIMIT = 1e6
"""A reading further than this many deviations from the training mean is a broken one: not observed. NaN and infinities
fail the same comparison, so the rule is one line in every language: observed is ``abs(scaled) <= LIMIT``."""


RARELY = 0.01
"""Of a channel's samples: where fewer are missing, what the mask says of them is hardly learnt."""


@dataclass
class HoldState:
    """What must be remembered between two live samples."""

    held: np.ndarray
    """(C,) float64, the last observed scaled value of each channel, 0 (the training mean) before the first."""
    started: bool = False
    """Whether a sample has been seen: the span before the first is 1."""


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Hold the last observed value (the training mean before the first), standardise, tell the mask, scale time.

    Attributes:
        channels: C names.
        mean, std: (C,) float64 of the training part's observed values; std is 1 where a channel is constant.
        time_scale: the training part's median gap, in ``time_unit``: it becomes 1 to the network.
        time_unit: the recording's.
        with_mask: whether each channel brings a second input, 1 where observed and 0 where held.
        low, high: (C,) float64, the training part's smallest and largest reading of each channel, NaN where there was
            none; None in models saved before these were kept. They change no answer.
        longest_gap: the longest time between two of its samples; None as well.
        ignored: (C,) true where a channel was constant in training: weights that nothing was learnt for must not meet
            its values when it moves, so that these count as the training mean. None: none is ignored, as in models
            saved before this was kept.
        told: (C,) true where the mask tells of a channel; others count as observed always: those of which fewer than
            one sample in a hundred was missing in training, for weights that knew nothing but ones must not meet a
            zero. None: all are told of, as in models saved before this was kept.
    """

    channels: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    time_scale: float
    time_unit: str
    with_mask: bool
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    longest_gap: float | None = None
    ignored: np.ndarray | None = None
    told: np.ndarray | None = None

    @classmethod
    def fit(cls, recording: Recording, with_mask: bool | None = None) -> Preprocessing:
        """Measure the scales on a training part.

        Args:
            recording: the training part alone.
            with_mask: None: exactly when it tells of any channel. True: it tells of all.
        """
        mean, std = deviations(recording)
        values = np.concatenate([s.values for s in recording.series])
        told = (~np.isfinite(values)).mean(0) >= RARELY
        low, high = extremes(values)
        return cls(
            recording.channels,
            mean,
            np.where(std > 0, std, 1.0),
            recording.median_gap(),
            recording.time_unit,
            bool(told.any()) if with_mask is None else with_mask,
            low,
            high,
            float(recording.gaps().max(initial=0.0)),
            std == 0,
            told if with_mask is None else None,
        )

    @property
    def unit(self) -> np.ndarray:
        """(C,) what a reading's distance from the mean is divided by: the deviation, infinite where it is ignored."""
        return self.std if self.ignored is None else np.where(self.ignored, np.inf, self.std)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The channels that are ignored."""
        still = np.isinf(self.unit)
        return tuple(channel for channel, out in zip(self.channels, still, strict=True) if out)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, a sentence each."""
        if not self.left_out:
            return ()
        names = ", ".join(self.left_out[:5]) + (", ..." if len(self.left_out) > 5 else "")
        return (f"Constant in the training part, and ignored from then on: {names}.",)

    @property
    def n_channels(self) -> int:
        return len(self.channels)

    @property
    def n_inputs(self) -> int:
        """Inputs of the network: C, or 2 C with the mask."""
        return self.n_channels * (2 if self.with_mask else 1)

    def __call__(self, series: Series) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (T, n_inputs) and timespans (T,), float32, of a whole series; the first span is 1."""
        inputs, _ = self._inputs(series.values, np.zeros(self.n_channels))
        spans = np.ones(len(series), dtype=np.float32)
        spans[1:] = self.spans(np.diff(series.times))
        return inputs, spans

    def spans(self, elapsed: float | np.ndarray) -> np.ndarray:
        """Timespans, float32, of times since the sample before; what is no time (NaN, negative, infinite or beyond
        float32) counts as the median gap."""
        elapsed = np.asarray(elapsed, dtype=np.float64)
        with np.errstate(over="ignore"):
            spans = (elapsed / self.time_scale).astype(np.float32)
        return np.where((elapsed >= 0) & np.isfinite(spans), spans, np.float32(1.0))

    def observed(self, values: np.ndarray) -> np.ndarray:
        """(T, C) true where a reading counts as observed."""
        return ~np.isnan(self.scaled(values))

    def start(self) -> HoldState:
        """The memory before the first live sample."""
        return HoldState(np.zeros(self.n_channels))

    def step(
        self, hold: HoldState, values: Sequence[float] | np.ndarray, elapsed: float | None
    ) -> tuple[np.ndarray, float]:
        """Inputs (n_inputs,) float32 and timespan of one live sample; ``hold`` is brought up to date.

        Args:
            hold: from :meth:`start`.
            values: (C,) raw readings, NaN where not observed.
            elapsed: time since the sample before in ``time_unit``. The first sample's is not used; one that is
                None, NaN, negative or infinite counts as the median gap.
        """
        readings = np.asarray(values, dtype=np.float64)
        if readings.shape != (self.n_channels,):
            raise InputError(
                f"a sample has {self.n_channels} values ({', '.join(self.channels)}), not {readings.shape}"
            )
        inputs, hold.held = self._inputs(readings[None], hold.held)
        span = 1.0 if elapsed is None or not hold.started else float(self.spans(elapsed))
        hold.started = True
        return inputs[0], span

    def _inputs(self, values: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = self.scaled(values)
        observed = ~np.isnan(scaled)
        rows = np.concatenate([held[None], scaled])  # row 0 is what was held before
        filled = np.take_along_axis(rows, last_observed(observed), 0)
        inputs = np.concatenate([filled, self.mask(observed)], 1) if self.with_mask else filled
        return inputs.astype(np.float32), filled[-1] if len(filled) else held

    @property
    def untold(self) -> np.ndarray:
        """(C,) true where the mask does not tell of a channel."""
        return np.zeros(self.n_channels, dtype=bool) if self.told is None else ~self.told

    def mask(self, observed: np.ndarray) -> np.ndarray:
        """What the network is told of which readings (T, C) are observed."""
        return observed | self.untold

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Readings (T, C) in deviations from the training mean; NaN where one does not count as observed."""
        with np.errstate(over="ignore", invalid="ignore"):  # to infinity or NaN, which is not observed
            scaled = (values - self.mean) / self.unit
        return np.where(np.abs(scaled) <= LIMIT, scaled, np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, exact to the last bit."""
        plain = asdict(self) | {"channels": list(self.channels), "mean": self.mean.tolist(), "std": self.std.tolist()}
        for name in ("low", "high"):
            values = plain[name]
            plain[name] = None if values is None else [float(v) if np.isfinite(v) else None for v in values]
        return plain | {n: None if (of := getattr(self, n)) is None else of.tolist() for n in ("ignored", "told")}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Preprocessing:
        """The reverse of :meth:`to_dict`.

        Raises:
            InputError: something is missing or of the wrong size.
        """
        try:
            made = cls(
                tuple(str(c) for c in data["channels"]),
                np.array(data["mean"], dtype=np.float64),
                np.array(data["std"], dtype=np.float64),
                float(data["time_scale"]),
                str(data["time_unit"]),
                bool(data["with_mask"]),
                None if data.get("low") is None else np.array(data["low"], dtype=np.float64),  # null becomes NaN
                None if data.get("high") is None else np.array(data["high"], dtype=np.float64),
                None if data.get("longest_gap") is None else float(data["longest_gap"]),
                *(None if data.get(n) is None else np.array(data[n], dtype=bool) for n in ("ignored", "told")),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the preprocessing's description is broken: {error!r}") from None
        if not made.mean.shape == made.std.shape == (made.n_channels,) or not made.time_scale > 0:
            raise InputError("the preprocessing's description is broken: sizes or scales do not fit its channels")
        each = (made.low, made.high, made.ignored, made.told)
        if any(one is not None and one.shape != made.mean.shape for one in each):
            raise InputError(
                "the preprocessing's description is broken: its extremes, or which are ignored or told of, do not fit "
                "its channels"
            )
        return made


def last_observed(observed: np.ndarray) -> np.ndarray:
    """For each place of (T, C) the row, counted from 1, of its channel's last observation there or before; 0: none."""
    rows = np.where(observed, np.arange(1, len(observed) + 1)[:, None], 0)
    return np.maximum.accumulate(rows, axis=0)


def deviations(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """(C,) means and standard deviations of what was observed; that of a :func:`constant` channel is 0."""
    values = np.concatenate([s.values for s in recording.series])
    mean, std = mean_and_std(values)
    still = [constant(column[np.isfinite(column)]) for column in values.T]
    return mean, np.where(still, 0.0, std)


def extremes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) the smallest and the largest of what is finite in each column of (N, C); NaN where nothing is."""
    finite = np.isfinite(values)
    low, high = np.where(finite, values, np.inf).min(0), np.where(finite, values, -np.inf).max(0)
    none = ~finite.any(0)
    return np.where(none, np.nan, low), np.where(none, np.nan, high)


def mean_and_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) of what is finite in each column of (N, C): its mean, 0 where nothing is, and its standard deviation, 0
    where all values are the same."""
    observed = np.isfinite(values)
    count = np.maximum(observed.sum(0), 1)
    # From the first value on: sums of squares of what lies far from zero would lose all that differs.
    first = np.take_along_axis(values, observed.argmax(0)[None], 0)[0] if len(values) else np.zeros(values.shape[1])
    first = np.where(np.isfinite(first), first, 0.0)
    mean = first + np.where(observed, values - first, 0.0).sum(0) / count
    return mean, np.sqrt(np.square(np.where(observed, values - mean, 0.0)).sum(0) / count)


def constant(values: np.ndarray) -> bool:
    """Whether finite readings (N,) are one value, but for rounding or for one count in the last place.

    Rounding is what lies within 1e-10 of the value's size, or two steps of single precision where all are such numbers.
    A count in the last place is the least that a display of four digits or more can change by: 1013.2 and 1013.3, but
    not 20.1 and 20.2, nor whole numbers of less than five digits: these may be codes.
    """
    if not len(values):
        return True
    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    if high - low <= 1e-10 * size:
        return True
    single = values.astype(np.float32)
    exact = bool((single == values).all())
    if exact and high - low <= 2 * float(np.spacing(np.float32(size))):
        return True
    if high - low > 1e-3 * size or not np.isin(values, (low, high)).all():
        return False
    places = max(_decimals(np.float32(v) if exact else np.float64(v)) for v in (low, high))
    if not places and high - low > 1e-4 * size:
        return False
    return round((high - low) * 10**places) == 1


def _decimals(value: np.floating) -> int:
    """Digits after the point in its shortest form."""
    return len(np.format_float_positional(value, trim="-").partition(".")[2])
