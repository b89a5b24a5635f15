"""The trained actor as a model of ours: saved without pickle, streamed, evaluated, exported as C and ONNX."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from torch import nn

from torchliquid.control.imitation import done_in, seen_in
from torchliquid.data import Preprocessing
from torchliquid.errors import InputError
from torchliquid.models.build import assemble
from torchliquid.models.model import Model
from torchliquid.rl.elapsed import without
from torchliquid.rl.policy import LiquidPolicy
from torchliquid.runtime.policy import POLICY, Does, Seen, described
from torchliquid.tasks import Task


def policy_of(model: Any, interval: float | None = None) -> Model:
    """The actor of a trained ``RecurrentPPO`` as a model: its likeliest action for each observation.

    :func:`torchliquid.stream` makes of it a policy that takes an observation, as the environment gives it, and the
    seconds since the one before. Where the observation tells the elapsed time, that part of it is not read. What a
    ``VecNormalize`` scaled in training is scaled in the model; its clipping is left out.

    Args:
        model: a ``RecurrentPPO`` with a :class:`LiquidPolicy`, or that policy.
        interval: seconds from one observation to the next in training. It is needed where the policy was told no
            elapsed time, and must be left out where it was.

    Returns:
        A model that shares no weights with the policy.

    Raises:
        InputError: another policy, one whose actor has dense layers behind its memory, observes pictures or has actions
            that are neither numbers nor one choice; or an interval is missing.
    """
    policy = getattr(model, "policy", model)
    if not isinstance(policy, LiquidPolicy):
        raise InputError(f"a LiquidPolicy becomes a model, not a {type(policy).__name__}")
    if (interval is None) == (policy.elapsed is None):
        told = f"elapsed={policy.elapsed!r} tells it" if interval else "interval= says it, in seconds"
        raise InputError(f"the time between two observations must come from one place: {told}")
    if any(isinstance(part, nn.Linear) for part in policy.mlp_extractor.policy_net):
        raise InputError('the actor has dense layers behind its memory: train with net_arch={"pi": [], "vf": [...]}')
    if policy.use_sde or policy.features_extractor_class not in (FlattenExtractor, CombinedExtractor):
        raise InputError("a policy with an extractor of its own, of pictures, or with use_sde=True has no such model")
    space = policy.observation_space
    seen, does = _seen(space, policy.elapsed), done_in(policy.action_space)
    channels = tuple(name for part in seen for name in part.channels)
    mean, std = _scales(model, space, policy.elapsed, len(channels))
    memory = policy.lstm_actor
    scales = Preprocessing(channels, mean, std, interval or policy.time_scale, "s", False)
    actor = assemble(policy.memory, memory.config, _task(does), scales)
    actor.network.load_state_dict(memory.network.state_dict())
    actor.readout.load_state_dict(policy.action_net.state_dict())
    actor.metadata[POLICY] = described(seen, does, "")
    return actor.eval()


def _seen(space: spaces.Space[Any], elapsed: str | int | None) -> tuple[Seen, ...]:
    if isinstance(space, spaces.Dict):
        return seen_in(space if elapsed is None else without(space, elapsed))
    (one,) = seen_in(space)
    return (one if elapsed is None else replace(one, elapsed=int(elapsed) % one.shape[0]),)


def _task(does: Does) -> Task:
    if does.n:
        return Task("classification", "step", "action", labels=tuple(str(does.first + i) for i in range(does.n)))
    size = len(does.low)
    return Task("regression", "step", "action", mean=(0.0,) * size, std=(1.0,) * size)


def _scales(
    model: Any, space: spaces.Space[Any], elapsed: str | int | None, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation by which a ``VecNormalize`` scaled each channel; 0 and 1 where there was none."""
    scaled = model.get_vec_normalize_env() if hasattr(model, "get_vec_normalize_env") else None
    if scaled is None or not scaled.norm_obs:
        return np.zeros(size), np.ones(size)
    means, deviations = [], []
    for name, part in space.spaces.items() if isinstance(space, spaces.Dict) else [(None, space)]:
        if name is not None and name == elapsed:
            continue
        sums = scaled.obs_rms if name is None else scaled.obs_rms.get(name)
        width = spaces.flatdim(part)
        means.append(np.zeros(width) if sums is None else sums.mean.ravel())
        deviations.append(np.ones(width) if sums is None else np.sqrt(sums.var + scaled.epsilon).ravel())
    return np.concatenate(means), np.concatenate(deviations)
