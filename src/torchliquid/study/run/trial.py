"""One trial: a contender is trained from one seed under the conditions of the plan, then measured on the test part.

Training and measuring are two jobs. So a tuning trial that is not chosen never sees the test part, and a chosen one is
not trained again. Each job yields the files of a folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchliquid.alarms import NOTHING, Counts
from torchliquid.data import Recording, Windows
from torchliquid.errors import InputError
from torchliquid.files import read_plain, to_json, to_plain
from torchliquid.jobs import Progress
from torchliquid.metrics import Metric
from torchliquid.models import KINDS, Model, build
from torchliquid.models.calibration import Reliability, pooled
from torchliquid.models.conformal import Interval, add_interval, covered
from torchliquid.models.minirocket import MiniRocket
from torchliquid.models.naive import Naive
from torchliquid.models.plain import Plain
from torchliquid.models.predictor import Predictor
from torchliquid.models.storage import Saved, pack
from torchliquid.models.tabular import LOOKBACK, Tabular
from torchliquid.random import seeded
from torchliquid.study.plan import Answering, Plan, Walked, answering, joined
from torchliquid.study.results import POOLED, Calibrated
from torchliquid.study.run.cost import cost
from torchliquid.study.run.memory import peak_memory
from torchliquid.study.shifts import Shift, draws
from torchliquid.study.stats.scores import PROPER, Cells, pack_scores
from torchliquid.tasks import Task
from torchliquid.training import History, TrainingConfig, TrainingError, train
from torchliquid.training.history import Doubt
from torchliquid.training.provenance import provenance

MODEL = "model.safetensors"
SCORES = "scores.npz"
COST = "cost.json"
MEASURED = "evaluation.json"
TRAINING_SETTINGS = ("lr", "batch_size", "weight_decay", "class_weights")

Trainable = Saved
Tests = Mapping[str, Recording]
Outputs = Mapping[str, Sequence[np.ndarray]]
"""Decoded answers for each series of the test recordings, by name."""

Files = dict[str, bytes]
"""The files of a folder, by name."""


@dataclass(frozen=True)
class Spec:
    """The contender, its settings and its seed; ``share``: of a network's updates, 1 for a full training; ``plain``:
    whether it is trained without the study's augmentation; ``refit``: which training of a walk forward."""

    contender: str
    hyper: dict[str, Any]
    seed: int
    share: float = 1.0
    plain: bool = False
    refit: int = 0

    @property
    def id(self) -> str:
        """The name of a folder, which is always the same for the same settings."""
        settings = hashlib.sha256(json.dumps(self.hyper, sort_keys=True).encode()).hexdigest()[:8]
        part = "" if self.share == 1 else f"-{self.share:g}"
        name = f"{self.contender}-{settings}-seed{self.seed}{part}{'-plain' if self.plain else ''}"
        return f"{name}-refit{self.refit}" if self.refit else name

    @property
    def words(self) -> str:
        """A description for progress messages."""
        settings = ", ".join(f"{name} {value}" for name, value in self.hyper.items())
        part = "" if self.share == 1 else f", {self.share:.0%} of the updates"
        part += ", without augmentation" if self.plain else ""
        part += f", refit {self.refit}" if self.refit else ""
        return f"{self.contender}, seed {self.seed}{part}{f' ({settings})' if settings else ''}"


@dataclass(frozen=True)
class Trained:
    """The result of training a trial. ``broken_off`` is the reason if it failed, else empty."""

    validation: float
    parameters: int
    bytes: int
    seconds: float
    epochs: int
    memory_mb: float
    config: dict[str, Any]
    broken_off: str = ""
    updates: int = 0
    doubt: Doubt = ""
    sha256: str = ""  # of the model's file
    curve: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Trained:
        """Read the result that :func:`train_trial` wrote to a folder.

        Raises:
            InputError: it is damaged.
            OSError: it is not there.
        """
        trained: Trained = read_plain(folder / "trial.json", cls)
        return trained


@dataclass(frozen=True)
class Measured:
    """The figures of a trial or a probe on the test part, as in :class:`TrialResult`."""

    tests: dict[str, dict[str, float]]
    windows: dict[str, dict[str, float]]
    shifts: dict[str, tuple[float, ...]]
    unshifted: dict[str, float] = field(default_factory=dict)
    alarms: dict[str, Counts] = field(default_factory=dict)
    calibration: Calibrated | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    coverage: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """Read what :func:`measure` wrote to a folder; errors as in :meth:`Trained.read`."""
        measured: Measured = read_plain(folder / MEASURED, cls)
        return measured


