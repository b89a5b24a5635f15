"""What does a person do who wears four tags that are located in a room? (Kaluza et al., 2010; UCI 196)"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from torchliquid.data.recording import Recording
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, locate, not_published
from torchliquid.tasks import Task

FILE = "ConfLongDemo_JSI.txt"
ROWS = 164_860
SOURCE = Source(
    name="person",
    address="https://archive.ics.uci.edu/dataset/196/localization+data+for+person+activity",
    archive="https://archive.ics.uci.edu/static/public/196/localization+data+for+person+activity.zip",
    files={FILE: ()},
)
TAGS = {
    "010-000-024-033": "ankle_left",
    "010-000-030-096": "ankle_right",
    "020-000-033-111": "chest",
    "020-000-032-221": "belt",
}
ACTIVITIES = {  # the paper's seven, from eleven
    "lying down": "lying",
    "lying": "lying",
    "sitting down": "sitting",
    "sitting": "sitting",
    "standing up from lying": "standing up",
    "standing up from sitting": "standing up",
    "standing up from sitting on the ground": "standing up",
    "walking": "walking",
    "falling": "falling",
    "on all fours": "on all fours",
    "sitting on the ground": "sitting on the ground",
}
COLUMNS = {
    "sequence": pl.String,
    "tag": pl.String,
    "timestamp": pl.Int64,
    "date": pl.String,
    "x": pl.Float64,
    "y": pl.Float64,
    "z": pl.Float64,
    "activity": pl.String,
}


def load() -> Dataset:
    path = locate(SOURCE, FILE)
    try:
        frame = pl.read_csv(path, has_header=False, schema=COLUMNS)
    except pl.exceptions.PolarsError as error:
        raise not_published(SOURCE, path, str(error).split("\n")[0]) from None
    frame = frame.with_columns(pl.col("activity").str.strip_chars())
    for column, known in (("tag", TAGS), ("activity", ACTIVITIES)):
        if strange := set(frame[column]) - set(known):
            raise not_published(SOURCE, path, f"it has {column} {min(map(str, strange))!r}")
    if len(frame) != ROWS:
        raise not_published(SOURCE, path, f"{len(frame):,} rows instead of {ROWS:,}")

    names, values, targets = [], [], []
    for part in frame.partition_by("sequence", maintain_order=True):
        names.append(part["sequence"][0])
        worn = np.stack([part["tag"].to_numpy() == tag for tag in TAGS], 1)
        values.append(np.concatenate([worn, part.select("x", "y", "z").to_numpy()], 1))
        targets.append(part["activity"].replace_strict(ACTIVITIES).to_list())
    recording = Recording.from_arrays(
        values, targets=targets, channels=[*TAGS.values(), "x", "y", "z"], target="activity", names=names
    )
    last = max(names)[0]
    train, test = (
        replace(recording, series=tuple(s for s in recording.series if (s.name[0] == last) is which))
        for which in (False, True)
    )
    return Dataset(
        name="person",
        train=train,
        tests={"another person": test},
        task=Task.infer(train, kind="classification", per="step"),
        notes=(
            "A sample is one reading of one tag, named by four flags; samples are counted, not timed.",
            f"The recordings of person {last} are the test part.",
            "No SHA-256 of the publisher's file is known: it was accepted for its rows, tags and activities.",
        ),
        source=SOURCE.address,
        licence="CC BY 4.0",
    )
