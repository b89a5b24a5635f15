"""A study that is killed goes on where it was, and ends with the same figures as one that was not."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest


def write_recording(path: Path) -> None:
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.exponential(1.0, 600))
    x = np.sin(t / 5)[:, None] + 0.3 * rng.normal(size=(600, 2))
    pl.DataFrame({"t": t, "a": x[:, 0], "b": x[:, 1], "up": np.where(np.cos(t / 5) > 0, "yes", "no")}).write_csv(path)


def command(recording: Path, out: Path, jobs: int) -> list[str]:
    contenders = [w for name in ("cfc_ncp", "gru", "linear", "naive") for w in ("--contender", name)]
    return [
        *(sys.executable, "-m", "torchliquid", "assess", str(recording), "--target", "up", "--time", "t"),
        *("--seeds", "2", "--tuning", "2", "--epochs", "4", "--parameters", "400", "--jobs", str(jobs)),
        *contenders,
        *("--out", str(out)),
    ]


def results(out: Path) -> list[Path]:
    """What has its name, and is whole then; what begins with a dot is still being written."""
    return [*out.glob("trials/[!.]*/trial.json"), *out.glob("evaluations/[!.]*/evaluation.json")]


def finished(out: Path) -> dict[Path, float]:
    """Every result on disk, all of it whole, and when it was made."""
    found = {}
    for path in results(out):
        json.loads(path.read_text())
        found[path] = path.stat().st_mtime
    for folder in (out / "trials", out / "evaluations"):
        for trial in folder.glob("[!.]*"):
            assert any(name in {f.name for f in trial.iterdir()} for name in ("trial.json", "evaluation.json"))
    return found


def figures(out: Path) -> dict[str, object]:
    results = json.loads((out / "results.json").read_text())
    return {
        contender["name"]: [
            [t[k] for k in ("seed", "hyper", "validation", "tests", "shifts")] for t in contender["trials"]
        ]
        for contender in results["contenders"]
    }


@pytest.mark.slow
def test_a_study_killed_at_random_moments_goes_on(tmp_path: Path) -> None:
    recording = tmp_path / "recording.csv"
    write_recording(recording)
    out = tmp_path / "killed"
    seen: dict[Path, float] = {}
    rng = random.Random(1)
    kills = 0
    for _ in range(60):
        process = subprocess.Popen(command(recording, out, 2), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            if kills > 1:  # the first two fall into imports, the others behind a new result
                while process.poll() is None and len(results(out)) <= len(seen):
                    time.sleep(0.02)
            process.wait(rng.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        now = finished(out) if out.exists() else {}
        assert seen.items() <= now.items(), "a finished trial was done again or lost"
        seen = now
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0, process.stderr.read().decode() if process.stderr else ""
    assert kills >= 3
    assert not list(out.rglob("*.part"))

    undisturbed = tmp_path / "undisturbed"
    subprocess.run(command(recording, undisturbed, 1), check=True, stdout=subprocess.DEVNULL)
    assert figures(out) == figures(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_being_told_to_end_stop_cleanly_and_say_so(sent: signal.Signals, tmp_path: Path) -> None:
    recording = tmp_path / "recording.csv"
    write_recording(recording)
    out = tmp_path / "study"
    process = subprocess.Popen(
        command(recording, out, 2), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 120
    while not results(out) and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip() == "Stopped. Finished work is on disk: the same command continues from there."
    finished(out)
