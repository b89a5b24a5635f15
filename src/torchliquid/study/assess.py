"""Is a liquid network worth it for this recording? One call that answers it."""

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
from torchliquid.errors import InputError
from torchliquid.files import remove_leftovers, write_atomically
from torchliquid.jobs import Job, cores, workers
from torchliquid.models import KINDS
from torchliquid.page import numbers
from torchliquid.page.glossary import metric_label
from torchliquid.study.contenders import BY_NAME, CONTENDERS, Contender
from torchliquid.study.plan import Plan
from torchliquid.study.reporting import tables
from torchliquid.study.reporting.describe import describe_data, stretches
from torchliquid.study.reporting.page import write_report
from torchliquid.study.results import ContenderResult, StudyResults, TaskResult
from torchliquid.study.run.limit import Limit, Scope
from torchliquid.study.run.mending import made_anew
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
    windows: Windows | None = None,
    shifts: Sequence[Shift] = DEFAULT_SHIFTS,
    jobs: int = 1,
    ray: str | None = None,
    time_limit: float | timedelta | None = None,
    with_sample: bool = True,
    title: str = "recording",
    command: str = "",
    listener: StudyListener | None = None,
) -> StudyResults:
    """Judge liquid networks against others on a recording, under the same conditions for all.

    Leaves in the folder ``report.html``, ``results.json``, ``model.safetensors`` (the liquid model best on
    validation), ``best.safetensors`` (the best of all, whatever its kind) and all trials. Given again, it goes on where
    it was stopped, at whatever moment that was.

    Args:
        recording: to learn from, with its target.
        out: the study's folder, new or of the same study.
        task: what is asked; None: found from the recording, with ``metric`` and ``alarm``.
        metric: what stops, tunes and decides, by its name in :mod:`torchliquid.metrics`; empty: as
            :meth:`Task.infer` finds.
        alarm: how alarms are made of two classes, and the limit of false ones that thresholds are chosen for.
        tests: recordings to measure on, by name; None holds a part of the recording out.
        validation: None holds a part of the recording out.
        contenders: names out of :data:`torchliquid.study.contenders.BY_NAME`, or contenders of your own; None: all
            of ``CONTENDERS`` there.
        settings: what contenders are made with instead of what they are by default, by their names, as in
            ``{"cfc": {"layers": 2, "dropout": 0.1}}``; it is not tuned.
        seeds: trainings of each network, 2 or more for an interval.
        tuning: settings tried for each contender.
        parameters: budget of live parameters of each network.
        updates: of a network's weights, at most; None: 2,000, or ten passes over the training part where these take
            more.
        epochs: at most so many passes over the training part instead.
        patience: looks at the validation part without a better score after which a training stops.
        class_weights: whether rare classes weigh more, for all or for none; None: each contender is tuned with both.
        interval: of values, the share of the truth that an interval around each answer is to cover, such as 0.9; its
            coverage and width are measured, and the saved models give it (:mod:`torchliquid.models.conformal`).
        windows: how training is cut; None: chosen from the data.
        shifts: under which the trained models are measured again.
        jobs: processes at a time, one thread each, and no more than there are cores. With more than one, call this
            under ``if __name__ == "__main__":``, as always with processes.
        ray: address of a Ray cluster that does the trials instead, ``host:port``, or ``auto`` for the one that this
            machine is in; the results are the same.
        time_limit: seconds, or a ``timedelta``, that the study may take, about: what does not fit is left out by one
            rule for all (:mod:`torchliquid.study.run.limit`) and named in the report. The same study with a longer
            limit, or without one, goes on from there.
        with_sample: whether saved models carry a small scaled sample of the training inputs.
        title, command: for the report.
        listener: told how the study goes on.

    Raises:
        InputError: the recording, the folder or an option can't be used; the limit is too short; another run is at work
            in the folder; no cluster is at that address.
        JobError: the process of a trial was killed.
    """
    seconds = time_limit.total_seconds() if isinstance(time_limit, timedelta) else time_limit
    limit = None if seconds is None else Limit(seconds)
    chosen, shifts = _contenders(contenders, settings or {}), possible(shifts, recording)
    for name, value in (("seeds", seeds), ("tuning", tuning), ("jobs", jobs), ("updates", updates), ("epochs", epochs)):
        if value is not None and value < 1:
            raise InputError(f"{name} is at least 1, not {value}")
    if seconds is not None and not seconds > 0:
        raise InputError(f"a time limit is more than 0 seconds, not {seconds:g}")
    if updates is not None and epochs is not None:
        raise InputError("training is counted in updates or in epochs; give one of them")
    if task is not None and (metric or alarm):
        raise InputError("the task that is given has a metric and alarms already: change them there")
    plan = Plan.make(
        recording,
        task or Task.infer(recording, primary=metric, alarm=alarm),
        tests,
        validation,
        parameters,
        windows,
        updates,
        epochs,
        patience,
        class_weights,
        interval,
    )
    for contender in chosen:
        if contender.name in KINDS:  # a budget too small is said before anything is written
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
    severities = [[shift.name, *shift.severities] for shift in shifts]
    if interval is not None:
        asked["interval"] = interval
    if settings:
        asked["fixed"] = {c.name: dict(c.fixed) for c in chosen if c.fixed}
    study = asked | {
        "shifts": severities,
        "task": plan.task.to_dict(),
        "data": _fingerprint(plan),
        "version": version("torchliquid"),
    }
    with workers(jobs, THREADS, ray) as run_jobs, Store(Path(out), study) as store:
        remove_leftovers(store.folder)
        listener = listener or Quiet()
        runner = Runner(plan, store, Scope(tuple(chosen), seeds, tuning), run_jobs, shifts, listener, limit)
        competing, probes = runner.run(), runner.run_probes()
        step = partial(_step, listener)
        listener.phase(ENDING, 0, 4)
        with step("describing the data"):
            data = describe_data(
                title,
                plan.task,
                plan.training,
                {"training": plan.training, "validation": plan.validation, **plan.tests},
            )
        results = StudyResults(
            title=title,
            task=_task_result(plan),
            data=data,
            contenders=(*competing, *probes),
            shifts=tuple(describe(shift) for shift in shifts),
            split=plan.split,
            conditions=(*_conditions(runner, jobs, ray), *_broken_off(competing), *made_anew(store)),
            left_out=runner.left_out,
            settings=asked | _done(runner),
            versions=_versions(),
            command=command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=_machine(),
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
    """Tell the listener of a piece of work that is no job of its own."""
    job = Job(name, iter, (), list)
    listener.started(job)
    yield
    listener.finished(job)


def _done(runner: Runner) -> dict[str, Any]:
    """How much was done, where a limit of time may have left out some."""
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
    """The rule for trials that broke off, and each of them."""
    found = [(c, failed) for c in contenders for failed in c.failed]
    if not found:
        return []
    rule = (
        "Trainings that broke off do not count, and the others of their contender do: of its settings another is "
        "chosen, and a contender of which no seed ends well takes no part in the comparison."
    )
    when = [f"tried with {tables.settings(f.hyper)}" if f.tuning else f"seed {f.seed}" for _, f in found]
    return [rule, *(f"{c.label}, {at}: {f.reason}." for (c, f), at in zip(found, when, strict=True))]


def _contenders(given: Sequence[str | Contender] | None, settings: Mapping[str, Mapping[str, Any]]) -> list[Contender]:
    """In the order of reports, those of the user's own last."""
    given = [c.name for c in CONTENDERS] if given is None else given
    own = [c for c in given if isinstance(c, Contender)]
    for contender in own:
        if contender.name in BY_NAME or contender.name not in KINDS:
            raise InputError(
                f"the contender {contender.name!r} needs a name that torchliquid.models.build.KINDS has and that is no "
                "other contender's"
            )
    names = [c for c in given if isinstance(c, str)]
    known = {**BY_NAME, **{c.name: c for c in own}}
    for name in (*names, *settings):
        if name not in known:
            raise InputError(f"there is no contender {name!r}; choose from {', '.join(known)}")
        if name not in names and known[name] not in own:
            raise InputError(f"{name!r} has settings and takes no part; name it among the contenders")
    chosen = [*(c for c in BY_NAME.values() if c.name in names), *own]
    return [c.made_with(settings[c.name]) if c.name in settings else c for c in chosen]


def _fingerprint(plan: Plan) -> str:
    """Of all the data and how it is split: another recording is another study."""
    digest = hashlib.sha256()
    for part in (plan.training, plan.validation, *plan.tests.values()):
        digest.update(json.dumps([part.channels, part.target, part.time_unit]).encode())
        for series in part.series:
            for array in (series.times, series.values, series.targets):
                if array is not None:
                    text = array.dtype == object
                    digest.update(repr(array.tolist()).encode() if text else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _task_result(plan: Plan) -> TaskResult:
    task = plan.task
    return TaskResult(
        task.kind,
        task.per,
        task.target,
        task.primary,
        task.higher_is_better,
        task.labels,
        horizon="" if task.horizon is None else numbers.length(task.horizon, task.horizon_unit),
        reason=task.reason,
        positive=task.positive,
        alarm=task.alarm,
        time_unit=plan.training.time_unit,
    )


def _conditions(runner: Runner, jobs: int, ray: str | None) -> tuple[str, ...]:
    plan, seeds, windows = runner.plan, runner.scope.seeds, runner.plan.windows
    where = f"{min(jobs, cores())} at a time" if ray is None else "on a Ray cluster"
    budget = f"{plan.updates:,} updates" if plan.updates else f"{plan.epochs} epochs"
    decides = f"What stops, tunes and decides is {metric_label(plan.task.primary)}"
    decides += f": {plan.task.reason}." if plan.task.reason else "."
    return (
        "All contenders saw the same training, validation and test parts, the same inputs and the same scales.",
        decides,
        f"Networks have as near to {plan.parameters} live parameters as their units allow; weights that a wiring "
        "switches off do not count.",
        *_tuned(runner, budget),
        f"What was chosen was trained from {seeds} seed{'s' if seeds > 1 else ''}. Linear models and trees come out "
        "the same from every seed.",
        f"Networks trained for at most {budget}, along a learning rate that falls to their end, and stopped after "
        f"{plan.patience} looks at the validation part without a better score, counted from the first that was better "
        "than the naive answer; there "
        f"{f'are about {LOOKS} looks, or one an epoch' if plan.updates else 'is a look after each epoch'}. The best "
        f"weights were kept. Windows of {windows.length} samples, {windows.stride} apart, the first {windows.burn_in} "
        "not scored.",
        f"{_class_weights(plan)}One thread a trial, {where}; live "
        "steps were timed with nothing else of the study running.",
        "Scores are those of use: the state is carried through each whole test series. Scores on windows stand beside.",
    )


def _tuned(runner: Runner, budget: str) -> list[str]:
    """How many settings each contender had, and what the budget left out."""
    contenders, tuning = runner.scope.contenders, runner.scope.tuning
    if tuning == 1:
        return ["Each contender has its defaults: none was tuned."]
    had = {c.label: (len(runner.settings(c, tuning)), c) for c in contenders if c.space}
    said = [
        f"Tuning, from one seed, the defaults first: {_counted(had)}. The first as good on validation as the best, "
        "within a tenth of its errors or a twentieth of its RMSE, was chosen."
    ]
    if any(c.seeded for c in contenders) and tuning > 2:
        half = ", the better half of them a half of it" if tuning > 4 else ""
        said.append(
            f"Of networks all settings had a quarter of the budget of {budget}{half}, and the better half of these the "
            "whole."
        )
    left = {label: c.possible - n for label, (n, c) in had.items() if c.possible > n and n == tuning}
    if left:
        said.append(
            "The budget left out, of the settings a contender may have: "
            f"{', '.join(f'{n} of {had[label][1].possible} of {label}' for label, n in left.items())}."
        )
    return said


def _counted(had: Mapping[str, tuple[int, Contender]]) -> str:
    """``4 settings each; 1 of Linear``."""
    most = max((n for n, _ in had.values()), default=1)
    fewer = "".join(f"; {n} of {label}, which has no more" for label, (n, _) in had.items() if n < most)
    return f"{most} settings each{fewer}"


def _class_weights(plan: Plan) -> str:
    if plan.task.kind == "regression":
        return ""
    weighed = {True: "for all", False: "for none", None: "each contender was tuned with and without"}
    return f"Class weights: {weighed[plan.class_weights]}. "


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
    """Predictions to draw, of the two that were compared."""
    if results.verdict is None:
        return ()
    tests = {name: runner.plan.task.with_targets(test) for name, test in runner.plan.tests.items()}
    outputs = {}
    for name in (results.verdict.liquid, results.verdict.rival):
        model = runner.model(runner.best_spec(results.contender(name)))
        outputs[name] = [model.outputs(test) for test in tests.values()]
    return stretches(runner.plan.task, tests, outputs)


def _save_models(runner: Runner, results: StudyResults, with_sample: bool) -> None:
    """The liquid model best on validation, and the best of all but the naive answer."""
    liquid, every = results.best("liquid"), results.best("liquid", "neural", "classical")
    for file, best in (("model.safetensors", liquid), ("best.safetensors", every)):
        if best is not None:
            model = runner.model(runner.best_spec(best))
            model.save(runner.store.folder / file, with_sample)
