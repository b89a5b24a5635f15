"""Systems that are not this one: Python without what only Unix has, and the kernels compiled for Windows and macOS."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.needed import NO_KERNELS, needs
from torchliquid.backends import native
from torchliquid.edge import compilers

ROOT = Path(__file__).parents[1]

AS_ON_WINDOWS = """
import builtins, multiprocessing, multiprocessing.context as contexts, os, signal, sys

def ours():
    return sys._getframe(2).f_globals.get("__name__", "").startswith("torchliquid")

def without_unix(name, *rest, found=builtins.__import__, **more):
    if name in {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"} and ours():
        raise ModuleNotFoundError(f"No module named {name!r}")
    return found(name, *rest, **more)

def files_only(path, *rest, found=os.open, **more):
    if os.path.isdir(path) and ours():
        raise PermissionError(13, "Permission denied", path)
    return found(path, *rest, **more)

for name in ("SIGALRM", "SIGHUP", "SIGUSR1", "alarm", "pthread_sigmask", "sigpending", "sigwait"):
    delattr(signal, name)
for name in ("mkfifo", "nice", "wait3"):
    delattr(os, name)
builtins.__import__, os.open = without_unix, files_only
for method in ("fork", "forkserver"):
    del contexts._concrete_contexts[method]
contexts.DefaultContext.get_all_start_methods = lambda self: ["spawn"]
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""
"""What only Unix has, gone for the package, not for those that it stands on; a folder cannot be opened."""

JOB = """
import pkgutil
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import torchliquid
from torchliquid.cli import app

try:
    exec("import fcntl", {"__name__": "torchliquid.files"})
    raise SystemExit("fcntl is there")
except ModuleNotFoundError:
    pass

if __name__ == "__main__":
    for module in pkgutil.walk_packages(torchliquid.__path__, "torchliquid."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    t = np.arange(400.0)
    x = np.sin(t / 5)
    pl.DataFrame({"t": t, "x": x, "y": x**2}).write_csv("plant.csv")
    small = "--seeds 1 --tuning 1 --epochs 1 --contender cfc --contender linear --jobs 2 --out study"
    for line in (
        "train plant.csv --target y --time t --epochs 1 --out m.safetensors",
        "predict m.safetensors plant.csv --out answers.csv",
        "export m.safetensors --out device",
        "export m.safetensors --out device",
        f"assess plant.csv --target y --time t {small}",
    ):
        done = app(line.split(), standalone_mode=False)
        assert not done, (line, done)
    for name in ("answers.csv", "device/m.c", "study/report.html"):
        assert Path(name).stat().st_size > 1000, name
    left = [path for path in Path().rglob(".*") if path.name != ".lock"]
    assert not left, left
    assert not Path("device/.lock").exists()
"""


def test_the_main_job_without_what_only_unix_has(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(AS_ON_WINDOWS + JOB)
    done = subprocess.run([sys.executable, "job.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


AVX512 = "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma"
HERE, WINDOWS, MACOS = "", "x86_64-windows-gnu", "aarch64-macos"
SETS = {
    HERE: {"avx512": AVX512, "avx2": "-mavx2 -mfma", "plain": ""},
    WINDOWS: {"avx512": "-mcpu=x86_64_v4", "avx2": "-mcpu=x86_64_v3", "plain": ""},
    MACOS: {"neon": "", "plain": ""},
}
"""By system, as zig names it: the kernels' instruction sets, with what tells its compiler of them."""


def compiler(system: str) -> list[str]:
    zig = [sys.executable, "-m", "ziglang", "c++", "-target", system, "-Wall", "-Werror"]
    return zig if system else ["c++", "-pthread"]


def compiled(system: str, folder: Path) -> list[Path]:
    """The kernels, and the program that runs them, as object files."""
    folder.mkdir()
    source, objects = ROOT / "native", []
    options = [*compiler(system), "-std=c++17", "-O1", "-Wno-psabi"]
    for name, machine in SETS[system].items():
        objects.append(folder / f"{name}.o")
        kernels = ["-ffp-contract=fast", "-fno-math-errno", *machine.split(), f"-DTORCHLIQUID_ISA={name}"]
        compilers.run([*options, *kernels, "-c", source / "kernels.cc", "-o", objects[-1]])
    for file in (ROOT / "tests/kernels/everywhere.cc", source / "dispatch.cc"):
        objects.append(folder / f"{file.stem}.o")
        compilers.run([*options, "-c", file, "-o", objects[-1]])
    return objects


def answers(*command: str | Path) -> dict[str, np.ndarray]:
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: np.array(line.split()[1:], dtype=float) for line in said.splitlines()}


@pytest.mark.slow
def test_the_kernels_are_the_same_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("g++", "wine")
    for system, program in (WINDOWS, tmp_path / "program.exe"), (HERE, tmp_path / "program"):
        compilers.run([*compiler(system), *compiled(system, tmp_path / f"for {program.name}"), "-o", program])
    monkeypatch.setenv("WINEPREFIX", str(tmp_path / "wine"))
    monkeypatch.setenv("WINEDEBUG", "-all")
    here, there = answers(tmp_path / "program"), answers("wine", tmp_path / "program.exe")
    assert tuple(here) == tuple(there) == native.instruction_sets()
    for name in here:
        assert there[name] == pytest.approx(here[name], rel=1e-4, abs=1e-5), name


@pytest.mark.slow
def test_the_kernels_compile_for_macos(tmp_path: Path) -> None:
    for file in compiled(MACOS, tmp_path / "objects"):
        assert file.read_bytes()[:4] == b"\xcf\xfa\xed\xfe"  # Mach-O


@pytest.mark.skipif(not native.available(), reason=NO_KERNELS)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="not an x86-64 processor")
def test_instruction_sets_are_those_that_linux_reports() -> None:
    (flags,) = {*re.findall(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)}
    wanted = {"avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl"}, "avx2": {"avx2", "fma"}, "plain": set()}
    assert native.instruction_sets() == tuple(name for name in wanted if wanted[name] <= {*flags.split()})
