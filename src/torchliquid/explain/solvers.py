"""Which solver a trained model needs: error, metric and time of each, with more and fewer steps."""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from torchliquid import metrics
from torchliquid.data.preprocessing import aligned
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.models.build import KINDS, assemble
from torchliquid.models.model import Model
from torchliquid.page.glossary import metric_label
from torchliquid.page.numbers import significant
from torchliquid.solvers import ADAPTIVE, LIMITS, SolverError

if TYPE_CHECKING:
    from torchliquid.explain.explanation import Progress

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of steps per sample that are tried."""

COST = {"fused": 1, "euler": 1, "rk4": 4}
"""Number of evaluations of all synapses in one step."""

TIGHT = (1e-9, 1e-11)
"""Relative and absolute tolerance of the reference solution."""

NEAR = 1e-2
"""An error that hardly affects answers, in standard deviations of the answer."""

PIECE = 64
"""Number of samples of a piece. Pieces run in parallel, each from the initial state."""


def in_words(solver: str, steps: int) -> str:
    """A solver, with its number of steps unless it is adaptive."""
    return solver if solver in ADAPTIVE else f"{solver}, {steps} step{'s' * (steps != 1)}"


@dataclass(frozen=True)
class Choice:
    """A solver with its number of steps or its tolerance.

    Attributes:
        solver: its name.
        unfolds: steps per sample; 0 for an adaptive solver.
        rtol: relative tolerance; None for a solver with fixed steps.
        error: root mean square difference from the answers of the reference solution, in standard deviations of the
            answer; the largest of several outputs; infinite if answers are not finite.
        metric: the task's primary metric on the same samples; NaN without targets.
        microseconds: median time per sample of a live stream in float32 on this machine.
        holds: the longest gap, in the recording's unit, for which the steps are short enough for every neuron of an
            LTC; None if no gap is too long. It assumes that all synapses are open, which may never occur, and neglects
            the interaction of neurons.
    """

    solver: str
    unfolds: int
    rtol: float | None
    error: float
    metric: float
    microseconds: float
    holds: float | None

    @property
    def evaluations(self) -> int | None:
        """Number of evaluations of all synapses per sample, the cost on a device; None if it varies."""
        return self.unfolds * COST[self.solver] if self.solver in COST else None

    @property
    def name(self) -> str:
        return f"{self.solver}, rtol {self.rtol:g}" if self.rtol else in_words(self.solver, self.unfolds)


@dataclass(frozen=True)
class Tradeoff:
    """Error and cost of the solvers for a model.

    Attributes:
        choices: all solvers that were tried.
        now: the model's own solver and steps.
        metric: name of the task's primary metric.
        tight: the metric of the reference solution.
        samples: number of samples used.
        of_samples: number of samples of the recording.
        pieces: number of pieces, each from the initial state.
        longest: the recording's longest gap, in its unit.
        unit: of time.
    """

    choices: tuple[Choice, ...]
    now: tuple[str, int]
    metric: str
    tight: float
    samples: int
    of_samples: int
    pieces: int
    longest: float
    unit: str

    @property
    def own(self) -> str:
        """The model's own solver, in words."""
        return in_words(*self.now)

    @property
    def off(self) -> float | None:
        """Difference between the model's own answers and the reference solution, as :attr:`Choice.error`; None for an
        adaptive solver."""
        return None if self.kept is None else self.kept.error

    @property
    def kept(self) -> Choice | None:
        """The entry of the model's own solver; None for an adaptive one."""
        solver, steps = self.now
        return next((c for c in self.choices if c.solver == solver and c.unfolds == steps and c.rtol is None), None)

    def recommended(self) -> Choice:
        """The solver to deploy: the fixed solver with the fewest evaluations that holds at the recording's longest gap
        and whose answers are at least as good as with the model's own solver, with which it was trained. If this is
        adaptive or does not hold, they must be as good as the reference solution, except for differences that do not
        matter. Without targets it is the model's own.

        Raises:
            InputError: as for :meth:`cheapest`, if there is no such solver.
        """
        own = self.kept if self.kept is not None and not self.too_short(self.kept) else None
        metric = metrics.find(self.metric)
        sign = 1 if metric.higher_is_better else -1
        least = sign * self.tight - metric.matters(self.tight) if own is None else sign * own.metric
        fixed = [c for c in self.choices if c.evaluations is not None and not self.too_short(c)]
        good = [c for c in fixed if sign * c.metric >= least]
        if good:
            return min(good, key=lambda c: (c.evaluations or 0, c is not own))
        return own or self.cheapest(NEAR)

    def advice(self) -> str:
        """The recommendation in words."""
        choice, own = self.recommended(), self.kept
        if own is choice and math.isnan(own.metric):
            return f"Keep {own.name}: the model was trained with it. Without targets no other solver can be assessed."
        tight = "" if math.isnan(self.tight) else f"; the reference solution has {significant(self.tight)}"
        if own is choice:
            return f"Keep {own.name}: {metric_label(self.metric)} {significant(own.metric)}{tight}."
        judged = "" if math.isnan(choice.metric) else f"{metric_label(self.metric)} {significant(choice.metric)} with "
        evaluations = f"{choice.evaluations} evaluation{'s' * (choice.evaluations != 1)}"
        words = f"Use {choice.name}: {judged}{evaluations} per sample"
        if own is None:
            return f"{words}{tight}."
        if self.too_short(own):
            return (
                f"{words}; the model's own, {own.name}, may be too few for the longest gap, {self.longest:.3g} "
                f"{self.unit}."
            )
        return f"{words}; the model's own, {own.name}, has {significant(own.metric)} with {own.evaluations}{tight}."

    def cheapest(self, error: float) -> Choice:
        """The fixed solver with the fewest evaluations whose error is at most this and that holds at the recording's
        longest gap. Of equal ones it is the first, fused.

        Raises:
            InputError: there is none.
        """
        fixed = [c for c in self.choices if c.evaluations is not None and not self.too_short(c)]
        good = [c for c in fixed if c.error <= error]
        if not good:
            if not fixed:
                raise InputError(
                    f"no solver with up to {STEPS[-1]} steps holds at the longest gap, {self.longest:.3g} {self.unit}; "
                    "leave the model as it is"
                )
            best = min(fixed, key=lambda c: c.error)
            raise InputError(
                f"no solver with up to {STEPS[-1]} steps has an error of at most {error:g}; the best is {best.name}, "
                f"with {best.error:.2g}: give a larger --error"
            )
        return min(good, key=lambda c: c.evaluations or 0)

    def too_short(self, choice: Choice) -> bool:
        """Whether its steps are too few for the recording's longest gap."""
        return choice.holds is not None and choice.holds < self.longest


