"""Is a liquid network worth it for this recording? One call answers the question."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid.alarms import Alarm
from torchliquid.data import Recording, Windows
from torchliquid.devices import called, device_of
from torchliquid.errors import InputError, check_size
from torchliquid.files import remove_leftovers, write_atomically
from torchliquid.jobs import Job, cores, workers
from torchliquid.models import KINDS
from torchliquid.page import numbers
from torchliquid.page.glossary import metric_label
from torchliquid.study import augmentation
from torchliquid.study.contenders import BY_NAME, CONTENDERS, Contender
from torchliquid.study.plan import Plan, answering, joined
from torchliquid.study.reporting import tables
from torchliquid.study.reporting.describe import describe_data, stretches
from torchliquid.study.reporting.page import write_report
from torchliquid.study.results import ContenderResult, StudyResults, TaskResult
from torchliquid.study.run.limit import Limit, Scope
from torchliquid.study.run.mending import made_again
from torchliquid.study.run.runner import ENDING, THREADS, Quiet, Runner, StudyListener
from torchliquid.study.run.store import Store
from torchliquid.study.run.trial import Spec, untrained
from torchliquid.study.shifts import DEFAULT_SHIFTS, Shift, describe, possible
from torchliquid.study.stats.verdict import judge
from torchliquid.tasks import Task
from torchliquid.training.loop import LOOKS


def assess(
    recording: Recording,
    out: str | Path,
    *,
    task: Task | None = None,
    metric: str = "",
    alarm: Alarm | None = None,
    tests: Mapping[str, Recording] | None = None,
    validation: Recording | None = None,
    contenders: Sequence[str | Contender] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    seeds: int = 5,
    tuning: int = 4,
    parameters: int = 2500,
    updates: int | None = None,
    epochs: int | None = None,
    patience: int = 10,
    class_weights: bool | None = None,
    interval: float | None = None,
    augment: bool = False,
    walk_forward: int | None = None,
    windows: Windows | None = None,
    shifts: Sequence[Shift] = DEFAULT_SHIFTS,
    jobs: int = 1,
    ray: str | None = None,
    device: str = "cpu",
    time_limit: float | timedelta | None = None,
    with_sample: bool = True,
    title: str = "recording",
    command: str = "",
    listener: StudyListener | None = None,
) -> StudyResults:
    """Compare liquid networks with other models on a recording, under the same conditions for all.

    Writes ``report.html``, ``results.json``, ``model.safetensors`` (the liquid model that is best on validation),
    ``best.safetensors`` (the best of all models) and all trials to the folder. If it is interrupted at any moment, the
    same call continues where it stopped.

    Args:
        recording: the data to train on, with its target.
        out: the study's folder: new, or of the same study.
        task: what to predict; None: inferred from the recording, with ``metric`` and ``alarm``.
        metric: name of the metric that stops, tunes and decides, see :mod:`torchliquid.metrics`; empty: as in
            :meth:`Task.infer`.
        alarm: how the predictions of two classes become alarms, and the limit of false alarms that sets thresholds.
        tests: recordings to measure on, by name; None: a part of the recording is held out.
        validation: recording for validation; None: a part of the recording is held out.
        contenders: names from :data:`torchliquid.study.contenders.BY_NAME`, or contenders of your own; None: those
            that suit the task: GRU-D only if values are missing, MiniRocket only if each series has one label.
        settings: settings of contenders that replace their defaults and are not tuned, by name, such as
            ``{"cfc": {"layers": 2, "dropout": 0.1}}``.
        seeds: number of trainings of each network; 2 or more are needed for an interval.
        tuning: number of settings that are tried for each contender.
        parameters: budget of live parameters of each network.
        updates: maximum number of updates of a network; None: 2,000, or ten passes over the training part if these are
            more.
        epochs: maximum number of passes over the training part instead.
        patience: number of validations without a better score after which a training stops.
        class_weights: whether rare classes get a larger weight, for all contenders; None: each is tuned with both.
        interval: for values, the share of the truth that an interval around each answer should cover, such as 0.9. Its
            coverage and width are measured, and saved models have it (:mod:`torchliquid.models.conformal`).
        augment: whether all contenders are also trained on copies of the training part with lost samples and with
            drifting gain and offset. The chosen settings are trained without these copies as well, and the report
            compares both. Not possible with a time limit.
        walk_forward: the number of stretches that a recording is tested on, one after the other; before each, every
            contender is trained anew on all that came before (:meth:`torchliquid.study.plan.Plan.walk_forward`). The
            saved models are those of the last training. For values and forecasts of one series; not with test
            recordings, a validation part, augmentation or a time limit. None: one training.
        windows: how the training part is cut; None: chosen from the data.
        shifts: changes of the test data under which the trained models are measured again.
        jobs: number of processes, with one thread each; at most the number of cores. If it is more than one, call this
            function under ``if __name__ == "__main__":``, as always with processes.
        ray: address of a Ray cluster that runs the trials instead, ``host:port``, or ``auto`` for the cluster of this
            machine. The results are the same.
        device: where networks are trained and scored, such as ``"cuda"``; ``"auto"``: a GPU if there is one. Processes
            share it, so one is usually best. Live steps are timed on the CPU. Not possible with ``ray``.
        time_limit: approximate maximum time of the study, in seconds or as a ``timedelta``. One rule decides what is
            left out for all contenders (:mod:`torchliquid.study.run.limit`), and the report names it. The same study
            with a longer limit, or without one, continues from there.
        with_sample: whether saved models contain a small scaled sample of the training inputs.
        title, command: for the report.
        listener: is informed of the study's progress.

    Raises:
        InputError: the recording, the folder, the device or an option cannot be used, the limit is too short, another
            run uses the folder, or there is no cluster at that address.
        JobError: the process of a trial was killed.
    """
    seconds = time_limit.total_seconds() if isinstance(time_limit, timedelta) else time_limit
    limit, place = None if seconds is None else Limit(seconds), device_of(device)
    if ray is not None and place.type != "cpu":
        raise InputError("a device is one of this machine, and a Ray cluster trains on CPUs; give only one of them")
    chosen, shifts = _contenders(contenders, settings or {}), possible(shifts, recording)
    counts = {"seeds": seeds, "tuning": tuning, "jobs": jobs, "updates": updates, "epochs": epochs}
    check_size(**{name: count for name, count in counts.items() if count is not None})
    if seconds is not None and not seconds > 0:
        raise InputError(f"the time limit must be more than 0 seconds, not {seconds:g}")
    if augment and seconds is not None:
        raise InputError("a study with augmentation trains everything twice and has no time limit; leave one out")
    if walk_forward is not None and (tests or validation is not None or augment or seconds is not None):
        raise InputError(
            "walking forward makes its own parts and trains many times: leave out test recordings, the validation "
            "part, augmentation and the time limit"
        )
    if updates is not None and epochs is not None:
        raise InputError("training is limited by updates or by epochs; give only one of them")
    if task is not None and (metric or alarm):
        raise InputError("the given task already has a metric and alarms: set them in the task")
    task = task or Task.infer(recording, primary=metric, alarm=alarm)
    options: dict[str, Any] = {
        "parameters": parameters,
        "windows": windows,
        "updates": updates,
        "epochs": epochs,
        "patience": patience,
        "class_weights": class_weights,
        "interval": interval,
        "device": str(place),
    }
    if walk_forward is not None:
        plan = Plan.walk_forward(recording, task, walk_forward, **options)
    else:
        plan = Plan.make(recording, task, tests, validation, augment=augment, **options)
    chosen = _that_suit(chosen, plan, named=contenders is not None)
    for contender in chosen:
        if contender.name in KINDS:  # a budget that is too small raises before anything is written
            untrained(plan, Spec(contender.name, dict(contender.fixed), 0))
    asked: dict[str, Any] = {
        "contenders": [c.name for c in chosen],
        "seeds": seeds,
        "tuning": tuning,
        "parameters": parameters,
        "updates": plan.updates,
        "epochs": epochs,
        "patience": patience,
        "class weights": class_weights,
        "windows": asdict(plan.windows),
        "shifts": [shift.name for shift in shifts],
        "threads a trial": THREADS,
        "with sample": with_sample,
    }
    more = {
        "interval": interval,
        "augment": augment or None,
        "walk forward": walk_forward,
        "device": None if place.type == "cpu" else place.type,
        "fixed": {c.name: dict(c.fixed) for c in chosen if c.fixed} if settings else None,
    }
    asked |= {name: value for name, value in more.items() if value is not None}
    study = asked | {
        "shifts": [[shift.name, *shift.severities] for shift in shifts],
        "task": plan.task.to_dict(),
        "data": _fingerprint(plan),
        "version": version("torchliquid"),
    }
    with workers(jobs, THREADS, ray) as run_jobs, Store(Path(out), study) as store:
        remove_leftovers(store.folder)
        listener = listener or Quiet()
        runner = Runner(plan, store, Scope(tuple(chosen), seeds, tuning), run_jobs, shifts, listener, limit)
        competing, probes = runner.run(), runner.run_probes()
        plain = runner.run_plain(competing) if augment else []
        step = partial(_step, listener)
        listener.phase(ENDING, 0, 4)
        with step("describing the data"):
            data = describe_data(
                title,
                plan.task,
                plan.unaugmented.training,
                {"training": plan.unaugmented.training, "validation": plan.validation, **plan.tests},
            )
        results = StudyResults(
            title=title,
            task=_task_result(plan),
            data=data,
            contenders=(*competing, *probes),
            shifts=tuple(describe(shift) for shift in shifts),
            split=plan.split,
            conditions=(*_conditions(runner, jobs, ray), *_broken_off(competing), *made_again(store)),
            left_out=runner.left_out,
            settings=asked | _done(runner),
            versions=_versions(),
            command=command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=_machine(),
            plain=tuple(plain),
        )
        with step("intervals and the verdict"):
            results = judge(results, store.folder)
        with step("what is drawn, and the best models"):
            results = replace(results, stretches=_stretches(runner, results))
            _save_models(runner, results, with_sample)
            write_atomically(store.folder / "results.json", lambda part: part.write_text(results.to_json(), "utf-8"))
        with step("the report"):
            write_report(results, store.folder / "report.html")
    return results


@contextmanager
def _step(listener: StudyListener, name: str) -> Iterator[None]:
    """Report a piece of work to the listener that is not a job."""
    job = Job(name, iter, (), list)
    listener.started(job)
    yield
    listener.finished(job)


def _done(runner: Runner) -> dict[str, Any]:
    """The extent of the study, which a time limit may have reduced."""
    if runner.limit is None:
        return {}
    scope = runner.scope
    return {
        "contenders": [c.name for c in scope.contenders],
        "seeds": scope.seeds,
        "tuning": scope.tuning,
        "time limit": numbers.duration(runner.limit.seconds),
    }


def _broken_off(contenders: Sequence[ContenderResult]) -> list[str]:
    """How failed trials are treated, and each of them."""
    each = [
        f"{c.label}, {f'tried with {tables.settings(one.hyper)}' if one.tuning else f'seed {one.seed}'}: {one.reason}."
        for c in contenders
        for one in c.failed
    ]
    treatment = (
        "Trainings that failed do not count; the contender's others do. If a setting failed, another one is "
        "chosen. A contender for which no seed succeeded is left out of the comparison."
    )
    return [treatment, *each] if each else []


def _contenders(given: Sequence[str | Contender] | None, settings: Mapping[str, Mapping[str, Any]]) -> list[Contender]:
    """The contenders in the order of reports, the user's own last."""
    given = [c.name for c in CONTENDERS] if given is None else given
    if not given:
        raise InputError("a study needs contenders; name one or more, or leave them out for those that suit the task")
    own = [c for c in given if isinstance(c, Contender)]
    for i, contender in enumerate(own):
        taken = {*BY_NAME, *(c.name for c in own[:i])}
        if contender.name in taken or contender.name not in KINDS:
            raise InputError(
                f"the contender {contender.name!r} needs a name from torchliquid.models.build.KINDS that no "
                "other contender has"
            )
    names = [c for c in given if isinstance(c, str)]
    known = {**BY_NAME, **{c.name: c for c in own}}
    for name in (*names, *settings):
        if name not in known:
            raise InputError(f"there is no contender {name!r}; choose from {', '.join(known)}")
        if name not in names and known[name] not in own:
            raise InputError(f"{name!r} has settings but is not a contender; add it to the contenders")
    chosen = [*(c for c in BY_NAME.values() if c.name in names), *own]
    return [c.made_with(settings[c.name]) if c.name in settings else c for c in chosen]


