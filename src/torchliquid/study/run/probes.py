"""Evidence beside the contenders: is one sensor enough, and does the order of the samples matter?

A probe is much simpler than a contender. It is chosen on the validation part as usual, and never competes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.files import read_plain, to_json
from torchliquid.jobs import Progress
from torchliquid.models.tabular import Tabular
from torchliquid.study.plan import Answering, Plan, joined
from torchliquid.study.results import ContenderResult, TrialResult
from torchliquid.study.run.trial import SCORES, Files, Measured, measure
from torchliquid.study.shifts import Shift

PROBE = "probe.json"

MOST_SENSORS = 64
"""If there are more channels, only this many of the first ones are tried as the one sensor."""


class OneSensor:
    """A model that sees one channel of a recording."""

    def __init__(self, channel: str, model: Tabular) -> None:
        self.channel = channel
        self.model = model
        self.task = model.task

    def outputs(self, recording: Recording, windows: Windows | None = None) -> list[np.ndarray]:
        return self.model.outputs(only(recording, self.channel), windows)


@dataclass(frozen=True)
class Probe:
    """A kind of probe: its candidates are fitted, and the one that is best on validation represents it.

    Attributes:
        name: name for the verdict.
        candidates: their names under a plan.
        fit: fits one.
        per_step_only: whether it is useful only for tasks with an answer per sample.
    """

    name: str
    candidates: Callable[[Plan], Sequence[str]]
    fit: Callable[[Plan, str], Answering]
    per_step_only: bool = False


def _one_sensor(plan: Plan, channel: str) -> OneSensor:
    training, validation = (only(plan.task.with_targets(p), channel) for p in (plan.training, plan.validation))
    task, scales = replace(plan.task, horizon=None, column=0), Preprocessing.fit(training)
    if channel != plan.task.target:
        task = replace(task, column=None).fit(training)
    return OneSensor(
        channel, Tabular.fit("linear", task, scales, training, validation, bool(plan.class_weights), lookback=1)
    )


def _no_memory(plan: Plan, kind: str) -> Tabular:
    parts = (plan.task, plan.preprocessing, plan.training, plan.validation)
    return Tabular.fit(kind, *parts, bool(plan.class_weights), lookback=1)


PROBES = (
    Probe("one_sensor", lambda plan: plan.training.channels[:MOST_SENSORS], _one_sensor),
    Probe("no_memory", lambda plan: ("linear", "boosting"), _no_memory, per_step_only=True),
)


@dataclass(frozen=True)
class Chosen:
    """The candidate that is best on validation, and its score there."""

    chosen: str
    validation: float


def evaluate_probe(plan: Plan, name: str, shifts: Sequence[Shift], progress: Progress) -> Iterator[Files]:
    """Fit a probe's candidates, choose one on validation, and measure it."""
    probe = next(p for p in PROBES if p.name == name)
    fitted = {candidate: probe.fit(plan, candidate) for candidate in probe.candidates(plan)}
    scores = {candidate: plan.score(model, plan.validation) for candidate, model in fitted.items()}
    sign = 1 if plan.task.higher_is_better else -1
    best = max(scores, key=lambda candidate: sign * scores[candidate])
    chosen = Chosen(best, scores[best])
    models = [fitted[best], *(probe.fit(plan.at(i), best) for i in plan.moments[1:])]
    yield {**measure(plan, joined(models, plan.tests), shifts, progress), PROBE: to_json(asdict(chosen))}


def probe_result(name: str, folder: Path, study: Path) -> ContenderResult:
    """The result of :func:`evaluate_probe` in the form of the study's results."""
    probe: Chosen = read_plain(folder / PROBE, Chosen)
    if name == "one_sensor":
        label, detail = "A linear model", probe.chosen
    else:
        model = {"linear": "a linear model", "boosting": "gradient boosting"}[probe.chosen]
        label, detail = f"{model} on each sample alone", ""
    trial = TrialResult(
        seed=0,
        hyper={},
        validation=probe.validation,
        parameters=0,
        bytes=0,
        train_seconds=math.nan,
        epochs=0,
        latency_us=math.nan,
        latency_p99_us=math.nan,
        memory_mb=math.nan,
        scores=str((folder / SCORES).relative_to(study)),
        **vars(replace(Measured.read(folder), calibration=None, confusion=(), coverage={})),
    )
    return ContenderResult(name, label, "probe", (trial,), detail=detail)


def only(recording: Recording, channel: str) -> Recording:
    """The recording with only one of its channels."""
    place = recording.channels.index(channel)
    series = tuple(replace(s, values=s.values[:, [place]]) for s in recording.series)
    return replace(recording, series=series, channels=(channel,))
