"""What was said of the training's table holds of every later one, and what is said of that one comes first."""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchliquid import Model
from torchliquid.cli import main
from torchliquid.cli.options import Columns

N = 90
FORM = ("--skip", "1", "--comment", "!", "--encoding", "utf-16", "--decimal", ",", "--date-order", "month-first")


def plant(machines: bool = True, encoding: str = "utf-16", above: str = "x;y\n", late: int = 0) -> bytes:
    """A table that no one could read without being told: who knows the month, and that ! begins a comment?"""
    lines = [f"{above}when;level;valve;state" + (";machine" if machines else "")]
    for i in range(N):
        when = dt.datetime(2024, 3, 1 + i % 10, i // 10) + dt.timedelta(days=late)
        level, valve = f"{1 + np.sin(i / 9):.3f}".replace(".", ","), ("open", "closed", "-")[i // 7 % 3]
        line = f"{when:%m/%d/%Y %H:%M};{level};{valve};{'high' if np.sin(i / 9) > 0 else 'low'}"
        lines += [line + (f";{i // 30}" if machines else ""), *(["! checked"] if i == 40 else [])]
    return "\n".join(lines).encode(encoding)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alike")
    (folder / "plant.csv").write_bytes(plant())
    with pytest.MonkeyPatch.context() as patch:
        columns = ("--target", "state", "--time", "when", "--series", "machine")
        size = ("--epochs", "1", "--parameters", "200")
        assert here(folder, patch, "train", "plant.csv", *columns, *FORM, *size) == 0
    return folder


def here(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: object, given: bytes = b"") -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["torchliquid", *map(str, words)])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_predict_needs_nothing_to_be_said_again(folder, monkeypatch, capfd):
    assert here(folder, monkeypatch, "predict", "model.safetensors", "plant.csv") == 0
    said = capfd.readouterr()
    assert said.out.count("\n") == N + 1
    assert "2024-03-01 00:00:00 to 2024-03-10 08:00:00" in said.err
    (folder / "new.csv").write_bytes(plant(machines=False, encoding="utf-8", above=""))
    words = ("predict", "model.safetensors", "new.csv", "--encoding", "utf-8", "--skip", 0)
    assert here(folder, monkeypatch, *words) == 0
    said = capfd.readouterr()
    assert "90 samples in 1 series" in said.err
    assert "no column 'machine' for the series" in said.err
    assert here(folder, monkeypatch, "predict", "model.safetensors", "new.csv", "--series", "machine") == 2
    (folder / "late.csv").write_bytes(plant(late=20))
    assert here(folder, monkeypatch, "predict", "model.safetensors", "late.csv", "--date-order", "day-first") == 2
    assert "cannot be read as a date day first" in capfd.readouterr().err


def test_a_table_whose_dates_are_otherwise_is_warned_of(folder, monkeypatch, capfd):
    """Days beyond the twelfth: what was remembered cannot be, which is found and said."""
    text = plant(late=20).decode("utf-16").splitlines()
    turned = [f"{line[3:6]}{line[:3]}{line[6:]}" if line[:1] in "0123" else line for line in text]
    (folder / "turned.csv").write_bytes("\n".join(turned).encode("utf-16"))
    assert here(folder, monkeypatch, "predict", "model.safetensors", "turned.csv") == 0
    said = capfd.readouterr().err
    assert "2024-03-21 00:00:00 to" in said
    assert "warning: dates were read 'day first', in training 'month first'" in said


def test_a_test_table_is_read_as_the_training(folder, monkeypatch, capfd):
    (folder / "test.csv").write_bytes(plant(machines=False, late=5))
    words = ("assess", "plant.csv", "--test", "test.csv", "--target", "state", "--time", "when", "--series", "machine")
    small = ("--contender", "linear", "--contender", "naive", "--seeds", 1, "--tuning", 1, "--out", "study")
    assert here(folder, monkeypatch, *words, *FORM, *small) == 0
    assert "no column 'machine' for the series" in capfd.readouterr().err


def found(folder: Path) -> dict[str, Any]:
    return dict(Model.load(folder / "model.safetensors").metadata["columns"])


def test_a_model_says_how_its_table_was_read(folder):
    assert found(folder) == {
        "time": "when", "series": "machine", "decimal": ",", "date_order": "month first", "skip": 1, "comment": "!",
        "encoding": "utf-16",
    }  # fmt: skip


def test_the_standard_input_is_read_once(folder, monkeypatch):
    """With the target in it, so that neurons can be judged."""
    words = ("explain", "model.safetensors", "-", "--out", "explained")
    assert here(folder, monkeypatch, *words, given=plant()) == 0
    told = json.loads((folder / "explained" / "explain.json").read_text())
    assert "roles" in json.dumps(told)
    assert here(folder, monkeypatch, *words, "--date-order", "year-first", given=plant()) == 2


def test_rows_of_several_files_are_numbered_in_each(folder, monkeypatch, capfd):
    for name, late in (("b.csv", 0), ("a.csv", 20)):
        (folder / name).write_bytes(plant(late=late))
    assert here(folder, monkeypatch, "predict", "model.safetensors", "b.csv", "a.csv", "--order", "rows") == 0
    lines = [line.split(",") for line in capfd.readouterr().out.splitlines()]
    assert lines[0][:4] == ["file", "row", "series", "time"]
    rows = [i + 3 + (i > 40) for i in range(N)]
    assert [(file, int(row)) for file, row, *_ in lines[1:]] == [(f, r) for f in "ba" for r in rows]
    assert {tuple(line[:3:2]) for line in lines[1:]} == {(f, f"{f}/{m}") for f in "ab" for m in range(3)}


def test_a_live_sample_is_read_as_a_row_of_the_table(folder):
    model = Model.load(folder / "model.safetensors")
    live = model.live()
    rows = [line.split(";") for line in plant().decode("utf-16").splitlines()[2:] if line[0] != "!"]
    rows = sorted((row for row in rows if row[-1] == "0"), key=lambda row: at(row[0]))
    answers = [live.step({"when": when, "level": level, "valve": valve}) for when, level, valve, *_ in rows]
    expected = model.outputs(Columns().read_for(model, str(folder / "plant.csv")))[0]
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert not live.faults
    live.step({"level": "1,5", "valve": "stuck"})
    assert live.faults["unreadable"] == 1


def at(when: str) -> dt.datetime:
    return dt.datetime.strptime(when, "%m/%d/%Y %H:%M")