def compare_solvers(
    model: Model, recording: Recording, samples: int = 1024, progress: Progress | None = None
) -> Tradeoff:
    """Try each solver of an LTC, CT-RNN or Neural ODE on a recording.

    The reference is dopri5 in double precision with a relative tolerance of 1e-9. Errors are computed in double
    precision too, so that they are those of the solver only.

    Args:
        model: is not changed.
        recording: with the model's channels; the metric needs targets, unless a channel is forecast.
        samples: approximate number of samples, in pieces spread evenly over the recording.
        progress: called before each solver.

    Raises:
        InputError: the model does not solve an ODE, the recording does not fit, torchode is not installed, or the
            reference solution needs too many steps.
    """
    names = solver_names(model)
    recording = aligned(recording, model.preprocessing)
    targeted = recording.target is not None or model.task.horizon is not None
    if targeted:
        recording = model.task.with_targets(recording)
    pieces = _pieces(recording, samples, model.task.per == "step")
    labelled = targeted and any((np.atleast_1d(model.task.encode(s)[1]) > 0).any() for s in pieces.series)
    tries: list[tuple[str, int, float | None]] = []
    for name in names:
        tries += [(name, 0, rtol) for rtol in (1e-2, 1e-4)] if name in ADAPTIVE else [(name, n, None) for n in STEPS]
    now = (str(model.config.get("solver", "fused")), int(model.config.get("unfolds", 6)))
    if now[0] not in ADAPTIVE and (*now, None) not in tries:
        tries.insert(0, (*now, None))
    tell = progress or (lambda step, done, steps: None)
    tell("the reference solution", 0, len(tries) + 1)
    truth = _answers(with_solver(model, "dopri5", 0, *TIGHT), pieces)
    spread = np.maximum(np.concatenate([np.atleast_2d(t) for t in truth]).std(0), 1e-12)
    fastest = _fastest_constant(model)

    def metric(answers: list[np.ndarray]) -> float:
        if not labelled or not all(np.isfinite(a).all() for a in answers):
            return float("nan")
        return model.task.metrics(answers, pieces)[model.task.primary]

    def tried(i: int, solver: str, unfolds: int, rtol: float | None) -> Choice:
        tell(solver, i, len(tries) + 1)
        one = with_solver(model, solver, unfolds, rtol or 0.0)
        try:
            answers = _answers(one, pieces)
            with np.errstate(invalid="ignore", over="ignore"):  # in solutions that diverged
                off = np.concatenate([np.atleast_2d(a - t) for a, t in zip(answers, truth, strict=True)])
                error = float((np.sqrt(np.square(off).mean(0)) / spread).max())
            error = error if np.isfinite(error) else np.inf
            holds = LIMITS[solver] * unfolds * fastest if fastest and solver in LIMITS else None
            return Choice(solver, unfolds, rtol, error, metric(answers), _time(one), holds)
        except SolverError:
            return Choice(solver, unfolds, rtol, np.inf, float("nan"), float("nan"), None)

    log = logging.getLogger("torchliquid")
    level = log.level
    log.setLevel(logging.ERROR)  # no warnings about solvers that are only tried
    try:
        choices = [tried(i, *one) for i, one in enumerate(tries, 1)]
    finally:
        log.setLevel(level)
    longest = float(recording.gaps().max(initial=0.0))
    return Tradeoff(
        tuple(choices),
        now,
        model.task.primary,
        metric(truth),
        pieces.n_samples,
        recording.n_samples,
        pieces.n_series,
        longest,
        recording.time_unit,
    )


