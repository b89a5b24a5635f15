"""The role of each neuron: what it follows, the loss without it, and when it is active."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from torchliquid.data.recording import Recording
from torchliquid.explain.hold import hold
from torchliquid.explain.neurons import (
    MANY_SERIES,
    Trajectory,
    follow,
    input_names,
    liquid_layers,
    neuron_kinds,
    neuron_names,
)
from torchliquid.explain.surrogates import DRAWS, Arrays, Surrogates, chances, ranked
from torchliquid.models.model import Model
from torchliquid.tasks import Task

LARGEST_LAG = 64

CLOSE = 0.7
"""From this rank correlation on, a neuron follows something closely: half of its movement. If chance cannot be ruled
out, the page says so."""

FAINT = 0.3
"""A weaker rank correlation is not a role, however significant it is: it explains less than a tenth of a neuron's
movement."""

SLIGHT = 0.01
"""Nor is a smaller loss, as a share of the metric."""

GAP = "time since the previous sample"


@dataclass(frozen=True)
class Role:
    """The role of one neuron.

    Attributes:
        neuron, kind: its name and kind, as in all analyses.
        follows: the input, target or class (``"Occupancy = 1"``) that it follows best; None if no correlation is
            significant and stronger than 0.3.
        lag, lag_time: the lag in samples, and in the recording's unit of time at its median gap. If ``follows`` is
            None, ``lag``, ``correlation`` and ``p`` are those of the strongest correlation.
        correlation: rank correlation at that lag.
        p: probability of such a strong link anywhere in the search by chance: with many series of the correlation, with
            few of what both add to their own past.
        loss: by how much the task's metric gets worse if the neuron is held at its mean; negative: better.
        loss_p: probability that the contribution of any neuron follows the truth so closely by chance; NaN without
            targets.
        active: share of samples in the upper half of its range (5 % to 95 % quantile).
        active_where: the same for each class, or for the lower and the upper half of the target.
        clear: whether it follows anything, or the loss is at least 1 % and more than chance explains.
        sentence: all of this in words, with the figures.
    """

    neuron: str
    kind: str
    follows: str | None
    lag: int
    lag_time: float
    correlation: float
    p: float
    loss: float
    loss_p: float
    active: float
    active_where: Mapping[str, float]
    clear: bool
    sentence: str

    @property
    def close(self) -> bool:
        """Whether it follows something closely, though the recording is too short to rule out chance."""
        return self.follows is None and abs(self.correlation) >= CLOSE


@dataclass(frozen=True, eq=False)
class Roles:
    """The roles of H neurons, in the order of the state.

    Attributes:
        roles: H of them.
        features: names of the F features that neurons are compared with: channels, then the target or its classes.
        correlations, lags, p: (H, F) strongest rank correlation, its lag in samples, and its adjusted p value.
        held_at: (H,) mean at which each neuron was held.
        metric: name of the task's metric; None if the recording has no targets.
        higher_is_better: whether a higher metric is better.
        intact, without: the metric of the whole model, and (H,) without each neuron; NaN without targets.
        false_rate: probability that any neuron gets a role by chance.
        control_found: number of neurons with a clear role in data from another time.
        unit: the recording's unit of time.
        method: sentences that describe the method.
        samples, of_samples: number of samples used, and in the recording.
    """

    roles: tuple[Role, ...]
    features: tuple[str, ...]
    correlations: np.ndarray
    lags: np.ndarray
    p: np.ndarray
    held_at: np.ndarray
    metric: str | None
    higher_is_better: bool
    intact: float
    without: np.ndarray
    false_rate: float
    control_found: int
    unit: str
    method: str
    samples: int
    of_samples: int

    @property
    def clear(self) -> int:
        """Number of neurons with a clear role."""
        return sum(role.clear for role in self.roles)

    @property
    def close(self) -> int:
        """Number of the others that follow something closely."""
        return sum(role.close and not role.clear for role in self.roles)


def roles(
    model: Model,
    recording: Recording,
    samples: int = 10_000,
    false_rate: float = 0.05,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Roles:
    """What each neuron follows, what the model loses without it, and when it is active.

    * A neuron follows the input, target or class with the strongest rank correlation to its state. Lags are up to a
      hundredth of the recording, but at least 6 and at most 64; with many series up to a quarter of the median length.
      With few series, what both add to their own past must be linked too, so that drift alone is not a role.
    * The loss is that of the task's metric if the neuron is held at its mean at every step (not at zero, which may be
      outside its range). It counts only if the neuron's contribution to the answer follows the truth.

    Both are compared with data from another time, see :mod:`torchliquid.explain.surrogates`: half of ``false_rate`` is
    for any correlation of any neuron, half for any loss. A correlation does not prove that the neuron computes what it
    follows: inputs that change together are followed together.

    Args:
        model: an LTC or a CfC, with or without a wiring.
        recording: with all channels of the model; without targets there are no losses.
        samples: approximate maximum number of samples to use: whole series, spread evenly, if there are 20 or more,
            else the beginning of each series.
        false_rate: probability that any neuron gets a role by chance.
        seed: of the draws.
        progress: called with the share that is done.

    Raises:
        InputError: the model is of another kind or an LTC with a solver other than ``fused``, a channel is missing,
            times are in another unit, there are too few samples, or a class is unknown.
    """
    liquid_layers(model)
    path = follow(model, _with_truth(model.task, recording), samples)
    states = [each[:, path.of_neurons] for each in path.states]
    lengths = [len(s) for s in path.recording.series]
    permute = model.task.per == "series" or len(lengths) >= MANY_SERIES
    # Offsets smaller than the lags keep the link, but they are few compared with the recording.
    few = min(max(6, sum(lengths) // 100), max(lengths) // 4)
    lags = int(min(LARGEST_LAG, np.median(lengths) // 4 if permute else few))
    draws = Surrogates.draw(lengths, permute, seed)
    control = draws.control(seed + 1)

    truth = _truth(model.task, path.recording)
    names, features = _features(model, path, truth)
    ranks = ranked(states), ranked(features)
    found, by_chance = draws.correlations(*ranks, lags)
    progress(0.2)
    lag = np.abs(found).argmax(2)
    correlation = np.take_along_axis(found, lag[..., None], 2)[..., 0]
    strength, turned_strength = np.abs(correlation), control.correlations(*ranks, lags)[1][0]
    pair = draws.telling(states), draws.telling(features)
    progress(0.25)
    new, by_chance = draws.correlations(*pair, lags)
    progress(0.45)
    p = chances(np.abs(new).max(2), by_chance)
    turned_p = chances(control.correlations(*pair, lags)[1][0], by_chance)
    level = false_rate / 2
    follows = [(p <= level) & (strength >= FAINT), (turned_p <= level) & (turned_strength >= FAINT)]
    clear = [each.any(1) for each in follows]

    held_at = np.concatenate(states).mean(0, dtype=np.float64)
    nothing = np.full(len(held_at), np.nan)
    metric, intact, without, loss, loss_p = None, np.nan, nothing, nothing, nothing
    if any(np.isfinite(t).any() for t in truth):
        outputs = [model.outputs(path.recording)]
        for h, value in enumerate(held_at):
            progress(0.5 + 0.3 * h / len(held_at))
            outputs.append(hold(model, h, float(value)).outputs(path.recording))
        progress(0.8)
        metric = model.task.primary
        intact, *rest = (model.task.metrics(one, path.recording)[metric] for one in outputs)
        without = np.array(rest)
        loss = (intact - without) * (1 if model.task.higher_is_better else -1)
        parts = _contributions(outputs), _indicators(model.task, truth)
        loss_p, turned_loss_p = needed(*parts, draws, control, lags if model.task.per == "step" else 0)
        large = loss >= SLIGHT * abs(intact)
        clear = [c | large & (each <= level) for c, each in zip(clear, (loss_p, turned_loss_p), strict=True)]

    groups = _groups(model.task, path.recording, truth)
    gap = path.recording.median_gap()
    each = []
    for h, (neuron, kind) in enumerate(zip(neuron_names(model), neuron_kinds(model), strict=True)):
        f = int((np.where(follows[0][h], strength[h], -1.0) if follows[0][h].any() else strength[h]).argmax())
        active, where = _activity([s[:, h] for s in states], groups)
        one = Role(
            neuron,
            kind,
            names[f] if follows[0][h].any() else None,
            int(lag[h, f]),
            float(lag[h, f] * gap),
            float(correlation[h, f]),
            float(p[h, f]),
            float(loss[h]),
            float(loss_p[h]),
            active,
            where,
            bool(clear[0][h]),
            "",
        )
        words = _sentence(one, names[f], path.recording.time_unit, metric, intact, without[h], level)
        each.append(replace(one, sentence=words))
    return Roles(
        tuple(each),
        names,
        correlation,
        lag,
        p,
        held_at,
        metric,
        model.task.higher_is_better,
        float(intact),
        without,
        false_rate,
        int(clear[1].sum()),
        path.recording.time_unit,
        _method(draws, lags, false_rate),
        path.recording.n_samples,
        recording.n_samples,
    )


def _with_truth(task: Task, recording: Recording) -> Recording:
    """Forecasts reach beyond the end of a shortened part, so the truth is computed first."""
    return task.with_targets(recording) if isinstance(recording, Recording) else recording


def _truth(task: Task, recording: Recording) -> list[np.ndarray]:
    """For each series (T, K) class indices or scaled values, (1, K) for a task per series; NaN if unknown."""
    found = []
    for series in recording.series:
        targets, weights = task.encode(series)
        rows = np.atleast_1d(weights).size
        values = targets.reshape(rows, -1).astype(np.float64)
        found.append(np.where(np.reshape(weights, (rows, 1)) > 0, values, np.nan))
    return found


def _features(model: Model, path: Trajectory, truth: list[np.ndarray]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """What neurons are compared with: names, and for each series (T, F)."""
    task, names = model.task, list(input_names(model))
    spans = np.concatenate(path.spans)
    uneven = spans.std() > 0.01 * spans.mean()
    names += [GAP] if uneven else []
    target = f"{task.target}, {task.ahead} {task.horizon_unit} ahead" if task.horizons else task.target
    if task.kind == "classification":
        shown = list(range(len(task.labels)))[1 if len(task.labels) == 2 else 0 :]
        names += [f"{target} = {task.labels[k]}" for k in shown]
    else:
        names += [target] if task.n_outputs == 1 else [f"{target} {k + 1}" for k in range(task.n_outputs)]
    features = []
    for x, dt, y in zip(path.inputs, path.spans, truth, strict=True):
        if task.kind == "classification":
            y = np.where(np.isfinite(y), y == np.array(shown), np.nan)
        y = np.broadcast_to(y, (len(x), y.shape[1]))
        features.append(np.concatenate([x, dt[:, None], y] if uneven else [x, y], 1))
    return tuple(names), features


def _contributions(outputs: Sequence[Arrays]) -> list[np.ndarray]:
    """For each series (T, H, K) the change of the answer by each neuron. ``outputs[0]`` is with all neurons."""
    whole, *without = ([np.atleast_2d(part) for part in each] for each in outputs)
    return [part[:, None] - np.stack(held, 1) for part, *held in zip(whole, *without, strict=True)]


def _indicators(task: Task, truth: list[np.ndarray]) -> list[np.ndarray]:
    """For each series (T, K) values, or indicators of the class; NaN if unknown."""
    if task.kind == "regression":
        return truth
    return [np.where(np.isfinite(y), y == np.arange(len(task.labels)), np.nan) for y in truth]


def needed(
    adds: Arrays, truth: Arrays, draws: Surrogates, control: Surrogates, lags: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the neurons' contributions to the answer follow the truth, by more than chance.

    Without a neuron, the squared error changes by the neuron's variance, which is the same for any pairing in time, and
    by twice the covariance of its contribution with the truth. Only the latter can be due to a link.

    Args:
        adds: for each series (T, H, K) contributions of each neuron to each answer.
        truth: for each series (T, K), NaN if unknown.

    Returns:
        (H,) p value of each neuron, among all neurons and answers, and (H,) the same for ``control``.
    """
    real, drawn, turned = [], [], []
    for k in range(truth[0].shape[1]):
        pair = draws.telling([part[:, :, k] for part in adds]), draws.telling([part[:, k : k + 1] for part in truth])
        found, by_chance = draws.correlations(*pair, lags)
        best = np.take_along_axis(found, np.abs(found).argmax(2)[..., None], 2)[:, :, 0]
        real.append(np.maximum(best, 0.0))  # a neuron that acts against the truth is of no use
        drawn.append(by_chance)
        turned.append(control.correlations(*pair, lags)[1][0])
    chance = np.concatenate(drawn, 2)
    p, control_p = (chances(np.concatenate(each, 1), chance).min(1) for each in (real, turned))
    return p, control_p


