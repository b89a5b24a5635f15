"""How many cars pass westbound on Interstate 94 in an hour, from the weather and the calendar (UCI 492)."""

from __future__ import annotations

import gzip
import hashlib
import math

import polars as pl

from torchliquid.data.datasets.dataset import Dataset
from torchliquid.data.datasets.fetch import Source, find, locate
from torchliquid.data.files import read_table
from torchliquid.data.recording import Recording
from torchliquid.data.splits import forward_split
from torchliquid.errors import InputError
from torchliquid.tasks import Task

FILE = "Metro_Interstate_Traffic_Volume.csv"
PACKED = FILE + ".gz"
ROWS = 48_204
COLUMNS = ("holiday", "temp", "rain_1h", "snow_1h", "clouds_all", "date_time", "traffic_volume")
SOURCE = Source(
    name="traffic",
    address="https://archive.ics.uci.edu/static/public/492/metro+interstate+traffic+volume.zip (unpacked)",
    files={FILE: ("1b92185e2b9cd407e3ea626d10eb010a2ee82f820a48c6d8b690535511c1061a",), PACKED: ()},
    direct={PACKED: f"https://archive.ics.uci.edu/ml/machine-learning-databases/00492/{PACKED}"},
)


def load() -> Dataset:
    path = find(SOURCE, FILE) or locate(SOURCE, PACKED)
    notes = [
        "The last 15 % of the time are the test part.",
        "Published errors (LTC 0.099, arXiv 2006.04439) come from overlapping windows cut at random into training and "
        "test: they compare with nothing measured forward in time.",
    ]
    try:
        table = read_table(path).frame
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if len(table) != ROWS or not set(COLUMNS) <= set(table.columns):
        raise InputError(f"{path} is not the published table of {ROWS:,} rows; get it from {SOURCE.address}")
    content = gzip.decompress(path.read_bytes()) if path.name == PACKED else path.read_bytes()
    if hashlib.sha256(content).hexdigest() not in SOURCE.files[FILE]:
        notes.append(f"{path.name} is another edition than the one the project's own figures were measured on.")

    when = pl.col("date_time").str.slice(0, 16).str.to_datetime("%Y-%m-%d %H:%M")
    frame = table.select(
        when.alias("time"),
        # The paper's seven features; its temperature is less the mean of all years, which scaling undoes.
        pl.col("holiday").fill_null("None").ne("None").alias("holiday"),
        pl.col("temp").alias("temperature"),
        pl.col("rain_1h").alias("rain"),
        pl.col("snow_1h").alias("snow"),
        pl.col("clouds_all").alias("clouds"),
        (when.dt.weekday() - 1).alias("weekday"),
        (when.dt.hour() * (math.pi / 24)).sin().alias("hour"),
        pl.col("traffic_volume"),
    )
    recording = Recording.from_frame(frame, time="time", target="traffic_volume", first_row=2)
    train, test = forward_split(recording, 0.15)
    return Dataset(
        name="traffic",
        train=train,
        tests={"later": test},
        task=Task.infer(train, kind="regression", per="step"),
        notes=tuple(notes),
        source="https://archive.ics.uci.edu/dataset/492/metro+interstate+traffic+volume",
        licence="CC BY 4.0",
    )
