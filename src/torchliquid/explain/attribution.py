"""Which input changed the output, and how long ago: integrated gradients through time."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from torchliquid.data.preprocessing import last_observed
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.explain.neurons import LIQUID_KINDS, used_part
from torchliquid.files import cache_folder
from torchliquid.layers.stack import at_last
from torchliquid.models.model import Model
from torchliquid.models.networks import Encoder, Gated, Liquid, State

STEPS = (32, 128, 512)
"""Numbers of points on the path from the baseline at which gradients are computed. Moments for which a number is not
accurate enough get the next one."""

TOLERANCE = 0.05
"""Largest error of the sum of a moment's attributions, relative to the mean distance between outputs and the
baseline's."""

AT_ONCE = 1024
"""Number of points per call of the network."""

SMALL_CHANGE = 0.1
"""A smaller change of an answer does not count, as a share of the target's standard deviation."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Attribution of the output to inputs and lags, averaged over moments of a recording.

    Attributes:
        channels: C names.
        lags: (L,) 0, 1, ...: samples before the explained answer.
        lag_times: (L,) mean age of these samples in the recording's unit of time.
        unit: the recording's unit of time.
        share: (C, L) share of the absolute attribution over all moments; sums to 1 with ``older``. A reading that is
            held over later samples counts at the sample where it was taken.
        older: share of everything before the L samples: the net attribution of the state there, and of held readings.
        noisy_share, noisy_older: the same with noise on the readings.
        noise: standard deviation of the noise, relative to that of each channel in training.
        alike: median over the moments of the cosine similarity of the absolute attributions with and without noise; 1
            means no change.
        alike_by_chance: the same for two unrelated moments without noise, to compare ``alike`` with.
        answers_kept: share of moments whose answer does not change with noise: the same class, or in regression a
            change of less than a tenth of the target's standard deviation.
        completeness: accuracy of the integration: largest difference between the sum of a moment's attributions and the
            output's distance from the baseline's, relative to the mean of such distances; at most 0.05.
        explained: a sentence that says which output was explained, and against which baseline.
        moments: number of moments that were explained.
        left_out: number of moments that were not, because the integration does not converge: the network is chaotic or
            bistable between the baseline and the moment.
        samples, of_samples: number of samples used, and in the recording.
    """

    channels: tuple[str, ...]
    lags: np.ndarray
    lag_times: np.ndarray
    unit: str
    share: np.ndarray
    older: float
    noisy_share: np.ndarray
    noisy_older: float
    noise: float
    alike: float
    alike_by_chance: float
    answers_kept: float
    completeness: float
    explained: str
    moments: int
    left_out: int
    samples: int
    of_samples: int


@dataclass(frozen=True, eq=False)
class _Windows:
    """M moments, each with the samples before it, padded at their ends, and the initial state."""

    inputs: Tensor
    spans: Tensor
    lengths: Tensor
    state: State
    taken: np.ndarray
    """(M, L, C) the index in the window at which each value was read; negative before it."""