def _that_suit(chosen: list[Contender], plan: Plan, named: bool) -> list[Contender]:
    """The contenders that suit the task. If they were named, all of them; one that is impossible raises."""
    there = {"": True, "missing values": plan.preprocessing.with_mask, "one label a series": plan.task.per == "series"}
    for contender in chosen:
        if named and contender.suits == "one label a series" and not there[contender.suits]:
            raise InputError(f"{contender.name} needs one label per series, but here each sample has one; leave it out")
    return chosen if named else [contender for contender in chosen if there[contender.suits]]


def _fingerprint(plan: Plan) -> str:
    """A fingerprint of all data and its split: with another recording it is another study."""
    digest = hashlib.sha256()
    for part in (plan.training, plan.validation, *plan.tests.values()):
        digest.update(json.dumps([part.channels, part.target, part.time_unit]).encode())
        for series in part.series:
            for array in (series.times, series.values, series.targets):
                if array is not None:
                    text = array.dtype == object
                    digest.update(repr(array.tolist()).encode() if text else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _ahead(task: Task) -> str:
    if task.path and task.horizon_unit == "samples":
        return f"{task.ahead} samples"
    return ", ".join(numbers.length(horizon, task.horizon_unit) for horizon in task.horizons)


def _task_result(plan: Plan) -> TaskResult:
    task = plan.task
    return TaskResult(
        task.kind,
        task.per,
        task.target,
        task.primary,
        task.higher_is_better,
        task.labels,
        horizon=_ahead(task),
        steps=tuple(numbers.length(horizon, task.horizon_unit) for horizon in task.path),
        reason=task.reason,
        positive=task.positive,
        alarm=task.alarm,
        time_unit=plan.training.time_unit,
    )


def _conditions(runner: Runner, jobs: int, ray: str | None) -> tuple[str, ...]:
    plan, seeds, windows = runner.plan, runner.scope.seeds, runner.plan.windows
    where = f"{min(jobs, cores())} at a time" if ray is None else "on a Ray cluster"
    if (place := device_of(plan.device)).type != "cpu":
        where += f"; networks were trained and scored on {called(place)}"
    budget = f"{plan.updates:,} updates" if plan.updates else f"{plan.epochs} epochs"
    looks = f"are about {LOOKS} validations, or one per epoch" if plan.updates else "is one after each epoch"
    decides = f"What stops, tunes and decides is {metric_label(plan.task.primary)}"
    decides += f": {plan.task.reason}." if plan.task.reason else "."
    return (
        "All contenders saw the same training, validation and test parts, the same inputs and the same scales.",
        *([augmentation.sentence()] if plan.original is not None else []),
        decides,
        f"Networks have as near to {plan.parameters} live parameters as their units allow; weights that a wiring "
        "switches off do not count.",
        *_tuned(runner, budget),
        f"The chosen settings were trained from {seeds} seed{'s' if seeds > 1 else ''}. Linear models and trees do "
        "not depend on the seed.",
        f"Networks were trained for at most {budget}, with a learning rate that falls to the end of this budget. "
        f"Training stopped after {plan.patience} validations without a better score, counted from the first that was "
        f"better than the naive answer; there {looks}. The best weights were kept. Windows of {windows.length} "
        f"samples, {windows.stride} apart, the first {windows.burn_in} not scored.",
        f"{_class_weights(plan, runner.scope.tuning)}One thread per trial, {where}; live steps were timed with nothing "
        "else of the study running.",
        "Scores are those in use: the state is carried through each whole test series. Scores on windows are given "
        "too.",
    )


def _tuned(runner: Runner, budget: str) -> list[str]:
    """How many settings each contender had, and how many the budget left out."""
    contenders, tuning = runner.scope.contenders, runner.scope.tuning
    if tuning == 1:
        return ["All contenders have their defaults: none was tuned."]
    had = {c.label: (len(runner.settings(c, tuning)), c) for c in contenders if c.space}
    sentences = [
        f"Tuning, from one seed, with the defaults first: {_counted(had)}. Of the settings within a tenth of the best "
        "one's errors on validation, or a twentieth of its RMSE, the first was chosen."
    ]
    if any(c.seeded for c in contenders) and tuning > 2:
        half = ", the better half of them half of it" if tuning > 4 else ""
        sentences.append(
            f"For networks, all settings had a quarter of the budget of {budget}{half}, and the better half of these "
            "the whole budget."
        )
    left = {label: c.possible - n for label, (n, c) in had.items() if c.possible > n and n == tuning}
    if left:
        sentences.append(
            "Possible settings that the budget left out: "
            f"{', '.join(f'{n} of {had[label][1].possible} of {label}' for label, n in left.items())}."
        )
    return sentences


def _counted(had: Mapping[str, tuple[int, Contender]]) -> str:
    """``4 settings each; 1 of Linear``."""
    most = max((n for n, _ in had.values()), default=1)
    fewer = "".join(f"; {n} of {label}, which has no others" for label, (n, _) in had.items() if n < most)
    return f"{most} settings each{fewer}"


def _class_weights(plan: Plan, tuning: int) -> str:
    if plan.task.kind == "regression":
        return ""
    if plan.class_weights is None and tuning > 1:
        return "Class weights: each contender was tuned with and without. "
    return f"Class weights: for {'all' if plan.class_weights else 'none'}. "


def _versions() -> dict[str, str]:
    names = ("torchliquid", "torch", "numpy", "scikit-learn", "polars")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text("utf-8").splitlines()
        models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
        cpu = f"{models[0]}, {len(models)} cores" if models else cpu
    return f"{cpu}, {platform.system()}"


def _stretches(runner: Runner, results: StudyResults) -> Any:
    """The predictions to draw: those of the two contenders that were compared."""
    tests = {name: runner.plan.task.with_targets(test) for name, test in runner.plan.tests.items()}
    outputs = {}
    for contender in results.pair:
        model = joined(runner.models(runner.best_spec(contender)), tests)
        outputs[contender.name] = [answering(model, test).outputs(recording) for test, recording in tests.items()]
    return () if results.verdict is None else stretches(runner.plan.task, tests, outputs)


def _save_models(runner: Runner, results: StudyResults, with_sample: bool) -> None:
    """The liquid model that is best on validation, and the best of all except the naive answer."""
    liquid, every = results.best("liquid"), results.best("liquid", "neural", "classical")
    for file, best in (("model.safetensors", liquid), ("best.safetensors", every)):
        if best is not None:
            runner.model(runner.best_spec(best)).save(runner.store.folder / file, with_sample)
