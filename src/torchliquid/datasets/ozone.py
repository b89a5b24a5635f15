"""Will there be too much ozone today? 72 weather features a day over seven years (Zhang and Fan; UCI 172)."""

from __future__ import annotations

import polars as pl

from torchliquid.data.recording import Recording
from torchliquid.data.splits import forward_split
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, locate, not_published
from torchliquid.tasks import Task

FILE = "eighthr.data"
FEATURES = 72
SOURCE = Source(
    name="ozone",
    address="https://archive.ics.uci.edu/dataset/172/ozone+level+detection",
    archive="https://archive.ics.uci.edu/static/public/172/ozone+level+detection.zip",
    files={FILE: ("9a24c3e5c43570148869fec02edcd44dd1cb06e97c2bbc0b6ab24ebdd21de37e",)},
)


def load() -> Dataset:
    path = locate(SOURCE, FILE)
    schema = {"date": pl.String} | {f"feature_{i + 1}": pl.Float64 for i in range(FEATURES)} | {"ozone_day": pl.Float64}
    try:
        frame = pl.read_csv(path, has_header=False, schema=schema, null_values="?")
    except pl.exceptions.PolarsError as error:
        raise not_published(SOURCE, path, str(error).split("\n")[0]) from None
    numbers = frame[:, 1:].fill_null(float("nan")).to_numpy()
    recording = Recording.from_arrays(
        numbers[:, :-1], targets=numbers[:, -1], channels=frame.columns[1:-1], target="ozone_day"
    )
    train, test = forward_split(recording, 0.15)
    return Dataset(
        name="ozone",
        train=train,
        tests={"later": test},
        task=Task.infer(train, kind="classification", per="step"),
        notes=("Days are counted, without those that the file leaves out; the last 15 % are the test part.",),
        source=SOURCE.address,
        licence="CC BY 4.0",
    )
