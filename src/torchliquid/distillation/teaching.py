"""Trains a small network to reproduce a teacher's answers, on a recording and on shifted copies of it.

The targets are the teacher's answers, probabilities instead of labels (Hinton et al., Distilling the knowledge in a
neural network, arXiv 1503.02531). So no labels are needed, and the shifted copies can show the pupil situations that
the recording lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from torchliquid.data.batch import Batch, batches
from torchliquid.data.preprocessing import Preprocessing, aligned
from torchliquid.data.recording import Recording, Series
from torchliquid.data.windows import Windows
from torchliquid.errors import InputError
from torchliquid.models.build import build
from torchliquid.models.model import Model
from torchliquid.models.predictor import Predictor
from torchliquid.models.sample import covering
from torchliquid.random import seeded
from torchliquid.study.results import Interval
from torchliquid.study.shifts import DEFAULT_SHIFTS, Usual, possible, shifted
from torchliquid.study.stats.intervals import Term, compare
from torchliquid.study.stats.scores import Cells
from torchliquid.tasks import Task
from torchliquid.training.descent import NotFiniteError, descend, stretches
from torchliquid.training.fit import hold_out
from torchliquid.training.history import History
from torchliquid.training.loop import LOOKS, Progress, TrainingConfig, TrainingError, enough_updates, optimizer_of
from torchliquid.training.provenance import provenance

Teacher = Callable[[Recording], Sequence[np.ndarray]]
"""Decoded answers for each series, (T, K), or (K,) for a task per series; as :meth:`Predictor.outputs`."""


@dataclass(frozen=True)
class Under:
    """Pupil and teacher under one shift at one severity.

    Attributes:
        shift, described: its name, and its severity in words.
        distance: as :attr:`Distilled.distance`.
        teacher, pupil: the task's metric; None without labels.
    """

    shift: str
    described: str
    distance: float
    teacher: float | None
    pupil: float | None


@dataclass(frozen=True, eq=False)
class Distilled:
    """A pupil, and how close it is to its teacher on a part of the recording that it was not trained on.

    Attributes:
        model: the pupil.
        distance: for classes the share of answers that differ; for values the root mean square difference, in standard
            deviations of the target.
        teacher, pupil: the task's metric; None without labels.
        gain: how much better the pupil is than the teacher, negative if it is worse, with its 95 % interval; None
            without labels.
        shifts: the same under each shift of a study, with draws that it was not trained on.
        samples: number of samples in the part.
    """

    model: Model
    distance: float
    teacher: float | None
    pupil: float | None
    gain: Interval | None
    shifts: tuple[Under, ...]
    samples: int

    @property
    def worst(self) -> Under:
        """The shift under which the pupil differs most from its teacher."""
        return max(self.shifts, key=lambda under: under.distance)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Lesson(Task):
    """The task on a recording, with the teacher's answers to each series in the place of its targets."""

    recording: Recording
    taught: dict[Series, np.ndarray]

    @classmethod
    def of(cls, task: Task, recording: Recording, teacher: Teacher) -> _Lesson:
        """Check that the answers have the task's shape."""
        answers = {}
        for output, series in zip(_answers(teacher, recording), recording.series, strict=True):
            wanted = (len(series), task.n_outputs) if task.per == "step" else (task.n_outputs,)
            if output.shape != wanted:
                raise InputError(f"the teacher's answers to series {series.name!r} are {output.shape}, not {wanted}")
            answers[series] = output
        return cls(**vars(task), recording=recording, taught=answers)

    def encode(self, series: Series) -> tuple[np.ndarray, np.ndarray]:
        answers = self.taught[series].astype(np.float32)
        known = np.asarray(np.isfinite(answers).all(-1))
        answers[~known] = 0
        return answers, known.astype(np.float32)


