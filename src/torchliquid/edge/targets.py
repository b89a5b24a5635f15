"""The machines that a model can be exported for: how to compile for each, and what runs it here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torchliquid.data.columns import nearest
from torchliquid.edge.cores.core import Layout
from torchliquid.edge.generate import Math
from torchliquid.errors import InputError


@dataclass(frozen=True)
class Target:
    """One machine.

    Attributes:
        words: a description.
        triple, cpu: as ``zig cc`` names them; empty if the target is not compiled for one machine.
        optimize: compiler option; for size on small machines.
        emulator: the program that runs it here; empty: this machine itself.
        board: QEMU's name of a board without an operating system; empty for Linux.
        flash, ram: of that board, in KiB.
        clock_mhz, cycles: a usual clock and cycles per instruction, assumed in estimated times.
    """

    name: str
    words: str
    math: Math
    layout: Layout
    triple: str = ""
    cpu: str = ""
    optimize: str = "-O2"
    emulator: str = ""
    board: str = ""
    flash: int = 0
    ram: int = 0
    clock_mhz: float = 0.0
    cycles: float = 0.0

    @property
    def bare(self) -> bool:
        """Whether it has no operating system, and so no library with expf and tanhf here."""
        return bool(self.board)

    @property
    def assumption(self) -> str:
        """The assumption behind its estimated times."""
        return f"{self.clock_mhz:g} MHz and {self.cycles:g} cycles per instruction"


def _linux(name: str, words: str, triple: str, cpu: str, mhz: float, cycles: float) -> Target:
    emulator = f"qemu-{triple.partition('-')[0]}"
    return Target(name, words, "libm", "columns", triple, cpu, "-O3", emulator, clock_mhz=mhz, cycles=cycles)


def _cortex(name: str, words: str, cpu: str, board: str, ram: int, mhz: float, cycles: float) -> Target:
    triple = "thumb-freestanding-eabi" if name == "cortex-m0" else "thumb-freestanding-eabihf"
    flash = 256 if name == "cortex-m0" else 4096
    return Target(name, words, "builtin", "rows", triple, cpu, "-Os", "qemu-system-arm", board, flash, ram, mhz, cycles)


RISCV = "RISC-V, 32 bits, no floating-point unit (RV32IMAC)"
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("c99", "any C99 compiler", "libm", "columns", optimize="-O3"),
        _linux("linux-x86_64", "Linux on a PC", "x86_64-linux-musl", "x86_64_v2", 2000, 0.5),
        _linux("raspberry-pi", "Raspberry Pi 3 or later, 64 bits", "aarch64-linux-musl", "cortex_a53", 1200, 1),
        _linux("raspberry-pi-zero", "Raspberry Pi Zero or 1", "arm-linux-musleabihf", "arm1176jzf_s", 1000, 1.5),
        _cortex("cortex-m0", "Cortex-M0, no floating-point unit", "cortex_m0", "microbit", 16, 16, 1.5),
        _cortex("cortex-m4", "Cortex-M4 with floating-point unit", "cortex_m4+vfp4d16sp", "mps2-an386", 4096, 64, 1.4),
        _cortex(
            "cortex-m7", "Cortex-M7 with floating-point unit", "cortex_m7+fp_armv8d16sp", "mps2-an500", 4096, 216, 1
        ),
        replace(
            _linux("riscv32", RISCV, "riscv32-linux-musl", "generic_rv32+m+a+c", 160, 1.5),
            math="builtin",
            layout="rows",
            optimize="-Os",
        ),
        Target("onnx", "ONNX Runtime and others", "libm", "columns"),
        Target("web", "a page that runs it in a browser", "builtin", "columns"),
    )
}


def find(name: str) -> Target:
    """The target of this name.

    Raises:
        InputError: there is none.
    """
    if name not in TARGETS:
        raise InputError(f"there is no target {name!r}; {nearest(name, TARGETS)}")
    return TARGETS[name]
