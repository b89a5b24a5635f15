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
    run("tests/kernels/interpret.py", kind, "20" if kind == "cfc" else "8", interpreted=True)


def test_all_samples_at_once_agree_with_one_after_the_other() -> None:
    pytest.importorskip("triton")
    run("tests/kernels/interpret.py", "linear", "12", interpreted=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_over_many_more_shapes(kind: str) -> None:
    pytest.importorskip("triton")
    run("tests/kernels/interpret.py", kind, "100", interpreted=True)


SPILLS = """
from benchmarks.gpu_resources import layers, resources
for name in ({names}):
    found = resources(layers()[name], {capability})
    assert found and not any(one.spilled for one in found), (name, found)
    print(name, len(found))
"""


def test_no_register_spills_on_an_h100() -> None:
    pytest.importorskip("triton")
    names = "'LTC(8, 64), mixed memory', 'CfC(8, 64)', 'all samples at once, Jacobians of 64 units'"
    said = run("-c", SPILLS.format(names=names, capability=90), interpreted=False)
    assert said == "LTC(8, 64), mixed memory 5\nCfC(8, 64) 2\nall samples at once, Jacobians of 64 units 1\n"


def test_a_backbone_of_two_layers_compiles_for_an_h100() -> None:
    pytest.importorskip("triton")
    code = "from benchmarks.gpu_resources import _step, resources; from torchliquid.layers import CfC; "
    code += "print(*(one.kernel for one in resources(lambda: _step(CfC(8, 16, backbone_layers=2), False), 90)))"
    assert run("-c", code, interpreted=False) == "cfc_forward cfc_backward\n"


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_no_register_spills_in_any_kernel_of_64_units(capability: int) -> None:
    pytest.importorskip("triton")
    run("-c", SPILLS.format(names="*layers(),", capability=capability), interpreted=False)


@pytest.mark.slow
def test_the_benchmark_holds_every_layer_against_the_cpu_and_times_it() -> None:
    pytest.importorskip("triton")
    code = "import triton; from benchmarks import gpu; print(gpu.page('cpu', small=True))"
    page = run("-c", code, interpreted=True)
    assert all(name in page for name in ("LTC(8, 100)", "CTGRU(8, 32)", "nn.LSTM of", "ncps", "this, on the CPU"))


def test_takes_what_is_on_an_nvidia_gpu_alone() -> None:
    x = torch.ones(2)
    assert not triton.supports(x)
    assert backends.chosen(None, [x]) is not triton
    assert backends.chosen() is not triton
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
