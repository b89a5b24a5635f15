"""Runs a compiled replay program: on this machine, or in QEMU, where instructions can be counted."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from torchliquid.edge import elf
from torchliquid.edge.compilers import DEVICE, has_zig, host, run, temporary_folder
from torchliquid.edge.generate import Field
from torchliquid.edge.targets import Target
from torchliquid.errors import InputError

RESET, SET_STATE, MEASURE_STACK = 1, 2, 4

QEMU = "apt-get install qemu-user qemu-system-arm"

LIMIT = 600
"""Time limit of a program in seconds."""


@dataclass(frozen=True)
class Replayed:
    """A program's answers to its records."""

    state_bytes: int
    records: np.ndarray  # status, faults, stack, outputs, state
    instructions: np.ndarray | None  # per step


def first_member(fields: list[Field]) -> str:
    """The first of what a step remembers, behind what it is fed."""
    return next(field.name for field in fields if field.name not in ("features", "last"))


def record_types(inputs: int, outputs: int, fields: list[Field]) -> tuple[np.dtype, np.dtype]:
    """The record types that replay.c reads and writes. The state has the struct's members from
    :func:`first_member` to the one before ``faults``."""
    # The members are in the struct's order, after the features.
    whole = np.dtype([(f.name, f.dtype, (f.length,) if f.length else ()) for f in fields], align=True)
    assert whole.names is not None
    assert whole.fields is not None
    kept = whole.names[whole.names.index(first_member(fields)) : whole.names.index("faults")]
    members = [whole.fields[name][:2] for name in kept]
    first, end = members[0][1], whole.fields["faults"][1]
    state = np.dtype(
        {
            "names": list(kept),
            "formats": [form for form, _ in members],
            "offsets": [at - first for _, at in members],
            "itemsize": end - first,
        }
    )
    given = [("flags", "<u4"), ("state", state), ("inputs", "<f4", (inputs,)), ("elapsed", "<f4")]
    words = [("status", "<u4"), ("faults", "<u4"), ("stack", "<u4")]
    found = [*words, ("outputs", "<f4", (outputs,)), ("state", state)]
    return np.dtype(given, align=True), np.dtype(found, align=True)


def can_measure() -> bool:
    """Whether programs for other machines can be compiled here and measured."""
    return has_zig() and elf.can_read()


def missing(target: Target) -> str:
    """The command that installs what is missing to compile for this target and run it here; empty if nothing is."""
    commands = []
    if target.triple and not can_measure():
        commands.append("pip install 'torchliquid[edge]'")
    if target.emulator and shutil.which(target.emulator) is None:
        commands.append(QEMU)
    return " && ".join(commands)


def replay(
    target: Target | None, program: Path, records: np.ndarray, found: np.dtype, count: bool = False, name: str = "model"
) -> Replayed:
    """Run a program on records.

    Args:
        target: None: this machine.
        program: compiled from ``replay.c``.
        records: records of the first type of :func:`record_types`.
        found: the second type.
        count: count the instructions of each step too, in QEMU.
        name: name of the model.

    Raises:
        InputError: the emulator is not installed, or the program failed.
    """
    with TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "in.bin").write_bytes(records.tobytes())
        counts = folder / "counts"
        command = _command(target, program)
        if count and target is not None:
            at = elf.symbols(program)
            where = f"from={at[f'{name}_step'] & ~1:#x},to={at['after_step'] & ~1:#x},out={counts}"
            command[1:1] = ["-plugin", f"{counter()},{where}"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False)
        except subprocess.TimeoutExpired:
            raise InputError(f"{command[0]} did not finish within {LIMIT} s") from None
        out = folder / "out.bin"
        if done.returncode or not out.exists():
            raise InputError(f"the exported program failed in {command[0]}: {done.stderr.strip()[:200] or 'no output'}")
        data = out.read_bytes()
        instructions = np.loadtxt(counts, dtype=np.int64, ndmin=1) if count and target is not None else None
    answers = np.frombuffer(data, dtype=found, offset=4)
    if len(answers) != len(records):
        raise InputError(f"the exported program stopped after {len(answers)} of {len(records)} samples")
    return Replayed(int.from_bytes(data[:4], "little"), answers, instructions)


def _command(target: Target | None, program: Path) -> list[str]:
    if target is None or not target.emulator:
        return [str(program)]
    if shutil.which(target.emulator) is None:
        raise InputError(f"{target.name} needs {target.emulator} here, which is not installed: {QEMU}")
    if not target.bare:
        return [target.emulator, str(program)]
    board = ["-M", target.board, "-nographic", "-monitor", "none", "-serial", "none"]
    return [target.emulator, *board, "-semihosting-config", "enable=on,target=native", "-kernel", str(program)]


@cache
def counter() -> Path:
    """The counting plugin, compiled for the installed QEMU."""
    emulator = next((e for e in ("qemu-system-arm", "qemu-arm", "qemu-aarch64") if shutil.which(e)), None)
    if emulator is None:
        raise InputError(f"counting instructions needs QEMU: {QEMU}")
    version = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=True).stdout
    major = int(re.search(r"version (\d+)", version)[1])  # type: ignore[index]
    plugin = temporary_folder("torchliquid-") / "count.so"
    interface = 1 if major < 9 else 2  # QEMU_PLUGIN_VERSION in that version's qemu-plugin.h, or one that it accepts
    run([*host(), "-shared", "-fPIC", "-O2", f"-DVERSION={interface}", DEVICE / "count.c", "-o", plugin])
    return plugin
