"""Who dies in hospital? 48 hours in intensive care (PhysioNet/Computing in Cardiology Challenge 2012, set a)."""

from __future__ import annotations

import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from torchliquid.data.recording import Recording
from torchliquid.data.splits import series_split
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, find, locate
from torchliquid.tasks import Task

FILES = "https://physionet.org/files/challenge-2012/1.0.0"
# The publisher offers set-a.zip and set-a.tar.gz; either can be used.
SOURCE = Source(
    name="physionet2012",
    address="https://physionet.org/content/challenge-2012/1.0.0/ (set-a.tar.gz and Outcomes-a.txt)",
    files={
        "set-a.zip": ("ecabc90c8e3cfb6b2a520b5e60f1045fbaa1795ec0ef38f21787ac302baf73d8",),
        "set-a.tar.gz": ("8cb250f179cd0952b4b9ebcf8954b63d70383131670fac1cfee13deaa13ca920",),
        "Outcomes-a.txt": ("2613ea60ccda29f87571a7d6b09ad130858a8ccd66325bd073365925026883c2",),
    },
    direct={file: f"{FILES}/{file}" for file in ("set-a.tar.gz", "Outcomes-a.txt")},
)
TARGET = "In-hospital_death"
DESCRIPTORS = ["Age", "Gender", "Height", "ICUType", "Weight"]
# fmt: off
CHANNELS = [
    *DESCRIPTORS, "Albumin", "ALP", "ALT", "AST", "Bilirubin", "BUN", "Cholesterol", "Creatinine", "DiasABP", "FiO2",
    "GCS", "Glucose", "HCO3", "HCT", "HR", "K", "Lactate", "Mg", "MAP", "MechVent", "Na", "NIDiasABP", "NIMAP",
    "NISysABP", "PaCO2", "PaO2", "pH", "Platelets", "RespRate", "SaO2", "SysABP", "Temp", "TroponinI", "TroponinT",
    "Urine", "WBC",
]
# fmt: on


def load() -> Dataset:
    path = locate(SOURCE, "set-a.zip" if find(SOURCE, "set-a.zip") else "set-a.tar.gz")
    frame = _readings(path)
    unknown = pl.col("Parameter").is_in(DESCRIPTORS) & (pl.col("Value") == -1)
    frame = frame.filter(pl.col("Parameter") != "RecordID").with_columns(
        pl.when(~unknown).then(pl.col("Value")).alias("Value")
    )
    present = set(frame.drop_nulls()["Parameter"].unique())
    recording = Recording.from_frame(
        frame,
        time="Time",
        series="Patient",
        parameter="Parameter",
        value="Value",
        channels=[c for c in CHANNELS if c in present],
    )
    outcomes = pl.read_csv(locate(SOURCE, "Outcomes-a.txt"))
    died = dict(zip(outcomes["RecordID"].cast(str).to_list(), outcomes[TARGET].to_list(), strict=True))
    series = tuple(replace(s, targets=np.array(died[s.name], dtype=np.float64)) for s in recording.series)
    recording = replace(recording, series=series, target=TARGET)
    train, test = series_split(recording, 0.2, seed=0)
    notes = [
        f"{len(series):,} patients of set a; one in five, as many of them dead, is the test part.",
        "Published AUCs (CfC 0.839, arXiv 2106.13898) were also measured on set a, with another split: the paper says "
        "8,000 patients of sets a and b, but its authors' script reads only set a.",
        "-1 in a descriptor (age, gender, height, weight, type of unit) means unknown and is missing here.",
    ]
    if absent := [c for c in CHANNELS if c not in present]:
        notes.append(f"Left out because they have no values in these files: {', '.join(absent)}.")
    return Dataset(
        name="physionet2012",
        train=train,
        tests={"patients held out": test},
        task=Task.infer(train, kind="classification", per="series"),
        notes=tuple(notes),
        source=SOURCE.address,
        licence="ODC-By 1.0",
    )


def _readings(path: Path) -> pl.DataFrame:
    """The text of all patients as one long table."""
    patients, counts, bodies = [], [], []
    for patient, text in sorted(_texts(path).items()):
        body = text.split(b"\n", 1)[1].rstrip() + b"\n"
        patients.append(patient)
        counts.append(body.count(b"\n"))
        bodies.append(body)
    readings = {"Time": pl.String, "Parameter": pl.String, "Value": pl.Float64}
    frame = pl.read_csv(b"".join(bodies), has_header=False, schema=readings)
    return frame.with_columns(pl.Series("Patient", np.repeat(patients, counts)))


def _texts(path: Path) -> dict[str, bytes]:
    """The text of each patient, by number."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    else:
        with tarfile.open(path) as tar:
            files = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    return {match[1]: text for name, text in files.items() if (match := re.search(r"(\d+)\.txt$", name))}
