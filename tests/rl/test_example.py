"""PPO without a library, as the example has it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch

EXAMPLE = Path(__file__).parents[2] / "examples/ppo.py"


def run(folder: Path, *options: str) -> list[float]:
    """Mean steps of an episode after each update."""
    command = [sys.executable, str(EXAMPLE), "--out", str(folder / "ppo.pt"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(found) for found in re.findall(r"update \d+: (\d+) steps an episode", done.stdout)]


def test_the_example_runs_and_changes_every_weight(tmp_path: Path) -> None:
    small = ("--environments", "4", "--steps", "32", "--units", "8", "--passes", "1")
    assert len(run(tmp_path, "--updates", "1", "--lr", "0", *small)) == 1
    before = torch.load(tmp_path / "ppo.pt", weights_only=True)
    assert len(run(tmp_path, "--updates", "2", *small)) == 2
    after = torch.load(tmp_path / "ppo.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in after.values())
    assert all(not torch.equal(value, before[name]) for name, value in after.items() if value.is_floating_point())
