"""MiniRocket for one label per series (Dempster et al., arXiv 2012.08791): fixed convolutions, the share of samples at
which each exceeds a bias, and a ridge model on these shares.

Series may have any length and sampling. Each is resampled to a grid of usual spans, and a value holds until the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from torchliquid.data.columns import nearest
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.models.calibration import Calibration, calibrate
from torchliquid.models.fitted import Fitted, Remembering
from torchliquid.models.linear import Linear
from torchliquid.models.tabular import MOST_NUMBERS, decoded
from torchliquid.tasks import Task

LENGTH = 9
TAPS = np.array(list(combinations(range(LENGTH), 3)))
"""(84, 3) where each kernel has the weight 2; all its other weights are -1."""

KERNELS = len(TAPS)
FEATURES, MOST_FEATURES = 9996, 100_000
MOST_DILATIONS = 32
MOST_POINTS = 16_384
"""Maximum number of grid points of a series; of longer series the last ones are used."""

STRENGTHS = np.logspace(-3, 3, 10)
"""Penalties of the ridge model; leave-one-out validation over the series chooses one."""

WEIGHTS = np.full((KERNELS, 1, LENGTH), -1.0, dtype=np.float32)
np.put_along_axis(WEIGHTS[:, 0], TAPS, 2.0, 1)


@dataclass(frozen=True, eq=False)
class Kernels:
    """The features of a series: one for each bias of each of the 84 kernels, at each of D dilations.

    Attributes:
        dilation: (D,) int32, samples between two weights.
        biases: (D,) int32, number of biases of each kernel at a dilation.
        channels: (D, 84, C) uint8, 1 for the channels that a kernel adds up.
        bias: (F,) float32, dilation by dilation, kernel by kernel.
    """

    dilation: np.ndarray
    biases: np.ndarray
    channels: np.ndarray
    bias: np.ndarray

    @classmethod
    def draw(cls, grids: list[np.ndarray], features: int, seed: int) -> Kernels:
        """Dilations up to the longest series, random channels, and biases that are quantiles of each kernel's outputs
        on a series drawn for it.

        Args:
            grids: (C, T) float32 each.
            features: maximum number of features; there are at least 84.
            seed: seed of the channels and the series.
        """
        rng = np.random.default_rng(seed)
        n_channels, longest = len(grids[0]), max(grid.shape[1] for grid in grids)
        each = max(features // KERNELS, 1)
        exponents = np.linspace(0, np.log2(max((longest - 1) / (LENGTH - 1), 1)), min(each, MOST_DILATIONS))
        dilation, count = np.unique((2**exponents).astype(np.int32), return_counts=True)
        biases = (count * (each / count.sum())).astype(np.int32)
        biases[: each - biases.sum()] += 1  # rounding leaves fewer than there are dilations
        channels = np.zeros((len(dilation), KERNELS, n_channels), dtype=np.uint8)
        for row in channels.reshape(-1, n_channels):
            n = int(2 ** rng.uniform(0, np.log2(min(n_channels, LENGTH) + 1)))
            row[rng.choice(n_channels, n, replace=False)] = 1
        made = cls(dilation, biases, channels, np.empty(0, dtype=np.float32))
        golden = (np.arange(1, KERNELS * each + 1) * ((np.sqrt(5) + 1) / 2) % 1).astype(np.float32)
        quantiles, found = iter(golden), []
        for place, many in enumerate(biases):
            drawn = rng.integers(len(grids), size=KERNELS)
            sums = {i: made.convolved(torch.from_numpy(grids[i]), place).numpy() for i in set(drawn.tolist())}
            for kernel, i in enumerate(drawn.tolist()):
                found.append(np.quantile(sums[i][kernel], [next(quantiles) for _ in range(many)]))
        return cls(dilation, biases, channels, np.concatenate(found).astype(np.float32))

    def convolved(self, grid: torch.Tensor, place: int) -> torch.Tensor:
        """(84, T) the kernels' outputs at a dilation, with zeros around the series."""
        dilation = int(self.dilation[place])
        mixed = torch.from_numpy(self.channels[place]).float() @ grid
        padding = (LENGTH - 1) * dilation // 2
        return F.conv1d(mixed[None], torch.from_numpy(WEIGHTS), padding=padding, dilation=dilation, groups=KERNELS)[0]

    def __call__(self, grid: np.ndarray) -> np.ndarray:
        """(F,) for a series (C, T) float32: the share of samples at which each kernel exceeds each of its biases.

        Every second kernel leaves out the samples at which it reaches beyond the series, unless these are all.
        """
        series, shares, start = torch.from_numpy(grid), [], 0
        for place, many in enumerate(self.biases.tolist()):
            sums, margin = self.convolved(series, place), (LENGTH - 1) * int(self.dilation[place]) // 2
            bias = torch.from_numpy(self.bias[start : start + KERNELS * many]).reshape(KERNELS, many, 1)
            start += KERNELS * many
            of_dilation = torch.empty(KERNELS, many)
            for parity in (0, 1):
                own = slice((place + parity) % 2, None, 2)
                inside = sums[own, margin:-margin] if parity and sums.shape[1] > 2 * margin else sums[own]
                of_dilation[own] = (inside.unsqueeze(1) > bias[own]).float().mean(2)
            shares.append(of_dilation.flatten())
        return torch.cat(shares).numpy()


