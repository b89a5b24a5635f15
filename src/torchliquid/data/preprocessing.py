"""From raw readings to a network's inputs, in the same way for whole series and for single live samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchliquid.data.columns import nearest
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError, listed
from torchliquid.files import from_plain, to_plain

LIMIT = 1e6
"""A reading more than this many standard deviations from the training mean counts as not observed. NaN and infinity
fail the same comparison, so in every language observed is ``abs(scaled) <= LIMIT``."""


RARELY = 0.01
"""If a smaller share of a channel's samples is missing in training, the network hardly learns from its mask."""


@dataclass
class HoldState:
    """State between two live samples."""

    held: np.ndarray
    """(C,) float64, last observed scaled value of each channel; 0 (the training mean) before the first."""
    started: bool = False
    """Whether there was a sample; the span before the first one is 1."""


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Standardises readings, fills missing ones with the last observed value, adds the mask, and scales times.

    Before the first observed value, the training mean is used. Attributes that may be None are None in models that were
    saved before they were introduced.

    Attributes:
        channels: C names.
        mean, std: (C,) float64, of the observed values in the training part; std is 1 for a constant channel.
        time_scale: the training part's median gap in ``time_unit``, which becomes a span of 1.
        time_unit: that of the recording.
        with_mask: whether each channel has a second input, 1 if observed and 0 if filled.
        low, high: (C,) float64, smallest and largest reading of each channel in the training part, NaN if there is
            none. They do not change answers.
        longest_gap: longest time between two samples of the training part.
        ignored: (C,) True if a channel is constant in the training part. Its weights are not trained, so its values are
            replaced by the training mean. None: no channel.
        told: (C,) True if the mask of a channel is used. If fewer than one sample in a hundred is missing in the
            training part, its weights are not trained for a mask of 0, so the mask is always 1. None: all are used.
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
    ignored: NDArray[np.bool_] | None = None
    told: NDArray[np.bool_] | None = None

    @classmethod
    def fit(cls, recording: Recording, with_mask: bool | None = None) -> Preprocessing:
        """Fit the scales to a training part.

        Args:
            recording: the training part only.
            with_mask: None: only if ``told`` is True for any channel. True: for all channels.
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
        """(C,) divisor of the distance from the mean: the standard deviation, infinite for ignored channels."""
        return self.std if self.ignored is None else np.where(self.ignored, np.inf, self.std)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the channels that are ignored."""
        still = np.isinf(self.unit)
        return tuple(channel for channel, out in zip(self.channels, still, strict=True) if out)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what a user should know."""
        if not self.left_out:
            return ()
        return (f"Constant in the training part, and therefore ignored: {listed(self.left_out)}.",)

    @property
    def n_channels(self) -> int:
        return len(self.channels)

    @property
    def n_inputs(self) -> int:
        """Number of inputs of the network: C, or 2 C with the mask."""
        return self.n_channels * (2 if self.with_mask else 1)

    def __call__(self, series: Series) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (T, n_inputs) and timespans (T,), float32, of a series; the first span is 1."""
        inputs, _ = self._inputs(series.values, np.zeros(self.n_channels))
        return inputs, self.timespans(series)

    def timespans(self, series: Series) -> np.ndarray:
        """Timespans (T,), float32, of a series; the first is 1."""
        spans = np.ones(len(series), dtype=np.float32)
        spans[1:] = self.spans(np.diff(series.times))
        return spans

    def spans(self, elapsed: float | np.ndarray) -> np.ndarray:
        """Convert times since the previous sample to timespans, float32. Invalid times (NaN, negative, infinite or
        beyond float32) count as the median gap."""
        elapsed = np.asarray(elapsed, dtype=np.float64)
        with np.errstate(over="ignore"):
            spans = (elapsed / self.time_scale).astype(np.float32)
        return np.where((elapsed >= 0) & np.isfinite(spans), spans, np.float32(1.0))

    def observed(self, values: np.ndarray) -> np.ndarray:
        """(T, C) True if a reading counts as observed."""
        return ~np.isnan(self.scaled(values))

    def start(self) -> HoldState:
        """The state before the first live sample."""
        return HoldState(np.zeros(self.n_channels))

    def step(
        self, hold: HoldState, values: Sequence[float] | np.ndarray, elapsed: float | None
    ) -> tuple[np.ndarray, float]:
        """Inputs (n_inputs,) float32 and timespan of one live sample; updates ``hold``.

        Args:
            hold: from :meth:`start`.
            values: (C,) raw readings, NaN if not observed.
            elapsed: time since the previous sample in ``time_unit``, not used for the first sample. None, NaN, negative
                and infinite times count as the median gap.
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
        if values.dtype == np.uint8 and not self.with_mask:  # pictures have no missing readings
            filled = (values - self.mean.astype(np.float32)) / self.unit.astype(np.float32)
            return filled, filled[-1] if len(filled) else held
        scaled = self.scaled(values)
        observed = ~np.isnan(scaled)
        rows = np.concatenate([held[None], scaled])  # row 0: the values held before
        filled = np.take_along_axis(rows, last_observed(observed), 0)
        inputs = np.concatenate([filled, self.mask(observed)], 1) if self.with_mask else filled
        return inputs.astype(np.float32), filled[-1] if len(filled) else held

    @property
    def untold(self) -> np.ndarray:
        """(C,) True if the mask of a channel is not used."""
        return np.zeros(self.n_channels, dtype=bool) if self.told is None else ~self.told

    def mask(self, observed: np.ndarray) -> np.ndarray:
        """The mask for the network, given which readings (T, C) are observed."""
        return observed | self.untold

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Standardised readings (T, C); NaN if not observed."""
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are not observed
            scaled = (values - self.mean) / self.unit
        return np.where(np.abs(scaled) <= LIMIT, scaled, np.nan)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, exact to the last bit."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Preprocessing:
        """Restore from :meth:`to_dict`.

        Raises:
            InputError: something is missing or has the wrong size.
        """
        try:
            made: Preprocessing = from_plain(cls, data)
        except ValueError as error:
            raise InputError(f"the preprocessing's description is invalid: {error}") from None
        if not made.mean.shape == made.std.shape == (made.n_channels,) or not made.time_scale > 0:
            raise InputError("the preprocessing's description is invalid: its sizes or scales do not fit its channels")
        each = (made.low, made.high, made.ignored, made.told)
        if any(one is not None and one.shape != made.mean.shape for one in each):
            raise InputError(
                "the preprocessing's description is invalid: its extremes, ignored or masked channels do not fit the "
                "channels"
            )
        return made


