"""How much power does a household take, from its other meters, minute by minute? (Hebrail and Berard; UCI 235)"""

from __future__ import annotations

import polars as pl

from torchliquid.data.recording import Recording
from torchliquid.data.splits import forward_split
from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, locate, not_published
from torchliquid.tasks import Task

FILE = "household_power_consumption.txt"
COLUMNS = (
    "Global_active_power",
    "Global_reactive_power",
    "Voltage",
    "Global_intensity",
    "Sub_metering_1",
    "Sub_metering_2",
    "Sub_metering_3",
)
SOURCE = Source(
    name="power",
    address="https://archive.ics.uci.edu/dataset/235/individual+household+electric+power+consumption",
    archive="https://archive.ics.uci.edu/static/public/235/individual+household+electric+power+consumption.zip",
    files={FILE: ("4259c9d7ece5dbee9ab8d53682baac68d791c864f0f64a52b4043cb3b90894b7",)},
    sizes={FILE: (132_960_755,)},
)


def load() -> Dataset:
    path = locate(SOURCE, FILE)
    schema = {"Date": pl.String, "Time": pl.String} | dict.fromkeys(COLUMNS, pl.Float64)
    try:
        frame = pl.read_csv(path, separator=";", null_values=["?", ""], schema_overrides=schema)
    except pl.exceptions.PolarsError as error:
        raise not_published(SOURCE, path, str(error).split("\n")[0]) from None
    if list(frame.columns) != list(schema):
        raise not_published(SOURCE, path, f"columns {', '.join(frame.columns)}")
    numbers = frame.select(COLUMNS).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    recording = Recording.from_arrays(numbers[:, 1:], targets=numbers[:, 0], channels=COLUMNS[1:], target=COLUMNS[0])
    train, test = forward_split(recording, 0.15)
    return Dataset(
        name="power",
        train=train,
        tests={"later": test},
        task=Task.infer(train, kind="regression", per="step"),
        notes=(
            "Samples are a minute apart; the last 15 % of the time are the test part.",
            "One channel is the current: voltage times current is nearly the target.",
        ),
        source=SOURCE.address,
        licence="CC BY 4.0",
    )