def distil(
    teacher: Predictor | Teacher,
    recording: Recording,
    kind: str = "cfc",
    *,
    parameters: int = 500,
    test: Recording | None = None,
    task: Task | None = None,
    copies: int = len(DEFAULT_SHIFTS),
    windows: Windows | None = None,
    config: TrainingConfig | None = None,
    progress: Progress | None = None,
    **hyper: Any,
) -> Distilled:
    """Train a small network to reproduce a teacher's answers.

    Args:
        teacher: any torchliquid model, or a function from a recording to decoded answers.
        recording: with the teacher's inputs. If it has targets, both are scored by them, but not trained on them.
        kind: kind of the pupil, one of :data:`torchliquid.models.KINDS`.
        parameters: its budget of live parameters.
        test: the recording on which pupil and teacher are compared; None: a fifth of the recording, which the teacher
            may have been trained on.
        task: the task of a teacher that is a function; None: inferred from the recording's target.
        copies: number of shifted copies of the recording in the training data, with the shifts of a study in turn.
        windows, config, progress: as in :func:`torchliquid.fit`.
        hyper: further entries of the kind's config, e.g. ``layers=2``.

    Raises:
        InputError: the recording lacks a channel, is too short, or the teacher's answers do not fit the task.
        TrainingError: the loss is no longer finite.
    """
    if copies < 0:
        raise InputError(f"copies must be 0 or more, not {copies}")
    config = config or TrainingConfig()
    known = teacher if isinstance(teacher, Predictor) else None
    answers: Teacher = teacher.outputs if isinstance(teacher, Predictor) else teacher
    if known is not None:
        task, recording = known.task, aligned(recording, known.preprocessing)
        test = None if test is None else aligned(test, known.preprocessing)
    task = task or Task.infer(recording)
    rest, test = _parted(recording, task) if test is None else (recording, test)
    training, validation = _parted(rest, task)
    task, scales = (known.task, known.preprocessing) if known else (task.fit(training), Preprocessing.fit(training))
    usual = Usual.of(training)
    shifts = possible(DEFAULT_SHIFTS, training)
    rng = np.random.default_rng(config.seed)

    def changed(part: Recording, seed: int) -> Recording:
        shift = shifts[seed % len(shifts)]
        return shifted(part, shift, float(rng.choice(shift.severities)), usual, seed)

    parts = (training, *(changed(training, 1 + i) for i in range(copies)))
    lessons = [_Lesson.of(task, part, answers) for part in parts]
    exams = [_Lesson.of(task, part, answers) for part in (validation, changed(validation, 1 + copies))]
    with seeded(config.seed):
        model = build(kind, task, scales, parameters, **hyper)
        _learn(model, lessons, exams, config, windows or Windows.choose(training, task), progress)
    model.metadata["training"]["teacher"] = getattr(teacher, "kind", "a function")

    labelled = _labelled(test, task)

    def both(part: Recording) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return model.outputs(part), _answers(answers, part)

    def figures(
        part: Recording, own: list[np.ndarray], others: list[np.ndarray]
    ) -> tuple[float, float | None, float | None]:
        """The distance, and the scores of teacher and pupil."""
        scores = [task.metrics(each, part)[task.primary] if labelled else None for each in (others, own)]
        return distance(task, own, others), scores[0], scores[1]

    clean = both(test)  # once, because a teacher may be slow
    changes = []
    for shift in shifts:
        for severity in shift.severities:
            part = shifted(test, shift, severity, usual, 0)
            changes.append(Under(shift.name, shift.describe(severity), *figures(part, *both(part))))
    gain = _gain(task, test, *clean) if labelled else None
    return Distilled(model, *figures(test, *clean), gain, tuple(changes), test.n_samples)


def _answers(teacher: Teacher, recording: Recording) -> list[np.ndarray]:
    return [np.asarray(output, dtype=np.float64) for output in teacher(recording)]


