"""Training and scoring on a device other than the CPU: on one that is pretended, since a test has no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from torchliquid import InputError, fit
from torchliquid.data import Recording

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not hasattr(torch._C, "_acc"), reason="this PyTorch registers no device of Python's making"
)


def run(*more: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["tests/training/on_a_device.py", *more]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_whatever_is_trained_and_scored_there_is_what_it_is_here() -> None:
    run("-m", "not slow")


@pytest.mark.slow
def test_every_kind_there() -> None:
    run("-m", "slow")


def test_a_device_that_is_not_there_is_one_line() -> None:
    recording = Recording.from_arrays([[[0.0]] * 40], None, [[0.0, 1.0] * 20])
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(InputError, match=f"this machine has no device '{absent}'"):
        fit(recording, device=absent)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "table.csv", "--target", "y", "--out", "model.safetensors"],
        ["assess", "table.csv", "--target", "y"],
        ["reproduce", "occupancy"],
    ],
)
@pytest.mark.parametrize(("device", "said"), [("gpu", "is not a device"), ("cuda:99", "device 'cuda:99'")])
def test_a_command_says_so_before_it_reads_or_writes(
    command: list[str], device: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "table.csv").write_text("not read\n")
    done = subprocess.run(
        [sys.executable, "-m", "torchliquid", *command, "--device", device],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr.replace("\n", " ")
    assert not done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
