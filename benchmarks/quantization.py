"""Measures the error and the flash of int8 on real recordings, for every kind of network that can be exported.

``python -m benchmarks.quantization`` writes ``docs/int8-figures.md`` in an hour or less. Models and their rows are kept
in build/quantization, in a folder for the code that decides them. A second run computes only what is missing.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks import measure
from benchmarks.fingerprint import code
from torchliquid.data import Recording
from torchliquid.data.splits import forward_split
from torchliquid.datasets import load
from torchliquid.edge import TARGETS, artifact, footprint, parity
from torchliquid.edge.artifact import Artifact
from torchliquid.edge.quantize import Widths
from torchliquid.files import write_atomically
from torchliquid.models import Model
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig, fit

PAGE = Path(__file__).parents[1] / "docs" / "int8-figures.md"
RECORDINGS = ("occupancy", "traffic", "cheetah", "walker", "physionet2012", "cmapss", "skab")
KINDS = ("cfc", "cfc_ncp", "ltc", "ltc_ncp", "lrcssm", "lstm", "gru")
TARGET = TARGETS["cortex-m4"]
TRAINED, TESTED = 6_000, 2_000
"""Samples of a training part, and of a test part."""

HEAD = """# Integers on real recordings

Written by `python -m benchmarks.quantization`. How large is the error of int8? Networks of about 2,000 parameters are
trained for six epochs on the first 6,000 samples of each recording, and tested on the first 2,000 samples of its
first test part.

* Integers are calibrated on the training samples and extremes that are saved with the model.
* Widths are chosen on one half of the test rows, as `torchliquid export --data` does. The errors are those of the
  other half.
* An error is the root mean square of the difference from PyTorch, in standard deviations of the output, with the C code
  running freely. If there are several outputs, it is the largest of theirs.
* "int8 weights" have all other values in int16. Flash is code and constants on `cortex-m4`.
* "Trained further" is the same network after two more passes with `train --int8`, in int8 weights: its error, and the
  metric on the test part before and after.

| recording | kind | float32: flash | int8 weights: flash, error | auto: flash, error | 16-bit | trained further |
|---|---|---|---|---|---|---|
"""


def first(recording: Recording, most: int) -> Recording:
    """The first whole series with at most so many samples; if the first series is longer, its beginning."""
    sizes = np.cumsum([len(series) for series in recording.series])
    kept = int((sizes <= most).sum())
    if kept:
        return recording.select(range(kept))
    return forward_split(recording.select([0]), 1 - most / int(sizes[0]))[0]


def parts(name: str) -> tuple[Recording, Recording, Task]:
    """The part for training and calibration, the test part, and the task."""
    found = load(name)
    return first(found.train, TRAINED), first(next(iter(found.tests.values())), TESTED), found.task


def folder() -> Path:
    return Path("build/quantization") / code("edge", kinds=(".py", ".cc", ".h", ".txt", ".c", ".j2"))


def trained(name: str, kind: str, training: Recording, task: Task) -> Model:
    """The model from the folder, or a new one."""
    path = folder() / f"{name}-{kind}.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fit(training, kind=kind, task=task, parameters=2000, config=TrainingConfig(epochs=6, seed=0)).save(path)
    return Model.load(path)


def row(name: str, kind: str, model: Model, training: Recording, test: Recording) -> str:
    """A row of the page. Widths are chosen on one half of the test rows; errors are those of the other half."""
    chosen_on, measured = parity.halves(parity.samples_of(model, test, TESTED))
    scaled_by = parity.samples_of_pieces(model.preprocessing, parity.carried(model))
    auto = artifact.make(model, TARGET, TARGET.math, True, measured, calibration=scaled_by, choice=chosen_on, auto=True)
    single = artifact.make(model, TARGET, TARGET.math, False, measured)
    cells = [f"{footprint.flash(single, TARGET):,}"]
    for made in (artifact.integers(auto)(Widths(16, 16, 16)), auto):
        error = made.error(made.walked)
        words = f"**{error:.2%}**" if error > artifact.ENOUGH else f"{error:.2%}"
        cells.append(f"{footprint.flash(made, TARGET):,}, {words}")
    cells += [wide(auto), further(model, training, test)]
    return f"| {name} | {kind} | {' | '.join(cells)} |"


def further(model: Model, training: Recording, test: Recording) -> str:
    """Error and metric of the network after training for int8."""
    tuned = fit(training, start=model, config=TrainingConfig(epochs=2, lr=0.002, int8=True, seed=0))
    samples = parity.samples_of(tuned, test, TESTED)
    scaled_by = parity.samples_of_pieces(tuned.preprocessing, parity.carried(tuned))
    made = artifact.make(tuned, TARGET, TARGET.math, False, samples)
    walk = parity.walk(tuned, *scaled_by, made.network.limits)
    error = artifact.integers(replace(made, scaled_by=walk))(Widths(16, 16, 16)).error(made.walked)
    metric = model.task.primary
    before, after = (one.task.metrics(one.outputs(test), test)[metric] for one in (model, tuned))
    return f"{error:.2%}, {metric} {before:.3g} to {after:.3g}"


def wide(made: Artifact) -> str:
    assert made.widths is not None
    return ", ".join(sorted(made.widths.wide)) or "–"


def main() -> None:
    torch.set_num_threads(1)
    lines = []
    for name in RECORDINGS:
        training, test, task = parts(name)
        for kind in KINDS:
            done = folder() / f"{name}-{kind}.md"
            if not done.exists():
                line = row(name, kind, trained(name, kind, training, task), training, test)
                write_atomically(done, lambda part, line=line: part.write_text(line, "utf-8"))  # type: ignore[misc]
            lines.append(done.read_text())
            print(lines[-1], flush=True)
    about = "\n".join(f"* {line}" for line in measure.machine())
    PAGE.write_text(HEAD + "\n".join(lines) + f"\n\n{about}\n")


if __name__ == "__main__":
    main()
