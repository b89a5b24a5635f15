"""A whole study: tune, train from every seed, fix the comparison, measure on the test part, give the verdict.

Every result is on disk at once, and is not computed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, TypeVar

from torchliquid.errors import InputError
from torchliquid.files import read_plain, write_folder, write_json
from torchliquid.jobs import Job, Listener, Progress, Silent, Workers, run_jobs
from torchliquid.models.storage import load
from torchliquid.page import numbers
from torchliquid.study.contenders import CLASS_WEIGHTS, HALVED, Contender, Hyper
from torchliquid.study.plan import Plan
from torchliquid.study.results import ContenderResult, Failed, TrialResult
from torchliquid.study.run.cost import Cost
from torchliquid.study.run.latency import live_step
from torchliquid.study.run.limit import (
    GUESSED,
    KEPT,
    Limit,
    Pace,
    Scope,
    left_out,
    seconds,
    smaller,
    time_contender,
    tuning,
    work,
)
from torchliquid.study.run.mending import latencies, mend, mend_evaluation
from torchliquid.study.run.probes import MOST_SENSORS, PROBES, evaluate_probe, probe_result
from torchliquid.study.run.store import Store
from torchliquid.study.run.trial import (
    COST,
    MODEL,
    SCORES,
    Files,
    Measured,
    Spec,
    Trainable,
    Trained,
    evaluate_trial,
    fits,
    train_trial,
)
from torchliquid.study.shifts import Shift
from torchliquid.study.stats.verdict import margin

T = TypeVar("T")
Settings = Callable[[Contender, int], list[Hyper]]

ENDING = "verdict and report"
"""The last phase."""

THREADS = 1
"""Number of threads of each trial. It is fixed because the last bits of a training depend on it."""


class StudyListener(Listener, Protocol):
    """A listener that is also informed of a study's phases, of the work left in each, and of the current one."""

    def planned(self, work: Mapping[str, float]) -> None: ...
    def phase(self, name: str, done: int, total: int) -> None: ...


class Quiet(Silent):
    """A study's listener that does nothing."""

    def planned(self, work: Mapping[str, float]) -> None: ...
    def phase(self, name: str, done: int, total: int) -> None: ...


