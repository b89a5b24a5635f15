"""Compares contenders with the best possible answer: ``python -m benchmarks.best_possible`` (`make best-possible`).

The processes are those of :mod:`benchmarks.processes`. Each contender has its defaults and one seed; the LTC is also
tried with one sub-step. The page is docs/best-possible.md. Finished trainings are kept in build/best-possible, in a
folder for the code that decides the figures, and are not repeated.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.fingerprint import code
from benchmarks.processes import PROCESSES, Process
from torchliquid.data import Preprocessing
from torchliquid.files import write_atomically, write_json
from torchliquid.jobs import cores
from torchliquid.models import KINDS, Naive, Tabular, build
from torchliquid.models.model import Model
from torchliquid.page import Table
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig, train
from torchliquid.training.fit import hold_out

PAGE = Path("docs/best-possible.md")
SAMPLES, PARAMETERS = 5000, 2500


@dataclass(frozen=True)
class Entry:
    """A column of the page."""

    label: str
    kind: str
    hyper: tuple[tuple[str, Any], ...] = ()


ENTRIES = (
    Entry("Naive", "naive"),
    Entry("Linear", "linear"),
    Entry("Boosting", "boosting"),
    Entry("LSTM", "lstm"),
    Entry("GRU", "gru"),
    Entry("Transformer", "transformer"),
    Entry("State space", "state_space"),
    Entry("CfC", "cfc"),
    Entry("CfC with mixed memory", "cfc_mm"),
    Entry("CfC on NCP", "cfc_ncp"),
    Entry("CfC, closed form", "cfc", (("mode", "pure"),)),
    Entry("LrcSSM", "lrcssm"),
    Entry("LTC", "ltc"),
    Entry("LTC on NCP", "ltc_ncp"),
    Entry("LTC on NCP, one step", "ltc_ncp", (("unfolds", 1),)),
)


def measured(process: Process, entry: Entry) -> dict[str, Any]:
    """The primary metric on the last fifth, and for a network the reason why its training does not judge it, if any."""
    recording = process.draw(np.random.default_rng(0), SAMPLES)
    task = process.task(recording)
    rest, test = hold_out(recording, task)
    training, validation = hold_out(rest, task)
    task = task.fit(training)
    scales, doubt = Preprocessing.fit(training), ""
    model: Model | Tabular | Naive
    if entry.kind in KINDS:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        model = build(entry.kind, task, scales, PARAMETERS, **dict(entry.hyper))
        doubt = train(model, training, validation, TrainingConfig()).doubt
    elif entry.kind == "naive":
        model = Naive.fit(task, scales, training)
    else:
        model = chosen(entry.kind, task, scales, (training, validation))
    return {"score": task.metrics(model.outputs(test), test)[task.primary], "doubt": doubt}


def reached(process: Process) -> float:
    recording = process.draw(np.random.default_rng(0), SAMPLES)
    return process.reached(hold_out(recording, process.task(recording))[1])


def chosen(kind: str, task: Task, scales: Preprocessing, parts: tuple[Any, Any]) -> Tabular:
    """The window that is best on validation, as a study's tuning chooses it."""
    fitted = [Tabular.fit(kind, task, scales, *parts, lookback=n) for n in (8, 16, 32, 64)]
    return max(fitted, key=lambda model: task.score(task.metrics(model.outputs(parts[1]), parts[1])))


def one(job: tuple[str, Entry]) -> None:
    """Measure one entry, unless its result is on disk."""
    name, entry = job
    path = place(name, entry)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, measured(PROCESSES[name], entry))
        print(path, flush=True)


def place(name: str, entry: Entry) -> Path:
    settings = "".join(f"-{key}-{value}" for key, value in entry.hyper)
    return Path("build/best-possible") / code() / f"{name}-{entry.kind}{settings}.json"


def row(name: str) -> tuple[str, ...]:
    process = PROCESSES[name]
    cells = []
    for entry in ENTRIES:
        path = place(name, entry)
        if not path.exists():
            cells.append("–")
            continue
        found = json.loads(path.read_text())
        mark = {"": "", "plateau": " ‡", "falling": " †"}[found["doubt"]]
        cells.append(f"{found['score']:.3f}{mark}")
    return process.title, f"{process.best:.3f}", f"{reached(process):.3f}", *cells


def page() -> str:
    head = ("Process", "Best possible", "on this part", *(entry.label for entry in ENTRIES))
    return TEXT.format(
        samples=f"{SAMPLES:,}",
        parameters=f"{PARAMETERS:,}",
        processes="\n".join(f"* **{p.title}**: {p.equation}." for p in PROCESSES.values()),
        table=Table(head, tuple(map(row, PROCESSES))).markdown(),
    )


TEXT = """# Against the best possible

Written by `make best-possible`. How close do the contenders come to the best possible answer? It is
known for these simulated processes. Each has {samples} samples: the last fifth is the test part, and the last fifth
of the rest the validation part. Networks have about {parameters} live parameters, default settings and one seed.
Linear and Boosting use the window of 8, 16, 32 or 64 samples that is best on the validation part. Figures are RMSE
for values and accuracy for classes.

* *Best possible*: what theory gives on average.
* *On this part*: what the process's own equation reaches on the samples of the test part. The test starts without a
  past, so the first samples are harder to predict. Compare the contenders with this figure.

{processes}

{table}

† still improving when its training ended; ‡ never better than the naive answer, so the figure does not judge it; – not
measured yet (the command resumes where it was stopped).

These changes did not help an LTC or a CfC to become better than the naive answer: larger membrane capacities, wider
sensory ranges, weaker recurrence, a learning rate of 0.03. These did: counting updates (2,000) instead of epochs,
patience only after the first gain, and one sub-step of the LTC's solver instead of six.
"""


def main() -> None:
    jobs = [(name, entry) for entry in ENTRIES for name in PROCESSES]
    with ProcessPoolExecutor(cores()) as pool:
        for _ in pool.map(one, jobs):
            write_atomically(PAGE, lambda part: part.write_text(page(), "utf-8"))


if __name__ == "__main__":
    main()
