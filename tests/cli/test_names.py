"""Names from files are text wherever they are printed: no markup, nothing that steers a terminal or a spreadsheet."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import torchliquid
from torchliquid.cli import app
from torchliquid.cli.predict import csv
from torchliquid.data import Recording
from torchliquid.errors import InputError, printable
from torchliquid.runtime import stream
from torchliquid.training import TrainingConfig, fit

NAMES = {
    "markup": "[/bold] [red]x[/red] :smile:",
    "escape": "\x1b]0;owned\x07\x1b[2Jvalve",
    "direction": "pump\u202e\u2066evlav",
    "line": "a\r\nb\u2028c",
    "page": "<img src=x onerror=alert(1)>",
    "formula": "=cmd|'/C calc'!A0",
}


@given(st.text())
def test_what_is_printed_neither_steers_nor_hides(text):
    shown = printable(text)
    assert all(c in "\u200c\u200d" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)
    assert printable(shown) == shown
    assert str(InputError(text)) == shown


def test_names_of_all_scripts_stay_as_they_are():
    for name in ("Außentemperatur", "温度", "температура", "درجة حرارة", "می‌خواهم", "µm²", "👩‍🚀"):
        assert printable(name) == name


def test_a_long_line_loses_its_middle():
    assert len(printable("x" * 10**6 + "; mend it")) < 2100
    assert printable("x" * 10**6 + "; mend it").endswith("; mend it")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A table whose channels, classes and file are named to do harm, and a model trained on it."""
    folder = tmp_path_factory.mktemp("names")
    names = list(NAMES.values())
    labels = [names[i % 3] for i in range(80)]
    frame = pl.DataFrame({name: [float((i * (k + 3)) % 7) for i in range(80)] for k, name in enumerate(names)})
    frame = frame.with_columns(pl.Series("class [/x]", labels))
    frame.write_parquet(folder / "plant [final copy].parquet")
    done = run(
        folder, "train", "plant [final copy].parquet", "--target", "class [/x]", "--epochs", "2", "--out", "m [v2]"
    )
    assert done.exit_code == 0, done.output
    return folder


def run(folder: Path, *words: str):
    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(app, list(words), catch_exceptions=False)
    finally:
        os.chdir(before)


def check(output: str) -> None:
    assert not [c for c in output if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]


def check_page(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [part for part in ("<img src=x", "\x1b", "\u202e", "\u2066", "\u2028") if part in text]
    assert "valve" in text


def test_no_command_prints_a_name_as_anything_but_text(folder):
    for words in (
        ("inspect", "m [v2]"),
        ("predict", "m [v2]", "plant [final copy].parquet"),
        ("predict", "m [v2]", "plant [final copy].parquet", "--out", "answers [b].csv"),
        ("explain", "m [v2]", "plant [final copy].parquet", "--out", "page [/b]"),
        ("export", "m [v2]", "--out", "c [/b]"),
    ):
        done = run(folder, *words)
        assert done.exit_code == 0, done.output
        check(done.output)
        assert all(word in done.output for word in words if "[b]" in word or "[/b]" in word)
    check((folder / "answers [b].csv").read_text(encoding="utf-8"))
    check_page(folder / "page [/b]/explain.html")
    for words in (
        ("train", "plant [final copy].parquet", "--target", "clas\x1b [/x]"),
        ("train", "plant [final copy].parquet", "--target", "class [/x]", "--kind", "[/x]\x1b"),
        ("predict", "m [v2]\x1b[2J", "plant [final copy].parquet"),
    ):
        done = run(folder, *words)
        assert done.exit_code == 2
        check(done.output)


def test_answers_run_in_no_spreadsheet():
    frame = pl.DataFrame({"prediction": ["=1+1", "@x", "-x", "-1.5", "+inf", None], "p\x1b": [1.0] * 6, "p\\x1b": 2.0})
    lines = csv(frame).splitlines()
    assert lines[0] == "prediction,p\\x1b,p\\x1b_2"
    assert [line.split(",")[0] for line in lines[1:]] == ["'=1+1", "'@x", "'-x", "-1.5", "+inf", ""]


def test_a_study_prints_names_as_text(folder):
    done = run(
        folder, "assess", "plant [final copy].parquet", "--target", "class [/x]", "--epochs", "1", "--seeds", "1",
        "--tuning", "1", "--jobs", "1", "--contender", "cfc", "--contender", "linear", "--out", "study [/v2]",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    check(done.output)
    assert "study [/v2]" in done.output
    check_page(folder / "study [/v2]/report.html")
    json.loads((folder / "study [/v2]/results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_without_the_letter_gets_its_escape(settings, folder):
    command = [sys.executable, "-m", "torchliquid", "inspect", "m [v2]"]
    environment = {**os.environ, "PYTHONCOERCECLOCALE": "0", **settings}
    done = subprocess.run(command, cwd=folder, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")


def test_what_is_saved_names_no_path_and_no_host(folder, tmp_path, monkeypatch):
    table = tmp_path / "owner-of-this-machine" / "plant.parquet"
    table.parent.mkdir()
    table.write_bytes((folder / "plant [final copy].parquet").read_bytes())
    out = table.parent
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "keeper-of-this-machine")
    target = ("--target", "class [/x]", "--epochs", "1")
    small = ("--seeds", "1", "--tuning", "1", "--jobs", "1", "--contender", "cfc", "--contender", "linear")
    for words in (
        ("train", str(table), *target, "--out", str(out / "m.safetensors")),
        ("assess", str(table), *target, *small, f"--out={out / 'study'}"),
        ("explain", str(out / "m.safetensors"), str(table), "--out", str(out / "explained")),
        ("export", str(out / "m.safetensors"), "--out", str(out / "c"), "--data", str(table)),
        ("export", str(out / "m.safetensors"), f"--out={out / 'int'}", "--quantize=auto", f"--calibrate={table}"),
        ("predict", str(out / "m.safetensors"), str(table), "--out", str(out / "answers.csv")),
        ("export", str(out / "m.safetensors"), "--out", str(out / "onnx"), "--target", "onnx"),
    ):
        monkeypatch.setattr(sys, "argv", ["torchliquid", *words])
        done = run(tmp_path, *words)
        assert done.exit_code == 0, done.output
    made = [path for path in out.rglob("*") if path.is_file() and path != table]
    assert len(made) > 20
    for path in made:
        content = path.read_bytes()
        host = socket.gethostname()
        secrets = [out.name, "keeper-of-this-machine", sys.prefix, str(Path(torchliquid.__file__).parent)]
        secrets += [host] if len(host) > 7 else []  # a short one comes by chance
        assert not [word for word in secrets if word.encode() in content], path


def test_the_log_shows_names_as_text(caplog):
    """A constant channel is told of when a model is trained, what is no reading when it runs live."""
    rng = np.random.default_rng(0)
    evil = NAMES["escape"] + NAMES["direction"]
    values = np.column_stack([rng.normal(size=60), np.ones(60)])
    recording = Recording.from_arrays(values, targets=rng.normal(size=60), channels=["a", evil])
    model = fit(recording, kind="gru", parameters=100, config=TrainingConfig(epochs=1))
    live = stream(model)
    for sample in ([1e300, np.inf], [np.nan, 2.0], {"a": "x\x1b[2J", evil: "unavailable\u202e"}, {"b\x1b": 1.0}):
        with contextlib.suppress(InputError):
            live.step(sample, 1.0)
    assert "valve" in caplog.text
    for record in caplog.records:
        check(record.getMessage())
