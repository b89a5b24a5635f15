"""What integers cost in accuracy, and save in flash, on real recordings: every kind that can be exported.

``python -m benchmarks.quantization`` writes ``docs/int8-figures.md`` in an hour or less. Models are trained first and
stay in build/quantization; a second run takes them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks import measure
from torchliquid.data import Recording
from torchliquid.data.datasets import load
from torchliquid.data.splits import forward_split
from torchliquid.edge import TARGETS, artifact, footprint, parity
from torchliquid.edge.artifact import Artifact
from torchliquid.errors import InputError
from torchliquid.models import Model
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig, fit

FOLDER = Path("build/quantization")
PAGE = Path(__file__).parents[1] / "docs" / "int8-figures.md"
RECORDINGS = ("occupancy", "traffic", "cheetah", "walker", "physionet2012", "cmapss", "skab")
KINDS = ("cfc", "cfc_ncp", "ltc", "ltc_ncp", "lstm", "gru")
TARGET = TARGETS["cortex-m4"]
TRAINED, TESTED = 6_000, 3_000
"""Samples of a training part, and of a test part."""

HEAD = """# Integers on real recordings

Written by `python -m benchmarks.quantization`. Networks of about 2,000 parameters are trained for six epochs on the
first 6,000 samples of each recording, and tested on the first 3,000 of its first test part. Integers are scaled by the
sample of the training part that a model carries. Widths are chosen on the first half of the test rows, as
`torchliquid export --data` does, and errors are those of the second half, which nothing was chosen or scaled by: the
root mean square of the outputs' difference from PyTorch, in their standard deviation, running free; where there are
several outputs, the worst of them. Flash is that of `cortex-m4`, code and constants.

| recording | kind | float32: flash | int8: flash, error | auto (1 %): flash, error | 16 bits in auto |
|---|---|---|---|---|---|
"""


@dataclass
class Row:
    """One model's figures."""

    flash: int
    error: float
    words: str

    def cells(self) -> str:
        error = f"**{self.error:.2%}**" if self.error > artifact.ENOUGH else f"{self.error:.2%}"
        return f"{self.flash:,}, {error}"


def first(recording: Recording, most: int) -> Recording:
    """Whole series while they are not too many samples; of a single longer one its beginning."""
    sizes = np.cumsum([len(series) for series in recording.series])
    kept = int((sizes <= most).sum())
    if kept:
        return recording.select(range(kept))
    return forward_split(recording.select([0]), 1 - most / int(sizes[0]))[0]


def parts(name: str) -> tuple[Recording, Recording, Task]:
    """What is trained and calibrated on, what is tested on, and the task."""
    found = load(name)
    return first(found.train, TRAINED), first(next(iter(found.tests.values())), TESTED), found.task


def trained(name: str, kind: str, training: Recording, task: Task) -> Model:
    """Of the folder, or trained now."""
    path = FOLDER / f"{name}-{kind}.safetensors"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        fit(training, kind=kind, task=task, parameters=2000, config=TrainingConfig(epochs=6, seed=0)).save(path)
    return Model.load(path)


def row(model: Model, test: Recording, auto: bool) -> Row:
    """Widths chosen on the first half of the test rows, the error of the second."""
    inputs, elapsed, anew = parity.samples_of(model, test, TESTED)
    half = len(elapsed) // 2
    calibration = parity.samples_of_pieces(model.preprocessing, parity.carried(model))
    chosen = artifact.make(
        model,
        TARGET,
        TARGET.math,
        True,
        (inputs[:half], elapsed[:half], anew[:half]),
        calibration=calibration,
        auto=auto,
    )
    walked = parity.walk(model, inputs, elapsed, anew, chosen.network.limits)
    ran = replace(chosen, walked=walked).run(None, same_state=False)
    error = np.sqrt(np.square(ran.records["outputs"] - walked.outputs)[half:].mean(0)) / walked.spread
    return Row(footprint.flash(chosen, TARGET), float(error.max()), wide(chosen))


def wide(made: Artifact) -> str:
    assert made.widths is not None
    values = [n for n in ("input", "hidden", "state") if getattr(made.widths, n) == 16]
    weights = [f"weights of {name}" for name in sorted(made.widths.wide)]
    return ", ".join([*(f"{name}s" if name != "hidden" else "backbone" for name in values), *weights]) or "–"


def main() -> None:
    torch.set_num_threads(1)
    lines = []
    for name in RECORDINGS:
        training, test, task = parts(name)
        for kind in KINDS:
            model = trained(name, kind, training, task)
            single = artifact.make(model, TARGET, TARGET.math, False, parity.samples_of(model, test, 100))
            try:
                narrow, mixed = row(model, test, auto=False), row(model, test, auto=True)
            except InputError as error:
                lines.append(f"| {name} | {kind} | {footprint.flash(single, TARGET):,} | {error} | | |")
            else:
                flash = footprint.flash(single, TARGET)
                lines.append(f"| {name} | {kind} | {flash:,} | {narrow.cells()} | {mixed.cells()} | {mixed.words} |")
            print(lines[-1], flush=True)
    about = "\n".join(f"* {line}" for line in measure.machine())
    PAGE.write_text(HEAD + "\n".join(lines) + f"\n\n{about}\n")


if __name__ == "__main__":
    main()
