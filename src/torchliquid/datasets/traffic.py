"""How many cars pass westbound on Interstate 94 in an hour, from the weather and the calendar (UCI 492)."""

from __future__ import annotations

import hashlib
import math

import polars as pl

from torchliquid.data.files import read_table
from torchliquid.data.recording import Recording
from torchliquid.data.splits import forward_split
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, find, locate, not_published
from torchliquid.errors import InputError
from torchliquid.tasks import Task

FILE = "Metro_Interstate_Traffic_Volume.csv"
PACKED = FILE + ".gz"
SOURCE = Source(
    name="traffic",
    address="https://archive.ics.uci.edu/static/public/492/metro+interstate+traffic+volume.zip (unpacked)",
    files={FILE: (), PACKED: ()},
    direct={PACKED: f"https://archive.ics.uci.edu/ml/machine-learning-databases/00492/{PACKED}"},
)
VALUES = "537eebbddc20652c79b9163552584c2905a4b1492ff16b7f6804d9803aed3e12"
"""SHA-256 of the times, in seconds, and of the columns used, one after the other in double precision. Editions write
the same values differently."""


def load() -> Dataset:
    path = find(SOURCE, FILE) or locate(SOURCE, PACKED)
    try:
        table = read_table(path).frame
        frame = _frame(table)
    except (InputError, pl.exceptions.PolarsError) as error:
        raise not_published(SOURCE, path, str(error).split("\n")[0]) from None
    columns = (column.cast(pl.Float64).fill_null(math.nan).to_numpy() for column in frame.drop("time"))
    times = frame["time"].dt.epoch("s").to_numpy()
    if hashlib.sha256(b"".join(array.tobytes() for array in (times, *columns))).hexdigest() != VALUES:
        raise not_published(SOURCE, path, "it holds other values")
    recording = Recording.from_frame(frame, time="time", target="traffic_volume", first_row=2)
    train, test = forward_split(recording, 0.15)
    return Dataset(
        name="traffic",
        train=train,
        tests={"later": test},
        task=Task.infer(train, kind="regression", per="step"),
        notes=(
            "The last 15 % of the time are the test part.",
            "Published errors (LTC 0.099, arXiv 2006.04439) come from overlapping windows cut at random into training "
            "and test, so they cannot be compared with results measured forward in time.",
        ),
        source="https://archive.ics.uci.edu/dataset/492/metro+interstate+traffic+volume",
        licence="CC BY 4.0",
    )


def _frame(table: pl.DataFrame) -> pl.DataFrame:
    when = pl.col("date_time").str.slice(0, 16).str.to_datetime("%Y-%m-%d %H:%M")
    return table.select(
        when.alias("time"),
        # The paper's seven features. Its temperature is relative to the mean of all years, which makes no difference
        # after scaling.
        pl.col("holiday").fill_null("None").ne("None").alias("holiday"),
        pl.col("temp").cast(pl.Float64).alias("temperature"),
        pl.col("rain_1h").cast(pl.Float64).alias("rain"),
        pl.col("snow_1h").cast(pl.Float64).alias("snow"),
        pl.col("clouds_all").cast(pl.Float64).alias("clouds"),
        (when.dt.weekday() - 1).alias("weekday"),
        (when.dt.hour() * (math.pi / 24)).sin().alias("hour"),
        pl.col("traffic_volume").cast(pl.Float64),
    )
