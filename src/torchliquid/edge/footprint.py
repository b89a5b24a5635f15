"""What a model costs on a target: flash, RAM and instructions, measured, and time, estimated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torchliquid.edge import elf, emulator, parity
from torchliquid.edge.artifact import Artifact, stack_range
from torchliquid.edge.compilers import DEVICE, compile_program, name_for_programs
from torchliquid.edge.emulator import MEASURE_STACK
from torchliquid.edge.targets import Target
from torchliquid.edge.text import prose
from torchliquid.errors import InputError

STEPS = 64
"""Samples whose instructions are counted."""


@dataclass(frozen=True)
class Footprint:
    """Costs of one model.

    Attributes:
        flash: bytes of code and constants that model_init and model_step need, with all they call.
        state, stack: bytes of the state, and of the deepest stack of model_step.
        instructions: of a step, the most of those counted; ``fewest`` the least.
        microseconds: of a step at the target's clock, by the target's cycles an instruction: an estimate.
    """

    flash: int
    state: int
    stack: int
    instructions: int
    fewest: int
    microseconds: float

    @property
    def ram(self) -> int:
        return self.state + self.stack

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ram": self.ram}


@dataclass(frozen=True)
class Limits:
    """What a step may cost at most: bytes of flash and RAM, microseconds. None: anything."""

    flash: int | None = None
    ram: int | None = None
    step: float | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.flash, self.ram, self.step))

    def exceeded(self, cost: Footprint) -> list[str]:
        """What is over and by how much, in words; empty where all fits."""
        over = [*beyond("flash", cost.flash, self.flash), *beyond("RAM", cost.ram, self.ram)]
        if self.step is not None and cost.microseconds > self.step:
            excess = cost.microseconds - self.step
            over.append(
                f"a step takes about {cost.microseconds:,.3g} µs, {excess:,.3g} over the limit of {self.step:,.3g}"
            )
        return over


def measure(artifact: Artifact, target: Target) -> Footprint:
    """Compile for the target, and count while it runs in emulation.

    Raises:
        InputError: the emulator is not installed, or the model does not fit the board that is emulated.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        program = artifact.compile(target, folder)
        given, found = parity.records(artifact.walked, artifact.fields, same_state=False)
        given = given[:STEPS].copy()
        # The first call on Linux also links the library's functions, once: the stack is watched from the second on.
        given["flags"][1:4] |= MEASURE_STACK
        ran = emulator.replay(target, program, given, found, True, artifact.network.name)
        flash = _flash(target, artifact.network.name, folder)
    counts = ran.instructions
    assert counts is not None
    stack = int(ran.records["stack"].max())
    if stack >= stack_range(target, artifact.state_bytes):
        raise InputError(f"model_step needs {stack:,} bytes of stack or more: too many for {target.name}")
    most = int(counts.max())
    microseconds = most * target.cycles / target.clock_mhz
    # The first step finds a state of zeros, with which software floating point is quicker: it tells nothing.
    return Footprint(flash, ran.state_bytes, stack, most, int(counts[1:].min(initial=most)), microseconds)


def flash(artifact: Artifact, target: Target) -> int:
    """Its flash alone, which needs the compiler and no emulator."""
    with TemporaryDirectory() as folder:
        artifact.write(Path(folder))
        name_for_programs(artifact.network.name, Path(folder))
        return _flash(target, artifact.network.name, Path(folder))


def _flash(target: Target, name: str, folder: Path) -> int:
    """The least program with the model, less the same with a model that does nothing."""
    stub = folder / "stub.c"
    stub.write_text((DEVICE / "stub.c").read_text())
    sizes = []
    for source, program in ((folder / f"{name}.c", "with"), (stub, "without")):
        compile_program(target, source, ["size.c"], folder / program)
        sizes.append(elf.flash(folder / program))
    return sizes[0] - sizes[1]


def beyond(name: str, value: int, limit: int | None) -> list[str]:
    """By how many bytes something is over its limit, in words; empty where it fits."""
    if limit is None or value <= limit:
        return []
    return [f"{name} is {value:,} bytes, {value - limit:,} over the limit of {limit:,}"]


HEAD = ("model", "flash, bytes", "RAM, bytes (state + stack)", "instructions a step", "about µs a step")


def rows(costs: dict[str, Footprint]) -> list[tuple[str, ...]]:
    """Models side by side, as text under :data:`HEAD`."""
    found: list[tuple[str, ...]] = []
    for name, cost in costs.items():
        fewest = "" if cost.fewest == cost.instructions else f"{cost.fewest:,} to "
        ram = f"{cost.ram:,} ({cost.state:,} + {cost.stack:,})"
        spread = f"{fewest}{cost.instructions:,}"
        found.append((name, f"{cost.flash:,}", ram, spread, f"{cost.microseconds:,.1f}"))
    return found


def table(costs: dict[str, Footprint]) -> str:
    """The same as Markdown."""
    head, *others = (f"| {' | '.join((prose(name), *figures))} |" for name, *figures in (HEAD, *rows(costs)))
    return "\n".join([head, "|---" * len(HEAD) + "|", *others])
