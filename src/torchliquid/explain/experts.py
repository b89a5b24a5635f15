"""A mixture of experts along a recording: which is called when, how often, and what each follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr

from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.explain.neurons import follow, input_names, liquid_layers, of_layers
from torchliquid.layers.mixture import MixtureOfLiquid
from torchliquid.models.model import Model

SAMPLES = 20_000


@dataclass(frozen=True)
class Expert:
    """One expert.

    Attributes:
        load: share of the samples at which it is called.
        wait: median time between two of its calls, in the recording's unit; NaN if it is called less than twice.
        weight: mean weight of its outputs where it is called; NaN if it never is.
        called_by: the input that tells best when it is called, and how well: how likely it is that this input is
            higher at a sample with a call than at one without, 0.5 if it tells nothing (area under the ROC curve).
        follows: the input that its output follows most closely while it is called, and the rank correlation's size;
            of its outputs the first principal component is looked at.
    """

    load: float
    wait: float
    weight: float
    called_by: tuple[str, float]
    follows: tuple[str, float]


@dataclass(frozen=True, eq=False)
class Experts:
    """The experts of a model's mixture on a recording.

    Attributes:
        series: names of the series.
        times: for each series (T,), in ``unit``.
        unit: the recording's unit of time.
        chosen: for each series (T, K): the experts that are called, from 0, the likeliest first.
        weights: for each series (T, K).
        experts: each expert.
    """

    series: tuple[str, ...]
    times: tuple[np.ndarray, ...]
    unit: str
    chosen: tuple[np.ndarray, ...]
    weights: tuple[np.ndarray, ...]
    experts: tuple[Expert, ...]


@torch.no_grad()
def experts(model: Model, recording: Recording, samples: int = SAMPLES) -> Experts:
    """Which experts of a mixture are called at each sample, and what each of them follows.

    Args:
        model: with one or more mixtures among its layers, of which the last is explained.
        recording: with all of the model's channels.
        samples: approximate maximum number of samples, of the beginning of each series.

    Raises:
        InputError: no layer of the model is a mixture; a channel is missing, times are in another unit, or there are
            no samples.
    """
    layers = liquid_layers(model)
    places = [i for i, layer in enumerate(layers) if isinstance(layer, MixtureOfLiquid)]
    if not places:
        raise InputError(f"a model of kind {model.kind!r} has no experts; train one of kind 'mixture'")
    at = places[-1]
    layer, own = layers[at], of_layers(layers)[at]
    assert isinstance(layer, MixtureOfLiquid)
    path = follow(model, recording, samples)
    cell, chosen, weights = layer.rnn_cell, [], []
    answers: list[list[np.ndarray]] = [[] for _ in layer.experts]
    for fed, states in zip(path.fed, path.states, strict=True):
        x, h = (torch.from_numpy(each).to(model.readout.weight) for each in (fed[at], states[:, own]))
        routing = cell.routing(x, h)
        chosen.append(routing.chosen.cpu().numpy())
        weights.append(routing.weights.cpu().numpy())
        for found, expert, part in zip(answers, layer.experts, h.split(cell.sizes, 1)[1:-1], strict=True):
            found.append(expert.around(x, expert.read(part)).cpu().numpy())
    inputs, names = np.concatenate(path.inputs), input_names(model)
    times = tuple(series.times for series in path.recording.series)
    told: list[Expert] = []
    for k, outputs in enumerate(answers):
        calls = [(one == k).any(1) for one in chosen]
        called = np.concatenate(calls)
        waits = np.concatenate([np.diff(when[own]) for when, own in zip(times, calls, strict=True)])
        weight = np.concatenate([w[one == k] for w, one in zip(weights, chosen, strict=True)])
        said = _principal(np.concatenate(outputs)[called])
        told.append(
            Expert(
                float(called.mean()),
                float(np.median(waits)) if len(waits) else np.nan,
                float(weight.mean()) if len(weight) else np.nan,
                _best(names, [_roc(x, called) for x in inputs.T], 0.5),
                _best(names, [abs(_rank_correlation(x, said)) for x in inputs[called].T], 0.0),
            )
        )
    names_of_series = tuple(series.name for series in path.recording.series)
    unit = model.preprocessing.time_unit
    return Experts(names_of_series, times, unit, tuple(chosen), tuple(weights), tuple(told))


def _principal(outputs: np.ndarray) -> np.ndarray:
    """(N,) the first principal component of (N, O)."""
    if len(outputs) < 2:
        return np.zeros(len(outputs))
    centred = outputs - outputs.mean(0)
    component: np.ndarray = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    return component


def _roc(values: np.ndarray, called: np.ndarray) -> float:
    """How likely a value with a call is above one without; 0.5 where there are none to compare."""
    n = int(called.sum())
    if n in (0, len(called)):
        return 0.5
    return float((rankdata(values)[called].mean() - (n + 1) / 2) / (len(called) - n))


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return 0.0 if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def _best(names: tuple[str, ...], values: list[float], nothing: float) -> tuple[str, float]:
    i = int(np.argmax(np.abs(np.array(values) - nothing)))
    return names[i], values[i]