def distance(task: Task, one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """The distance between two models' decoded answers, as in :attr:`Distilled.distance`."""
    a, b = _rows(one), _rows(other)
    known = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    if task.kind == "classification":
        return float((task.decide(a) != task.decide(b))[known].mean())
    return float(np.sqrt((((a - b) / task.std)[known] ** 2).mean()))


def _rows(outputs: Sequence[np.ndarray]) -> np.ndarray:
    """(N, K) of all series."""
    return np.concatenate([np.atleast_2d(part) for part in outputs])


def _parted(recording: Recording, task: Task) -> tuple[Recording, Recording]:
    """The recording in two parts, with a fifth held out, with or without labels."""
    if _labelled(recording, task):
        return hold_out(recording, task)
    # In time or by whole series, as for forecast values, because unknown labels cannot be stratified.
    blank = replace(recording, series=tuple(replace(s, targets=np.zeros(len(s))) for s in recording.series))
    parts = hold_out(
        blank, replace(task, kind="regression", per="step", labels=(), horizon=None, primary="", alarm=None)
    )
    training, validation = (
        replace(part, series=tuple(replace(s, targets=None) for s in part.series)) for part in parts
    )
    return training, validation


def _labelled(recording: Recording, task: Task) -> bool:
    """Whether anything in it can be scored."""
    if task.horizon is None and all(series.targets is None for series in recording.series):
        return False
    return any(np.any(task.encode(series)[1]) for series in task.with_targets(recording).series)


def _learn(
    model: Model,
    lessons: Sequence[_Lesson],
    exams: Sequence[_Lesson],
    config: TrainingConfig,
    windows: Windows,
    progress: Progress | None,
) -> None:
    """Train until the exams get no better; the model ends with its best weights."""
    task, history, rng = model.task, History(), np.random.default_rng(config.seed)
    device = model.readout.weight.device
    mean, std = (torch.tensor(scale, dtype=torch.float32, device=device) for scale in (task.mean, task.std))

    def a_pass() -> list[Batch]:
        cut: list[Batch] = []
        for each in lessons:
            cut += batches(each.recording, model.preprocessing, each, windows, config.batch_size, rng)
        return [cut[i] for i in rng.permutation(len(cut))]

    first = a_pass()
    if not first:
        raise InputError("the teacher has no finite answer to train on")
    model.sample = covering(first)
    if config.epochs is not None:
        steps, apart = config.epochs * len(first), len(first)
    else:
        steps = config.updates or enough_updates(len(first))
        apart = max(1, steps // LOOKS)
    optimizer, schedule = optimizer_of(model, config, steps)
    step, best = 0, -np.inf

    def endless() -> Iterator[Batch]:
        yield from first
        while True:
            yield from a_pass()

    def loss_of(batch: Batch) -> Tensor:
        batch = batch.to(device)
        raw, _ = model(batch.inputs, batch.timespans, batch.lengths)
        raw = torch.where((batch.weights > 0).unsqueeze(-1), raw, torch.zeros_like(raw))
        if task.kind == "classification":
            each = -(batch.targets * F.log_softmax(raw, -1)).sum(-1)
        else:
            each = (raw - (batch.targets - mean) / std).square().mean(-1)
        return (each * batch.weights).sum() / batch.weights.sum().clamp_min(1e-12)

    def updated() -> None:
        nonlocal step
        schedule.step()
        step += 1

    def look(loss: float) -> float:
        nonlocal best
        errors = [_error(task, model.outputs(exam.recording), list(exam.taught.values())) for exam in exams]
        error = float(np.mean(errors))
        if not np.isfinite(error):
            raise NotFiniteError("the answers are no longer finite")
        history.loss.append(loss)
        history.updates.append(step)
        history.epochs.append(-(-step // len(first)))
        history.validation.append({"distance": error})
        if -error > best:
            best, history.best = -error, len(history.loss) - 1
        return -error

    def enough() -> bool:
        if progress:
            progress(step / steps, f"{step:,} updates, {history.validation[-1]['distance']:.4g} from the teacher")
        return len(history.loss) - 1 - history.best >= config.patience

    try:
        descend(model, optimizer, stretches(endless(), steps, apart), loss_of, look, enough, config.clip, updated)
    except NotFiniteError as error:
        raise TrainingError(f"distilling broke off: {error}; try a learning rate below {config.lr:g}") from None
    model.metadata |= provenance(lessons[0].recording, history, config.seed)


def _error(task: Task, own: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    """What training lowers: the cross entropy less the least possible, or the mean squared difference in deviations."""
    one, other = _rows(own), _rows(others)
    known = np.isfinite(other).all(1)
    one, other = one[known], other[known]
    if task.kind == "classification":
        one, other = (np.clip(part, 1e-12, None) for part in (one, other))
        return float((other * (np.log(other) - np.log(one))).sum(1).mean())
    return float((((one - other) / task.std) ** 2).mean())


def _gain(task: Task, test: Recording, own: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> Interval:
    """How much better the pupil is by the task's metric, over blocks of the test part."""
    test = task.with_targets(test)
    cells = Cells.cut([test], task)
    pupil, teacher = (Term(cells.sums(task, [test], [answers])[None], deterministic=True) for answers in (own, others))
    metric = task.metric
    units = cells.independent if cells.units is None else cells.units
    found = compare(pupil, teacher, metric.value, metric.higher_is_better, units, metric.bounds)
    return replace(found, unit=cells.unit)
