"""What every model can do, from liquid networks to linear models, trees and the naive answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from torchliquid import notebook
from torchliquid.data.columns import nearest
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.data.roles import column_of
from torchliquid.data.windows import Windows
from torchliquid.errors import InputError
from torchliquid.models.conformal import Interval, bounds, columns
from torchliquid.tasks import Task

if TYPE_CHECKING:
    from torchliquid.runtime import ModelStream

Progress = Callable[[int], object]


@runtime_checkable
class Steps(Protocol):
    """Answers to ``n`` parallel streams, one sample of each at a time.

    Attributes:
        state: arrays of shape (n, ...); it can be set.
    """

    state: tuple[np.ndarray, ...]

    def step(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """Decoded answers (n, K) to inputs (n, n_inputs) and timespans (n,), float32, from preprocessing."""

    def reset(self, rows: Any) -> None:
        """Restart the streams that a NumPy index selects."""


def set_state(own: Sequence[np.ndarray], parts: Sequence[np.ndarray]) -> None:
    """Copy the parts of a state into its own arrays.

    Raises:
        InputError: their number or shapes differ.
    """
    given, want = [np.shape(part) for part in parts], [part.shape for part in own]
    if given != want:
        raise InputError(f"the state has parts of shapes {given}; {want} are needed")
    for part, new in zip(own, parts, strict=True):
        part[...] = new


class Predictor:
    """The methods of every model. A subclass provides :meth:`outputs`, :meth:`steps` and :meth:`numbers`; the other
    methods follow from these.

    Attributes:
        kind: the name of its kind, such as ``"cfc"``, ``"linear"`` or ``"naive"``.
        task, preprocessing: fitted on the training part.
        config: its settings, plain data.
        metadata: plain data about the training; ``"columns"`` describes how the training's table was read.
    """

    kind: str
    task: Task
    preprocessing: Preprocessing
    config: dict[str, Any]
    metadata: dict[str, Any]

    # -- provided by subclasses

    def outputs(
        self, recording: Recording, windows: Windows | None = None, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """Decoded answers for each series, (T, K) float64, or (K,) for a task per series.

        Args:
            recording: with all of the model's channels, in any order and among others; targets are not needed.
            windows: None: the state is carried through each whole series. Else networks start each window with a fresh
                state; models without a state ignore it.
            progress: called with the number of samples that have an answer.

        Raises:
            InputError: a channel is missing, or times have another unit.
        """
        raise NotImplementedError

    def steps(self, n: int) -> Steps:
        """The model on live samples, for :func:`torchliquid.stream`. Networks use compiled steps there instead."""
        raise NotImplementedError

    def numbers(self) -> Iterator[np.ndarray]:
        """The arrays that determine its answers, always in the same order."""
        raise NotImplementedError

    def live_parameters(self) -> int:
        """Number of values that an answer depends on."""
        raise NotImplementedError

    # -- derived from these

    def _repr_html_(self) -> str:
        """A summary for notebooks."""
        task = self.task
        classes = f" ({notebook.some(task.labels)})" if task.labels else ""
        ahead = f", {task.ahead} {task.horizon_unit} ahead" if task.horizons else ""
        rows = [
            ("task", f"{task.kind} of {task.target}{classes}{ahead}, one answer per {task.per}"),
            ("channels", notebook.some(self.preprocessing.channels)),
            ("settings", ", ".join(f"{name} {value}" for name, value in self.config.items()) or "none"),
            ("parameters", f"{self.live_parameters():,}"),
        ]
        return notebook.table(f"Model of kind {self.kind}", rows)

    def predict(self, recording: Recording | Any, progress: Progress | None = None) -> pl.DataFrame:
        """Answers row by row, or one row per series.

        Args:
            recording: a recording; a Polars or pandas data frame with the columns the model was trained on; or an array
                (T, C) of the model's channels in their order, spaced by the usual gap.
            progress: called with the number of samples that have an answer.

        Returns:
            A frame with the columns ``series`` (if there are several or they have names), ``time`` (for a task per
            step; dates if the recording had dates, in UTC if they had a time zone), ``time_for`` for a forecast (the
            time that it is for; for samples still to come, computed with the series' usual gap), ``prediction``
            (``prediction_1``, ... for several values; ``prediction_6`` or ``prediction_30min`` for those of a path, and
            ``time_for`` likewise) and, for classes, one ``probability_<label>`` each, with
            ``alarm``, whether one is on, if the task has alarms; for values with an interval its ends, ``lower`` and
            ``upper``. Answers are null where the network's numbers are no longer finite.

        Raises:
            InputError: as :meth:`outputs` and :meth:`Recording.from_frame`.
        """
        read = self._read(recording)
        outputs = self.outputs(read, progress=progress)
        frame = as_frame(self.task, read, outputs)
        if Interval.of(self) is None:
            return frame
        return frame.with_columns(**columns(self.task, bounds(self, read, outputs)))

    def predict_proba(self, recording: Recording | Any, progress: Progress | None = None) -> np.ndarray:
        """Probabilities of the classes.

        Args:
            recording, progress: as in :meth:`predict`.

        Returns:
            (N, K) float64, the rows of :meth:`predict`, the columns in the order of ``task.labels``; NaN where the
            network's numbers are no longer finite.

        Raises:
            InputError: the task is a regression, or as :meth:`predict`.
        """
        if self.task.kind != "classification":
            raise InputError(f"a regression of {self.task.target!r} has no probabilities: use predict")
        outputs = self.outputs(self._read(recording), progress=progress)
        return np.concatenate([output.reshape(-1, self.task.n_outputs) for output in outputs])

    def score(self, recording: Recording | Any, metric: str | None = None) -> float:
        """A metric on labelled data, over all samples (or series) with a label.

        Args:
            recording: as in :meth:`predict`, with the target's column, or the channel of a forecast.
            metric: its name, see :func:`torchliquid.metrics.find`; None: the one that decided the training,
                ``task.primary``. Whether higher is better is ``task.higher_is_better``.

        Raises:
            InputError: there are no labels, the metric is unknown or of another kind of task, or as :meth:`predict`.
        """
        task = self.task if metric is None else replace(self.task, primary=metric)
        read = self._read(recording, labelled=True)
        return task.metrics(self.outputs(read), read)[task.primary]

    def live(self, n: int = 1) -> ModelStream:
        """Answers to live samples, one at a time; see :func:`torchliquid.stream`."""
        from torchliquid.runtime import live

        return live(self, n)

    def n_bytes(self) -> int:
        """Size of the saved file without its sample."""
        from torchliquid.models.storage import pack

        return len(pack(self, with_sample=False))

    def save(self, path: str | PathLike[str], with_sample: bool = True) -> None:
        """Write the model to a ``.safetensors`` file. It is written completely or not at all.

        Args:
            path: the file; an existing file is replaced.
            with_sample: whether to save a network's training sample; False if data must stay private.

        Raises:
            InputError: it cannot be written there, or it is of a kind that has no file.
        """
        from torchliquid.models.storage import save

        save(self, Path(path), with_sample)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Predictor:
        """Load a model saved by :meth:`save`. No code from the file is run.

        Returns:
            The model that the file holds: a :class:`Model`, or a :class:`Tabular` or :class:`Naive`, as in the
            ``best.safetensors`` of a study.

        Raises:
            InputError: the file is missing or truncated, not a torchliquid model, or from a newer version.
        """
        from torchliquid.models.storage import load

        return load(Path(path))

    def _read(self, recording: Recording | Any, labelled: bool = False) -> Recording:
        """The argument of :meth:`predict` as a recording."""
        if isinstance(recording, np.ndarray):  # a masked array too
            values = Recording.from_arrays(recording, channels=self.preprocessing.channels, for_model=True)
            spaced = tuple(replace(s, times=s.times * self.preprocessing.time_scale) for s in values.series)
            return replace(values, series=spaced, time_unit=self.preprocessing.time_unit)
        if isinstance(recording, Recording):
            return recording
        columns = self.metadata.get("columns", {})
        long = "parameter" in columns
        channels = list(self.preprocessing.channels) if long else self._channels_in(recording)
        target = {"target": self.task.target} if labelled and self.task.horizon is None else {}
        return Recording.from_frame(recording, like=columns, channels=channels, **target)

    def _channels_in(self, frame: Any) -> list[str]:
        # from_frame raises an error for what is not a frame.
        known = [str(c) for c in getattr(frame, "columns", self.preprocessing.channels)]
        for channel in self.preprocessing.channels:
            if column_of(channel, known) is None:
                raise InputError(f"the model needs the column {channel!r}, which is missing; {nearest(channel, known)}")
        return list(self.preprocessing.channels)


def shown_times(times: np.ndarray, recording: Recording) -> pl.Series:
    """Times in the form of their table: dates, in UTC if they had a time zone, or numbers."""
    if not recording.dated:
        if not recording.origin:
            return pl.Series(times)
        whole = times.round().astype(np.int64) + recording.origin
        return pl.Series(whole if (times == times.round()).all() else times + recording.origin)
    per, unit = (10**9, "ns") if recording.origin else (10**6, "us")
    whole = (times * per).round().astype(np.int64) + recording.origin * per
    dates = pl.Series(whole).cast(pl.Datetime(unit))  # type: ignore[arg-type]
    return dates.dt.replace_time_zone("UTC") if recording.zoned else dates


def as_frame(task: Task, recording: Recording, outputs: Sequence[np.ndarray]) -> pl.DataFrame:
    """Decoded answers for each series as the frame of :meth:`Predictor.predict`."""
    per_step = task.per == "step"
    frame: dict[str, Any] = {}
    if recording.n_series > 1 or "series" in recording.columns:
        names = [s.name for s in recording.series]
        frame["series"] = np.repeat(names, [len(s) for s in recording.series]) if per_step else names
    if per_step:
        times = np.concatenate([s.times for s in recording.series])
        frame["time"] = shown_times(times, recording)
        for name, horizon in zip(task.value_names if task.path else [""], task.horizons, strict=False):
            due = np.concatenate([_ahead(task, horizon, s.times) for s in recording.series])
            frame[f"time_for{name and '_'}{name}"] = shown_times(due, recording)
    rows = np.concatenate(outputs) if per_step else np.stack(outputs)
    if task.kind == "classification":
        labels = np.array([*task.labels, None], dtype=object)
        frame["prediction"] = labels[np.where(np.isfinite(rows).all(1), task.decide(rows), -1)].tolist()
        frame |= {f"probability_{label}": rows[:, k] for k, label in enumerate(task.labels)}
        if per_step and task.alarm is not None and task.alarm.threshold is not None:
            over = [task.decide(o) == task.positive for o in outputs]
            on = [task.alarm.raised(o, s.times) for o, s in zip(over, recording.series, strict=True)]
            frame["alarm"] = np.concatenate(on)
    else:
        frame |= {f"prediction{name and '_'}{name}": rows[:, k] for k, name in enumerate(task.value_names)}
    times_apart = pl.selectors.float() - pl.selectors.starts_with("time")
    return pl.DataFrame(frame).with_columns(times_apart.fill_nan(None))


def _ahead(task: Task, horizon: float, times: np.ndarray) -> np.ndarray:
    """The target times of forecasts made at these times; for samples still to come, computed with the usual gap."""
    if task.horizon_unit != "samples":
        return times + horizon
    ahead, gaps = int(horizon), np.diff(times)
    gaps = gaps[gaps > 0]
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    to_come = times[-1] + usual * np.arange(1, ahead + 1) if len(times) else times
    return np.concatenate([times, to_come])[ahead:]
