"""Compiles the generated C: for this machine by its own compiler, for every target by zig."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from torchliquid.edge.targets import Target
from torchliquid.errors import InputError
from torchliquid.files import cache_folder

DEVICE = Path(__file__).parent / "device"
"""C that runs on the device beside the model: replay, files, start-up."""

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
"""Compiler options for the generated C, the same on every target."""

LEAN = ("-ffunction-sections", "-fdata-sections", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-g")


def has_zig() -> bool:
    """Whether ziglang is installed. Compiling for other machines needs it."""
    return importlib.util.find_spec("ziglang") is not None


@cache
def zig() -> list[str]:
    """The command of ``zig cc``.

    Raises:
        InputError: ziglang is not installed.
    """
    if not has_zig():
        raise InputError("compiling for other machines needs ziglang: pip install 'torchliquid[edge]'")
    return [sys.executable, "-m", "ziglang", "cc"]


@cache
def host() -> list[str]:
    """A C compiler for this machine: cc, gcc or clang, otherwise zig.

    Raises:
        InputError: there is none.
    """
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    if not has_zig():
        raise InputError("an export is checked by a C compiler: apt-get install gcc, or pip install ziglang")
    return zig()


@cache
def _zig_cache() -> str:
    """A folder for zig's cache. Without one that it can write to, zig fails or hangs."""
    if given := os.environ.get("ZIG_GLOBAL_CACHE_DIR"):
        return given
    try:
        folder = cache_folder() / "zig"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return str(folder)
    except (InputError, OSError):
        pass
    return str(temporary_folder("torchliquid-zig-"))


def temporary_folder(prefix: str) -> Path:
    """A new folder, removed when the process ends."""
    folder = tempfile.mkdtemp(prefix=prefix)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def run(command: Sequence[str | Path], folder: Path | None = None) -> None:
    """Run a compiler.

    Raises:
        InputError: it failed; the message quotes its first complaint.
    """
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": _zig_cache()} if "ziglang" in command else None
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        lines = done.stderr.splitlines() or ["no message"]
        if "will not fit in region" in done.stderr:
            raise InputError("the model is too large for the emulated board; choose another target or --quantize int8")
        complaint = next((line for line in lines if "error" in line), lines[0])
        name = "zig" if "ziglang" in command else Path(str(command[0])).name
        raise InputError(f"{name} could not compile the generated C: {complaint}")


def write_for_programs(files: Mapping[str, str], name: str, folder: Path) -> Path:
    """Write a model's C, and a header that gives its names, whatever they are, the fixed names that parts of
    :data:`DEVICE` use. Returns the path of the source."""
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")
    lines = [f'#include "{name}.h"']
    if name != "model":
        lines += [f"#define model_{what} {name}_{what}" for what in ("state", "init", "step", "interval", "truth")]
        lines += [f"#define MODEL_{what} {name.upper()}_{what}" for what in ("INPUTS", "OUTPUTS")]
        for what in ("LEVEL", "RECENT"):
            own = f"{name.upper()}_{what}"
            lines += [f"#ifdef {own}", f"#define MODEL_{what} {own}", "#endif"]
    (folder / "under_test.h").write_text("\n".join([*lines, ""]))
    return folder / f"{name}.c"


def compile_program(
    target: Target | None, source: Path, parts: Sequence[str], out: Path, defines: Sequence[str] = ()
) -> None:
    """Compile a program from the model's C and parts of :data:`DEVICE`.

    Args:
        target: None: this machine, with its own compiler.
        source: the model's C file or a stub, beside the header that :func:`write_for_programs` writes.
        parts: names of C files in :data:`DEVICE`.
        out: path of the program.
        defines: further arguments for the compiler.
    """
    header = f"-I{source.parent}"
    command = [*(host() if target is None else zig()), *arguments(target), *LEAN, header, f"-I{DEVICE}", *defines]
    # The model is compiled separately: the rest is GNU C, and nothing of the model may be inlined into it.
    object_file = out.with_suffix(".model.o")
    run([*command, *STRICT, "-c", source, "-o", object_file])
    link = ["-lm"]
    if target is not None and target.bare:
        script = out.with_suffix(".ld")
        script.write_text(
            f"MEMORY\n{{\n    flash (rx) : ORIGIN = 0, LENGTH = {target.flash}K\n"
            f"    ram (rwx) : ORIGIN = 0x20000000, LENGTH = {target.ram}K\n}}\n" + (DEVICE / "cortex_m.ld").read_text()
        )
        parts = [*parts, "cortex_m.c"]
        link = ["-nostdlib", "-rtlib=compiler-rt", "-T", str(script), "-Wl,--entry=reset"]
    elif target is not None:
        link = ["-static", "-fno-PIE", *link]
    files = [DEVICE / part for part in parts]
    run([*command, "-std=gnu99", "-Wl,--gc-sections", object_file, *files, "-o", out, *link])


def arguments(target: Target | None) -> list[str]:
    """Options for the machine and the optimisation."""
    if target is None:
        return ["-O2"]
    return ["-target", target.triple, f"-mcpu={target.cpu}", target.optimize]