def _groups(task: Task, recording: Recording, truth: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Samples (T,) of each class, or of the lower and the upper half of the target."""
    every = [np.broadcast_to(y[:, 0], len(s)) for y, s in zip(truth, recording.series, strict=True)]
    if task.kind == "classification":
        return {f"{task.target} = {label}": [y == k for y in every] for k, label in enumerate(task.labels)}
    known = np.concatenate(every)
    known = known[np.isfinite(known)]
    if task.n_outputs > 1 or not len(known):
        return {}
    middle = np.median(known)
    return {f"low {task.target}": [y <= middle for y in every], f"high {task.target}": [y > middle for y in every]}


def _activity(states: list[np.ndarray], groups: Mapping[str, list[np.ndarray]]) -> tuple[float, dict[str, float]]:
    whole = np.concatenate(states)
    low, high = np.quantile(whole, [0.05, 0.95])
    active = whole > (low + high) / 2
    where = {name: np.concatenate(members) for name, members in groups.items()}
    return float(active.mean()), {name: float(active[at].mean()) for name, at in where.items() if at.any()}


def _sentence(
    role: Role, nearest: str, unit: str, metric: str | None, intact: float, without: float, level: float
) -> str:
    behind = "at once"
    if role.lag:
        time = "" if unit == "samples" else f" ({role.lag_time:.4g} {unit})"
        behind = f"{role.lag} sample{'s' * (role.lag > 1)}{time} behind"
    figures = f"rank correlation {role.correlation:.2f}, {behind}, p = {role.p:.2g}"
    rises = role.correlation > 0
    if role.follows is not None or role.close:
        words = f"Follows {nearest} ({figures})" if rises else f"Falls as {nearest} rises ({figures})"
        words += "; this recording is too short to rule out chance" if role.close else ""
    elif role.clear:
        words = f"Needed, but follows no single signal (nearest: {nearest}, {figures})"
    else:
        words = f"No clear role (nearest: {nearest}, {figures})"
    if metric is not None:
        change = f"{metric} is {without:.4g} instead of {intact:.4g}"
        beyond = role.loss_p <= level and role.loss > 0
        words += f"; without it {change}{'' if beyond else ', no more than chance'}"
    words += f"; active in {role.active:.0%} of samples"
    if len(role.active_where) > 1:
        most = max(role.active_where, key=role.active_where.__getitem__)
        least = min(role.active_where, key=role.active_where.__getitem__)
        words += f", {role.active_where[most]:.0%} where {most}, {role.active_where[least]:.0%} where {least}"
    return words + "."


def _method(draws: Surrogates, lags: int, false_rate: float) -> str:
    other, own_past = "each series paired with another one", ""
    if draws.partners is None:
        other = "each series rotated by a random offset"
        own_past = "Of both signals only what they add to their own past counts, so that drift alone makes no link. "
    return (
        f"Rank correlations of each neuron with the inputs and the target, over lags of 0 to {lags} samples, and of "
        "its contribution to the answer (compared with holding it at its mean) with the truth. "
        f"{own_past}Each is compared with the largest correlation in {DRAWS} draws of data from another time "
        f"({other}). In {false_rate:.0%} of recordings without any link, at least one neuron gets a role by chance. "
        f"A correlation below {FAINT:g} or a loss below {SLIGHT:.0%} of the metric is not a role. A correlation does "
        "not prove a cause: inputs that change together are followed together."
    )
