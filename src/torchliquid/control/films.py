"""One episode of a policy for the report: its images, their saliency, and the time constants of its neurons."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch

from torchliquid.control.environments import EnvMaker
from torchliquid.control.evaluation import Run, policy_of, shifted
from torchliquid.control.shifts import Shift
from torchliquid.data import Recording
from torchliquid.data.recording import Series
from torchliquid.errors import InputError
from torchliquid.explain import time_constants
from torchliquid.models.model import Model
from torchliquid.models.predictor import Predictor
from torchliquid.runtime.policy import flat

FRAMES = 6
"""Number of frames of a film strip."""

LARGER = 3
"""Enlargement of the frames."""


@dataclass(frozen=True, eq=False)
class Film:
    """One episode.

    Attributes:
        strip: JPEG as a data URI: the frames, and below them their saliency.
        seconds: times of the frames.
        times: (T,) times of all steps, in seconds.
        constants: (T, H) time constants of the neurons, in seconds; None if the policy has none.
        neurons: names of the neurons.
        quantity: what the constants are called.
        success: whether the episode succeeded.
    """

    strip: str
    seconds: tuple[float, ...]
    times: np.ndarray
    constants: np.ndarray | None
    neurons: tuple[str, ...]
    quantity: str
    success: bool


class _Recorded:
    """A policy that records its observations."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.seen, self.spans = policy, list[np.ndarray](), list[float]()

    def reset(self) -> None:
        self.policy.reset()

    def __call__(self, observation: Any, seconds: float) -> Any:
        self.seen.append(flat(self.policy.seen, observation))
        self.spans.append(seconds)
        return self.policy(observation, seconds)


def film(
    model: Predictor,
    env: EnvMaker,
    shift: type[Shift] | None,
    severity: float,
    seed: int,
    max_steps: int,
) -> Film | None:
    """Run an episode again and record it; None if the policy has no image."""
    policy: Any = policy_of(model)
    assert isinstance(model, Model)
    camera = next((one for one in policy.seen if one.kind == "picture"), None)
    if camera is None:
        return None
    kept = _Recorded(policy)
    run = Run(shifted(env, shift, severity), max_steps)
    kept.reset()
    run.go(kept, seed)
    run.world.close()
    values, times = np.stack(kept.seen), np.cumsum(kept.spans) - kept.spans[0]
    recording = Recording(
        (Series(times, values, name="flight"),), model.preprocessing.channels, time_unit=model.preprocessing.time_unit
    )
    start = sum(one.size for one in policy.seen[: policy.seen.index(camera)])
    chosen = np.unique(np.linspace(0, len(times) - 1, FRAMES).round().astype(int))
    maps = _saliency(model, recording, chosen)[:, start : start + camera.size]
    pictures = values[chosen, start : start + camera.size].reshape(-1, *camera.shape).astype(np.uint8)
    try:
        found = time_constants(model, recording)
        constants, neurons, quantity = found.values[0], found.neurons, found.name
    except InputError:
        constants, neurons, quantity = None, (), ""
    return Film(
        _strip(pictures, maps.reshape(-1, *camera.shape)),
        tuple(times[chosen].tolist()),
        times,
        constants,
        neurons,
        quantity,
        bool(run.success),
    )


def _saliency(model: Model, recording: Recording, chosen: np.ndarray) -> np.ndarray:
    """(N, C) gradients of the answer at the chosen samples by each input, with the state constant (Simonyan et al.,
    arXiv 1312.6034)."""
    inputs, spans = (torch.from_numpy(each).unsqueeze(0) for each in model.preprocessing(recording.series[0]))
    model.eval()
    state, found, done = None, [], 0
    for at in chosen.tolist():
        if at > done:
            with torch.no_grad():
                _, state = model(inputs[:, done:at], spans[:, done:at], None, state)
        here = inputs[:, at : at + 1].clone().requires_grad_()
        answer, after = model(here, spans[:, at : at + 1], None, state)
        (gradient,) = torch.autograd.grad(answer.abs().sum(), here)
        found.append(gradient[0, 0].numpy())
        state, done = tuple(part.detach() for part in after), at + 1
    return np.stack(found)


def _strip(pictures: np.ndarray, maps: np.ndarray) -> str:
    from PIL import Image

    weight = np.abs(maps).sum(-1)
    weight = weight / np.maximum(np.quantile(weight, 0.995, axis=(1, 2), keepdims=True), 1e-12)
    weight = weight.clip(0, 1)[..., None] ** 0.5
    grey = pictures.mean(-1, keepdims=True) * 0.55
    looked = grey * (1 - weight) + np.array([255.0, 176.0, 0.0]) * weight
    if pictures.shape[-1] == 1:
        pictures = np.repeat(pictures, 3, -1)
    rows = [np.concatenate(list(part), 1) for part in (pictures, looked)]
    image = Image.fromarray(np.concatenate(rows).astype(np.uint8))
    image = image.resize((LARGER * image.width, LARGER * image.height), Image.Resampling.BICUBIC)
    data = BytesIO()
    image.save(data, "JPEG", quality=78, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
