"""The commands as a user types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from torchliquid import Model, Recording
from torchliquid.cli import main


def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torchliquid", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.exponential(60.0, 500)).round()
    x = np.sin(t / 300)
    return pl.DataFrame(
        {
            "when": pl.Series(t * 1e6).cast(pl.Datetime("us")).dt.to_string("%Y-%m-%d %H:%M:%S"),
            "level": x + 0.1 * rng.normal(size=500),
            "other": rng.normal(size=500),
            "state": np.where(np.cos(t / 300) > 0, "rising", "falling"),
        }
    )


@pytest.fixture
def recording(table: pl.DataFrame, tmp_path: Path) -> Path:
    table.write_csv(tmp_path / "recording.csv")
    return tmp_path / "recording.csv"


def test_from_a_table_to_predictions(recording: Path, table: pl.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "study"
    assessed = run(
        *("assess", recording, "--target", "state", "--time", "when", "--seeds", 2, "--tuning", 1, "--epochs", 4),
        *("--contender", "ltc_ncp", "--contender", "linear", "--contender", "naive", "--parameters", 500, "--out", out),
    )
    assert assessed.returncode == 0, assessed.stderr
    assert json.loads((out / "results.json").read_text())["verdict"]["sentence"][:40] in " ".join(
        assessed.stdout.split()
    )

    table.drop("state").write_csv(tmp_path / "new.csv")
    predictions = tmp_path / "predictions.csv"
    predicted = run("predict", out / "model.safetensors", tmp_path / "new.csv", "--out", predictions)
    assert predicted.returncode == 0, predicted.stderr
    rows = pl.read_csv(predictions)
    assert rows.height == table.height
    assert set(rows["prediction"]) <= {"rising", "falling"}
    assert rows["time"][0][:19].replace("T", " ") == table["when"][0]

    inspected = run("inspect", out / "model.safetensors", env={"COLUMNS": "200"})
    assert inspected.returncode == 0, inspected.stderr
    for words in ("LTC on NCP", "rising", "level", "self-test", "validation (accuracy "):
        assert words in inspected.stdout


def test_train_a_forecast(recording: Path, tmp_path: Path) -> None:
    model = tmp_path / "forecast.safetensors"
    trained = run(
        *("train", recording, "--target", "level", "--time", "when", "--ignore", "state", "--horizon", "5min"),
        *("--kind", "cfc_ncp", "--parameters", 400, "--epochs", 3, "--out", model),
    )
    assert trained.returncode == 0, trained.stderr
    predicted = run("predict", model, recording)
    assert predicted.returncode == 0, predicted.stderr
    assert predicted.stdout.splitlines()[0].split(",")[-1] == "prediction"


def test_predict_reads_a_table_as_training_did(table: pl.DataFrame, tmp_path: Path) -> None:
    """A long table with its own form of dates and its own mark for what was not observed."""
    long = table.select(pl.col("when").str.to_datetime().dt.strftime("%d.%m.%Y %H:%M:%S"), "level", "other").unpivot(
        index="when", variable_name="name", value_name="reading"
    )
    unseen = pl.int_range(pl.len()) % 7 == 0
    long = long.with_columns(pl.when(unseen).then(-999.0).otherwise("reading").alias("reading"))
    long.write_csv(tmp_path / "long.csv")
    model = tmp_path / "long.safetensors"
    trained = run(
        *("train", tmp_path / "long.csv", "--target", "level", "--horizon", 3, "--long", "name,reading"),
        *("--time", "when", "--time-format", "%d.%m.%Y %H:%M:%S", "--missing", -999, "--parameters", 300),
        *("--epochs", 1, "--out", model),
    )
    assert trained.returncode == 0, trained.stderr
    predicted = run("predict", model, tmp_path / "long.csv")
    assert predicted.returncode == 0, predicted.stderr
    given = Recording.read(
        tmp_path / "long.csv",
        time="when",
        time_format="%d.%m.%Y %H:%M:%S",
        parameter="name",
        value="reading",
        missing=[-999],
    )
    assert np.isnan(given.series[0].values).any()
    assert predicted.stdout == Model.load(model).predict(given).write_csv()
    assert Model.load(model).predict(long).equals(Model.load(model).predict(given))


def test_the_commands_answer_before_torch_is_loaded() -> None:
    """So help is there at once, and Ctrl-C meets the guard rather than an import."""
    code = "import sys, torchliquid.cli; sys.exit('torch' in sys.modules or 'polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def damaged(path: Path, how: str) -> Path:
    data = bytearray(path.read_bytes())
    changed = path.with_name(f"{how}{path.suffix}")
    if how == "truncated":
        data = data[: len(data) // 2]
    elif how == "foreign":
        data = bytearray(b"PK\x03\x04 not ours at all")
    changed.write_bytes(data)
    return changed


def test_bad_input_ends_with_one_line_and_changes_nothing(
    recording: Path,
    table: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def file(name: str, frame: pl.DataFrame) -> Path:
        frame.write_csv(tmp_path / name)
        return tmp_path / name

    parquet = tmp_path / "whole.parquet"
    table.write_parquet(parquet)
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not a safetensors")
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "notes.txt").write_text("mine")
    text = table.with_columns(pl.col("level").cast(pl.String))
    text[6, "level"] = "broken"
    huge = table.with_columns(pl.when(pl.int_range(pl.len()) == 9).then(1e30).otherwise(pl.col("level")).alias("level"))
    new_class = table.with_columns(
        pl.when(pl.int_range(pl.len()) > 490).then(pl.lit("level")).otherwise(pl.col("state")).alias("state")
    )
    state = ("--target", "state", "--time", "when")
    cases = {
        "did you mean|nearest|state": ("assess", recording, "--target", "stat", "--time", "when"),
        "row 8": ("assess", file("text.csv", text), *state),
        "class": ("assess", file("one.csv", table.with_columns(state=pl.lit("rising"))), *state),
        "row": ("assess", file("empty.csv", table.head(0)), *state),
        "two": ("assess", file("single.csv", table.head(1)), *state),
        "time": ("assess", file("still.csv", table.with_columns(when=pl.lit("2020-01-01 00:00:00"))), *state),
        "other": ("assess", file("missing.csv", table.with_columns(other=pl.lit(None))), *state),
        "does not occur": ("assess", file("class.csv", new_class), *state),
        "1e+30|1e30": ("assess", file("huge.csv", huge), *state),
        "truncated": ("assess", damaged(parquet, "truncated"), *state),
        "did you mean 'occupancy'": ("assess", "occupancyy"),
        "no such|not there|does not exist|no file": ("assess", tmp_path / "nowhere.csv", *state),
        "holds files that are not of a study": ("assess", recording, *state, "--out", occupied),
        "is not a complete .safetensors file": ("predict", damaged(weights, "foreign"), recording),
        "may be truncated": ("inspect", weights),
        "kind": ("train", recording, *state, "--kind", "ltcn", "--out", tmp_path / "m.safetensors"),
        "is an input file": ("train", recording, *state, "--out", recording),
        "is not a model": ("train", recording, *state, "--out", parquet),
        "there is no writable folder": ("train", recording, *state, "--out", tmp_path / "nowhere" / "m.safetensors"),
        "is a folder": ("inspect", occupied),
        "give a number of samples": ("assess", recording, "--target", "level", "--horizon", "1.2.3"),
        "shorter horizon": ("assess", recording, "--target", "level", "--horizon", "5000"),
        "class weights": ("assess", recording, "--target", "level", "--time", "when", "--class-weights"),
    }
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    for expected, words in cases.items():
        out = () if words[0] != "assess" or "--out" in words else ("--out", tmp_path / "never")
        monkeypatch.setattr(sys, "argv", ["torchliquid", *map(str, (*words, *out))])
        with pytest.raises(SystemExit) as ended:
            main()
        errors = capfd.readouterr().err
        assert ended.value.code == 2, (words, errors)
        lines = [line for line in errors.strip().splitlines() if not line.startswith("Note: ")]
        assert len(lines) == 1, (words, lines)
        assert any(part in lines[0] for part in expected.split("|")), (expected, lines[0])
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before