@dataclass
class Runner:
    """Runs the trials of a plan and keeps them in a store.

    Attributes:
        scope: the extent of the study, which a limit may reduce.
        limit: the time limit.
        left_out: sentences about what it left out.
    """

    plan: Plan
    store: Store
    scope: Scope
    run_jobs: Workers
    shifts: Sequence[Shift]
    listener: StudyListener
    limit: Limit | None = None
    left_out: tuple[str, ...] = ()
    paces: dict[str, Pace] = field(default_factory=dict)

    def run(self) -> list[ContenderResult]:
        """Train, choose and measure all; one result per contender, in the given order."""
        wanted, tried = self.scope, list[Spec]()
        if self.limit is not None:
            self._time_contenders()
            self.scope = self._that_fits(wanted, self.settings)
        self._announce(self.settings)
        chosen = self._tune(tried)
        finals = self._train_finals(chosen, wanted)
        if self.plan.refits:
            later = [one for specs in finals.values() for spec in specs for one in self._refitted(spec)[1:]]
            self._train("training anew", later)
        if self.limit is not None:
            self.left_out = left_out(wanted, self.scope, self.limit.seconds, self.paces)
        contenders = self.scope.contenders
        every = [spec for c in contenders for spec in finals[c.name]]
        tried = [spec for spec in tried if spec not in every and spec.contender in finals]
        broken = [(spec, reason) for spec in (*every, *tried) if (reason := self._broken_off(spec))]
        for name, specs in finals.items():
            finals[name] = [spec for spec in specs if not any(spec is one for one, _ in broken)] or specs
        every = [spec for c in contenders for spec in finals[c.name]]
        self._measure(every)
        latency = self._latencies(every)
        return [
            ContenderResult(
                c.name,
                c.label,
                c.family,
                tuple(self._result(spec, latency[spec.id]) for spec in finals[c.name]),
                failed=tuple(Failed(s.seed, s.hyper, why, s in tried) for s, why in broken if s.contender == c.name),
            )
            for c in contenders
        ]

    def run_plain(self, competing: Sequence[ContenderResult]) -> list[ContenderResult]:
        """The contenders that learn, with the same settings and seeds, trained without augmentation."""
        learning = [c for c in competing if c.family != "naive"]
        specs = {c.name: [Spec(c.name, t.hyper, t.seed, plain=True) for t in c.trials] for c in learning}
        self._train("training without augmentation", list(chain(*specs.values())))
        specs = {name: [s for s in each if not self.trained(s).broken_off] for name, each in specs.items()}
        self._measure(list(chain(*specs.values())))
        untimed = (math.nan, math.nan)
        return [
            ContenderResult(c.name, c.label, c.family, tuple(self._result(s, untimed) for s in specs[c.name]))
            for c in learning
            if specs[c.name]
        ]

    def _goodness(self, score: float) -> float:
        """A score on validation of which more is better; minus infinity for that of a failed training, NaN."""
        return -math.inf if math.isnan(score) else score if self.plan.task.higher_is_better else -score

    def trained(self, spec: Spec) -> Trained:
        return Trained.read(self.store.trial(spec.id))

    def models(self, spec: Spec) -> list[Trainable]:
        """A trial's models, from their files: one, or those of a walk forward."""
        return [load(self.store.trial(one.id) / MODEL) for one in self._refitted(spec)]

    def model(self, spec: Spec) -> Trainable:
        """A trained model; of a walk forward the last one."""
        return self.models(spec)[-1]

    def _refitted(self, spec: Spec) -> list[Spec]:
        return [replace(spec, refit=i) for i in self.plan.moments]

    def _broken_off(self, spec: Spec) -> str:
        """Why a trial, or one of its refits, failed; empty if none did."""
        done = [one for one in self._refitted(spec) if self.store.trial(one.id).exists()]
        return next(filter(None, (self.trained(one).broken_off for one in done)), "")

    def best_spec(self, result: ContenderResult) -> Spec:
        """The seed to use: the first of those that are as good as the best on validation."""
        trial = self._as_good_as_best([(t.validation, t) for t in result.trials])
        return Spec(result.name, trial.hyper, trial.seed)

    # -- phases

    def settings(self, contender: Contender, n: int) -> list[Hyper]:
        """The settings that a contender is tuned with, up to a number."""
        weighed = self.plan.task.kind == "classification" and self.plan.class_weights is None
        tuned = contender.under(CLASS_WEIGHTS if weighed else {})
        return tuned.settings(n, lambda hyper: fits(self.plan, contender.name, hyper))

    def _time_contenders(self) -> None:
        def keep(found: tuple[str, Pace]) -> None:
            self.paces.update([found])

        specs = [Spec(c.name, self.settings(c, 1)[0], 0) for c in self.scope.contenders]
        self.listener.phase("measuring how long each takes", 0, len(specs))
        jobs = [Job(s.contender, time_contender, (self.plan, s, self.shifts), keep) for s in specs]
        self.run_jobs(jobs, self.listener)

    def _work(self, scope: Scope, settings: Settings) -> dict[str, list[float]]:
        """The remaining work, with the probes' linear models and boosting."""
        found = work(
            scope,
            self.paces,
            settings,
            lambda spec: self.store.trial(spec.id).exists(),
            lambda spec: self.store.evaluation(spec.id).exists(),
        )
        linear, boosting = (self.paces.get(name, GUESSED[False]) for name in ("linear", "boosting"))
        sensors = min(len(self.plan.training.channels), MOST_SENSORS)
        fits = {"one_sensor": sensors * linear.train, "no_memory": linear.train + boosting.train}
        left = [name for name in fits if not self.store.evaluation(f"probe-{name}").exists()]
        return {**found, "probes": [fits[name] + linear.measure for name in left]}

    def _fits(self, scope: Scope, settings: Settings) -> bool:
        assert self.limit is not None
        return seconds(self._work(scope, settings), self.run_jobs.at_once) <= self.limit.left

    def _that_fits(self, wanted: Scope, settings: Settings) -> Scope:
        """The largest scope that fits into the limit."""
        assert self.limit is not None
        scopes = list(smaller(wanted, self.paces))
        for scope in scopes:
            if self._fits(scope, settings):
                return scope
        least = seconds(self._work(scopes[-1], settings), self.run_jobs.at_once) / (1 - KEPT)
        who = ", ".join(c.label for c in scopes[-1].contenders)
        raise InputError(
            f"{numbers.duration(self.limit.seconds)} is too short: the smallest study, one seed of {who} without "
            f"tuning, takes about {numbers.duration(least)} here; give a longer time limit, or fewer updates"
        )

    def _announce(self, settings: Settings) -> None:
        """Inform the listener of the coming phases."""
        phases = {phase: sum(jobs) for phase, jobs in self._work(self.scope, settings).items()}
        self.listener.planned({**phases, ENDING: 0.02 * sum(phases.values())})

    def _train_finals(self, chosen: Mapping[str, Hyper], wanted: Scope) -> dict[str, list[Spec]]:
        """Train the chosen settings from every seed; with a limit, from as many seeds as fit, the same for all."""

        def settings(contender: Contender, n: int) -> list[Hyper]:
            return [chosen[contender.name]]

        def specs() -> dict[str, list[Spec]]:
            return {
                c.name: [Spec(c.name, chosen[c.name], seed) for seed in range(self.scope.seeds if c.seeded else 1)]
                for c in self.scope.contenders
            }

        if self.limit is None:
            self._train("training", list(chain(*specs().values())))
            return specs()
        # More may fit than planned, because trainings stop early.
        scopes = list(smaller(replace(self.scope, seeds=wanted.seeds), self.paces, tuned=True))
        self.scope = next((scope for scope in scopes if self._fits(scope, settings)), scopes[-1])
        self._announce(settings)
        lacking = [spec for spec in chain(*specs().values()) if not self.store.trial(spec.id).exists()]
        self.listener.phase("training", 0, len(lacking))
        together = max(1, self.run_jobs.at_once // max(sum(c.seeded for c in self.scope.contenders), 1))
        done = 0
        while done < wanted.seeds:
            more = range(min(done + together, wanted.seeds), done, -1)
            n = next((n for n in more if self._fits(replace(self.scope, seeds=n), settings)), max(done, 1))
            if n == done:
                break
            self.scope, done = replace(self.scope, seeds=n), n
            self._train("", list(chain(*specs().values())))
        return specs()

    def _tune(self, tried: list[Spec]) -> dict[str, Hyper]:
        """The chosen settings by contender's name. All trials are added to ``tried``. Networks are tuned by successive
        halving: all settings get a quarter of the updates, the better half of them half of the updates while more than
        two are left, and the remaining ones all updates."""
        contenders = self.scope.contenders
        settings = {c.name: self.settings(c, self.scope.tuning) for c in contenders}
        for share in HALVED:
            many = {c.name: settings[c.name] for c in contenders if c.network and len(settings[c.name]) > 2}
            for name, rated in self._rated(many, share, tried).items():
                # The worst come first; of equal ones the last, because in the end the first is chosen.
                worst_first = sorted((self._goodness(score), -i) for i, (score, _) in enumerate(rated))
                out = [rated[-i][1] for _, i in worst_first[: len(rated) // 2]]
                settings[name] = [hyper for hyper in settings[name] if hyper not in out]
        several = {name: hypers for name, hypers in settings.items() if len(hypers) > 1}
        last = self._rated(several, 1.0, tried)
        return {name: self._as_good_as_best(last.get(name, [(0.0, hypers[0])])) for name, hypers in settings.items()}

    def _rated(
        self, settings: dict[str, list[Hyper]], share: float, tried: list[Spec]
    ) -> dict[str, list[tuple[float, Hyper]]]:
        """The settings with their score on validation, after this share of the updates."""
        specs = {name: [Spec(name, hyper, 0, share) for hyper in each] for name, each in settings.items()}
        trials = [spec for each in specs.values() for spec in each]
        self._train(tuning(share), trials)
        tried += trials
        return {name: [(self.trained(s).validation, s.hyper) for s in each] for name, each in specs.items()}

    def _train(self, phase: str, specs: list[Spec]) -> None:
        mend(self.store, specs)
        new = [spec for spec in specs if not self.store.trial(spec.id).exists()]
        self._jobs(phase, specs, self.store.trial, train_trial, lambda spec: (self.plan.at(spec.refit), spec))
        for name in self.paces.keys() & {spec.contender for spec in new}:
            taken = fmean(self.trained(s).seconds / s.share for s in new if s.contender == name)
            self.paces[name] = replace(self.paces[name], train=taken)

    def _measure(self, specs: list[Spec]) -> None:
        def args(spec: Spec) -> tuple[Any, ...]:
            return (self.plan.at(0), self.models(spec), self.shifts)

        self._jobs("measuring", specs, self.store.evaluation, evaluate_trial, args)

    def run_probes(self) -> list[ContenderResult]:
        """Evidence beside the contenders."""
        names = [p.name for p in PROBES if self.plan.task.per == "step" or not p.per_step_only]
        places = {name: self.store.evaluation(f"probe-{name}") for name in names}
        for name in names:
            mend_evaluation(self.store, f"probe-{name}")
        waiting = [name for name in names if not places[name].exists()]
        self.listener.phase("probes", len(names) - len(waiting), len(names))
        jobs = [
            Job(n.replace("_", " "), evaluate_probe, (self.plan, n, self.shifts), partial(write_folder, places[n]))
            for n in waiting
        ]
        self.run_jobs(jobs, self.listener)
        return [probe_result(name, places[name], self.store.folder) for name in names]

    def _jobs(
        self,
        phase: str,
        specs: list[Spec],
        place: Callable[[str], Path],
        function: Callable[..., Iterator[Files]],
        args: Callable[[Spec], tuple[Any, ...]],
    ) -> None:
        if not specs:
            return
        waiting = [s for s in specs if not place(s.id).exists()]
        if phase:
            self.listener.phase(phase, len(specs) - len(waiting), len(specs))
        jobs = [Job(s.words, function, args(s), partial(write_folder, place(s.id))) for s in waiting]
        self.run_jobs(jobs, self.listener)

    def _latencies(self, specs: list[Spec]) -> dict[str, tuple[float, float]]:
        """Median and 99th percentile of one live step in microseconds, with no other work of the study running."""
        path = self.store.folder / "latency.json"
        known = latencies(self.store)
        waiting = [s for s in specs if s.id not in known]
        self.listener.phase("timing", len(specs) - len(waiting), len(specs))

        def measure(spec: Spec, progress: Progress) -> Iterator[dict[str, list[float]]]:
            series = max(next(iter(self.plan.tests.values())).series, key=len)
            yield {spec.id: list(live_step(self.model(spec), series))}

        def keep(measured: dict[str, list[float]]) -> None:
            known.update(measured)
            write_json(path, known)

        jobs = [Job(s.words, measure, (s,), keep) for s in waiting]
        run_jobs(jobs, self.listener, processes=1, threads=THREADS)
        return {name: (values[0], values[1]) for name, values in known.items()}

    def _result(self, spec: Spec, latency: tuple[float, float]) -> TrialResult:
        trained = self.trained(spec)
        folder = self.store.evaluation(spec.id)
        costs: Cost = read_plain(folder / COST, Cost)
        return TrialResult(
            seed=spec.seed,
            hyper=spec.hyper,
            validation=trained.validation,
            parameters=trained.parameters,
            train_seconds=trained.seconds,
            epochs=trained.epochs,
            updates=trained.updates,
            doubt=trained.doubt,
            latency_us=latency[0],
            latency_p99_us=latency[1],
            memory_mb=trained.memory_mb,
            curve=trained.curve,
            scores=str((folder / SCORES).relative_to(self.store.folder)),
            **vars(costs),
            **vars(Measured.read(folder)),
        )

    def _as_good_as_best(self, rated: list[tuple[float, T]]) -> T:
        """The first whose score on validation differs from the best by less than what matters: smaller differences are
        chance, and following them would fit the validation part. A failed one (NaN) only if all failed."""
        best = max((score for score, _ in rated), key=self._goodness)
        least = margin(self.plan.task, best) if math.isfinite(best) else 0.0
        return next(one for score, one in rated if self._goodness(score) >= self._goodness(best) - least)