def train_trial(plan: Plan, spec: Spec, progress: Progress) -> Iterator[Files]:
    """Train one trial; yields ``trial.json`` and the model."""
    plan = plan.unaugmented if spec.plain else plan
    broken_off, history = "", History(updates=[0], epochs=[0])
    start = time.perf_counter()
    with peak_memory() as peak:
        if spec.contender in KINDS:
            model: Trainable = untrained(plan, spec).to(plan.device)
            assert isinstance(model, Model)
            settings = {name: value for name, value in spec.hyper.items() if name in TRAINING_SETTINGS}
            config = TrainingConfig(
                **{"class_weights": bool(plan.class_weights), **settings},
                updates=None if plan.updates is None else max(1, round(plan.updates * spec.share)),
                epochs=None if plan.epochs is None else max(1, round(plan.epochs * spec.share)),
                patience=plan.patience,
                seed=spec.seed,
            )
            try:
                history = train(model, plan.training, plan.validation, config, plan.windows, progress)
            except TrainingError as error:
                broken_off = str(error)
        else:
            model = fit_plain(plan, spec)
            history.validation.append(plan.task.metrics(model.outputs(plan.validation), plan.validation))
            model.metadata |= provenance(plan.training, history, spec.seed)
    seconds = time.perf_counter() - start
    if plan.interval is not None and not broken_off:
        add_interval(model, plan.validation, plan.interval)
    packed = pack(model, with_sample=True)
    trained = Trained(
        math.nan if broken_off else plan.score(model, plan.validation),
        model.live_parameters(),
        model.n_bytes(),
        seconds,
        history.epochs[-1],
        peak.mb,
        {name: value for name, value in model.config.items() if isinstance(value, int | float | str)},
        broken_off,
        history.updates[-1],
        history.doubt,
        hashlib.sha256(packed).hexdigest(),
        tuple(
            (float(at), look[plan.task.primary]) for at, look in zip(history.updates, history.validation, strict=False)
        ),
    )
    yield {MODEL: packed, "trial.json": to_json(to_plain(trained))}


def fit_plain(plan: Plan, spec: Spec) -> Plain:
    """Fit a model other than a network."""
    if spec.contender == "naive":
        return Naive.fit(plan.task, plan.preprocessing, plan.training)
    fit = MiniRocket.fit if spec.contender == "minirocket" else partial(Tabular.fit, spec.contender)
    return fit(
        plan.task,
        plan.preprocessing,
        plan.training,
        plan.validation,
        threads=torch.get_num_threads(),
        seed=spec.seed,
        **{"class_weights": bool(plan.class_weights), **spec.hyper},
    )


def fits(plan: Plan, contender: str, hyper: dict[str, Any]) -> bool:
    """Whether a setting is distinct under a plan: for a network, if it fits the budget; for whole series, which are
    seen from their start, if it does not change the lookback."""
    if contender not in KINDS:
        return plan.task.per == "step" or hyper.get("lookback", LOOKBACK) == LOOKBACK
    try:
        untrained(plan, Spec(contender, hyper, 0))
    except InputError:
        return False
    return True


def untrained(plan: Plan, spec: Spec) -> Model:
    """A trial's network before training.

    Raises:
        InputError: the budget is too small for it.
    """
    architecture = {name: value for name, value in spec.hyper.items() if name not in TRAINING_SETTINGS}
    with seeded(spec.seed):
        return build(spec.contender, plan.task, plan.preprocessing, plan.parameters, **architecture)


def evaluate_trial(
    plan: Plan, models: Sequence[Trainable], shifts: Sequence[Shift], progress: Progress
) -> Iterator[Files]:
    """Measure the models of a trial, one or those of a walk forward, on the test part, unchanged and under the shifts.
    The last one's cost counts."""
    for model in models:
        if isinstance(model, Model):
            model.to(plan.device)
    yield {**measure(plan, joined(models, plan.tests), shifts, progress), COST: to_json(asdict(cost(models[-1])))}


