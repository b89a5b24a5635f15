"""All analyses of one model on one recording, and the moments that the page animates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from torchliquid import metrics
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.explain.attribution import Attribution, attribution
from torchliquid.explain.dynamics import Dynamics, dynamics
from torchliquid.explain.experts import Experts, experts
from torchliquid.explain.neurons import has_experts, input_names, used_part
from torchliquid.explain.over_time import OverTime, over_time
from torchliquid.explain.roles import Roles, roles
from torchliquid.explain.time_constants import SAMPLES, TimeConstants, time_constants
from torchliquid.explain.wiring import Circuit, wiring
from torchliquid.models.build import KINDS
from torchliquid.models.model import Model
from torchliquid.models.naive import Naive
from torchliquid.page.numbers import time_unit
from torchliquid.tasks import Task

MOMENTS = 240
AT_ONCE = 500
"""Samples that are solved in parallel, to see whether it pays."""

STEPS = ("time constants", "the circuit", "roles", "attribution", "dynamics", "parallel over time")

Progress = Callable[[str, float, int], None]
"""Called with the name of the next step, the number of finished steps and the number of all steps."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Moments:
    """The moments that the page animates: samples of the longest series, spread evenly.

    Attributes:
        series: its name.
        times: (M,) from the first sample.
        unit: of ``times``, minutes or hours for many seconds.
        inputs: (M, n_inputs) standardised inputs of the network.
        readings: (M, C) channels in their units, NaN if not observed.
        states, taus: (M, H) the neurons' states, and their time constants or gate time scales in the recording's unit.
        answers: (M, K) probabilities, or values; (0, K) for a task per series, which has none at a sample.
        predicted, truth: (M,) predicted and true class index, or first value; NaN if there is none.
    """

    series: str
    times: np.ndarray
    unit: str
    inputs: np.ndarray
    readings: np.ndarray
    states: np.ndarray
    taus: np.ndarray
    answers: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Quality:
    """How good the model is on the recording.

    Attributes:
        metric: the task's.
        model, naive: the metric of the model, and of the best constant answer or, in a forecast, of the last value.
        better: whether the model is better by at least what matters.
    """

    metric: str
    model: float
    naive: float
    better: bool


@dataclass(frozen=True, eq=False)
class Explanation:
    """The analyses of a model on a recording. ``left_out`` gives the reason for each missing one, ``gap`` is the usual
    gap."""

    model: str
    task: Task
    channels: tuple[str, ...]
    inputs: tuple[str, ...]
    parameters: int
    source: str
    circuit: Circuit
    gap: float
    moments: Moments
    quality: Quality | None
    time_constants: TimeConstants
    roles: Roles | None
    attribution: Attribution | None
    dynamics: Dynamics | None
    over_time: OverTime | None
    left_out: dict[str, str]
    experts: Experts | None = None


def explanation(model: Model, recording: Recording, source: str = "", progress: Progress | None = None) -> Explanation:
    """Run all analyses.

    If an analysis is not possible with this recording, such as roles with too few samples, the page says so, and the
    others still run.

    Args:
        model: an LTC or a CfC, with or without a wiring.
        recording: with all of the model's channels, and the target if roles are to be compared with the model's loss
            without each neuron.
        source: name of the recording.
        progress: called before each step, and during the longest one.

    Raises:
        InputError: the model is of another kind, a channel is missing, times are in another unit, or there are no
            samples.
    """
    left_out: dict[str, str] = {}
    tell = progress or (lambda step, done, steps: None)

    def step(i: int) -> None:
        tell(STEPS[i] if i < len(STEPS) else "done", i, len(STEPS))

    def tried(i: int, analyse: Callable[[Model, Recording], T]) -> T | None:
        step(i)
        try:
            return analyse(model, recording)
        except InputError as error:
            left_out[STEPS[i]] = str(error)
            return None

    step(0)
    taus = time_constants(model, recording)
    step(1)
    circuit = wiring(model)
    moments = _moments(model, recording, taus)

    def inside(share: float) -> None:
        tell(STEPS[2], 2 + share, len(STEPS))

    in_parallel = partial(over_time, samples=AT_ONCE)
    found = tried(2, partial(roles, progress=inside)), tried(3, attribution), tried(4, dynamics), tried(5, in_parallel)
    step(len(STEPS))
    return Explanation(
        KINDS[model.kind].label,
        model.task,
        model.preprocessing.channels,
        input_names(model),
        model.live_parameters(),
        source,
        circuit,
        recording.median_gap(),
        moments,
        quality(model, recording),
        taus,
        *found,
        left_out,
        experts(model, recording) if has_experts(model) else None,
    )


def quality(model: Model, recording: Recording) -> Quality | None:
    """How good the model is on a recording; None if there are no targets or the metric is not defined."""
    task = model.task
    if not any(np.any(task.encode(series)[1] > 0) for series in task.with_targets(recording).series):
        return None
    naive = Naive.fit(task, model.preprocessing, recording)
    own, other = (task.metrics(each.outputs(recording), recording)[task.primary] for each in (model, naive))
    if not (np.isfinite(own) and np.isfinite(other)):
        return None
    gain = (own - other) * (1 if task.higher_is_better else -1)
    return Quality(task.primary, own, other, bool(gain >= metrics.find(task.primary).matters(other)))


def _moments(model: Model, recording: Recording, taus: TimeConstants) -> Moments:
    i = int(np.argmax([len(states) for states in taus.states]))
    task, used = model.task, used_part(model, model.task.with_targets(recording), SAMPLES)
    series = used.series[i]
    n = len(series)
    at = np.unique(np.linspace(0, n - 1, MOMENTS).astype(int))
    times = (taus.times[i] - taus.times[i][0])[at]
    unit, factor = time_unit(float(times[-1]) / 4, taus.unit)
    answers, predicted, truth = np.empty((0, task.n_outputs)), np.full(len(at), np.nan), np.full(len(at), np.nan)
    if task.per == "step":
        answers = model.outputs(replace(used, series=(series,)))[0][at]
        predicted = task.decide(answers) if task.kind == "classification" else answers[:, 0]
        encoded, weights = task.encode(series)
        known = encoded if task.kind == "classification" else encoded.reshape(n, -1)[:, 0] * task.std[0] + task.mean[0]
        truth = np.where(weights > 0, known, np.nan)[at]
    return Moments(
        taus.series[i],
        times / factor,
        unit,
        taus.inputs[i][at],
        series.values[at],
        taus.states[i][at],
        taus.shown[i][at],
        answers,
        predicted,
        truth,
    )
