"""What all contenders of a study share: the parts of the data, the task, the windows and the budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.data.overlap import share_in
from torchliquid.data.preprocessing import aligned
from torchliquid.data.splits import ENOUGH, together
from torchliquid.data.summary import moment
from torchliquid.errors import InputError
from torchliquid.models.conformal import check_enough, check_interval
from torchliquid.page.glossary import metric_label
from torchliquid.study.augmentation import augmented
from torchliquid.study.results import POOLED
from torchliquid.study.shifts import Usual
from torchliquid.tasks import Task
from torchliquid.training.fit import NOTED, hold_out
from torchliquid.training.loop import TrainingConfig, enough_updates

RESERVED = ("training", "validation", "the validation part", POOLED)
"""Names of parts in the report, which test recordings cannot have."""

REFUSED = 0.5
"""Maximum share of a test recording's samples that may also be in the training data, at the same times."""


class Answering(Protocol):
    """Any model that can be scored. Its task is the plan's, with its own threshold of alarms."""

    @property
    def task(self) -> Task: ...

    def outputs(self, recording: Recording, windows: Windows | None = None) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Walked:
    """The models of a walk forward, one for each stretch.

    Attributes:
        models: by the name of the test recording.
    """

    models: Mapping[str, Answering]

    @property
    def task(self) -> Task:
        return next(iter(self.models.values())).task


def joined(models: Sequence[Answering], tests: Iterable[str]) -> Answering | Walked:
    """A trial's models as one: the only one, or those of a walk forward, one for each test recording in order."""
    return models[0] if len(models) == 1 else Walked(dict(zip(tests, models, strict=True)))


def answering(model: Answering | Walked, test: str) -> Answering:
    """The model that answers a test recording."""
    return model.models[test] if isinstance(model, Walked) else model


