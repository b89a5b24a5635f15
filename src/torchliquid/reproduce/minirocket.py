"""MiniRocket on series with one label each (Dempster et al., arXiv 2012.08791): no recurrence, little training."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from torchliquid.errors import InputError
from torchliquid.reproduce.metrics import Fitted
from torchliquid.reproduce.protocol import Parts, Protocol, Sequences

KERNELS = 10_000
"""Maximum number of features."""


def on_grid(
    inputs: Float[np.ndarray, "N T C"],
    timespans: Float[np.ndarray, "N T"],
    lengths: Int[np.ndarray, " N"],
    end: float,
    bins: int,
) -> Float[np.ndarray, "N C bins"]:
    """Irregular samples on a regular grid, which MiniRocket needs: the last observed value at the end of each bin.

    Args:
        inputs: values, followed by their mask; 0 before the first observation.
        timespans: time since the previous sample.
        lengths: number of samples of each series.
        end: time at which the last bin ends, from the first sample.
        bins: number of bins of equal width.

    Returns:
        The last observed values, one channel for each pair of value and mask.
    """
    values, observed = np.split(inputs, 2, axis=2)
    place = np.clip((np.cumsum(timespans, 1) / end * bins).astype(int), 0, bins - 1)
    grid = np.full((len(inputs), bins, values.shape[2]), np.nan)
    known = (observed > 0) & (np.arange(inputs.shape[1]) < lengths[:, None])[..., None]
    series, sample, channel = np.nonzero(known)
    grid[series, place[series, sample], channel] = values[known]  # of several in a bin the last
    for b in range(1, bins):
        grid[:, b] = np.where(np.isnan(grid[:, b]), grid[:, b - 1], grid[:, b])
    return np.nan_to_num(grid).transpose(0, 2, 1).astype(np.float32)


def scores(
    train: Float[np.ndarray, "N C T"],
    labels: Int[np.ndarray, " N"],
    test: Float[np.ndarray, "M C T"],
    seed: int,
    kernels: int = KERNELS,
) -> Float[np.ndarray, " M"]:
    """A score of label 1 for each test series: a ridge classifier on MiniRocket's features.

    Args:
        seed: seed of the choice of channels and biases.
        kernels: maximum number of features.

    Raises:
        InputError: aeon is not installed.
    """
    try:
        from aeon.transformations.collection.convolution_based import MiniRocket
    except ImportError:
        raise InputError("MiniRocket needs aeon: pip install 'torchliquid[reproduce]'") from None
    threads = torch.get_num_threads()  # aeon changes the number, which would change later trials
    rocket = MiniRocket(n_kernels=kernels, random_state=seed, n_jobs=1)
    features = rocket.fit_transform(train)
    ridge = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-1, 5, 7), class_weight="balanced"))
    ridge.fit(features, labels)
    found: np.ndarray = ridge.decision_function(rocket.transform(test))
    torch.set_num_threads(threads)
    return found


def fit(protocol: Protocol, parts: Parts, seed: int) -> Fitted:
    """Answers on validation and test, scores of the second class for each series; and the maximum number of the
    classifier's weights.

    Args:
        parts: of at most 48 hours.
        seed: as in :func:`scores`.
    """

    def grid(part: Sequences) -> np.ndarray:
        assert part.lengths is not None
        return on_grid(part.inputs.numpy(), part.timespans.numpy(), part.lengths.numpy(), end=48, bins=48)

    held_out = np.concatenate([grid(parts.validation), grid(parts.test)])
    found = torch.from_numpy(scores(grid(parts.train), parts.train.targets.numpy(), held_out, seed))
    return found[: len(parts.validation)], found[len(parts.validation) :], KERNELS + 1
