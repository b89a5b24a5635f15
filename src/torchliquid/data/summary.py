"""A summary of a recording in three lines, and its differences from a model's training data."""

from __future__ import annotations

import numpy as np

from torchliquid.data.asked import Asked
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording

NAMED = 8
"""Maximum number of inputs and classes that are named."""
FAR = 10
"""A channel differs if its median is more than this many training deviations from the training mean."""
GAPS = 100
"""Gaps differ if they are this many times longer or shorter than in training."""


def understood(recording: Recording, task: Asked) -> list[str]:
    """Three lines: the times, the task, the inputs."""
    return [f"Times:  {_times(recording)}", f"Task:   {_task(task)}", f"Inputs: {_inputs(recording)}"]


def _times(recording: Recording) -> str:
    count = f"{recording.n_samples:,} samples in {recording.n_series:,} series"
    if recording.time_unit == "samples":
        return f"none; {count}"
    first = min(s.times[0] for s in recording.series)
    last = max(s.times[-1] for s in recording.series)
    ends = f"{moment(recording, first)} to {moment(recording, last)}"
    gap = f"usually {recording.median_gap():.4g} {recording.time_unit} apart"
    return f"{ends}{'' if recording.dated else ' ' + recording.time_unit}, {gap}; {count}"


def moment(recording: Recording, time: float) -> str:
    """Format a time like its table: a date, with Z in UTC, or a number."""
    if not recording.dated:
        return f"{time + recording.origin:.15g}"
    date = np.datetime64(recording.origin, "s").astype("datetime64[ms]") + np.timedelta64(round(time * 1000), "ms")
    text = str(date).replace("T", " ").removesuffix(".000")
    return f"{text}Z" if recording.zoned else text


def _task(task: Asked) -> str:
    ahead = "" if task.horizon is None else f"{task.ahead} {task.horizon_unit} ahead, "
    classes = f" ({_some(task.labels)})" if task.labels else ""
    return f"{task.kind} of {task.target!r}{classes}, {ahead}one answer per {task.per}"


def _inputs(recording: Recording) -> str:
    read = []
    options = recording.columns
    if "time_format" in options:
        read.append(f"dates read as {options['time_format']}")
    elif "date_order" in options:
        read.append(f"dates read {options['date_order']}")
    if "decimal" in options:
        read.append(f"decimal {'comma' if options['decimal'] == ',' else 'point'}")
    if options.get("missing"):
        read.append(f"not observed: {', '.join(map(str, options['missing']))}")
    missing = float(recording.missing_share().mean())
    if missing:
        read.append(f"{missing:.1%} missing")
    return _some(recording.channels) + "".join(f"; {part}" for part in read)


def _some(names: tuple[str, ...]) -> str:
    more = f", ... ({len(names):,} in all)" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def unlike(recording: Recording, scales: Preprocessing, columns: dict[str, object]) -> list[str]:
    """Sentences about how a recording with a model's channels differs from the training data, given the model's scales
    and how the training table was read."""
    found = []
    gap = recording.median_gap() / scales.time_scale
    if recording.time_unit == scales.time_unit != "samples" and not 1 / GAPS < gap < GAPS:
        times = f"{gap:,.4g} times longer" if gap > 1 else f"{1 / gap:,.4g} times shorter"
        found.append(
            f"samples are usually {recording.median_gap():.4g} {scales.time_unit} apart, {times} than in training "
            f"({scales.time_scale:.4g}); check the unit of the times"
        )
    for c, channel in enumerate(scales.channels):
        if channel not in recording.channels or not np.isfinite(scales.unit[c]):
            continue
        place = recording.channels.index(channel)
        values = np.concatenate([s.values[:, place] for s in recording.series])
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        median = float(np.median(values))
        far = abs(median - scales.mean[c]) / scales.unit[c]
        if far > FAR:
            ratio = median / scales.mean[c] if scales.mean[c] else 0.0
            times = f", about {ratio:,.3g} times as much" if abs(ratio) >= 3 else ""
            found.append(
                f"{channel!r} is usually {median:.4g}, {far:,.3g} deviations from its mean in training, "
                f"{scales.mean[c]:.4g}{times}; check its unit"
            )
    for name, what in (("date_order", "dates were read"), ("decimal", "the decimal mark was")):
        then, now = columns.get(name), recording.columns.get(name)
        if then and now and then != now:
            found.append(f"{what} {now!r}, in training {then!r}")
    return found