class MiniRocket(Fitted):
    """MiniRocket, with the interface of :class:`torchliquid.models.Model`.

    Attributes:
        config: ``features``, their maximum number; ``length``, the number of usual spans that it looks back, that of
            the longest training series.
        kernels, linear: compute the features, and the answer from them.
    """

    kind = "minirocket"

    def __init__(
        self, config: dict[str, Any], task: Task, preprocessing: Preprocessing, kernels: Kernels, linear: Linear
    ) -> None:
        self.config = config
        self.task = task
        self.preprocessing = preprocessing
        self.kernels = kernels
        self.linear = linear
        self.calibration = Calibration()
        self.metadata = {}

    @classmethod
    def fit(
        cls,
        task: Task,
        preprocessing: Preprocessing,
        training: Recording,
        validation: Recording,
        class_weights: bool = False,
        threads: int = 1,
        seed: int = 0,
        **hyper: Any,
    ) -> MiniRocket:
        """Fit on the labelled series of a training part.

        Args:
            task, preprocessing: fitted on the training part.
            training, validation: the validation part calibrates probabilities; the penalty is chosen by leaving one
                training series out.
            class_weights: whether rare classes have a larger weight.
            threads: for the ridge model.
            seed: of the kernels' channels and biases.
            hyper: ``features`` (default 9,996; with many series fewer, so that the table stays in memory).

        Raises:
            InputError: the task needs an answer per sample, a setting is unknown, or no series has a label.
        """
        if task.per != "series":
            raise InputError("MiniRocket gives one answer a series, and this task asks for one a sample")
        if unknown := hyper.keys() - {"features"}:
            raise InputError(f"minirocket has no setting {min(unknown)!r}; {nearest(min(unknown), ('features',))}")
        features = hyper.get("features", FEATURES)
        if type(features) is not int or not KERNELS <= features <= MOST_FEATURES:
            raise InputError(f"features is a whole number from {KERNELS} to {MOST_FEATURES:,}, not {features!r}")
        grids, targets = [], []
        for series in training.series:
            encoded, known = task.encode(series)
            if known > 0:
                grids.append(on_grid(*preprocessing(series), MOST_POINTS))
                targets.append(encoded)
        if not grids:
            raise InputError(f"no series has a value of the target {task.target!r}; there is nothing to train on")
        kernels = Kernels.draw(grids, min(features, max(MOST_NUMBERS // len(grids), KERNELS)), seed)
        table = np.stack([kernels(grid) for grid in grids]).astype(np.float64)
        weight = "balanced" if class_weights and task.kind == "classification" else None
        with threadpool_limits(threads):
            linear = _ridge(table, np.stack(targets), task, weight)
        config = {"features": features, "length": max(grid.shape[1] for grid in grids)}
        model = cls(config, task, preprocessing, kernels, linear)
        if task.kind == "classification":
            calibrate(model, validation)
        return model

    def answers(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        return self.answer(on_grid(inputs, spans, self.config["length"]))

    def answer(self, grid: np.ndarray) -> np.ndarray:
        """(K,) decoded for a series on its grid (C, T)."""
        return decoded(self.task, self.linear(self.kernels(grid)[None]), self.calibration)[0]

    def steps(self, n: int) -> MiniRocketSteps:
        return MiniRocketSteps(self, n)

    @property
    def parts(self) -> dict[str, Any]:
        return {"kernels": self.kernels, "linear": self.linear}

    def live_parameters(self) -> int:
        """Number of biases and coefficients."""
        return int(self.kernels.bias.size) + self.linear.numbers


class MiniRocketSteps(Remembering):
    """MiniRocket on live samples: after each, the answer for the series so far.

    The state has one part, (n, 2 + length * n_inputs) float64: the time of the last sample, the number of grid points,
    and the grid, the newest point last.
    """

    def __init__(self, model: MiniRocket, n: int) -> None:
        self.model = model
        self.length, self.inputs = model.config["length"], model.preprocessing.n_inputs
        self.memory = np.zeros((n, 2 + self.length * self.inputs))
        self.counter, self.most = 1, self.length

    def step(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        return np.stack([self._follow(*each) for each in zip(self.memory, inputs, spans.tolist(), strict=True)])

    def _follow(self, state: np.ndarray, x: np.ndarray, span: float) -> np.ndarray:
        grid = state[2:].reshape(self.length, self.inputs)
        filled, before = int(state[1]), state[0]
        if filled:
            state[0] += span
        new = min(int(_place(state[0]) - _place(before)), self.length) if filled else 1
        if new:
            grid[: self.length - new] = grid[new:].copy()
            grid[self.length - new :] = grid[self.length - new - 1] if filled else 0.0
        grid[-1] = x
        state[1] = min(filled + new, self.length)
        return self.model.answer(np.ascontiguousarray(grid[self.length - int(state[1]) :].T, dtype=np.float32))


def on_grid(inputs: np.ndarray, spans: np.ndarray, most: int) -> np.ndarray:
    """(n, G) float32 from inputs (T, n) and the spans before them (T,): one point per usual span from the first sample
    to the last, each with the last sample that is at most half a span later. At most the last ``most`` points."""
    places = _place(np.concatenate([[0.0], np.cumsum(spans[1:], dtype=np.float64)]))
    last = places[-1]
    points = np.arange(max(last - most + 1, 0), last + 1)
    held = np.searchsorted(places, points, side="right") - 1
    return np.ascontiguousarray(inputs[held].T, dtype=np.float32)


def _place(times: Any) -> Any:
    return np.floor(np.asarray(times) + 0.5)


def _ridge(table: np.ndarray, targets: np.ndarray, task: Task, weight: str | None) -> Linear:
    from sklearn.linear_model import RidgeClassifierCV, RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(table)
    classes = task.kind == "classification"
    model = RidgeClassifierCV(STRENGTHS, class_weight=weight) if classes else RidgeCV(STRENGTHS)
    model.fit(scaler.transform(table), targets)
    if task.quantile is not None:
        model.intercept_ = model.intercept_ + np.quantile(
            targets - model.predict(scaler.transform(table)).reshape(targets.shape), task.quantile, axis=0
        )
    return Linear.of(scaler, model)