def solver_names(model: Model) -> tuple[str, ...]:
    """The solvers for a kind of model.

    Raises:
        InputError: it does not solve an ODE.
    """
    if model.kind in ("ltc", "ltc_ncp"):
        return (*COST, *ADAPTIVE)
    if "solver" in KINDS[model.kind].defaults:
        return (*(name for name in COST if name != "fused"), *ADAPTIVE)
    solved = ", ".join(name for name, kind in KINDS.items() if "solver" in kind.defaults)
    raise InputError(f"a {model.kind} has no solver; these kinds have one: {solved}")


def with_solver(model: Model, solver: str, unfolds: int = 0, rtol: float = 0.0, atol: float = 0.0) -> Model:
    """The same weights with another solver, as a model that can be saved. Zeros leave the default values."""
    config = {k: v for k, v in model.config.items() if k not in ("rtol", "atol", "adjoint")}
    given = {"unfolds": unfolds, "rtol": rtol, "atol": atol}
    config |= {"solver": solver, **{name: value for name, value in given.items() if value}}
    made = assemble(model.kind, config, model.task, model.preprocessing)
    made.load_state_dict(model.state_dict())
    made.metadata, made.sample = copy.deepcopy(model.metadata), copy.deepcopy(model.sample)
    return made.eval()


def _fastest_constant(model: Model) -> float | None:
    """The smallest time constant that the leaks allow, in the recording's unit of time; None without leaks."""
    rates = [rate for cell in model.network.cells if (rate := cell.fastest_rate()) is not None]
    return model.preprocessing.time_scale / max(rates) if rates else None


def _pieces(recording: Recording, samples: int, per_step: bool) -> Recording:
    """At most ``samples`` samples: pieces of all series, evenly spread; for a task per series the beginnings of
    series."""
    cuts = [
        (series, start)
        for series in recording.series
        for start in (range(0, max(len(series), 1), PIECE) if per_step else (0,))
    ]
    chosen = np.unique(np.linspace(0, len(cuts) - 1, min(len(cuts), max(samples // PIECE, 1))).round().astype(int))
    pieces = (cuts[i][0].cut(cuts[i][1], cuts[i][1] + PIECE) for i in chosen)
    return replace(recording, series=tuple(pieces))


@torch.no_grad()
def _answers(model: Model, pieces: Recording) -> list[np.ndarray]:
    twin = copy.deepcopy(model).cpu().double()
    parts = [model.preprocessing(series) for series in pieces.series]
    inputs = pad_sequence([torch.from_numpy(x).double() for x, _ in parts], batch_first=True)
    spans = pad_sequence([torch.from_numpy(t).double() for _, t in parts], batch_first=True)
    lengths = torch.tensor([len(t) for _, t in parts])
    raw = model.task.decode(twin(inputs, spans, lengths)[0].numpy())
    if model.task.per == "series":
        return list(raw)
    return [answers[:n] for answers, n in zip(raw, lengths.tolist(), strict=True)]


def _time(model: Model, steps: int = 50) -> float:
    stream, values = model.live(), model.preprocessing.mean
    taken = []
    for _ in range(steps):
        began = time.perf_counter()
        stream.step(values, model.preprocessing.time_scale)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken)) * 1e6
