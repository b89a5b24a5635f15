"""Changes between training and use: small named changes of a test recording, with increasing severity.

A shift changes the readings or their times, never the truth. The models are not trained again. All contenders get the
same changed recordings: :func:`draws` draws them from fixed seeds, several times if the shift is random, with separate
draws for each series. One draw is used from mild to strong, so that severities differ in nothing else, and the same
samples are scored at each severity: those that the strongest one leaves.

To add a shift, write a class with ``name``, ``severities``, their ``unit``, ``describe`` and ``apply``, and pass it to
the study in a tuple with the others::

    class StuckSensor:
        name = "stuck sensor"
        severities = (1.0,)
        unit = "sensors stuck"

        def describe(self, severity: float) -> str:
            return "the first sensor repeats its first reading"

        def apply(self, recording, severity, rng, reference):
            def stick(series):
                values = series.values.copy()
                values[:, 0] = values[0, 0]
                return replace(series, values=values)

            return replace(recording, series=tuple(stick(s) for s in recording.series))

    shifts = (*DEFAULT_SHIFTS, StuckSensor())

In forecasting the truth is a later value of a channel. The study stores it as targets before it shifts the recording,
so that a forecast from noisy readings is compared with the clean ones.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from torchliquid.data.preprocessing import deviations
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.study.results import ShiftResult


class Reference(Protocol):
    """The usual values of each channel, from the training part only. The standard deviation of a constant one is 0."""

    @property
    def mean(self) -> np.ndarray: ...

    @property
    def std(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Usual:
    """The :class:`Reference` of a training part, (C,) each."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, training: Recording) -> Usual:
        return cls(*deviations(training))


class Shift(Protocol):
    """A change between training and use. ``severities`` increase from mild to strong. The report shows the first
    sentence of the class's docstring."""

    @property
    def name(self) -> str: ...

    @property
    def severities(self) -> tuple[float, ...]: ...

    @property
    def unit(self) -> str: ...

    def describe(self, severity: float) -> str: ...

    def apply(
        self, recording: Recording, severity: float, rng: np.random.Generator, reference: Reference
    ) -> Recording: ...


class SeriesShift(ABC):
    """A shift that changes each series on its own. Subclasses give the changed series."""

    def apply(self, recording: Recording, severity: float, rng: np.random.Generator, reference: Reference) -> Recording:
        changed = (self.changed(series, severity, rng, reference) for series in recording.series)
        return replace(recording, series=tuple(changed))

    @abstractmethod
    def changed(self, series: Series, severity: float, rng: np.random.Generator, reference: Reference) -> Series: ...


@dataclass(frozen=True)
class SensorNoise(SeriesShift):
    """Every reading gets white noise."""

    name: str = "sensor noise"
    severities: tuple[float, ...] = (0.1, 0.3, 1.0)
    unit: str = "noise (standard deviations)"

    def describe(self, severity: float) -> str:
        return f"noise of {severity:g} standard deviations of each sensor"

    def changed(self, series: Series, severity: float, rng: np.random.Generator, reference: Reference) -> Series:
        noise = rng.standard_normal(series.values.shape) * reference.std * severity
        return replace(series, values=series.values + noise)


@dataclass(frozen=True)
class LostSamples(SeriesShift):
    """Samples are lost at random; lost samples are not scored."""

    name: str = "lost samples"
    severities: tuple[float, ...] = (0.1, 0.3, 0.6)
    unit: str = "samples lost (share)"

    def describe(self, severity: float) -> str:
        return f"{severity:.0%} of the samples lost at random"

    def changed(self, series: Series, severity: float, rng: np.random.Generator, reference: Reference) -> Series:
        return _keep(series, rng.random(len(series)) >= severity)


@dataclass(frozen=True)
class SlowerSampling(SeriesShift):
    """Only every second or fourth sample is kept."""

    name: str = "slower sampling"
    severities: tuple[float, ...] = (2.0, 4.0)
    unit: str = "kept: one sample in …"

    def describe(self, severity: float) -> str:
        return f"one sample in {severity:g}"

    def changed(self, series: Series, severity: float, rng: np.random.Generator, reference: Reference) -> Series:
        return _keep(series, (last_labelled(series) - np.arange(len(series))) % round(severity) == 0)


@dataclass(frozen=True)
class FasterSampling(SeriesShift):
    """Samples come more often: new ones are interpolated linearly between two, and are not scored."""

    name: str = "faster sampling"
    severities: tuple[float, ...] = (2.0,)
    unit: str = "samples for each one (number)"

    def describe(self, severity: float) -> str:
        return f"{severity:g} samples for each one, scored at the original times"

    def changed(self, series: Series, severity: float, rng: np.random.Generator, reference: Reference) -> Series:
        n = round(severity)
        at = np.arange((len(series) - 1) * n + 1) / n
        low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
        share = at - low
        times = series.times[low] * (1 - share) + series.times[high] * share
        between = (1 - share)[:, None] * series.values[low] + share[:, None] * series.values[high]
        original = share == 0
        values = np.where(original[:, None], series.values[low], between)
        targets = series.targets
        if targets is not None and targets.ndim:
            targets = _unlabelled(targets, len(at))
            targets[original] = series.targets
        return replace(series, times=times, values=values, targets=targets)


