"""Whether a model runs faster with all samples at once than one after the other."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from statistics import median
from time import process_time

import numpy as np
import torch
from torch import Tensor

from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.explain.dynamics import largest_lyapunov_exponent
from torchliquid.explain.neurons import follow, has_experts, liquid_layers
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.model import Model
from torchliquid.parallel import Solved

ROUNDS = 3


@dataclass(frozen=True)
class LayerOverTime:
    """The result for one layer.

    Attributes:
        solved: how Newton's method solved all samples: iterations, residual and whether it converged.
        stepped, at_once: processor seconds of a forward pass, with one sample after the other and with all at once.
    """

    solved: Solved
    stepped: float
    at_once: float


@dataclass(frozen=True)
class OverTime:
    """Whether ``over_time="parallel"`` makes a model faster on this machine.

    Attributes:
        lyapunov: largest Lyapunov exponent per sample along the recording. If it is positive, a difference grows from
            sample to sample, and Newton's method does not converge over long stretches.
        samples: number of samples of the longest series that were used.
        layers: the result for each liquid layer.
    """

    lyapunov: float
    samples: int
    layers: tuple[LayerOverTime, ...]

    @property
    def converges(self) -> bool:
        """Whether Newton's method converged in all layers. The others are stepped."""
        return all(layer.solved.converged for layer in self.layers)

    @property
    def speed(self) -> float:
        """The time with one sample after the other divided by that of all at once: above 1 the latter is faster."""
        return sum(layer.stepped for layer in self.layers) / sum(layer.at_once for layer in self.layers)

    def __str__(self) -> str:
        iterations = max(layer.solved.iterations for layer in self.layers)
        way = f"{iterations} iterations" if self.converges else f"no solution in {iterations} iterations"
        faster = "is faster" if self.converges and self.speed > 1 else "is not faster"
        return (
            f"parallel over time {faster} here: {way} over {self.samples:,} samples, {self.speed:.2g} times the speed "
            f"of one sample after the other; largest Lyapunov exponent {self.lyapunov:.3g} per sample"
        )


@torch.no_grad()
def over_time(model: Model, recording: Recording, samples: int = 2000) -> OverTime:
    """Test on a recording whether a model's liquid layers are faster with all samples at once.

    Args:
        model: a copy of it is run.
        recording: with all of the model's channels.
        samples: maximum number of samples of the longest series to use.

    Raises:
        InputError: as for :func:`torchliquid.explain.time_constants`.
    """
    if has_experts(model):
        raise InputError("in a mixture each expert runs over samples of its own: it is not measured all at once")
    twin = copy.deepcopy(model).eval()
    path = follow(twin, recording, recording.n_samples)
    longest = int(np.argmax([len(spans) for spans in path.spans]))
    spans = torch.from_numpy(path.spans[longest][:samples]).to(twin.readout.weight).unsqueeze(0)
    fed = (torch.from_numpy(each[:samples]).to(spans).unsqueeze(0) for each in path.fed[longest])
    layers = tuple(_tried(layer, x, spans) for layer, x in zip(liquid_layers(twin), fed, strict=True))
    return OverTime(largest_lyapunov_exponent(model, recording), spans.shape[1], layers)


def _tried(layer: RecurrentLayer, x: Tensor, spans: Tensor) -> LayerOverTime:
    cell, state = layer.rnn_cell, x.new_zeros(1, layer.state_size)

    def seconds(way: str) -> float:
        cell.over_time, start = way, process_time()
        cell.recur(x, spans, state, None, layer.lstm, None if layer.lstm is None else state)
        return process_time() - start

    taken = [(seconds("sequential"), seconds("parallel")) for _ in range(ROUNDS)]
    assert cell.solved is not None
    stepped, at_once = (median(each) for each in zip(*taken, strict=True))
    return LayerOverTime(cell.solved, stepped, at_once)
