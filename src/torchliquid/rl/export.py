"""Convert a trained actor to a :class:`torchliquid.Model`: to save it without pickle, and to stream and export it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from torch import nn

from torchliquid.control.imitation import done_in, seen_in
from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.data.preprocessing import extremes
from torchliquid.data.recording import Series
from torchliquid.errors import InputError
from torchliquid.models.build import assemble
from torchliquid.models.model import Model, unlabelled_batches
from torchliquid.models.sample import LENGTH, covering
from torchliquid.rl.elapsed import without
from torchliquid.rl.policy import LiquidPolicy
from torchliquid.runtime.policy import POLICY, Does, Seen, described, flat
from torchliquid.tasks import Task


def policy_of(model: Any, interval: float | None = None) -> Model:
    """The actor of a trained ``RecurrentPPO`` as a model. It gives the most likely action for each observation.

    :func:`torchliquid.stream` makes a policy of it, which takes an observation of the environment and the seconds since
    the previous one. If the observation contains the elapsed time, this part is not used. The scaling of a
    ``VecNormalize`` becomes part of the model, its clipping does not. The last rollout becomes the model's sample,
    which is used to check exports and to scale integers.

    Args:
        model: a ``RecurrentPPO`` with a :class:`LiquidPolicy`, or the policy.
        interval: seconds from one observation to the next in training. It is required if the policy did not get the
            elapsed time, and must be left out if it did.

    Returns:
        A model that shares no weights with the policy.

    Raises:
        InputError: it is another policy; its actor has dense layers after the memory; it observes images; its actions
            are neither numbers nor a single choice; or the interval is missing.
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
    visited = _visited(model, seen, policy.elapsed, scales)
    if visited is not None:
        low, high = extremes(np.concatenate([one.values for one in visited.series]))
        scales = replace(scales, low=low, high=high, longest_gap=float(visited.gaps().max(initial=0.0)))
    actor = assemble(policy.memory, memory.config, _task(does), scales)
    actor.network.load_state_dict(memory.network.state_dict())
    actor.readout.load_state_dict(policy.action_net.state_dict())
    if visited is not None:
        actor.sample = covering(list(unlabelled_batches(actor, visited, Windows(LENGTH, LENGTH))))
    actor.metadata[POLICY] = described(seen, does, "")
    return actor.eval()


def _seen(space: spaces.Space[Any], elapsed: str | int | None) -> tuple[Seen, ...]:
    if isinstance(space, spaces.Dict):
        return seen_in(space if elapsed is None else without(space, elapsed))
    (one,) = seen_in(space)
    return (one if elapsed is None else replace(one, elapsed=int(elapsed) % one.shape[0]),)


def _visited(model: Any, seen: tuple[Seen, ...], elapsed: str | int | None, scales: Preprocessing) -> Recording | None:
    """The episodes of the last rollout in the environment's units, cut at the start of the rollout; None if there was
    no rollout yet."""
    buffer = getattr(model, "rollout_buffer", None)
    if buffer is None or not buffer.full:
        return None
    size = (buffer.n_envs, buffer.buffer_size)

    def by_environment(values: np.ndarray) -> np.ndarray:
        return values.reshape(*size, *values.shape[1:]) if buffer.generator_ready else values.swapaxes(0, 1)

    found, scaled = buffer.observations, model.get_vec_normalize_env()
    found = found if scaled is None else scaled.unnormalize_obs(found)
    if isinstance(found, dict):
        found = {name: by_environment(part) for name, part in found.items()}
        choices = [one.name for one in seen if one.kind == "choice"]
        found |= {name: found[name].reshape(size).astype(np.int64) for name in choices}
        seconds = found[elapsed].reshape(size) if elapsed is not None else None
    else:
        found = by_environment(found)
        seconds = found[..., int(elapsed)] if elapsed is not None else None
    values = flat(seen, found).astype(np.float64)
    seconds = np.full(size, scales.time_scale) if seconds is None else seconds.astype(np.float64)
    starts = by_environment(buffer.episode_starts).reshape(size) > 0.5
    series: list[Series] = []
    for i in range(size[0]):
        for piece in np.split(np.arange(size[1]), np.flatnonzero(starts[i, 1:]) + 1):
            times = np.cumsum(seconds[i, piece]) - seconds[i, piece[0]]
            series.append(Series(times, values[i, piece], name=str(len(series))))
    return Recording(tuple(series), scales.channels, time_unit=scales.time_unit)


def _task(does: Does) -> Task:
    if does.n:
        return Task("classification", "step", "action", labels=tuple(str(does.first + i) for i in range(does.n)))
    size = len(does.low)
    return Task("regression", "step", "action", mean=(0.0,) * size, std=(1.0,) * size)


def _scales(
    model: Any, space: spaces.Space[Any], elapsed: str | int | None, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation by which a ``VecNormalize`` scaled each channel; 0 and 1 without one."""
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