@dataclass(frozen=True)
class SilentSensor:
    """One or two sensors are silent, in turn, so that no single sensor decides the result.

    If there are at least two series per sensor, each series loses its sensors from start to end. Fewer, longer series
    are divided into one turn per sensor. A single sensor is silent throughout.
    """

    name: str = "silent sensor"
    severities: tuple[float, ...] = (1.0, 2.0)
    unit: str = "silent sensors (number)"

    def describe(self, severity: float) -> str:
        return "one sensor silent, each in turn" if severity == 1 else f"{severity:g} sensors silent at once, in turn"

    def apply(self, recording: Recording, severity: float, rng: np.random.Generator, reference: Reference) -> Recording:
        n = len(recording.channels)
        silent = min(round(severity), max(n - 1, 1))
        whole = recording.n_series >= 2 * n
        turns = iter(rng.permutation(recording.n_series))

        def silence(series: Series) -> Series:
            values, order = series.values.copy(), rng.permutation(n)
            turn = next(turns) if whole else np.arange(len(series)) * n // len(series)
            for k in range(silent):
                column = order[(np.broadcast_to(turn, len(series)) + k) % n]
                values[np.arange(len(series)), column] = np.nan
            return replace(series, values=values)

        return replace(recording, series=tuple(map(silence, recording.series)))


@dataclass(frozen=True)
class GainOffsetDrift(SeriesShift):
    """Sensors age: gain and offset drift, for each sensor of each series up or down, starting from zero at the series'
    start."""

    name: str = "gain and offset drift"
    severities: tuple[float, ...] = (0.1, 0.3, 1.0)
    unit: str = "gain (share) and offset (std) at the end"

    def describe(self, severity: float) -> str:
        return f"by the end {severity:.0%} of gain and {severity:g} standard deviations of offset"

    def changed(self, series: Series, severity: float, rng: np.random.Generator, reference: Reference) -> Series:
        gain, offset = rng.choice([-1.0, 1.0], (2, series.values.shape[1])) * severity
        age = (_progress(series.times) if len(series) > 1 else np.zeros(1))[:, None]
        centred = series.values - reference.mean
        return replace(series, values=reference.mean + centred * (1 + gain * age) + offset * age * reference.std)


@dataclass(frozen=True)
class Gap(SeriesShift):
    """A stretch of each series is missing; it is not scored."""

    name: str = "gap"
    severities: tuple[float, ...] = (0.05, 0.2, 0.5)
    unit: str = "missing (share of the series)"

    def describe(self, severity: float) -> str:
        return f"{severity:.0%} of each series missing in one piece"

    def changed(self, series: Series, severity: float, rng: np.random.Generator, reference: Reference) -> Series:
        longest = max((severity, *self.severities))
        middle = rng.uniform(longest / 2, 1 - longest / 2)
        return _keep(series, np.abs(_progress(series.times) - middle) >= severity / 2)


DEFAULT_SHIFTS: tuple[Shift, ...] = (
    SensorNoise(),
    LostSamples(),
    SlowerSampling(),
    FasterSampling(),
    SilentSensor(),
    GainOffsetDrift(),
    Gap(),
)


FEW_DRAWS, MANY_DRAWS = 2, 5
"""Number of draws of a random shift. Each series has its own draws, so that many series need fewer."""

FEW_SERIES = 20

Version = dict[str, Recording]
"""The test recordings by name, changed or unchanged."""


def draws(
    tests: Mapping[str, Recording], shift: Shift, reference: Reference
) -> Iterator[tuple[Version, list[Version]]]:
    """The test recordings under a shift: for each draw without the shift, and at each severity.

    Only samples that exist at every severity keep their labels, so that all values of one draw are from the same
    samples.

    Raises:
        InputError: as :func:`shifted`.
    """
    for draw in range(number_of_draws(tests, shift, reference)):
        versions: list[Version] = [dict(tests), *({} for _ in shift.severities)]
        for i, (name, test) in enumerate(tests.items()):
            changed = [shifted(test, shift, s, reference, i + len(tests) * draw) for s in shift.severities]
            for version, recording in zip(versions, _same_samples([test, *changed]), strict=True):
                version[name] = recording
        yield versions[0], versions[1:]


def number_of_draws(tests: Mapping[str, Recording], shift: Shift, reference: Reference) -> int:
    """Number of draws of a shift: one if it uses no random numbers."""
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    shift.apply(next(iter(tests.values())), shift.severities[-1], rng, reference)
    if rng.bit_generator.state == before:
        return 1
    return FEW_DRAWS if sum(test.n_series for test in tests.values()) >= FEW_SERIES else MANY_DRAWS


def _same_samples(versions: Sequence[Recording]) -> list[Recording]:
    """Recordings of the same series, with only the labels that all of them have."""
    columns = [_asked_in_all(same) for same in zip(*(version.series for version in versions), strict=True)]
    return [replace(version, series=tuple(column[i] for column in columns)) for i, version in enumerate(versions)]


