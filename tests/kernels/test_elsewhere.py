"""The kernels compiled for another processor and run in emulation, against this one's plain variant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.needed import needs

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "native"


def results(compiler: list[str], sets: list[str], runner: list[str], folder: Path) -> np.ndarray:
    """What the first of these instruction sets computes; all are compiled and linked."""
    flags = ["-std=c++17", "-O2", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi"]
    objects = []
    for name in sets:
        objects.append(str(folder / f"{name}.o"))
        define = f"-DTORCHLIQUID_ISA={name}"
        vectors = {
            "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
            "avx2": ["-mavx2", "-mfma"],
        }
        command = [*compiler, *flags, *vectors.get(name, []), define, "-c", str(NATIVE / "kernels.cc")]
        subprocess.run([*command, "-o", objects[-1]], check=True)
    program = folder / "program"
    link = [*compiler, *flags, str(HERE / "elsewhere.cc"), str(NATIVE / "dispatch.cc"), *objects]
    subprocess.run([*link, "-pthread", "-o", str(program)], check=True)
    done = subprocess.run([*runner, str(program), sets[0]], stdout=subprocess.PIPE, check=True)
    return np.frombuffer(done.stdout, np.float32)


@pytest.mark.slow
def test_neon_in_emulation(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="zig compiles for AArch64")
    needs("qemu-aarch64")
    folders = [tmp_path / name for name in ("here", "there")]
    for folder in folders:
        folder.mkdir()
    zig = [sys.executable, "-m", "ziglang", "c++", "-target", "aarch64-linux-musl", "-static"]
    neon = results(zig, ["neon", "plain"], ["qemu-aarch64"], folders[0])
    plain = results(["g++"], ["plain", "avx512", "avx2"], [], folders[1])
    assert len(neon) == len(plain) > 100_000
    assert np.isfinite(neon).all()
    assert np.abs(neon - plain).max() < 1e-4 * np.abs(plain).max()
    assert np.median(np.abs(neon - plain)) < 1e-6
