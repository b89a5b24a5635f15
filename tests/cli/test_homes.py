"""Odd homes: an unknown user, no HOME, one that cannot be written, a long TMPDIR, a terminal of few letters."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

STRANGER = 54321
"""A user without an entry in the system's list."""


def torchliquid(
    folder: Path, *words: str, as_stranger: bool = False, **environment: str
) -> subprocess.CompletedProcess:
    known = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "TMPDIR", "LC_ALL", "LANG")}
    command = [sys.executable, "-m", "torchliquid", *words]
    if as_stranger:  # who may still read what this test's user may
        may = "+dac_override,+dac_read_search"
        who = ["--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups"]
        command = ["setpriv", *who, "--inh-caps", may, "--ambient-caps", may, *command]
    return subprocess.run(
        command, cwd=folder, env={**known, **environment}, capture_output=True, text=True, errors="replace", check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("homes")
    rng = np.random.default_rng(0)
    t = np.arange(300) / 5
    pl.DataFrame({"t": t, "x": np.sin(t) + rng.normal(size=300) / 5, "up": np.cos(t) > 0}).write_csv(folder / "t.csv")
    return folder


SMALL = ("--seeds", "2", "--tuning", "1", "--epochs", "1", "--parameters", "200", "--contender", "gru")


@pytest.fixture
def everyones() -> Iterator[Path]:
    """A folder in which anyone may write: pytest's own are closed to others, with all above them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def test_a_stranger_without_a_home_trains_on_a_data_set_and_exports(data_dir, everyones):
    root = os.geteuid() == 0 and shutil.which("setpriv") is not None  # who alone can become another user
    given = {"TORCHLIQUID_DATA": str(data_dir), "as_stranger": root}
    train = ("train", "occupancy", "--kind", "gru", "--parameters", "200", "--epochs", "1", "--out", "m.safetensors")
    done = torchliquid(everyones, *train, **given)
    assert done.returncode == 0, done.stderr
    done = torchliquid(everyones, "export", "m.safetensors", **given)
    assert done.returncode == 0, done.stderr
    assert not [path for path in everyones.iterdir() if path.name.startswith("~")]


def test_a_study_under_a_long_tmpdir_in_a_narrow_terminal_says_all(folder, tmp_path):
    """Processes talk in a short folder, and a ± that the terminal lacks is no end."""
    long = tmp_path / ("long" * 20) / ("name" * 20)
    long.mkdir(parents=True)
    words = ("assess", "t.csv", "--target", "up", "--time", "t", *SMALL, "--contender", "cfc", "--jobs", "2")
    odd = {"TMPDIR": str(long), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": "/proc/none"}
    done = torchliquid(folder, *words, "--out", str(tmp_path / "study"), **odd)
    assert done.returncode == 0, done.stderr
    assert "\\xb1" in done.stdout
    assert "RuntimeWarning" not in done.stderr
    assert "±" in (tmp_path / "study/report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["t.csv"]
