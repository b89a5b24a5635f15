"""What does a person do who carries a smartphone? 561 features of 2.56 s each (Anguita et al., 2013; UCI 240)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from torchliquid.data.recording import Recording
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, find, locate, not_published
from torchliquid.tasks import Task

ARCHIVE = "UCI HAR Dataset.zip"
FOLDER = "UCI HAR Dataset"
ROWS = {"train": 7_352, "test": 2_947}
FEATURES = 561
ACTIVITIES = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "laying")
SOURCE = Source(
    name="har",
    address="https://archive.ics.uci.edu/dataset/240/human+activity+recognition+using+smartphones",
    archive="https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip",
    files={ARCHIVE: ("2045e435c955214b38145fb5fa00776c72814f01b203fec405152dac7d5bfeb0",)},
    sizes={ARCHIVE: (60_999_314,)},
)


def load() -> Dataset:
    unpacked = find(SOURCE, f"{FOLDER}/train/X_train.txt")
    notes = [
        "Samples are 1.28 s apart and follow each other in the publisher's order, from one person to the next.",
        "The test part is nine other people.",
    ]
    if unpacked:
        notes.append("The archive was unpacked: its files were accepted for their rows, features and ranges.")
        train, test = (_part(unpacked.parents[1], part) for part in ROWS)
    else:
        path = locate(SOURCE, ARCHIVE)
        try:
            with zipfile.ZipFile(path) as archive:
                train, test = (_part(zipfile.Path(archive, f"{FOLDER}/"), part) for part in ROWS)
        except zipfile.BadZipFile as error:
            raise not_published(SOURCE, path, str(error)) from None
    return Dataset(
        name="har",
        train=train,
        tests={"other people": test},
        task=Task.infer(train, kind="classification", per="step"),
        notes=tuple(notes),
        source=SOURCE.address,
        licence="CC BY 4.0",
    )


def _part(folder: Path | zipfile.Path, part: str) -> Recording:
    values = _numbers(folder / part / f"X_{part}.txt", ROWS[part], FEATURES, -1, 1)
    labels = _numbers(folder / part / f"y_{part}.txt", ROWS[part], 1, 1, len(ACTIVITIES))
    activities = [ACTIVITIES[int(label) - 1] for label in labels[:, 0]]
    return Recording.from_arrays(values, targets=activities, target="activity")


def _numbers(path: Path | zipfile.Path, rows: int, columns: int, least: float, most: float) -> np.ndarray:
    where = Path(str(path))
    try:
        with path.open() as file:
            numbers = np.loadtxt(file, ndmin=2)
    except (OSError, KeyError, ValueError) as error:
        raise not_published(SOURCE, where, str(error).split("\n")[0]) from None
    if numbers.shape != (rows, columns):
        form = f"{numbers.shape[0]:,} rows of {numbers.shape[1]} numbers"
        raise not_published(SOURCE, where, f"{form} instead of {rows:,} of {columns}")
    if not (least <= numbers.min() and numbers.max() <= most):
        raise not_published(SOURCE, where, f"numbers outside {least} to {most}")
    return numbers
