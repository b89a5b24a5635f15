"""How many flights has this engine left? Turbofan engines run to failure, C-MAPSS FD001 (Saxena et al., 2008)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from torchliquid.data.recording import Recording
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, locate
from torchliquid.tasks import Task

CAP = 125
"""Remaining lives are cut at this, because a healthy engine does not show its end (Heimes, 2008)."""

SOURCE = Source(
    name="cmapss",
    address="https://data.nasa.gov/dataset/cmapss-jet-engine-simulated-data",
    archive="https://phm-datasets.s3.amazonaws.com/NASA/6.+Turbofan+Engine+Degradation+Simulation+Data+Set.zip",
    inside=("6. Turbofan Engine Degradation Simulation Data Set/CMAPSSData.zip",),
    files={
        "train_FD001.txt": ("963b5e22825b34d8b21c69e1aeb4af3e647050eb672ee8834ba4b5d91d2de0f8",),
        "test_FD001.txt": ("3cda7109ce17bafb5443f2ac926cfcf88154b941b8c4cf95eb55d1ddd6f52851",),
        "RUL_FD001.txt": ("a19c8ec94931949d0485bdc35118206e9c81c4547b422efb9cf86f4ceddbceca",),
    },
    sizes={"train_FD001.txt": (3_515_356,), "test_FD001.txt": (2_228_855,), "RUL_FD001.txt": (429,)},
)
CHANNELS = [f"setting_{i}" for i in range(1, 4)] + [f"sensor_{i}" for i in range(1, 22)]


def load() -> Dataset:
    train, test = _table("train_FD001.txt"), _table("test_FD001.txt")
    constant = [c for c in CHANNELS if train[c].n_unique() == 1]
    channels = [c for c in CHANNELS if c not in constant]
    left = np.loadtxt(locate(SOURCE, "RUL_FD001.txt"))

    engines, tested = _engines(train, channels), _engines(test, channels)
    training = _with_targets(engines, [np.minimum(s.times[-1] - s.times, CAP) for s in engines.series])
    at_last = [
        np.append(np.full(len(s) - 1, np.nan), min(life, CAP)) for s, life in zip(tested.series, left, strict=True)
    ]
    return Dataset(
        name="cmapss",
        train=training,
        tests={"last cycle": _with_targets(tested, at_last)},
        task=Task.infer(training, kind="regression", per="step"),
        notes=(
            f"The target is the remaining life in cycles, at most {CAP}, in training and test alike.",
            "Of each test engine only the last recorded cycle is scored, as in published results.",
            f"Channels that never change in training are left out: {', '.join(constant)}.",
        ),
        source=SOURCE.address,
        licence="public domain (NASA)",
    )


def _table(file: str) -> pl.DataFrame:
    rows = np.loadtxt(locate(SOURCE, file))
    return pl.DataFrame(rows, schema=["unit", "cycle", *CHANNELS], orient="row").with_columns(pl.col("unit").cast(int))


def _engines(table: pl.DataFrame, channels: list[str]) -> Recording:
    return Recording.from_frame(table, time="cycle", series="unit", channels=channels, time_unit="cycles")


def _with_targets(recording: Recording, targets: list[np.ndarray]) -> Recording:
    series = tuple(replace(s, targets=target) for s, target in zip(recording.series, targets, strict=True))
    return replace(recording, series=series, target="remaining_life")
