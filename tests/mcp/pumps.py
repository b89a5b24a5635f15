"""A pump's readings and a model that learnt from such, and what asks a server."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import torchliquid as tl
from torchliquid.alarms import Alarm
from torchliquid.data import Recording
from torchliquid.models import Model
from torchliquid.training import TrainingConfig


@cache
def pump(kind: str = "ltc_ncp") -> Model:
    """Learnt in seconds from the runs in which a valve is closed."""
    from torchliquid.datasets import load

    training = load("skab").train
    alarm = Alarm(length=10.0, merge=5.0)
    config = TrainingConfig(epochs=8 if kind == "ltc_ncp" else 1, seed=0)
    return tl.fit(training, kind=kind, parameters=700, alarm=alarm, config=config)


def run_of(n: int = 4, samples: int = 800) -> Recording:
    """The first samples of a run that ends amid the fault, with the truth."""
    from torchliquid.datasets import load

    recording = load("skab").train
    return replace(recording, series=(recording.series[n].cut(0, samples),))


def lines_of(recording: Recording) -> list[str]:
    """What a device is fed: the time in seconds, and the readings."""
    (series,) = recording.series
    times = series.times + recording.origin
    return [",".join([f"{t:.15g}", *(f"{v:.9g}" for v in row)]) for t, row in zip(times, series.values, strict=True)]


def small_run(rows: int = 300, names: tuple[str, ...] = ("heat", "load"), seed: int = 0) -> Recording:
    """Two channels and two classes, quickly made."""
    rng = np.random.default_rng(seed)
    x = np.sin(np.arange(rows) / 15)[:, None] + 0.3 * rng.normal(size=(rows, 2))
    return Recording.from_arrays(x, np.arange(rows) * 1.0, (x[:, 0] > 0.4) * 1.0, names, target="state", time_unit="s")


def table(names: tuple[str, ...] = ("heat", "load"), rows: int = 300) -> str:
    """The same as CSV."""
    (series,) = small_run(rows, names).series
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["time", *names, "state"])
    for at, values, state in zip(series.times, series.values, np.ravel(series.targets), strict=True):
        writer.writerow([f"{at:g}", *(f"{v:.9g}" for v in values), f"{state:g}"])
    return text.getvalue()


@cache
def small(names: tuple[str, ...] = ("heat", "load")) -> Model:
    """Learnt from such in a second."""
    (series,) = small_run(names=names).series
    columns = [series.times, *series.values.T, np.ravel(series.targets)]
    frame = pl.DataFrame(dict(zip(["time", *names, "state"], columns, strict=True)))
    recording = Recording.from_frame(frame, target="state", time="time", time_unit="s")
    config = TrainingConfig(updates=60, seed=0)
    return tl.fit(recording, kind="ltc", parameters=200, alarm=Alarm(length=2.0), config=config)


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts in plain data, each with the key under which it stands, and all keys."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield "", name
            yield from texts(one, key if key == "names" else name)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one, key)
    elif isinstance(value, str):
        yield key, value


def save(model: Model, folder: Path, name: str = "model.safetensors") -> Path:
    model.save(folder / name)
    return folder / name
