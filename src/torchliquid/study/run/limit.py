"""A study with a time limit. What fits is planned before the test part is used, by one rule for all contenders.

What does not fit is left out in this order: tuning, down to the defaults; seeds, down to :data:`FEW_SEEDS`; the slowest
contenders, down to one liquid and one other network, the linear model and the naive answer; then seeds, down to one.
All contenders have the same number of seeds and settings. A training is never shortened. A longer limit continues from
there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Any

from torchliquid.data import Recording
from torchliquid.jobs import Progress
from torchliquid.models import KINDS, Model
from torchliquid.page import numbers
from torchliquid.study.contenders import HALVED, Contender, Hyper, halvings
from torchliquid.study.plan import Plan
from torchliquid.study.run.latency import SECONDS, STEPS, WARM_UP
from torchliquid.study.run.trial import Spec, fit_plain, untrained
from torchliquid.study.shifts import Shift, number_of_draws, shifted
from torchliquid.study.stats.verdict import FEW_SEEDS
from torchliquid.training import TrainingConfig, TrainingError, train
from torchliquid.training.loop import LOOKS

KEPT = 0.1
"""Share of the limit that is reserved for the intervals, the report and wrong estimates."""

STAY = ("linear", "naive")
"""Contenders that always take part: they take seconds and show what a network is worth."""

TIMED_UPDATES, TIMED_SAMPLES, TIMED_STEPS, TIMED_SECONDS = 20, 2000, 20, 5.0
"""What is timed: updates of a training, samples of the validation part, live steps; and the maximum number of
seconds."""


@dataclass(frozen=True)
class Scope:
    """The extent of a study."""

    contenders: tuple[Contender, ...]
    seeds: int
    tuning: int


@dataclass(frozen=True)
class Pace:
    """The seconds of a contender: for a whole training, for measuring on the test part, for timing its live step."""

    train: float
    measure: float
    live: float = 0.0


GUESSED = {True: Pace(1.0, 0.2, 0.02), False: Pace(0.1, 0.1, 0.02)}
"""For networks and for the others, if none was timed."""

LAST = ("training", "measuring", "timing")
"""Phases of every study, after those of tuning."""


@dataclass
class Limit:
    """A time limit in seconds, from now on."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.clock()

    @property
    def left(self) -> float:
        """Seconds available for the plan."""
        return self.begun + (1 - KEPT) * self.seconds - self.clock()


def smaller(scope: Scope, paces: Mapping[str, Pace], tuned: bool = False) -> Iterator[Scope]:
    """The scope, and the smaller ones that the rule allows instead. Once ``tuned``, tuning is not changed."""
    yield scope
    while scope.tuning > 1 and not tuned:
        yield (scope := replace(scope, tuning=scope.tuning - 1))
    while scope.seeds > FEW_SEEDS:
        yield (scope := replace(scope, seeds=scope.seeds - 1))
    while out := _slowest(scope.contenders, paces):
        yield (scope := replace(scope, contenders=tuple(c for c in scope.contenders if c is not out)))
    while scope.seeds > 1:
        yield (scope := replace(scope, seeds=scope.seeds - 1))


def _slowest(contenders: Sequence[Contender], paces: Mapping[str, Pace]) -> Contender | None:
    """The contender to leave out next; the last liquid one and the last other network stay."""
    families = [c.family for c in contenders]
    may_go = [c for c in contenders if c.name not in STAY and (not c.network or families.count(c.family) > 1)]
    return max(may_go, key=lambda c: paces[c.name].train + paces[c.name].measure, default=None)


def work(
    scope: Scope,
    paces: Mapping[str, Pace],
    settings: Callable[[Contender, int], Sequence[Hyper]],
    trained: Callable[[Spec], bool],
    measured: Callable[[Spec], bool],
) -> dict[str, list[float]]:
    """The seconds of the remaining jobs in each phase of a scope, as far as they can be estimated.

    Args:
        paces: of each contender by name; others are assumed to train for a second.
        settings: gives the settings of a contender, up to a number.
        trained, measured: whether a trial is on disk.
    """
    found: dict[str, list[float]] = {phase: [] for phase in (*map(tuning, (*HALVED, 1.0)), *LAST)}
    for contender in scope.contenders:
        pace, hypers = paces.get(contender.name, GUESSED[contender.network]), settings(contender, scope.tuning)
        several = len(hypers) > 1
        for share, n in halvings(len(hypers)) if contender.network else [(1.0, len(hypers))] * several:
            there = sum(trained(Spec(contender.name, hyper, 0, share)) for hyper in hypers)
            found[tuning(share)] += [share * pace.train] * (n - there)
        # It is not known which setting will be chosen: use the one with the most results on disk.
        n = scope.seeds if contender.seeded else 1
        finals = [[Spec(contender.name, hyper, seed) for seed in range(n)] for hyper in hypers]
        found["training"] += [pace.train] * (n - max(several, *(sum(map(trained, each)) for each in finals)))
        new = n - max(sum(map(measured, each)) for each in finals)
        found["measuring"] += [pace.measure] * new
        found["timing"] += [pace.live] * new
    return {phase: jobs for phase, jobs in found.items() if jobs or phase in LAST}


