"""A model as C for one arithmetic: the sources, how they were chosen, and how far they are from PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from torchliquid.edge import calibrate, compilers, emulator, parity, quantize
from torchliquid.edge.generate import Field, Math, sources, state_fields
from torchliquid.edge.network import Network, describe
from torchliquid.edge.parity import Walk
from torchliquid.edge.quantize import Widths
from torchliquid.edge.targets import Target
from torchliquid.errors import InputError
from torchliquid.models import Model

ENOUGH, NEARLY = 0.01, 1.25
"""The narrowest values are chosen whose error is at most this share of the outputs' spread, or, where none are as good,
at most so many times the least error."""

CANDIDATES = (Widths(8, 8, 8), Widths(8, 8, 16), Widths(16, 8, 16), Widths(8, 16, 16), Widths(16, 16, 16))
"""From the narrowest on."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """The C of a model.

    Attributes:
        files: the header and the source.
        fields: of the state.
        widths: of int8; None in single precision.
        errors: of each choice of widths that was tried, the root mean square of the outputs' difference from PyTorch
            running free, in standard deviations of the output.
    """

    model: Model
    network: Network
    math: Math
    files: dict[str, str]
    fields: list[Field]
    walked: Walk
    widths: Widths | None = None
    errors: dict[Widths, float] = field(default_factory=dict)

    @property
    def arithmetic(self) -> str:
        return "Single precision." if self.widths is None else f"In integers: {self.widths.words}."

    @property
    def state_bytes(self) -> int:
        return sum(f.size for f in self.fields)

    def write(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).write_text(content, encoding="utf-8")

    def run(self, target: Target | None, same_state: bool, steps: int | None = None) -> emulator.Replayed:
        """Compile for a target, None being this machine, and step through the samples there."""
        with TemporaryDirectory() as name:
            program = self.compile(target, Path(name))
            given, found = parity.records(self.walked, self.fields, same_state)
            return emulator.replay(target, program, given[:steps], found)

    def compile(self, target: Target | None, folder: Path) -> Path:
        """The replay program."""
        self.write(folder)
        compilers.name_for_programs(self.network.name, folder)
        program = folder / "replay"
        bare = target is not None and target.bare
        defines = [f"-DSTACK_RANGE={stack_range(target, self.state_bytes)}"]
        source = folder / f"{self.network.name}.c"
        compilers.compile_program(
            target, source, ["replay.c"] if bare else ["replay.c", "io_hosted.c"], program, defines
        )
        return program


def stack_range(target: Target | None, state: int) -> int:
    """How many bytes of stack are watched: what a small board's RAM leaves beside the program's own variables, three
    copies of the ``state`` of so many bytes among them.

    Raises:
        InputError: that leaves too little.
    """
    if target is None or not target.ram or target.ram >= 64:
        return 65536
    left = 1024 * target.ram - 3 * state - 3072
    if left < 1024:
        raise InputError(f"a state of {state:,} bytes is too large to be measured in {target.name}'s {target.ram} KB")
    return min(8192, left)


def make(
    model: Model,
    target: Target,
    math: Math,
    int8: bool,
    samples: tuple[np.ndarray, np.ndarray, np.ndarray],
    network: Network | None = None,
) -> Artifact:
    """The C of a model for a target.

    Args:
        samples: of :mod:`torchliquid.edge.parity`: what int8 is scaled by, and all is checked on.

    Raises:
        InputError: the network is one that no generator knows, or that int8 cannot hold.
    """
    network = network or describe(model)
    walked = parity.walk(model, *samples, network.limits)
    if not int8:
        files = sources(network, math, target.layout)
        return Artifact(model, network, math, files, state_fields(network, "float", "float"), walked)
    seen = calibrate.ranges(model, network, walked)
    tried: dict[Widths, Artifact] = {}
    errors: dict[Widths, float] = {}
    for widths in CANDIDATES:
        if widths.hidden == 16 and not seen.hidden:
            continue  # nothing hidden: the same as one before
        formats = quantize.formats(network, seen, widths)
        fields = quantize.fields_int8(network, widths)
        files = quantize.sources_int8(network, formats, math)
        tried[widths] = Artifact(model, network, math, files, fields, walked, widths)
        errors[widths] = root_mean_square(walked, tried[widths].run(None, same_state=False))
    least = min(errors.values())
    chosen = next(widths for widths in tried if errors[widths] <= max(ENOUGH, NEARLY * least))
    one = tried[chosen]
    return Artifact(model, network, math, one.files, one.fields, walked, chosen, errors)


def root_mean_square(walked: Walk, found: emulator.Replayed) -> float:
    """Of the outputs' difference from PyTorch, in their spread; the largest of all."""
    error = np.sqrt(np.square(found.records["outputs"] - walked.outputs).mean(0))
    return float((error / walked.spread).max())


def check_parity(artifact: Artifact, target: Target | None, same_state: float) -> float:
    """The largest difference of a step in single precision, in standard deviations of the output.

    Raises:
        InputError: it is larger than ``same_state``.
    """
    difference = parity.largest_difference(artifact.walked, artifact.run(target, same_state=True))
    if not difference <= same_state:
        raise InputError(
            f"the exported C differs from the model by {difference:.2g} of an output's spread "
            f"{'on this machine' if target is None else 'on ' + target.name}, more than {same_state:g}: not exported"
        )
    return difference
