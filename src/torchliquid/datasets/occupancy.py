"""Is anyone in the room? One sample a minute of temperature, humidity, light and CO2 (Candanedo and Feldheim, 2016)."""

from __future__ import annotations

import polars as pl

from torchliquid.data.recording import Recording
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, locate
from torchliquid.tasks import Task

# The publisher's files (second) have a column of row numbers without a name; the first lack this column.
SOURCE = Source(
    name="occupancy",
    address="https://archive.ics.uci.edu/dataset/357/occupancy+detection",
    archive="https://archive.ics.uci.edu/static/public/357/occupancy+detection.zip",
    files={
        "datatraining.txt": (
            "f761c315b11cfc7b04efb4401b5d4017830ce1efb73dbaf190e0a5d1c6aa2212",
            "b2c4d0ce2b9e4e453c476f7125ef31aeec2d1f5c7f5572d0e80de3df6521ab56",
        ),
        "datatest.txt": (
            "3c99c3a9ad6e5de8d734ba1c3f2e0a7300832826478225f5a6a8519d7e3b5f07",
            "1b92c7c1b2838963464fa891a610cf3c5db4becb7189189b29b330107a584c7f",
        ),
        "datatest2.txt": (
            "e70f733dc980b26950d071227a66f68dc6ef54ee48ec7eb9f5ee62230daeab5f",
            "d026d1bd5aeccd4aff4f3b3710d48e40613bd5fc370db7e61bbdcaa50d985095",
        ),
    },
    sizes={
        "datatraining.txt": (540_780, 596_674),
        "datatest.txt": (182_971, 200_766),
        "datatest2.txt": (652_011, 699_664),
    },
)


def load() -> Dataset:
    train, before, after = (_read(file) for file in ("datatraining.txt", "datatest.txt", "datatest2.txt"))
    return Dataset(
        name="occupancy",
        train=train,
        tests={"before": before, "after": after},
        task=Task.infer(train, kind="classification", per="step"),
        notes=(
            "The test part 'before' (datatest.txt) is before the training period, 'after' (datatest2.txt) after it.",
            "Published accuracies (LTC 94.63 %, arXiv 2006.04439) cover both test parts together.",
        ),
        source=SOURCE.address,
        licence="CC BY 4.0",
    )


def _read(file: str) -> Recording:
    lines = locate(SOURCE, file).read_bytes().split(b"\n", 1)
    names = [name.strip().strip('"') for name in lines[0].decode().split(",")]
    frame = pl.read_csv(lines[1], has_header=False, infer_schema_length=None)
    frame = frame[:, -len(names) :]
    frame.columns = ["Date", *names[1:]]
    return Recording.from_frame(frame, time="Date", target="Occupancy", first_row=2)
