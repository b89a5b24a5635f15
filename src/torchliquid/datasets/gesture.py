"""In which phase is a gesture? Velocities and accelerations of two hands (Madeo et al., 2013; UCI 302)."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from torchliquid.data.recording import Recording
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, locate, not_published
from torchliquid.tasks import Task

ROWS = {"a3": 1_830, "b1": 1_069, "b3": 1_420, "c1": 1_107, "c3": 1_444, "a2": 1_260, "a1": 1_743}
"""Frames of each video, in the paper's order: a letter for the user, a number for the story."""

FEATURES = 32
PHASES = {"D": "rest", "P": "preparation", "S": "stroke", "H": "hold", "R": "retraction"}
SOURCE = Source(
    name="gesture",
    address="https://archive.ics.uci.edu/dataset/302/gesture+phase+segmentation",
    archive="https://archive.ics.uci.edu/ml/machine-learning-databases/00302/gesture_phase_dataset.zip",
    files={f"{video}_va3.csv": () for video in ROWS},
)


def load() -> Dataset:
    tables = [_table(video) for video in ROWS]
    recording = Recording.from_arrays(
        [table[:, :-1].to_numpy() for table in tables],
        targets=[table[:, -1].replace_strict(PHASES).to_list() for table in tables],
        target="phase",
        names=list(ROWS),
    )
    train, test = (
        replace(recording, series=tuple(s for s in recording.series if (s.name[0] == "c") is which))
        for which in (False, True)
    )
    return Dataset(
        name="gesture",
        train=train,
        tests={"another user": test},
        task=Task.infer(train, kind="classification", per="step"),
        notes=(
            "The videos of user c are the test part.",
            "No SHA-256 of the publisher's files is known: they were accepted for their rows, columns and phases.",
        ),
        source=SOURCE.address,
        licence="CC BY 4.0",
    )


def _table(video: str) -> pl.DataFrame:
    path = locate(SOURCE, f"{video}_va3.csv")
    try:
        table = pl.read_csv(path, infer_schema_length=None)
        features = table[:, :-1].select(pl.all().cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise not_published(SOURCE, path, str(error).split("\n")[0]) from None
    if (table.height, table.width) != (ROWS[video], FEATURES + 1):
        form = f"{table.height:,} rows of {table.width} columns"
        raise not_published(SOURCE, path, f"{form} instead of {ROWS[video]:,} of {FEATURES + 1}")
    if strange := set(table[:, -1]) - set(PHASES):
        raise not_published(SOURCE, path, f"it has phase {min(map(str, strange))!r}")
    return features.with_columns(table[:, -1])