def attribution(
    model: Model,
    recording: Recording,
    lags: int | None = None,
    moments: int = 64,
    noise: float = 0.2,
    samples: int = 10_000,
    seed: int = 0,
) -> Attribution:
    """Which inputs changed the output, and how long ago (integrated gradients; Sundararajan et al., arXiv 1703.01365).

    The path starts from a baseline with every channel at its training mean, not observed, and the initial state. It
    ends at the actual samples and state. Timespans are not changed and get no share.

    Args:
        model: an LTC, a CfC, an LSTM or a GRU.
        recording: with all channels of the model; no targets are needed.
        lags: maximum number of samples before an explained answer; None: 64, or 256 with one answer per series. They
            are halved until half of the moments can be explained; everything before them counts as older.
        moments: number of answers to explain, spread evenly over the recording; 1: the last.
        noise: standard deviation of the noise on readings, relative to that of each channel in training.
        samples: approximate maximum number of samples to use: whole series, spread evenly, if there are 20 or more,
            else the beginning of each series.
        seed: of the noise.

    Raises:
        InputError: Captum is not installed, the model is of another kind, a number is invalid, a channel is missing,
            times are in another unit, there are no samples, or the integration does not converge.
    """
    explained = (Liquid, Gated, Encoder)
    if not isinstance(model, Model) or not all(isinstance(part, explained) for part in model.network.chain):
        kind = f"a model of kind {model.kind!r}" if isinstance(model, Model) else type(model).__name__
        raise InputError(f"attribution needs a model of kind {', '.join((*LIQUID_KINDS, 'lstm', 'gru'))}, not {kind}")
    if lags is None:
        lags = 64 if model.task.per == "step" else 256
    if min(lags, moments) < 1 or not noise >= 0:
        raise InputError(f"lags and moments must be 1 or more and noise 0 or more, not {lags}, {moments} and {noise}")
    part = used_part(model, recording, samples)
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    rng = np.random.default_rng(seed)
    values = np.concatenate([s.values for s in part.series])
    moves = np.nanmax(values, 0, initial=-np.inf) > np.nanmin(values, 0, initial=np.inf)
    std = np.where(moves, model.preprocessing.std, 0.0)
    shaken = tuple(replace(s, values=s.values + noise * std * rng.normal(size=s.values.shape)) for s in part.series)
    chosen = _moments(model, part, lags, moments)
    while True:
        clean, noisy = (_windows(twin, one, chosen, lags) for one in (part, replace(part, series=shaken)))
        outputs, shaken_outputs = _outputs(twin, clean), _outputs(twin, noisy)
        chooser = _chooser(model, outputs)
        found = [_integrate(twin, windows, chooser) for windows in (clean, noisy)]
        settled = np.maximum(found[0][1], found[1][1]) <= TOLERANCE
        if settled.mean() >= 0.5:
            break
        if lags == 1:
            raise InputError(
                "the outputs change too erratically with the inputs for integrated gradients; see explain.dynamics"
            )
        lags //= 2
    kept = torch.from_numpy(settled).to(outputs.device)
    maps = [one[0][settled] for one in found]
    channels = len(model.preprocessing.channels)
    (share, older), (noisy_share, noisy_older) = (_shares(one, channels) for one in maps)
    used = [moment for moment, good in zip(chosen, settled, strict=True) if good]
    return Attribution(
        model.preprocessing.channels,
        np.arange(share.shape[1]),
        _ages(part, used, share.shape[1]),
        part.time_unit,
        share,
        older,
        noisy_share,
        noisy_older,
        noise,
        float(np.median(_cosines(maps[0], maps[1]))),
        float(np.median(_cosines(maps[0], np.roll(maps[0], max(len(used) // 2, 1), axis=0)))),
        _kept(model, outputs[kept], shaken_outputs[kept]),
        float(max(one[1][settled].max() for one in found)),
        _explained(model),
        len(used),
        len(chosen) - len(used),
        part.n_samples,
        recording.n_samples,
    )


@contextmanager
def _no_settings_made() -> Iterator[None]:
    """Import Captum, whose matplotlib otherwise creates folders in the user's home. They go into the cache."""
    name = "MPLCONFIGDIR"
    settings = Path(os.path.expanduser(os.environ.get("XDG_CONFIG_HOME") or "~/.config"), "matplotlib")
    if name in os.environ or settings.exists():
        yield
        return
    with suppress(InputError):
        os.environ[name] = str(cache_folder() / "matplotlib")
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _integrate(model: Model, windows: _Windows, chooser: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Absolute attributions (M, 1 + C * L), see :func:`_maps`, and the error of each moment's sum (M,)."""
    try:
        with _no_settings_made():
            from captum.attr import IntegratedGradients
    except ImportError:
        raise InputError("attribution needs Captum; run: pip install 'torchliquid[explain]'") from None

    def explained(inputs: Tensor, *rest: Tensor) -> Tensor:
        *state, spans, lengths, choose = rest
        return (_answer(model, inputs, spans, lengths, tuple(state)) * choose).sum(1)

    # The number of samples in the mean of a series is not an input.
    n = len(windows.state) if model.task.per == "step" else len(windows.state) - 1
    start = (windows.inputs, *windows.state[:n])
    fixed = (*windows.state[n:], windows.spans, windows.lengths, chooser)
    with torch.no_grad():
        distance = explained(*start, *fixed) - explained(*(torch.zeros_like(s) for s in start), *fixed)
    scale = distance.abs().mean().clamp_min(1e-12)
    found = [torch.zeros_like(s) for s in start]
    missed = torch.full_like(distance, torch.inf)
    for steps in STEPS:
        todo = (missed > TOLERANCE).nonzero()[:, 0]
        if not len(todo):
            break
        parts = IntegratedGradients(explained).attribute(
            tuple(s[todo] for s in start),
            additional_forward_args=tuple(f[todo] for f in fixed),
            n_steps=steps,
            internal_batch_size=max(AT_ONCE, len(todo)),
        )
        for whole, part in zip(found, parts, strict=True):
            whole[todo] = part.to(whole)
        total = sum((part.flatten(1).sum(1) for part in parts), torch.zeros_like(distance[todo]))
        missed[todo] = ((total - distance[todo]).abs() / scale).to(missed)
        if (missed > TOLERANCE).float().mean() > 0.75:
            break
    channels = len(model.preprocessing.channels)
    return _maps(found[0], tuple(found[1:]), windows, channels), missed.cpu().numpy()


def _moments(model: Model, part: Recording, lags: int, moments: int) -> list[tuple[int, int]]:
    """(series, sample) of the answers to explain, with all of their lags before them if a series is long enough."""
    ends = [(i, len(s) - 1) for i, s in enumerate(part.series)]
    if model.task.per == "step":
        ends = [(i, t) for i, last in ends for t in range(min(lags - 1, last), last + 1)]
    places = np.linspace(0, len(ends) - 1, moments) if moments > 1 else np.array([len(ends) - 1])
    return [ends[i] for i in np.unique(places.astype(int))]


@torch.no_grad()
def _windows(model: Model, part: Recording, chosen: list[tuple[int, int]], lags: int) -> _Windows:
    weight = model.readout.weight
    scales = model.preprocessing
    longest = max(min(t + 1, lags) for _, t in chosen)
    inputs = weight.new_zeros(len(chosen), longest, scales.n_inputs)
    spans = weight.new_zeros(len(chosen), longest)
    lengths = torch.tensor([min(t + 1, lags) for _, t in chosen], device=weight.device)
    taken = np.zeros((len(chosen), longest, scales.n_channels), dtype=int)
    states: list[State] = []
    at = -1
    for row, (i, t) in enumerate(chosen):
        if i != at:
            x, dt = (torch.from_numpy(a).to(weight) for a in scales(part.series[i]))
            read = last_observed(scales.observed(part.series[i].values)) - 1
            at, done, state = i, 0, None
        begin = max(t + 1 - lags, 0)
        if begin > done:
            _, state = model(x[None, done:begin], dt[None, done:begin], None, state)
            done = begin
        if state is None:  # zeros, in the shapes of this network
            _, some = model(x[None, :1], dt[None, :1])
            states.append(tuple(torch.zeros_like(s) for s in some))
        else:
            states.append(state)
        n = t + 1 - begin
        now = slice(begin, t + 1)
        inputs[row, :n], spans[row, :n], taken[row, :n] = x[now], dt[now], read[now] - begin
    state = tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return _Windows(inputs, spans, lengths, state, taken)


def _answer(model: Model, inputs: Tensor, spans: Tensor, lengths: Tensor, state: State) -> Tensor:
    """(M, K) outputs at each window's last sample."""
    outputs, _ = model(inputs, spans, lengths, state)
    if model.task.per == "step":
        outputs = at_last(outputs, lengths)
    return outputs


@torch.no_grad()
def _outputs(model: Model, windows: _Windows) -> Tensor:
    return _answer(model, windows.inputs, windows.spans, windows.lengths, windows.state)


def _chooser(model: Model, outputs: Tensor) -> Tensor:
    """(M, K) the numbers that are explained: the predicted class's logit minus the mean, or each value."""
    k = outputs.shape[1]
    if model.task.kind == "classification":
        return torch.eye(k).to(outputs)[outputs.argmax(1)] - 1 / k
    return torch.eye(k).to(outputs)[torch.arange(len(outputs)) % k]


def _maps(found: Tensor, state: tuple[Tensor, ...], windows: _Windows, channels: int) -> np.ndarray:
    """(M, 1 + C * L) absolute attributions: first everything older, then each channel and lag."""
    values = found.cpu().numpy().astype(np.float64)
    by_channel, mask = values[..., :channels], values[..., channels:]
    m, length, _ = values.shape
    lengths = windows.lengths.cpu().numpy()
    valid = np.repeat((np.arange(length) < lengths[:, None])[..., None], channels, 2)
    inside = valid & (windows.taken >= 0)
    older = np.where(valid & ~inside, by_channel, 0.0).sum((1, 2))
    older += sum((s.flatten(1).sum(1).cpu().numpy().astype(np.float64) for s in state), np.zeros(m))
    where = np.zeros((m, channels, length))
    row, _, channel = np.nonzero(inside)
    np.add.at(where, (row, channel, lengths[row] - 1 - windows.taken[inside]), by_channel[inside])
    if mask.shape[2]:
        row, at, channel = np.nonzero(valid)
        where[row, channel, lengths[row] - 1 - at] += mask[valid]
    return np.abs(np.concatenate([older[:, None], where.reshape(m, -1)], 1))


def _shares(maps: np.ndarray, channels: int) -> tuple[np.ndarray, float]:
    total = maps.sum(0) / max(maps.sum(), 1e-300)
    return total[1:].reshape(channels, -1), float(total[0])


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(norm, 1e-300))


def _ages(part: Recording, chosen: list[tuple[int, int]], lags: int) -> np.ndarray:
    ages = np.full((len(chosen), lags), np.nan)
    for row, (i, t) in enumerate(chosen):
        times = part.series[i].times[max(t + 1 - lags, 0) : t + 1]
        ages[row, : len(times)] = (times[-1] - times)[::-1]
    return np.asarray(np.nanmean(ages, axis=0))


def _kept(model: Model, outputs: Tensor, shaken: Tensor) -> float:
    if model.task.kind == "classification":
        return float((outputs.argmax(1) == shaken.argmax(1)).float().mean())
    deviation = model.task.change or 1.0  # outputs are in standard deviations of the target, or of its change
    return float(((outputs - shaken).abs().amax(1) < SMALL_CHANGE * deviation).float().mean())


def _explained(model: Model) -> str:
    if model.task.kind == "classification":
        what = "the predicted class's logit minus the mean over all classes"
    else:
        what = "the predicted value" if model.task.n_outputs == 1 else "the predicted values, each in turn"
    when = "at the moment" if model.task.per == "step" else "at the end of the series"
    return (
        f"Explained is {what}, {when}, relative to a past in which every channel was at its training mean and nothing "
        "was observed. The gaps between samples get no share."
        + (f" The network predicts {model.task.learnt}; that value is included here." if model.task.learnt else "")
    )
