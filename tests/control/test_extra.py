"""What is missing of the extra is named in one line, with the command that installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

INSTALL = "pip install 'torchliquid[control]'"


@pytest.mark.parametrize(
    ("missing", "use", "says"),
    [
        ("gymnasium", "torchliquid.control", "tl.control needs Gymnasium, MuJoCo and Minari"),
        ("mujoco", "torchliquid.control.evaluate(print, 'torchliquid/FlyToTarget-v0', 1)", "FlyToTarget needs MuJoCo"),
        ("minari", "torchliquid.control.demonstrations('flights')", "demonstrations need Minari"),
    ],
)
def test_a_package_that_is_missing(missing: str, use: str, says: str) -> None:
    if missing != "gymnasium":
        pytest.importorskip("gymnasium")
    code = f"import sys; sys.modules[{missing!r}] = None; import torchliquid; {use}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"torchliquid.errors.InputError: {says}: {INSTALL}"
