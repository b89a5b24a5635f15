"""Intensive care: who will die in hospital? From irregular, mostly missing readings to a model on a Cortex-M4.

    TORCHLIQUID_DATA=FOLDER python -m examples.jobs.intensive_care

It runs ``assess`` on PhysioNet 2012, set a. The best model and the best liquid one state the risk of each test patient,
also if the laboratory stops sending and if the unit measures twice as often. Both are exported. The results are written
to ``docs/jobs/intensive_care.md``. The same command resumes a run that was stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.studies import run_study
from examples.jobs import common

from torchliquid import Recording
from torchliquid.data.recording import Series
from torchliquid.datasets import load
from torchliquid.models.calibration import Reliability
from torchliquid.models.predictor import Predictor
from torchliquid.page import Table
from torchliquid.study.reporting import tables
from torchliquid.study.shifts import Reference

FOLDER, PAGE = Path("build/jobs/intensive_care"), Path("docs/jobs/intensive_care.md")
CONTENDERS = ("cfc", "cfc_ncp", "grud", "linear", "boosting", "naive")
SEEDS, TUNING, UPDATES = 3, 1, 1000
HOUR = 3600.0
# fmt: off
LABORATORY = (
    "Albumin", "ALP", "ALT", "AST", "Bilirubin", "BUN", "Cholesterol", "Creatinine", "Glucose", "HCO3", "HCT", "K",
    "Lactate", "Mg", "Na", "PaCO2", "PaO2", "pH", "Platelets", "SaO2", "TroponinI", "TroponinT", "WBC",
)
BEDSIDE = ("DiasABP", "HR", "MAP", "NIDiasABP", "NIMAP", "NISysABP", "RespRate", "SysABP", "Temp")
# fmt: on


@dataclass(frozen=True)
class SilentLaboratory:
    """The laboratory stops sending: the values that are measured in blood are missing from then on."""

    name: str = "silent laboratory"
    severities: tuple[float, ...] = (24.0, 48.0)
    unit: str = "without a laboratory (hours)"

    def describe(self, severity: float) -> str:
        return f"nothing from the laboratory in the last {severity:g} of 48 hours"

    def apply(self, recording: Recording, severity: float, rng: np.random.Generator, reference: Reference) -> Recording:
        columns = [recording.channels.index(name) for name in LABORATORY if name in recording.channels]

        def silent(series: Series) -> Series:
            values = series.values.copy()
            late = series.times - series.times[0] >= (48 - severity) * HOUR
            values[np.ix_(late, columns)] = np.nan
            return replace(series, values=values)

        return replace(recording, series=tuple(map(silent, recording.series)))


@dataclass(frozen=True)
class TwiceAsOften:
    """The unit measures at the bedside twice as often: between two readings of a channel there is one more, halfway in
    time and value."""

    name: str = "twice as often"
    severities: tuple[float, ...] = (2.0,)
    unit: str = "bedside readings for each one (number)"

    def describe(self, severity: float) -> str:
        return "twice as many readings at the bedside"

    def apply(self, recording: Recording, severity: float, rng: np.random.Generator, reference: Reference) -> Recording:
        columns = [recording.channels.index(name) for name in BEDSIDE if name in recording.channels]
        return replace(recording, series=tuple(between(series, columns) for series in recording.series))


def between(series: Series, columns: list[int]) -> Series:
    """The series with one more sample between each two readings of these columns."""
    added = {}
    for column in columns:
        seen = np.flatnonzero(np.isfinite(series.values[:, column]))
        times, values = series.times[seen], series.values[seen, column]
        for time, value in zip((times[1:] + times[:-1]) / 2, (values[1:] + values[:-1]) / 2, strict=True):
            added.setdefault(time, np.full(series.values.shape[1], np.nan))[column] = value
    times = np.concatenate([series.times, list(added)])
    order = np.argsort(times, kind="stable")
    values = np.concatenate([series.values, *(row[None] for row in added.values())])
    return replace(series, times=times[order], values=values[order], rows=None)


SHIFTS = (SilentLaboratory(), TwiceAsOften())


def conditions(test: Recording) -> dict[str, Recording]:
    """The test patients as recorded and under each shift, by its description."""
    nobody = np.random.default_rng(0)
    found = {"as recorded": test}
    for shift in SHIFTS:
        for severity in shift.severities:
            found[shift.describe(severity)] = shift.apply(test, severity, nobody, None)  # type: ignore[arg-type]
    return found


def answers(model: Predictor, test: Recording) -> tuple[np.ndarray, np.ndarray]:
    """The calibrated probabilities (N, 2) of the patients, and their true classes (N,)."""
    outputs, series = model.outputs(test), model.task.with_targets(test).series
    found = [model.task.labelled(output, one)[:2] for output, one in zip(outputs, series, strict=True)]
    probabilities, truth = (np.concatenate(each) for each in zip(*found, strict=True))
    return probabilities, truth


def risk_row(model: Predictor, test: Recording) -> tuple[str, ...]:
    """Metrics, the mean stated risk and the share that died, as text."""
    metrics = model.task.metrics(model.outputs(test), test)
    said, truth = answers(model, test)
    positive = model.task.positive
    figures = [f"{metrics[name]:.3f}" for name in ("roc_auc", "average_precision", "brier")]
    return (*figures, f"{said[:, positive].mean():.1%}", f"{(truth == positive).mean():.1%}")


def main() -> None:
    dataset = load("physionet2012")
    (test,) = dataset.tests.values()
    results = run_study(
        dataset.train,
        FOLDER / "study",
        task=dataset.task,
        tests=dataset.tests,
        contenders=CONTENDERS,
        seeds=SEEDS,
        tuning=TUNING,
        updates=UPDATES,
        shifts=SHIFTS,
        title="physionet2012",
    )
    risks, groups, device = [], [], []
    for what, (contender, model) in common.winners(results, FOLDER / "study").items():
        label = f"{contender.label} ({what})"
        risks += [(label, how, *risk_row(model, recording)) for how, recording in conditions(test).items()]
        found = Reliability.of(model.task, *answers(model, test))
        groups += [
            (label, f"{said:.1%}", f"{true:.1%}", f"{n:,}")
            for said, true, n in zip(found.said, found.true, found.n, strict=True)
        ]
        device += common.on_device(label, model, test, FOLDER / "device" / contender.name)
    text = TEXT.format(
        **common.judgement(results),
        metrics=common.metrics(results),
        risks=Table(
            ("model", "readings", "AUC", "average precision", "Brier score", "mean risk stated", "died"), tuple(risks)
        ).markdown(),
        groups=Table(("model", "risk stated", "died", "patients"), tuple(groups)).markdown(),
        shifts=tables.shift_table(results).markdown(),
        device=common.bullets(device),
        laboratory=", ".join(LABORATORY),
        bedside=", ".join(BEDSIDE),
        conditions=common.conditions(results, *dataset.notes),
    )
    common.write(PAGE, text)


TEXT = """# Intensive care: who will die in hospital?

Written by `python -m examples.jobs.intensive_care`. How likely is a patient to die before leaving hospital? The
recordings are set a of the PhysioNet/Computing in Cardiology Challenge 2012: the first 48 hours of 4,000 patients, with
times in minutes. Most readings are missing. This is a benchmark, not a medical device.

## The verdict

**{answer}.** {sentence}

{findings}

{metrics}

## When the laboratory is silent, and when a unit measures twice as often

The trained models on the test patients. Nothing is trained again. Risks are right if as many patients die as they say:
compare the mean stated risk with the share that died.

{risks}

* The laboratory: {laboratory}.
* At the bedside: {bedside}. One more reading is halfway between each two, in time and value.

Average precision of all models:

{shifts}

## Are the risks right?

The test patients in groups of similar stated risk. Risks are calibrated on the validation part:

{groups}

## On a Cortex-M4

`torchliquid export` wrote C code, which processed the readings of test patients in QEMU:

{device}

## Conditions

{conditions}
"""


if __name__ == "__main__":
    main()