def _asked_in_all(versions: Sequence[Series]) -> list[Series]:
    if any(series.targets is None or not series.targets.ndim for series in versions):
        return list(versions)
    found = [_numbered_labels(series) for series in versions]
    common = set.intersection(*map(set, found))
    return [
        _only_asked(series, [place for key, place in places.items() if key in common])
        for series, places in zip(versions, found, strict=True)
    ]


def _numbered_labels(series: Series) -> dict[tuple[float, str, int], int]:
    """The index of each label by its time, label and number among equal ones."""
    seen: Counter[tuple[float, str]] = Counter()
    places = {}
    assert series.targets is not None
    for place, label in zip(np.flatnonzero(_labelled(series.targets)).tolist(), _truth(series), strict=True):
        places[*label, seen[label]] = place
        seen[label] += 1
    return places


def _only_asked(series: Series, places: Sequence[int]) -> Series:
    assert series.targets is not None
    targets = _unlabelled(series.targets, len(series.targets))
    targets[places] = series.targets[places]
    return replace(series, targets=targets)


def _unlabelled(targets: np.ndarray, n: int) -> np.ndarray:
    """Targets of n samples without a label, of the same kind."""
    return np.full((n, *targets.shape[1:]), None if targets.dtype == object else np.nan, targets.dtype)


def shifted(recording: Recording, shift: Shift, severity: float, reference: Reference, seed: int = 0) -> Recording:
    """The recording under a shift: always the same for the same seed, in any process. All severities of a seed use the
    same random numbers.

    Raises:
        InputError: the shift changed the truth (targets, or the number of series).
    """
    rng = np.random.default_rng([seed, zlib.crc32(shift.name.encode())])
    changed = shift.apply(recording, severity, rng, reference)
    if changed.n_series != recording.n_series or changed.channels != recording.channels:
        raise InputError(f"the shift {shift.name!r} changed the number of series or channels; a shift must not")
    for before, after in zip(recording.series, changed.series, strict=True):
        if Counter(_truth(after)) - Counter(_truth(before)):
            raise InputError(
                f"the shift {shift.name!r} changed targets or their times; a shift must only change inputs"
            )
    return changed


def possible(shifts: Sequence[Shift], recording: Recording) -> tuple[Shift, ...]:
    """The shifts, without severities that would silence all sensors of several.

    Raises:
        InputError: two shifts have the same name, or a shift has no severity that is possible.
    """
    most, found = max(len(recording.channels) - 1, 1), list[Shift]()
    for shift in shifts:
        if any(shift.name == other.name for other in found):
            raise InputError(f"two shifts are named {shift.name!r}; give each a name of its own")
        if isinstance(shift, SilentSensor):
            shift = replace(shift, severities=tuple(n for n in shift.severities if n <= most))
        if len(shift.severities) == 0:
            raise InputError(f"the shift {shift.name!r} has no severity that is possible here; leave it out")
        found.append(shift)
    return tuple(found)


def describe(shift: Shift) -> ShiftResult:
    """The shift in the form of a study's results."""
    words = tuple(shift.describe(s) for s in shift.severities)
    summary = (type(shift).__doc__ or "").strip().split("\n\n")[0]
    return ShiftResult(shift.name, tuple(shift.severities), words, " ".join(summary.split()), shift.unit)


def last_labelled(series: Series) -> int:
    """The index of the last labelled sample; the last sample if there is none."""
    if series.targets is not None and series.targets.ndim:
        places = np.flatnonzero(_labelled(series.targets))
        if len(places):
            return int(places[-1])
    return len(series) - 1


def _labelled(targets: np.ndarray) -> np.ndarray:
    """(T,) or () true if there is a label, with all values if a sample has several."""
    if targets.dtype == object:
        known = np.array([t is not None for t in targets.ravel().tolist()], dtype=bool).reshape(targets.shape)
    else:
        known = np.asarray(~np.isnan(targets))
    return np.asarray(known.all(-1)) if known.ndim > 1 else known


def _keep(series: Series, keep: np.ndarray) -> Series:
    """The samples to keep, always with the last labelled one, so that every series is scored even if only its end has a
    label (the remaining life of an engine)."""
    keep = keep.copy()
    keep[last_labelled(series)] = True
    targets = series.targets[keep] if series.targets is not None and series.targets.ndim else series.targets
    return replace(series, times=series.times[keep], values=series.values[keep], targets=targets)


def _progress(times: np.ndarray) -> np.ndarray:
    """The position in time of each sample in its series, from 0 to 1."""
    span = times[-1] - times[0]
    return (times - times[0]) / span if span > 0 else np.linspace(0, 1, len(times))


def _truth(series: Series) -> list[tuple[float, str]]:
    """Each label with its time; for one label per series, this label."""
    if series.targets is None:
        return []
    if not series.targets.ndim:
        return [(0.0, str(series.targets))]
    known = _labelled(series.targets)
    targets = series.targets[known]
    return list(zip(series.times[known].tolist(), map(str, targets.tolist()), strict=True))
