"""The generated C of a model: its sources, its integer widths, and how far its outputs are from PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from torchliquid.edge import calibrate, choose, compilers, emulator, parity, quantize, table
from torchliquid.edge.cores.integers import Widths
from torchliquid.edge.generate import Field, Math, sources, state_fields
from torchliquid.edge.network import Network, describe
from torchliquid.edge.parity import Samples, Walk
from torchliquid.edge.tabular import Table
from torchliquid.edge.targets import Target
from torchliquid.errors import InputError
from torchliquid.models import Model
from torchliquid.models.tabular import Tabular

ENOUGH = 0.01
"""Largest error that integers may cause by default, as a share of the outputs' spread."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """The C of a model.

    Attributes:
        files: the header and the source, by name.
        fields: the fields of the C state.
        widths: the widths of the integers; None in single precision.
        scaled_by: the samples that the integers were calibrated on.
        chosen_on: the samples that the widths were chosen on.
        errors: for each choice of widths that was tried, the root mean square difference between the outputs and
            PyTorch's on ``chosen_on``, in standard deviations of the output. The state is carried on in both.
    """

    model: Model | Tabular
    network: Network | Table
    math: Math
    files: dict[str, str]
    fields: list[Field]
    walked: Walk
    widths: Widths | None = None
    scaled_by: Walk | None = None
    chosen_on: Walk | None = None
    errors: dict[Widths, float] = field(default_factory=dict)

    @property
    def arithmetic(self) -> str:
        if isinstance(self.network, Table):
            return table.arithmetic(self.network)
        return "Single precision." if self.widths is None else f"In integers: {self.widths.words}."

    @property
    def state_bytes(self) -> int:
        return sum(f.size for f in self.fields)

    @property
    def by(self) -> str:
        """Whose answers it is compared with."""
        return "Python" if isinstance(self.network, Table) else "PyTorch"

    def undecided(self, walked: Walk) -> np.ndarray:
        """(T,) where single precision may answer otherwise: a tree's feature lies at a threshold."""
        if isinstance(self.network, Table):
            return table.undecided(self.network, walked)
        return np.zeros(len(walked), dtype=bool)

    def made_up(self, steps: int) -> Walk:
        """PyTorch's outputs for synthetic readings."""
        return parity.walk(self.model, *parity.made_up(self.network.preprocessing, steps), self.network.limits)

    def write(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).write_text(content, encoding="utf-8")

    def error(self, on: Walk) -> float:
        """The error of the chosen widths on other samples, as in :attr:`errors`. It is the same on every machine."""
        return root_mean_square(on, replace(self, walked=on).run(None, same_state=False))

    def run(self, target: Target | None, same_state: bool, steps: int | None = None) -> emulator.Replayed:
        """Compile the replay program for a target (None: this machine) and run the samples there."""
        with TemporaryDirectory() as name:
            program = self.compile(target, Path(name))
            given, found = parity.records(self.walked, self.fields, same_state)
            return emulator.replay(target, program, given[:steps], found)

    def compile(self, target: Target | None, folder: Path) -> Path:
        """Compile the replay program and return its path."""
        source = compilers.write_for_programs(self.files, self.network.name, folder)
        program = folder / "replay"
        parts = ["replay.c"] if target is not None and target.bare else ["replay.c", "io_hosted.c"]
        defines = [
            f"-DSTACK_RANGE={stack_range(target, self.state_bytes)}",
            f"-DFIRST_MEMBER={emulator.first_member(self.fields)}",
        ]
        compilers.compile_program(target, source, parts, program, defines)
        return program


def stack_range(target: Target | None, state: int) -> int:
    """Bytes of stack that are watched. On a small board, what its RAM leaves beside the program's own variables; these
    hold three copies of the ``state``, whose size is in bytes.

    Raises:
        InputError: too little RAM is left.
    """
    if target is None or not target.ram or target.ram >= 64:
        return 65536
    left = 1024 * target.ram - 3 * state - 3072
    if left < 1024:
        raise InputError(f"a state of {state:,} bytes is too large to be measured in {target.name}'s {target.ram} KB")
    return min(8192, left)


