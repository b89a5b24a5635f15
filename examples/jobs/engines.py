"""Engines: how many flights has a turbofan left? From the published file to a model on a Cortex-M4.

    TORCHLIQUID_DATA=FOLDER python -m examples.jobs.engines

Judges C-MAPSS FD001 with ``assess``, asks the winner and the best liquid model for 90 % intervals of each test engine's
remaining life, exports them, replays all test engines through the C on an emulated Cortex-M4, and writes
``docs/jobs/engines.md``. It goes on where it was stopped.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from examples.jobs import common

from torchliquid.cli.progress import StudyProgress
from torchliquid.cli.terminal import Terminal
from torchliquid.datasets import load
from torchliquid.jobs import cores
from torchliquid.models.predictor import Predictor
from torchliquid.page.document import Table
from torchliquid.study.assess import assess
from torchliquid.study.reporting import tables

FOLDER, PAGE = Path("build/jobs/engines"), Path("docs/jobs/engines.md")
LEVEL = 0.9
PUBLISHED = (("LSTM (Zheng et al. 2017)", "16.14", "338"), ("CNN (Li et al. 2018)", "12.61", "274"))
TEXT = """# Engines: how many flights are left?

Written by `python -m examples.jobs.engines`. The recording is NASA's C-MAPSS FD001: 100 turbofan engines that were run
until they failed, 21 sensors and 3 settings a flight. Of 100 other engines the recording stops before the failure. How
many flights has each left, and how sure is that?

## The verdict

**{answer}.** {sentence}

{findings}

## Remaining life, with intervals

Of each test engine the last recorded flight counts, as in published results. NASA's score punishes late warnings more
than early ones; lower is better. The intervals were made to hold the truth in 90 % of cases.

{rows}

## When the data shifts

RMSE of the trained models, nothing trained again:

{shifts}

## On a Cortex-M4

The C that `torchliquid export` writes, with the flights of the test engines replayed through it in QEMU:

{device}

## Conditions

{conditions}
"""


class Found(NamedTuple):
    """On the last recorded flight of each test engine, in flights: root mean square error, NASA's score, the share of
    engines whose life lies inside the interval, and the interval's mean width."""

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
    with StudyProgress(Terminal()) as progress:
        results = assess(
            dataset.train,
            FOLDER / "study",
            task=dataset.task,
            tests=dataset.tests,
            contenders=common.CONTENDERS,
            interval=LEVEL,
            jobs=cores(),
            title="cmapss",
            listener=progress,
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
