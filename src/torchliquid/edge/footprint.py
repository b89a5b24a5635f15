"""Measures what a model costs on a target: flash, RAM and instructions. Time is estimated."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torchliquid.edge import elf, emulator, parity
from torchliquid.edge.artifact import Artifact, over, stack_range
from torchliquid.edge.compilers import DEVICE, compile_program, write_for_programs
from torchliquid.edge.cores.mixture import MixtureCore
from torchliquid.edge.emulator import MEASURE_STACK
from torchliquid.edge.network import Network
from torchliquid.edge.targets import Target
from torchliquid.edge.text import prose
from torchliquid.errors import InputError
from torchliquid.models.description import Mixture

STEPS = 64
"""Number of samples whose instructions are counted."""


@dataclass(frozen=True)
class Footprint:
    """Costs of one model.

    Attributes:
        flash: bytes of code and constants that model_init and model_step need, and model_interval and model_truth if
            there are intervals, with everything they call.
        state, stack: bytes of the state, and of the deepest stack of model_step.
        instructions: instructions of the longest step counted; ``fewest``: of the shortest. Of a mixture whose experts
            differ in cost, the longest step calls the costliest, whether or not a sample does.
        microseconds: estimated time of a step, from the target's clock and its cycles per instruction.
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
    """The most that a model may cost: bytes of flash and of RAM, and microseconds per step. None: no limit."""

    flash: int | None = None
    ram: int | None = None
    step: float | None = None

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.flash, self.ram, self.step))

    def exceeded(self, cost: Footprint) -> list[str]:
        """What exceeds its limit and by how much, in words; empty if everything fits."""
        over = [*beyond("flash", cost.flash, self.flash), *beyond("RAM", cost.ram, self.ram)]
        time, most = cost.microseconds, self.step
        if most is not None and time > most:
            over.append(f"a step takes about {time:,.3g} µs, {time - most:,.3g} over the limit of {most:,.3g}")
        return over


def measure(artifact: Artifact, target: Target) -> Footprint:
    """Compile for the target and measure in emulation.

    Raises:
        InputError: the emulator is not installed, or the model does not fit the emulated board.
    """
    ran = _counted(artifact, target)
    costliest = _costliest(artifact, target)
    longest = ran if costliest is None else _counted(costliest, target)
    stack = int(max(each.records["stack"].max() for each in (ran, longest)))
    if stack >= stack_range(target, artifact.state_bytes):
        raise InputError(
            f"model_step needs {stack:,} bytes of stack or more, too many for {target.name}: "
            "choose a smaller model or another target"
        )
    most = max(_most(ran), _most(longest))
    microseconds = most * target.cycles / target.clock_mhz
    assert ran.instructions is not None
    # The first step is left out: it starts with a state of zeros, with which software floating point is faster.
    fewest = int(ran.instructions[1:].min(initial=most))
    return Footprint(flash(artifact, target), ran.state_bytes, stack, most, fewest, microseconds)


def _counted(artifact: Artifact, target: Target) -> emulator.Replayed:
    """The first samples, run with their instructions counted."""
    with TemporaryDirectory() as name:
        program = artifact.compile(target, Path(name))
        given, found = parity.records(artifact.walked, artifact.fields, same_state=False)
        given = given[:STEPS].copy()
        # On Linux the first call also links the library's functions. So the stack is watched from the second call on.
        given["flags"][1:4] |= MEASURE_STACK
        return emulator.replay(target, program, given, found, True, artifact.network.name)


def _most(ran: emulator.Replayed) -> int:
    assert ran.instructions is not None
    return int(ran.instructions.max())


def _costliest(artifact: Artifact, target: Target) -> Artifact | None:
    """The same with routers that call the costliest experts at every sample; None where all cost the same."""
    network = artifact.network
    if not isinstance(network, Network):
        return None
    called: dict[int, Mixture] = {}
    for i, stage in enumerate(network.stages):
        core = stage.core
        if not isinstance(core, MixtureCore) or len(alike := core.kinds_of_cost()) == 1:
            continue
        cost: dict[int, int] = {}
        for experts in alike:
            alone = network.with_cores({i: core.calling(experts[:1])})
            cost |= dict.fromkeys(experts, _most(_counted(over(artifact, alone, target), target)))
        called[i] = core.calling(sorted(cost, key=cost.__getitem__)[-core.data.top_k :])
    return over(artifact, network.with_cores(called), target) if called else None


def flash(artifact: Artifact, target: Target) -> int:
    """The flash of a model, which needs the compiler but no emulator: the size of the smallest program with the model,
    less that of the same program with an empty model."""
    with TemporaryDirectory() as made:
        folder = Path(made)
        source = write_for_programs(artifact.files, artifact.network.name, folder)
        stub = Path(shutil.copy(DEVICE / "stub.c", folder))
        sizes = []
        for each, program in ((source, folder / "with"), (stub, folder / "without")):
            compile_program(target, each, ["size.c"], program)
            sizes.append(elf.flash(program))
        return sizes[0] - sizes[1]


def beyond(name: str, value: int, limit: int | None) -> list[str]:
    """By how many bytes something exceeds its limit, in words; empty if it fits."""
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