def tuning(share: float) -> str:
    """The name of a phase."""
    return "tuning" if share == 1 else f"tuning, {share:.0%} of the updates"


def seconds(work: Mapping[str, Sequence[float]], at_once: int) -> float:
    """The duration with this number of parallel jobs. Live steps are timed one after the other."""
    return sum(
        sum(jobs) if phase == "timing" else max(sum(jobs) / at_once, max(jobs, default=0.0))
        for phase, jobs in work.items()
    )


def time_contender(plan: Plan, spec: Spec, shifts: Sequence[Shift], progress: Progress) -> Iterator[Any]:
    """A contender's name and its pace, from the first updates of a training and the beginning of the validation part.

    Models other than networks are fitted completely, which takes seconds.
    """
    progress(0.0, "a few updates")
    start = time.perf_counter()
    update = 0.0
    model = untrained(plan, spec).to(plan.device) if spec.contender in KINDS else fit_plain(plan, spec)
    if isinstance(model, Model):
        update = _seconds_an_update(plan, model)
    fitting = again = time.perf_counter() - start
    part = plan.task.with_targets(_beginning(plan.validation))
    start = time.perf_counter()
    changed = shifted(part, shifts[0], shifts[0].severities[0], plan.usual) if shifts else part
    plan.task.metrics(model.outputs(changed), changed)
    sample = (time.perf_counter() - start) / max(part.n_samples, 1)
    tests = sum(test.n_samples for test in plan.tests.values())
    passes = 2 + sum(len(s.severities) * number_of_draws(plan.tests, s, plan.usual) for s in shifts)
    if isinstance(model, Model):
        model.cpu()
    series, stepper = max(plan.validation.series, key=len), model.live()
    start = time.perf_counter()
    for i in range(TIMED_STEPS):
        stepper.step(series.values[i % len(series)], 1.0)
    live = min(SECONDS, (WARM_UP + STEPS) * (time.perf_counter() - start) / TIMED_STEPS)
    if isinstance(model, Model):
        batches = -(-len(plan.windows.cut(plan.training)) // TrainingConfig.batch_size)
        updates = plan.updates or (plan.epochs or 1) * batches
        again, fitting = 0.0, updates * update + (plan.epochs or LOOKS) * plan.validation.n_samples * sample
    yield spec.contender, Pace(fitting, again + passes * tests * sample, live)


class _Enough(Exception):
    pass


def _seconds_an_update(plan: Plan, model: Model) -> float:
    """The median of the first updates except the first, which includes one-time costs."""
    moments: list[float] = []

    def note(module: Any, args: Any) -> None:
        if module.training:
            moments.append(time.perf_counter())
            enough = len(moments) > 3 and moments[-1] - moments[0] > TIMED_SECONDS
            if enough or len(moments) > TIMED_UPDATES:
                raise _Enough

    noting = model.register_forward_pre_hook(note)
    start = time.perf_counter()
    try:
        train(model, plan.training, plan.validation, TrainingConfig(updates=TIMED_UPDATES), plan.windows)
    except (_Enough, TrainingError):
        model.eval()
    finally:
        noting.remove()
    gaps = [after - before for before, after in pairwise(moments[1:])]
    return median(gaps) if gaps else time.perf_counter() - start


def _beginning(part: Recording) -> Recording:
    """Enough series of a part, or the beginning of a series that is too long."""
    kept, room = [], TIMED_SAMPLES
    for series in part.series:
        if room > 0:
            kept.append(series.cut(0, room) if series.per_step and len(series) > room else series)
            room -= len(kept[-1])
    return replace(part, series=tuple(kept))


def left_out(wanted: Scope, done: Scope, limit: float, paces: Mapping[str, Pace]) -> tuple[str, ...]:
    """Sentences about what the limit left out."""
    left = []
    if done.tuning == 1 < wanted.tuning:
        left.append("no contender was tuned")
    elif done.tuning < wanted.tuning:
        left.append(f"each contender was tuned with {done.tuning} of {wanted.tuning} settings")
    if done.seeds < wanted.seeds:
        left.append(f"each network has {done.seeds} of {wanted.seeds} seeds")
    gone = [c for c in wanted.contenders if c not in done.contenders]
    if gone:
        each = [f"{c.label} (about {numbers.duration(paces[c.name].train)} per training)" for c in gone]
        left.append(f"{', '.join(each)} {'was' if len(gone) == 1 else 'were'} left out")
    if not left:
        return ()
    return (
        f"Within the time limit of {numbers.duration(limit)} {'; '.join(left)}. This was decided before the test part "
        f"was used, by one rule for all: first tuning is reduced, then seeds down to {FEW_SEEDS}, then the slowest "
        "contenders, then seeds down to 1. The same command with a longer limit continues from here.",
    )
