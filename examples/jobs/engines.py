"""Engines: how many flights has a turbofan left? From the published file to a model on a Cortex-M4.

    TORCHLIQUID_DATA=FOLDER python -m examples.jobs.engines

It runs ``assess`` on C-MAPSS FD001. The best model and the best liquid one give 90 % intervals for the remaining life
of each test engine. Both are exported, and their C processes all test engines on an emulated Cortex-M4. The results are
written to ``docs/jobs/engines.md``. The same command resumes a run that was stopped.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks.studies import run_study
from examples.jobs import common

from torchliquid.datasets import load
from torchliquid.models.predictor import Predictor
from torchliquid.page.document import Table
from torchliquid.study.reporting import tables

FOLDER, PAGE = Path("build/jobs/engines"), Path("docs/jobs/engines.md")
LEVEL = 0.9
PUBLISHED = (("LSTM (Zheng et al. 2017)", "16.14", "338"), ("CNN (Li et al. 2018)", "12.61", "274"))
TEXT = """# Engines: how many flights are left?

Written by `python -m examples.jobs.engines`. How many flights has an engine left, and how certain is that? The
recording is NASA's C-MAPSS FD001, with 21 sensors and 3 settings per flight. 100 turbofan engines ran until they
failed. The recordings of 100 other engines stop before the failure; their remaining flights are predicted.

## The verdict

**{answer}.** {sentence}

{findings}

## Remaining life, with intervals

Only the last recorded flight of each test engine counts, as in published results. NASA's score punishes late warnings
more than early ones; lower is better. The intervals should contain the truth in 90 % of cases.

{rows}

## When the data shifts

RMSE of the trained models under shifts. Nothing is trained again:

{shifts}

## On a Cortex-M4

`torchliquid export` wrote C code, which processed the flights of the test engines in QEMU:

{device}

## Conditions

{conditions}
"""


class Found(NamedTuple):
    """Figures of the last recorded flight of each test engine.

    Attributes:
        rmse: root mean square error, in flights.
        score: NASA's score.
        inside: share of engines whose remaining life is inside the interval.
        width: mean width of the intervals, in flights.
    """

    rmse: float
    score: float
    inside: float
    width: float


def measured(model: Predictor) -> Found:
    test = load("cmapss").tests["last cycle"]
    answers = model.predict(test)
    last = np.cumsum([len(series) for series in test.series]) - 1
    truth = np.array([series.targets[-1] for series in test.series])
    answer, low, high = (answers[name].to_numpy()[last] for name in ("prediction", "lower", "upper"))
    return Found(
        math.sqrt(np.mean((answer - truth) ** 2)),
        nasa_score(answer - truth),
        float(np.mean((low <= truth) & (truth <= high))),
        float(np.mean(high - low)),
    )


def nasa_score(late: np.ndarray) -> float:
    """Saxena et al. (2008), eq. 11: the sum of exp(-d / 13) - 1 where a failure is predicted too early (d < 0), and of
    exp(d / 10) - 1 where it is predicted too late."""
    return float(np.sum(np.exp(np.where(late < 0, -late / 13, late / 10)) - 1))


def main() -> None:
    dataset = load("cmapss")
    results = run_study(
        dataset.train,
        FOLDER / "study",
        task=dataset.task,
        tests=dataset.tests,
        contenders=common.CONTENDERS,
        interval=LEVEL,
        title="cmapss",
    )
    rows: list[tuple[str, ...]] = []
    device: list[str] = []
    for what, (contender, model) in common.winners(results, FOLDER / "study").items():
        found, label = measured(model), contender.label
        figures = (f"{found.rmse:.2f}", f"{found.score:.0f}", f"{found.inside:.0%}", f"{found.width:.0f} flights")
        rows.append((f"{label} ({what})", *figures))
        device += common.on_device(label, model, dataset.tests["last cycle"], FOLDER / "device" / contender.name)
    rows += [(*published, "–", "–") for published in PUBLISHED]
    text = TEXT.format(
        **common.judgement(results),
        rows=Table(("model", "RMSE, flights", "NASA's score", "truth inside", "mean width"), tuple(rows)).markdown(),
        shifts=tables.shift_table(results).markdown(),
        device=common.bullets(device),
        conditions=common.conditions(results, *dataset.notes),
    )
    common.write(PAGE, text)


if __name__ == "__main__":
    main()