def measure(plan: Plan, model: Answering | Walked, shifts: Sequence[Shift], progress: Progress) -> Files:
    """Measure any model on the test part; yields ``evaluation.json`` and the sums for the intervals."""
    task = plan.deciding(model)
    tests = {name: task.with_targets(test) for name, test in plan.tests.items()}
    cells = Cells.cut(list(tests.values()), task, one_recording=isinstance(model, Walked))
    steps = 2 + len(shifts)

    def outputs(recordings: Tests, windows: Windows | None = None) -> dict[str, list[np.ndarray]]:
        return {name: answering(model, name).outputs(one, windows) for name, one in recordings.items()}

    def sums(recordings: Tests, answers: Outputs, metric: Metric | None = None) -> np.ndarray:
        return cells.sums(task, list(recordings.values()), list(answers.values()), metric)

    clean = outputs(tests)
    progress(1 / steps, "the test part")
    windowed = outputs(tests, plan.windows)
    progress(2 / steps, "the test part in windows")
    under, figures, unshifted = dict[str, np.ndarray](), dict[str, list[float]](), dict[str, float]()
    whole = sums(tests, clean)
    for i, shift in enumerate(shifts):
        per_draw, without = [], []
        for asked, changed in draws(tests, shift, plan.usual):
            per_draw.append(np.stack([sums(version, outputs(version)) for version in changed]))
            without.append(sums(asked, clean))
        under[shift.name] = np.stack(per_draw)
        figures[shift.name] = task.metric.value(under[shift.name].sum(2)).mean(0).tolist()
        if any(not np.array_equal(one, whole) for one in without):
            unshifted[shift.name] = float(np.mean([task.metric.value(one.sum(0)) for one in without]))
        progress((3 + i) / steps, f"under {shift.name}")
    proper = sums(tests, clean, PROPER[task.kind])
    measured = {
        "tests": _metrics(task, tests, clean),
        "windows": _metrics(task, tests, windowed),
        "shifts": figures,
        "unshifted": unshifted,
        "alarms": to_plain(_alarms(task, tests, clean)),
        "calibration": to_plain(_calibration(task, model, tests, clean)),
        "confusion": _confusion(task, tests, clean),
        "coverage": _coverage(model, tests, clean),
    }
    return {SCORES: pack_scores(cells, whole, under, proper), MEASURED: to_json(measured)}


def _metrics(task: Task, tests: Tests, outputs: Outputs) -> dict[str, dict[str, float]]:
    """Metrics of each test recording, and of all together."""
    found = {name: task.metrics(outputs[name], test) for name, test in tests.items()}
    pooled = Recording.concat(list(tests.values()))
    return {**found, POOLED: task.metrics([o for name in tests for o in outputs[name]], pooled)}


def _alarms(task: Task, tests: Tests, outputs: Outputs) -> dict[str, Counts]:
    """Counts of events and alarms on each test recording and on all together, if the task has alarms."""
    if task.per == "series" or task.alarm is None or task.alarm.threshold is None:
        return {}
    found = {
        name: sum((task.counts(o, s) for o, s in zip(outputs[name], test.series, strict=True)), NOTHING)
        for name, test in tests.items()
    }
    return {**found, POOLED: sum(found.values(), NOTHING)}


def _confusion(task: Task, tests: Tests, outputs: Outputs) -> list[list[int]]:
    """The confusion matrix over all test recordings, one row per true class; empty for values."""
    if task.kind == "regression":
        return []
    given, truth = _pooled(task, tests, outputs)
    counts = np.zeros((len(task.labels), len(task.labels)), dtype=int)
    np.add.at(counts, (truth, task.decide(given)), 1)
    found: list[list[int]] = counts.tolist()
    return found


def _pooled(task: Task, tests: Tests, outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, K) and true classes (N,) of all test recordings."""
    parts = [pooled(task, outputs[name], test) for name, test in tests.items()]
    given, truth = map(np.concatenate, zip(*parts, strict=True))
    return given, truth


def _coverage(
    model: Answering | Walked, tests: Tests, outputs: Mapping[str, list[np.ndarray]]
) -> dict[str, tuple[float, float]]:
    """For the intervals on each test recording and on all together: the share inside, and the mean width."""
    inside, widths = {}, {}
    for name, test in tests.items():
        one = answering(model, name)
        if not isinstance(one, Predictor) or Interval.of(one) is None:
            return {}
        inside[name], widths[name] = covered(one, test, outputs[name])
    inside[POOLED], widths[POOLED] = (np.concatenate(list(each.values())) for each in (inside, widths))
    return {name: (float(inside[name].mean()), float(widths[name].mean())) for name in inside}


def _calibration(task: Task, model: Answering | Walked, tests: Tests, outputs: Outputs) -> Calibrated | None:
    """How reliable the stated probabilities are on the test part, before and after calibration."""
    if task.kind == "regression" or not isinstance(model, Model | Tabular | MiniRocket):
        return None
    given, truth = _pooled(task, tests, outputs)
    before = model.calibration.undone(given, task.positive)
    threshold = None if task.alarm is None else task.alarm.threshold
    each = (Reliability.of(task, p, truth) for p in (before, given))
    return Calibrated(model.calibration.temperature, model.calibration.shift, threshold, *each)
