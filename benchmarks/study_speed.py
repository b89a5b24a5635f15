"""How much faster is a study of occupancy with the kernels? ``python -m benchmarks.study_speed``.

The same small study of the liquid contenders runs twice, with the kernels and with the PyTorch reference, in one
process with one thread. The table gives both accuracies with their standard deviations over the seeds.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from torchliquid import backends
from torchliquid.datasets import load
from torchliquid.datasets.dataset import Dataset
from torchliquid.page import Table
from torchliquid.study.assess import assess
from torchliquid.study.results import POOLED, StudyResults

CONTENDERS = ("cfc", "cfc_ncp", "ltc_ncp")
SEEDS, EPOCHS = 3, 3
"""Few, because the reference takes its time."""


def table(dataset: Dataset) -> str:
    """The comparison as Markdown."""

    def study(how: str, contenders: tuple[str, ...], seeds: int, epochs: int) -> tuple[StudyResults, float]:
        start = time.perf_counter()
        with TemporaryDirectory() as folder, backends.use(how):
            results = assess(
                dataset.train,
                Path(folder),
                task=dataset.task,
                tests=dataset.tests,
                contenders=contenders,
                seeds=seeds,
                tuning=1,
                epochs=epochs,
                shifts=(),
            )
        return results, time.perf_counter() - start

    study("native", CONTENDERS[:1], 1, 1)  # the first training imports half of torch
    (ours, seconds), (theirs, longer) = (study(how, CONTENDERS, SEEDS, EPOCHS) for how in ("native", "reference"))
    rows = []
    for name in CONTENDERS:
        trials = [results.contender(name).trials for results in (ours, theirs)]
        took = [sum(t.train_seconds for t in each) for each in trials]
        work = f"training {ours.contender(name).label}, {SEEDS} seeds of {EPOCHS} epochs"
        rows.append((work, *(f"{one:.1f} s" for one in took), f"{took[1] / took[0]:.1f} ×"))
    rows.append(("the whole study", f"{seconds:.0f} s", f"{longer:.0f} s", f"**{longer / seconds:.1f} ×**"))
    for name in CONTENDERS:
        values = [
            [100 * t.tests[POOLED]["accuracy"] for t in results.contender(name).trials] for results in (ours, theirs)
        ]
        cells = (f"{statistics.mean(v):.1f} % ± {statistics.stdev(v):.1f}" for v in values)
        rows.append((f"accuracy of {ours.contender(name).label}", *cells, ""))
    return Table(("", "kernels", "PyTorch reference", "speed-up"), tuple(rows)).markdown()


if __name__ == "__main__":
    print(table(load("occupancy")))
