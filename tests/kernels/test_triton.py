"""The Triton kernels: their numbers by the interpreter, and what they take of a GPU's chip, on machines without one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.helpers.recurrences import KINDS

from torchliquid import InputError, backends
from torchliquid.backends import triton
from torchliquid.cells import CTGRU

ROOT = Path(__file__).parents[2]


def run(*command: str, interpreted: bool) -> str:
    environment = {**os.environ, "TRITON_INTERPRET": "1" if interpreted else "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_reference_in_double_precision(kind: str) -> None:
    pytest.importorskip("triton")
    run("tests/kernels/interpret.py", kind, "15", interpreted=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_over_many_more_shapes(kind: str) -> None:
    pytest.importorskip("triton")
    run("tests/kernels/interpret.py", kind, "300", interpreted=True)


def test_takes_what_is_on_an_nvidia_gpu_alone() -> None:
    x = torch.ones(2)
    assert not triton.supports(x)
    assert backends.chosen(None, [x]) is not triton
    if triton.available():
        with backends.use("triton"), pytest.raises(InputError, match="on an NVIDIA GPU"):
            backends.chosen(None, [x])
    else:
        with pytest.raises(InputError, match="torchliquid\\[gpu\\]"):
            backends.use("triton")


def test_what_no_kernel_takes_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    x = torch.ones(2, device="meta")
    backends.table._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert backends.chosen(CTGRU(x, x, x, x, 1), [x]) is backends.reference
    assert sum("on meta run by the PyTorch reference" in r.message for r in caplog.records) == 1


def test_importing_the_package_imports_no_triton() -> None:
    code = (
        "import sys, torch; from torchliquid.layers import CfC; CfC(2, 3)(torch.ones(1, 2, 2))[0].sum().backward()\n"
        "assert not any(m.split('.')[0] == 'triton' for m in sys.modules), 'triton'"
    )
    run("-c", code, interpreted=False)