def last_observed(observed: np.ndarray) -> np.ndarray:
    """(T, C) row, counted from 1, of the last observation of each channel up to each sample; 0: none."""
    rows = np.where(observed, np.arange(1, len(observed) + 1)[:, None], 0)
    return np.maximum.accumulate(rows, axis=0)


def deviations(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """(C,) means and standard deviations of observed values; that of a :func:`constant` channel is 0."""
    values = np.concatenate([s.values for s in recording.series])
    mean, std = mean_and_std(values)
    still = [constant(column[np.isfinite(column)]) for column in values.T]
    return mean, np.where(still, 0.0, std)


def extremes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) smallest and largest finite value of each column of (N, C); NaN if there is none."""
    finite = np.where(np.isfinite(values), values, np.nan)
    return np.fmin.reduce(finite, initial=np.nan), np.fmax.reduce(finite, initial=np.nan)


def mean_and_std(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(C,) mean (0 if there is none) and standard deviation (0 if constant) of the finite values of each column of
    (N, C)."""
    observed = np.isfinite(values)
    count = np.maximum(observed.sum(0), 1)
    # Relative to the first value: sums of squares of large numbers lose small differences.
    first = np.take_along_axis(values, observed.argmax(0)[None], 0)[0] if len(values) else np.zeros(values.shape[1])
    first = np.where(np.isfinite(first), first, 0.0)
    mean = first + np.where(observed, values - first, 0.0).sum(0) / count
    return mean, np.sqrt(np.square(np.where(observed, values - mean, 0.0)).sum(0) / count)


def constant(values: np.ndarray) -> bool:
    """Whether finite readings (N,) are constant, apart from rounding or one count in the last digit.

    Rounding is a relative difference of at most 1e-10, or two steps of single precision if all values are such numbers.
    One count in the last digit is allowed for values with four or more digits, such as 1013.2 and 1013.3, but not for
    20.1 and 20.2, nor for whole numbers of less than five digits, which may be codes.
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
    """Number of decimals in its shortest form."""
    return len(np.format_float_positional(value, trim="-").partition(".")[2])


def aligned(recording: Recording, preprocessing: Preprocessing) -> Recording:
    """The recording with only the model's channels, in its order.

    Raises:
        InputError: a channel is missing, or times have another unit.
    """
    wanted = preprocessing.channels
    for channel in wanted:
        if channel not in recording.channels:
            raise InputError(
                f"the model needs the channel {channel!r}, which the recording lacks; "
                f"{nearest(channel, recording.channels)}"
            )
    if recording.time_unit != preprocessing.time_unit:
        raise InputError(
            f"the model was trained on times in {preprocessing.time_unit!r}, the recording's are in "
            f"{recording.time_unit!r}; read it with the same time column and the same unit of time"
        )
    if recording.channels == wanted:
        return recording
    order = [recording.channels.index(c) for c in wanted]
    series = tuple(replace(s, values=s.values[:, order]) for s in recording.series)
    return replace(recording, series=series, channels=wanted)
