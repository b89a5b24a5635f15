"""What the commands say they understood, what they warn of, and where they write."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from torchliquid.cli import main
from torchliquid.cli.assess import errors_kept_in
from torchliquid.errors import InputError

N = 120


def table() -> pl.DataFrame:
    t = [dt.datetime(2024, 10, 1, 8) + dt.timedelta(minutes=i) for i in range(N)]
    x = np.sin(np.arange(N) / 9)
    return pl.DataFrame(
        {
            "row": range(1, N + 1),
            "when": [f"{one:%d/%m/%y %H:%M}" for one in t],
            "level": [f"{v:.3f}".replace(".", ",") for v in x],
            "door": ["open" if v > 0 else "closed" for v in np.cos(np.arange(N) / 4)],
            "state": np.where(x > 0, "high", "low"),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("said")
    table().write_csv(folder / "plant.csv", separator=";")
    options = ("--target", "state", "--time", "when", "--epochs", "1", "--parameters", "200")
    done = typed(folder, "train", "plant.csv", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == [
        "Times:  2024-10-01 08:00:00 to 2024-10-01 09:59:00, usually 60 s apart; 120 samples in 1 series",
        "Task:   classification of 'state' (high, low), one answer per step",
        "Inputs: level, door=closed, door=open; dates read day first; decimal comma",
    ]
    assert "Columns that count the rows were left out: 'row'" in done.stderr
    return folder


def typed(folder: Path, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torchliquid", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **more)


def here(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["torchliquid", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_new_table_is_read_as_in_training_and_what_is_unlike_is_said(folder, monkeypatch, capfd):
    """A day and a mark that the new table alone could not tell."""
    new = (
        table()
        .head(3)
        .with_columns(level=pl.Series(["1,234", "2,345", "1,345"]), when="10/" + pl.col("when").str.slice(3))
    )
    new.write_csv(folder / "new.csv", separator="\t")
    assert here(folder, monkeypatch, "predict", "model.safetensors", "new.csv") == 0
    said = capfd.readouterr()
    assert said.out.splitlines()[1].startswith("2024-10-10T08:00:00")
    assert "2024-10-10 08:00:00 to" in said.err
    assert "warning" not in said.err
    far = table().with_columns(
        level=pl.col("level").str.replace(",", ".").cast(pl.Float64) + 5000,
        when=(pl.int_range(N) * 86400 * 1_000_000).cast(pl.Datetime("us")),
    )
    far.write_parquet(folder / "far.parquet")
    assert here(folder, monkeypatch, "predict", "model.safetensors", "far.parquet") == 0
    said = capfd.readouterr()
    assert "warning: samples are usually 8.64e+04 s apart, 1,440 times longer than in training" in said.err
    assert "warning: 'level' is usually 5000" in said.err


def test_answers_in_the_order_of_rows_in_utc_and_as_parquet(folder, monkeypatch, capfd):
    rows = table().with_columns(when=pl.col("when") + " UTC").reverse()
    rows = rows.with_columns(pl.when(pl.int_range(N) == 4).then(pl.lit("")).otherwise("when").alias("when"))
    rows.write_csv(folder / "late.csv", separator=";")
    assert here(folder, monkeypatch, "predict", "model.safetensors", "late.csv", "--order", "rows") == 0
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith("row,time,prediction")
    assert lines[1].startswith("2,2024-10-01T09:59:00.000000Z,")
    assert [int(line.split(",")[0]) for line in lines[1:]] == [r for r in range(2, N + 2) if r != 6]
    assert "1 rows without a time were left out: 6." in said.err
    assert here(folder, monkeypatch, "predict", "model.safetensors", "late.csv", "--out", "out.parquet") == 0
    assert pl.read_parquet(folder / "out.parquet").schema["time"] == pl.Datetime("us", "UTC")
    for name in ("out.xlsx", "out.csv.gz"):
        assert here(folder, monkeypatch, "predict", "model.safetensors", "late.csv", "--out", name) == 2
        assert not (folder / name).exists()


def test_a_link_a_pipe_and_a_device_are_written_to(folder, monkeypatch):
    (folder / "link.csv").symlink_to("real.csv")
    os.mkfifo(folder / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((folder / "pipe").read_text()))
    reader.start()
    for out in ("link.csv", "pipe", "/dev/null"):
        assert here(folder, monkeypatch, "predict", "model.safetensors", "plant.csv", "--out", out) == 0
    reader.join()
    assert (folder / "link.csv").is_symlink()
    assert (folder / "pipe").is_fifo()
    assert not Path("/dev/null").is_file()
    assert (folder / "real.csv").read_text() == got[0]
    assert got[0].count("\n") == N + 1


def test_the_standard_input_and_several_files(folder):
    text = (folder / "plant.csv").read_text()
    for name in ("-", "/dev/stdin"):
        done = typed(folder, "predict", "model.safetensors", name, input=text)
        assert done.stdout.count("\n") == N + 1, done.stderr
    done = typed(
        folder,
        "predict",
        "model.safetensors",
        "plant.csv",
        "plant.csv",
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.stdout.count("\n") == 2 * N + 1, done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_version_and_short_help(monkeypatch, capfd, tmp_path):
    assert here(tmp_path, monkeypatch, "--version") == 0
    assert capfd.readouterr().out.startswith("torchliquid 0.")
    assert here(tmp_path, monkeypatch, "predict", "-h") == 0
    assert "--order" in capfd.readouterr().out
    assert here(tmp_path, monkeypatch, "predict", "--fo") == 2
    assert "╭" not in capfd.readouterr().err  # no box where there is no terminal


def test_what_breaks_off_leaves_its_traceback_in_the_study(tmp_path):
    with (
        pytest.raises(InputError, match=r"broke off \(ZeroDivisionError: .* the traceback is in .*error\.txt"),
        errors_kept_in(tmp_path),
    ):
        _ = 1 / 0
    trace = (tmp_path / "error.txt").read_text()
    assert 'File "test_said_back.py"' in trace
    assert str(Path(__file__).parent) not in trace

    def fail() -> None:
        try:
            torch.zeros(2) @ torch.zeros(3)
        except RuntimeError as error:
            raise ValueError(f"in {tmp_path / 'plant.csv'}") from error

    with pytest.raises(InputError, match="broke off"), errors_kept_in(tmp_path):
        fail()
    trace = (tmp_path / "error.txt").read_text()
    assert "ValueError: in plant.csv" in trace
    assert str(tmp_path) not in trace
    assert sys.prefix not in trace
