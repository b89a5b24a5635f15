"""What is the same for every contender of a study: the parts of the data, the task, the windows, the budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.data.overlap import share_in
from torchliquid.data.splits import ENOUGH, together
from torchliquid.errors import InputError
from torchliquid.models.conformal import check_interval
from torchliquid.models.predictor import aligned
from torchliquid.page.glossary import metric_label
from torchliquid.study.results import POOLED
from torchliquid.study.shifts import Usual
from torchliquid.tasks import Task
from torchliquid.training.fit import NOTED, hold_out
from torchliquid.training.loop import TrainingConfig, enough_updates

RESERVED = ("training", "validation", "the validation part", POOLED)
"""Names of parts in the report, which no test recording can have."""

REFUSED = 0.5
"""Of a test recording's samples, the share learnt from as well, at the same times, from which on there is no test."""


class Answering(Protocol):
    """Any model that can be scored. Its task is the plan's, with the threshold of its own alarms."""

    @property
    def task(self) -> Task: ...

    def outputs(self, recording: Recording, windows: Windows | None = None) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Plan:
    """The conditions of a study.

    Attributes:
        task: fitted on the training part.
        training, validation: parts of what was given to learn from; nothing of the tests.
        tests: test recordings by name; their series that share rows are of one group.
        preprocessing: fitted on the training part, the same for all.
        usual: means and deviations of the training part's channels, by which shifts are measured.
        windows: how the networks' training part is cut, and how all are scored on windows.
        parameters: the budget of live parameters.
        updates, epochs, patience: the stopping rule of the networks, as in
            :class:`~torchliquid.training.TrainingConfig`; one of the first two is None.
        class_weights: whether rare classes weigh more, for all or for none; None: it is tuned.
        interval: of values, the share that an interval around each answer is to cover; None: there is none.
        split: how the parts were made, in sentences.
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
    ) -> Plan:
        """Split what is given and fit on the training part what is to be fitted.

        Held out are whole groups where there are any, else whole series where there are enough of them, else the end
        of each series; the test part first, unless there are test recordings, then the validation part. What shares
        rows stays together (:func:`torchliquid.data.series_split`); stretches of values that are in two parts
        nevertheless are told in ``split``.

        Test recordings may overlap with what is learnt from, as a table cut anew does: a few samples that are in both,
        at the same time with the same values, are told in ``split``. With half of them a score would be one of what
        was learnt by heart, so that is refused.

        Raises:
            InputError: a test has a name of :data:`RESERVED`; a part would be empty, has no label, or has a class that
                the training part lacks; a test recording lacks a channel, or half of it is learnt from; class weights
                where there are no classes.
        """
        for name in tests or ():
            if name in RESERVED:
                raise InputError(f"a test recording cannot be named {name!r}: the report has a part of that name")
        if class_weights and task.kind == "regression":
            raise InputError(f"class weights are for classes; {task.target!r} is regressed: leave them out")
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
            split.append("Validation, on which training stops and settings are chosen: the part its publisher fixed.")
        split.append("Scales, the time scale and what stands for missing values come from the training part alone.")
        preprocessing = Preprocessing.fit(training)
        split += preprocessing.notes
        split += task.notes(training)
        task = task.fit(training)
        held_out = {"the validation part": validation, **tests}
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
                        f"{name}: {shared:.0%} of its samples are among those to learn from, at the same times with "
                        "the same values; test on others, or name no test and a part is held out"
                    )
                if shared >= NOTED:
                    split.append(f"Of {name}, {shared:.0%} of the samples are among those that were learnt from.")
                    continue
            learnt_from = [training] if part is validation else [training, validation]
            if (share := share_in(held_out[name], learnt_from)) >= NOTED:
                split.append(f"Of {name}, {share:.0%} of the values come in what was learnt from as well.")
        validation = held_out.pop("the validation part")
        task = task.from_last(training, validation, preprocessing)
        if task.learnt:
            split.append(
                f"All models that learn at all learn {task.learnt}: on the validation part it is a better start than "
                "the training part's mean."
            )
        windows = windows or Windows.choose(training, task)
        if epochs is None and updates is None:
            updates = enough_updates(-(-len(windows.cut(training)) // TrainingConfig.batch_size))
        held_out = {name: together(test) for name, test in held_out.items()}
        return cls(
            task,
            training,
            validation,
            held_out,
            preprocessing,
            Usual.of(training),
            windows,
            parameters,
            updates,
            epochs,
            patience,
            class_weights,
            tuple(split),
            interval,
        )

    def deciding(self, model: Answering) -> Task:
        """The task with a model's own threshold."""
        return replace(self.task, alarm=model.task.alarm)

    def score(self, model: Answering, part: Recording) -> float:
        """The primary metric on a part, the state carried through its series."""
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
    """A hash of each sample's time and values, where a value is another than before: those at rest agree by chance."""
    found = []
    for series in recording.series:
        before, after = series.values[:-1], series.values[1:]
        moved = ((before != after) & ~(np.isnan(before) & np.isnan(after))).any(1)
        rows = np.column_stack([series.times, series.values])[1:][moved]
        found += [hash(row.tobytes()) for row in rows]
    return found


def _how(whole: Recording, held: Recording) -> str:
    if whole.grouped:
        held_groups, groups = (len({s.group or s.name for s in part.series}) for part in (held, whole))
        return f"{held_groups} of {groups} groups, {held.n_series} of {whole.n_series} series, drawn at random"
    if whole.n_series >= ENOUGH:
        return f"{held.n_series} of {whole.n_series} series, drawn at random, those together that share rows"
    where = "the recording" if whole.n_series == 1 else "each series"
    return f"the last {held.n_samples / whole.n_samples:.0%} of {where}, forward in time"