@dataclass(frozen=True)
class Plan:
    """The conditions of a study.

    Attributes:
        task: fitted on the training part.
        training, validation: parts of the given recording, without the test part.
        tests: test recordings by name. Their series that share rows form groups.
        preprocessing: fitted on the training part, the same for all.
        usual: means and standard deviations of the training part's channels, which set the size of shifts.
        windows: how the networks' training part is cut, and how all models are scored on windows.
        parameters: the budget of live parameters.
        updates, epochs, patience: the stopping rule of the networks, as in
            :class:`~torchliquid.training.TrainingConfig`; one of the first two is None.
        class_weights: whether rare classes get a larger weight, for all contenders; None: it is tuned.
        interval: for values, the share that an interval around each answer should cover; None: no interval.
        split: sentences about how the parts were made.
        original: the training part before augmentation; None: there is no augmentation.
        device: where networks are trained and scored.
        refits: of a walk forward, the conditions of each later training; ``tests`` are the stretches that follow the
            trainings, in the order of time.
    """

    task: Task
    training: Recording
    validation: Recording
    tests: Mapping[str, Recording]
    preprocessing: Preprocessing
    usual: Usual
    windows: Windows
    parameters: int
    updates: int | None
    epochs: int | None
    patience: int
    class_weights: bool | None
    split: tuple[str, ...]
    interval: float | None = None
    original: Recording | None = None
    device: str = "cpu"
    refits: tuple[Plan, ...] = ()

    def at(self, refit: int) -> Plan:
        """The conditions of one training: of the first, or of a later one of a walk forward."""
        return self.refits[refit - 1] if refit else replace(self, refits=())

    @property
    def moments(self) -> range:
        """The trainings of a walk forward, or the only one."""
        return range(1 + len(self.refits))

    @property
    def unaugmented(self) -> Plan:
        """The same conditions without augmentation."""
        return self if self.original is None else replace(self, training=self.original, original=None)

    @classmethod
    def make(
        cls,
        recording: Recording,
        task: Task,
        tests: Mapping[str, Recording] | None = None,
        validation: Recording | None = None,
        parameters: int = 2500,
        windows: Windows | None = None,
        updates: int | None = None,
        epochs: int | None = None,
        patience: int = 10,
        class_weights: bool | None = None,
        interval: float | None = None,
        augment: bool = False,
        device: str = "cpu",
    ) -> Plan:
        """Split the data, and fit the task and the preprocessing on the training part.

        Whole groups are held out if there are any, else whole series if there are enough of them, else the end of each
        series: first the test part, unless there are test recordings, then the validation part. Series that share rows
        stay together (:func:`torchliquid.data.series_split`). If stretches of values are in two parts nevertheless,
        ``split`` says so.

        Test recordings may overlap with the training data, for example if a table was cut again. If a few samples are
        in both, at the same time and with the same values, ``split`` says so. With half of them the score would measure
        memorised samples, so this raises an error.

        Raises:
            InputError: a test has a name of :data:`RESERVED`; a part is empty, has no label, or has a class that the
                training part lacks; a test recording lacks a channel, or half of it is in the training data; class
                weights are given for a regression.
        """
        for name in tests or ():
            if name in RESERVED:
                raise InputError(f"a test recording cannot be named {name!r}: the report uses this name")
        if class_weights and task.kind == "regression":
            raise InputError(
                f"class weights are only for classification, and {task.target!r} is a regression: leave them out"
            )
        if interval is not None:
            check_interval(task, interval)
        split: list[str] = []
        learnt: set[int] = set()
        if tests:
            learnt = {sample for part in (recording, validation) if part is not None for sample in _samples(part)}
            split.append(
                f"Test: {'recordings of their' if len(tests) > 1 else 'a recording of its'} own, {', '.join(tests)}."
            )
        else:
            whole = recording
            recording, test = hold_out(recording, task)
            tests = {"held out": test}
            split.append(f"Test: {_how(whole, test)}.")
        if validation is None:
            training, validation = hold_out(recording, task)
            split.append(f"Validation, on which training stops and settings are chosen: {_how(recording, validation)}.")
        else:
            training = recording
            split.append("Validation, on which training stops and settings are chosen: a recording of its own.")
        split.append("Scales, the time scale and the values for missing readings come from the training part only.")
        preprocessing = Preprocessing.fit(training)
        split += [*preprocessing.notes, *task.notes(training)]
        task = task.fit(training)
        held_out = {"the validation part": validation, **tests}
        if interval is not None:
            check_enough(task, validation, interval)
        for name, part in held_out.items():
            try:
                held_out[name] = aligned(part, preprocessing)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
            task.check(held_out[name], name)
            if task.kind == "classification" and task.metric.ranks:
                _refuse_one_class(task, held_out[name], name)
            if name in tests and learnt:
                samples = _samples(held_out[name])
                shared = sum(sample in learnt for sample in samples) / max(len(samples), 1)
                if shared >= REFUSED:
                    raise InputError(
                        f"{name}: {shared:.0%} of its samples are also in the training data, at the same times with "
                        "the same values; test on other samples, or name no test, and a part is held out"
                    )
                if shared >= NOTED:
                    split.append(f"{shared:.0%} of the samples of {name} are also in the training data.")
                    continue
            learnt_from = [training] if part is validation else [training, validation]
            if (share := share_in(held_out[name], learnt_from)) >= NOTED:
                split.append(f"{share:.0%} of the values of {name} also occur in the training data.")
        validation = held_out.pop("the validation part")
        task = task.from_last(training, validation, preprocessing)
        split += _start(task)
        windows = windows or Windows.choose(training, task)
        if epochs is None and updates is None:
            updates = enough_updates(-(-len(windows.cut(training)) // TrainingConfig.batch_size))
        held_out = {name: together(test) for name, test in held_out.items()}
        usual = Usual.of(training)
        return cls(
            task,
            augmented(task, training, usual) if augment else training,
            validation,
            held_out,
            preprocessing,
            usual,
            windows,
            parameters,
            updates,
            epochs,
            patience,
            class_weights,
            tuple(split),
            interval,
            training if augment else None,
            device,
        )

    @classmethod
    def walk_forward(cls, recording: Recording, task: Task, stretches: int, **options: Any) -> Plan:
        """Train anew before each stretch of a recording, on all that came before it.

        The recording is cut in time into one more stretch than asked for, with about the same number of samples each;
        each but the first is tested on. What is chosen before the first training holds for all: settings, windows, the
        size of shifts.

        Args:
            options: of :meth:`make`.

        Raises:
            InputError: the recording has several series or is too short, the task predicts classes, or as :meth:`make`.
        """
        if task.kind == "classification" or task.per == "series":
            raise InputError("walking forward is for values and forecasts, with one answer per sample: leave it out")
        if recording.n_series > 1:
            raise InputError(
                f"walking forward needs one series in time, and there are {recording.n_series}: leave it out"
            )
        (series,), n = recording.series, recording.n_samples
        few = f"walking forward needs 2 stretches or more, and {n} samples are too few for {stretches}"
        if not 2 <= stretches < n:
            raise InputError(few)
        places = np.arange(1, stretches + 1) * n // (stretches + 1)
        edges = [*np.unique(np.searchsorted(series.times, series.times[places])).tolist(), n]
        if len(edges) <= stretches or edges[0] < 2:
            raise InputError(few)
        plans = []
        for i, (start, end) in enumerate(pairwise(edges)):
            before, after = (replace(recording, series=(series.cut(*part),)) for part in ((0, start), (start, end)))
            try:
                plans.append(cls.make(before, task, {f"stretch {i + 1}": after}, **options))
            except InputError as error:
                raise InputError(f"walking forward, stretch {i + 1} of {stretches}: {error}") from None
            options["windows"] = plans[0].windows
        if plans[0].updates is not None:  # the longest training part needs the most; of all it is the limit
            plans = [replace(plan, updates=plans[-1].updates) for plan in plans]
        first, times = plans[0], [moment(recording, series.times[start]) for start in edges[:-1]]
        split = (
            f"Walk forward: before each of {stretches} stretches, every contender was trained anew on all that came "
            f"before it, the last fifth of this for validation, at {', '.join(times)}. No model saw a sample that came "
            "later. Settings were tuned once, before the first stretch. The parts listed are those of the first "
            "training.",
            *(sentence for sentence in first.split[1:] if sentence not in _start(first.task)),
        )
        if learnt := [plan.task.learnt for plan in plans if plan.task.learnt]:
            split += (
                f"In {len(learnt)} of {stretches} trainings all models predict {learnt[0]}: on the validation part "
                "this was a better start than the training part's mean.",
            )
        tests = {name: test for plan in plans for name, test in plan.tests.items()}
        return replace(first, tests=tests, split=split, refits=tuple(plans[1:]))

    def deciding(self, model: Answering | Walked) -> Task:
        """The task with a model's own threshold."""
        return replace(self.task, alarm=model.task.alarm)

    def score(self, model: Answering, part: Recording) -> float:
        """The primary metric on a part, with the state carried through its series."""
        return self.deciding(model).metrics(model.outputs(part), part)[self.task.primary]


def _refuse_one_class(task: Task, part: Recording, name: str) -> None:
    counts = task.count(task.with_targets(part))
    if (counts > 0).sum() < 2:
        absent = task.labels[task.positive if not counts[task.positive] else int(np.argmin(counts))]
        raise InputError(
            f"{name} has no {task.target} = {absent}: {metric_label(task.primary)} is not defined there; give a longer "
            "recording, one to test on with --test, or another --metric"
        )


def _samples(recording: Recording) -> list[int]:
    """A hash of each sample's time and values, if a value has changed. Constant values would agree by chance."""
    found = []
    for series in recording.series:
        before, after = series.values[:-1], series.values[1:]
        moved = ((before != after) & ~(np.isnan(before) & np.isnan(after))).any(1)
        rows = np.column_stack([series.times, series.values])[1:][moved]
        found += [hash(row.tobytes()) for row in rows]
    return found


def _start(task: Task) -> tuple[str, ...]:
    """What trained models predict, if not the value itself."""
    if not task.learnt:
        return ()
    return (
        f"All trained models predict {task.learnt}: on the validation part this is a better start than the training "
        "part's mean.",
    )


def _how(whole: Recording, held: Recording) -> str:
    if whole.grouped:
        held_groups, groups = (len({s.group or s.name for s in part.series}) for part in (held, whole))
        return f"{held_groups} of {groups} groups, {held.n_series} of {whole.n_series} series, drawn at random"
    if whole.n_series >= ENOUGH:
        return f"{held.n_series} of {whole.n_series} series, drawn at random, those together that share rows"
    where = "the recording" if whole.n_series == 1 else "each series"
    return f"the last {held.n_samples / whole.n_samples:.0%} of {where}, forward in time"
