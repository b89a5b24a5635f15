"""A table in one process, in many, on a cluster, and killed: the same lines, each trained once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.reproduce import small_table

from torchliquid.jobs import lines as trials
from torchliquid.reproduce import run
from torchliquid.study.run.runner import Quiet


def lines(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Without the times; floats as they were written, to the last bit."""
    found = trials.read(folder / "cheetah.trials.jsonl")
    return {(x["contender"], x["seed"]): {k: v for k, v in x.items() if k != "seconds"} for x in found}


@pytest.mark.slow
def test_a_table_is_bit_for_bit_the_same_wherever_it_runs(two_nodes, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(run, "protocol", lambda _: small_table.TABLE)
    cluster, _ = two_nodes
    for name, where in (("one", {}), ("two", {"jobs": 2}), ("cluster", {"ray": cluster.address})):
        run.reproduce("cheetah", tmp_path / name, Quiet(), seeds=1, tune=2, **where)
    one, two, three = (lines(tmp_path / name) for name in ("one", "two", "cluster"))
    assert len(one) == 5
    assert one == two == three


@pytest.mark.slow
def test_a_killed_table_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    file = tmp_path / "killed" / "cheetah.trials.jsonl"
    seen: list[dict[str, Any]] = []
    rng = random.Random(2)
    kills = 0
    while True:
        process = start(tmp_path / "killed", "--jobs", "2")
        before = file.stat().st_size if file.exists() else 0
        while process.poll() is None and (file.stat().st_size if file.exists() else 0) <= before:
            time.sleep(0.01)
        try:
            process.wait(rng.uniform(0.0, 0.7) if kills >= 3 else 0.0)  # a quick machine may be done in 0.7 s
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        now = trials.read(file)
        assert now[: len(seen)] == seen, "a finished trial was lost"
        assert len(lines(file.parent)) == len(now), "a finished trial was done again"
        seen = now
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0
    assert kills >= 3
    assert start(tmp_path / "whole", "--jobs", "1").wait() == 0
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


def start(out: Path, *where: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, small_table.__file__, "reproduce", "cheetah", "--seeds", "3", "--out", str(out), *where]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)
