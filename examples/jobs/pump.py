"""A pump with faults: alarms without labels beside the published leaderboard, and with labels on unseen faults.

    TORCHLIQUID_DATA=FOLDER python -m examples.jobs.pump

It watches the runs of SKAB without labels, as the leaderboard does. It runs ``assess`` on detectors that learn from one
valve and are tested on another one and on other faults. The C of the best model and of the best liquid one then
processes the test runs on an emulated Cortex-M4. The results are written to ``docs/jobs/pump.md``. The same command
resumes a run that was stopped.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks import watch
from benchmarks.studies import run_study
from examples.jobs import common

from torchliquid import Recording
from torchliquid.alarms import Alarm
from torchliquid.datasets import load
from torchliquid.study.reporting import tables
from torchliquid.tasks import Task

FOLDER, PAGE = Path("build/jobs/pump"), Path("docs/jobs/pump.md")
VALIDATION = 4
"""The last runs of the first valve stop the training."""

ENTRIES, LATEST = 2, 400
"""How often each run is used, and the latest sample at which a use may begin."""

SEEDS, TUNING, LOOKBACK = 3, 1, 16
ALARM = Alarm(length=5.0, merge=30.0)


def entered(runs: Recording, seed: int = 0) -> Recording:
    """Runs without a random part of their beginning: the time since the start does not tell when a fault comes."""
    rng = np.random.default_rng(seed)
    series = [
        replace(run.cut(int(rng.integers(LATEST)), len(run)), name=f"{run.name}, entry {k + 1}")
        for run in runs.series
        for k in range(ENTRIES)
    ]
    return replace(runs, series=tuple(series))


def main() -> None:
    watched = watch.measured()
    dataset = load("skab")
    runs = dataset.train.series
    training, validation = (
        entered(replace(dataset.train, series=part)) for part in (runs[:-VALIDATION], runs[-VALIDATION:])
    )
    results = run_study(
        training,
        FOLDER / "study",
        task=Task.infer(training, kind="classification", per="step", primary="f1", alarm=ALARM),
        tests=dataset.tests,
        validation=validation,
        contenders=common.FEW,
        seeds=SEEDS,
        tuning=TUNING,
        settings={"boosting": {"lookback": LOOKBACK}} if "boosting" in common.FEW else {},
        shifts=common.SHIFTS,
        title="skab",
    )
    alarms = tables.alarm_table(results)
    assert alarms is not None
    found, device = {}, []
    for what, (contender, model) in common.winners(results, FOLDER / "study").items():
        label = f"{contender.label} ({what})"
        for name, test in dataset.tests.items():
            found[label, name] = common.counted(model, test, common.detect(model, test).on)
        device += common.on_device(label, model, dataset.tests["other"], FOLDER / "device" / contender.name)
    text = TEXT.format(
        watched=watched.table(),
        watched_words=watched.words,
        learnt=watch.LEARNT,
        **common.judgement(results),
        metrics=common.metrics(results),
        alarms=alarms.markdown(),
        events=common.event_table(("model", "faults"), found),
        shifts=tables.shift_table(results).markdown(),
        device=common.bullets(device),
        length=f"{ALARM.length:g}",
        merge=f"{ALARM.merge:g}",
        runs=len(runs) - VALIDATION,
        validation=VALIDATION,
        entries=ENTRIES,
        latest=LATEST,
        conditions=common.conditions(
            results, f"Gradient boosting looks back {LOOKBACK} samples, which keeps its training short."
        ),
    )
    common.write(PAGE, text)


TEXT = """# A pump with faults

Written by `python -m examples.jobs.pump`. Which faults of a pump are found, with labels and without? The Skoltech
Anomaly Benchmark (SKAB 0.9) has 34 runs of a water pump with 8 sensors, one sample per second. In each run a fault
begins, such as a valve that closes, a leak or an unbalanced rotor.

## The verdict, where faults were learnt

**{answer}.** {sentence}

{findings}

## Without labels

As on the published leaderboard, the first {learnt} samples of each run are learnt as good, the rest are scored, and
all runs are counted together. The settings are the defaults of `torchliquid watch`.

{watched}

{watched_words}

## With labels, on faults never seen

These detectors learnt from runs in which one valve was closed (valve1). They are tested on another valve (valve2) and
on other faults (other), of which they saw nothing in training.

{metrics}

An alarm begins when the probability has been above the threshold for {length} s. It ends {merge} s after it fell below.
The threshold is the one with the best F1 on the validation part.

{alarms}

## On a Cortex-M4

`torchliquid export` wrote C code, which processed the test runs in QEMU. The C itself raises the alarms:

{events}

{device}

## When the data shifts further

F1 of the trained models on both test parts. Nothing is trained again:

{shifts}

## Conditions

* The first {runs} runs of valve1 are the training part. The last {validation} stop the training and set thresholds.
* Each of these runs is used {entries} times, from a random sample of its first {latest} on, so that the time since the
  start does not tell when the fault comes. Test runs are whole.
{conditions}
"""


if __name__ == "__main__":
    main()