def make(
    model: Model | Tabular,
    target: Target,
    math: Math,
    int8: bool,
    samples: Samples,
    network: Network | Table | None = None,
    *,
    calibration: Samples | None = None,
    choice: Samples | None = None,
    auto: bool = False,
    limit: float = ENOUGH,
) -> Artifact:
    """Generate the C of a model for a target.

    Args:
        int8: use integers instead of single precision.
        samples: the samples on which the C is checked.
        calibration: the samples that set the integers' scales; None: ``samples``.
        choice: the samples on which the integers' widths are chosen; None: ``samples``.
        auto: use 16-bit weights in the layers where int8 weights cost too much accuracy.
        limit: the largest error that the chosen widths may have.

    Raises:
        InputError: there is no C for the network, or integers cannot hold its values.
    """
    if isinstance(model, Tabular):
        described = network if isinstance(network, Table) else table.describe(model, integers=int8)
        walked = parity.walk(model, *samples, described.limits)
        return Artifact(model, described, math, table.sources(described, math), table.fields(described), walked)
    network = network if isinstance(network, Network) else describe(model)
    walked = parity.walk(model, *samples, network.limits)
    if not int8:
        files = sources(network, math, target.layout)
        return Artifact(model, network, math, files, state_fields(network, "float", "float"), walked)
    scaled_by = walked if calibration is None else parity.walk(model, *calibration, network.limits)
    chosen_on = walked if choice is None else parity.walk(model, *choice, network.limits)
    sized = integers(Artifact(model, network, math, {}, [], walked, None, scaled_by, chosen_on))
    errors = choose.Errors(lambda widths: sized(widths).error(chosen_on))
    widths = (choose.layer_by_layer if auto else choose.values_alone)(network, errors, limit)
    return replace(sized(widths), errors=dict(errors))


def over(artifact: Artifact, network: Network, target: Target) -> Artifact:
    """The same C over other weights."""
    if artifact.widths is not None:
        return integers(replace(artifact, network=network))(artifact.widths)
    return replace(artifact, network=network, files=sources(network, artifact.math, target.layout))


def integers(artifact: Artifact) -> Callable[[Widths], Artifact]:
    """Returns a function that makes the artifact in integers of given widths, with the ranges of its calibration."""
    model, network, scaled_by = artifact.model, artifact.network, artifact.scaled_by
    assert isinstance(model, Model)
    assert isinstance(network, Network)
    assert scaled_by is not None
    seen = calibrate.ranges(model, network, scaled_by)

    def of(widths: Widths) -> Artifact:
        files = quantize.sources_int8(network, quantize.formats(network, seen, widths), artifact.math)
        return replace(artifact, files=files, fields=quantize.fields_int8(network, widths), widths=widths)

    return of


def root_mean_square(walked: Walk, found: emulator.Replayed) -> float:
    """The root mean square difference from PyTorch in units of the outputs' spread: the largest of all outputs."""
    error = np.sqrt(np.square(found.records["outputs"] - walked.outputs).mean(0))
    return float((error / walked.spread).max())


def check_parity(artifact: Artifact, target: Target | None, same_state: float) -> tuple[float, int]:
    """The largest difference of a single step in single precision, in standard deviations of the output, and the number
    of samples that differ by more than ``same_state`` because a tree's feature lies at a threshold. These are left out.

    Raises:
        InputError: it is larger than ``same_state``, and than what integer leaves explain.
    """
    found = artifact.run(target, same_state=isinstance(artifact.network, Network))
    each = parity.differences(artifact.walked, found)
    beyond = each
    if isinstance(artifact.network, Table):
        beyond = each - (table.rounding(artifact.network) / artifact.walked.spread).max()
    other = ~(beyond <= same_state)
    if other.any():
        other &= artifact.undecided(artifact.walked)
    difference = float(each[~other].max(initial=0.0))
    if not (beyond[~other] <= same_state).all():
        raise InputError(
            f"the exported C differs from the model by {difference:.2g} of an output's spread "
            f"{'on this machine' if target is None else 'on ' + target.name}, more than {same_state:g}: not exported"
        )
    return difference, int(other.sum())
