"""Small recordings, and small models of every kind."""

import numpy as np
import torch

from torchliquid.data import Preprocessing, Recording
from torchliquid.models import Model, build
from torchliquid.tasks import Task


def small_recording(lengths=(40, 7, 23), per="step", labels=True, seed=0, holes=0.2) -> Recording:
    """Uneven series with holes, channels of different scales, and a label."""
    rng = np.random.default_rng(seed)
    values, times, targets = [], [], []
    for i, n in enumerate(lengths):
        x = rng.normal([1, -20, 300], [1, 5, 100], size=(n, 3))
        truth = (x[:, 0] - 1 > (x[:, 1] + 20) / 5).astype(float)
        x[rng.random(x.shape) < holes] = np.nan
        x[0] = [1, -20, 300]
        values.append(x)
        times.append(np.cumsum(rng.exponential(2.0, n)))
        targets.append(truth if per == "step" else np.array(float(i % 2)))
    return Recording.from_arrays(values, times, targets if labels else None, ["a", "b", "c"], time_unit="ms")


def small_model(kind: str, per="step", parameters=900, seed=0, task="classification", **hyper) -> Model:
    """Untrained, fitted to :func:`small_recording`."""
    recording = small_recording(per=per)
    torch.manual_seed(seed)
    fitted = Task(task, per, "target").fit(recording)
    return build(kind, fitted, Preprocessing.fit(recording), parameters, **hyper).eval()
