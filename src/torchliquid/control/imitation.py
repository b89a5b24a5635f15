"""Behaviour cloning: train a policy to imitate an expert, from demonstrations with their real times."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces

from torchliquid.control.demonstrations import (
    Demonstration,
    Demonstrations,
    demonstrations,
    episode,
    irregular,
    targets,
)
from torchliquid.control.environments import Env, EnvLike, Expert, at, expert_of, made
from torchliquid.control.interval import name_of
from torchliquid.control.shifts import is_image
from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.data.preprocessing import extremes, mean_and_std
from torchliquid.data.recording import Series
from torchliquid.errors import InputError
from torchliquid.models.build import build
from torchliquid.models.model import Model
from torchliquid.models.networks import PictureEncoder
from torchliquid.random import seeded
from torchliquid.runtime.policy import POLICY, Does, Seen, described, flat
from torchliquid.tasks import Task
from torchliquid.training.loop import Progress, TrainingConfig, train

WINDOWS = Windows(32, 28, 4)
"""Training windows of episodes: long enough to bridge a second without sight, short enough to train in minutes."""

HELD_OUT = 0.2
FIRST_SEED = 500_000
"""First seed of DAgger's episodes. Demonstrations and evaluations use other seeds."""


def imitate(
    source: Demonstrations | str | os.PathLike[str] | Any,
    kind: str = "cfc",
    *,
    parameters: int = 2500,
    config: TrainingConfig | None = None,
    dagger: int = 0,
    dagger_episodes: int = 5,
    env: EnvLike | None = None,
    expert: Expert | None = None,
    max_steps: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
    **hyper: Any,
) -> Model:
    """Train a policy to imitate demonstrations.

    Observations are vectors, integers, images (height, width, 1 or 3 channels of 8 bits), or a Dict of these. Actions
    are vectors or discrete. Images pass through strided convolutions
    (:class:`torchliquid.models.networks.PictureEncoder`), which are part of the network and trained with it. Vectors
    are scaled by the training part, all pixels in the same way. A fifth of the episodes is held out to stop the
    training.

    With ``dagger`` the trained policy steers, the expert says what it would have done at each observation, and the
    training continues with these episodes added (Ross et al., arXiv 1011.0686).

    Args:
        source: demonstrations, or an argument of :func:`torchliquid.control.demonstrations`.
        kind: one of :data:`torchliquid.models.KINDS`.
        parameters: budget of live parameters, without the image encoders.
        config: settings of the training; None: defaults.
        dagger: number of rounds of DAgger. Each round trains for as many updates as the first training.
        dagger_episodes: number of episodes per round.
        env, expert: environment and expert for DAgger, see :func:`torchliquid.control.record`; None: the environment
            that the demonstrations name, and the expert of a world of this package.
        max_steps: maximum length of an episode of DAgger.
        seed: seed of the weights, the shuffling and DAgger's episodes.
        progress: is told about the progress.
        hyper: further settings of the kind, e.g. ``units=19``.

    Returns:
        A model. :meth:`~torchliquid.Model.save` writes it as one file, with its encoder and the bounds of the actions.
        :func:`torchliquid.stream` makes a policy of it, which takes an observation and the seconds since the previous
        one.

    Raises:
        InputError: observations or actions are not supported, there are too few demonstrations, there is no expert for
            DAgger, or a number of rounds or episodes is too small.
        TrainingError: the loss is no longer finite.
    """
    if dagger < 0 or dagger_episodes < 1:
        raise InputError(
            f"dagger={dagger}, dagger_episodes={dagger_episodes}; give 0 or more rounds of 1 or more episodes"
        )
    shown = source if isinstance(source, Demonstrations) else demonstrations(source)
    seen, does = seen_in(shown.observation_space), done_in(shown.action_space)
    world, teacher = _world(env or shown.environment, expert) if dagger else (None, None)
    parts = _parts(shown)
    training, validation = (_recording(part, seen, does, shown.time_unit) for part in parts)
    task = _task(training, does)
    scales = _scales(training, seen)
    config = replace(config or TrainingConfig(), seed=seed)
    pictures, encoders = _pictures(seen)
    more = {"pictures": pictures} if pictures else {}
    with seeded(seed):
        model = build(kind, task, scales, parameters + encoders, **more, **hyper)
    about = described(seen, does, shown.environment)
    told = _shared(progress, dagger + 1)
    train(model, training, validation, config, WINDOWS, next(told))
    for turn in range(dagger):
        assert world is not None
        assert teacher is not None
        model.metadata[POLICY] = about
        flown = [
            _visited(model, world, teacher, FIRST_SEED + 1000 * seed + turn * dagger_episodes + i, max_steps)
            for i in range(dagger_episodes)
        ]
        visited = [one for one in flown if one is not None]
        more_series = _recording(visited, seen, does, shown.time_unit, len(training.series)).series
        training = replace(training, series=training.series + more_series)
        train(model, training, validation, config, WINDOWS, next(told))
    model.metadata[POLICY] = about
    model.metadata["training"]["dagger"] = dagger
    return model


def _shared(progress: Progress | None, rounds: int) -> Any:
    """For each round, a progress function that reports the share of the whole."""
    for i in range(rounds):
        yield None if progress is None else (lambda share, note, i=i: progress((i + share) / rounds, note))


def _world(env: EnvLike, expert: Expert | None) -> tuple[Env, Expert]:
    if not env:
        raise InputError("the demonstrations do not name their environment; give env=, or dagger=0")
    base = made(env)
    teacher = expert_of(base, expert)
    if teacher is None:
        raise InputError(f"{name_of(base)} has no expert of its own, which DAgger asks; give expert=, or dagger=0")
    return irregular(base), teacher


def _visited(model: Model, world: Env, teacher: Expert, seed: int, max_steps: int) -> Demonstration | None:
    """An episode in which the policy steers, with the expert's actions, until the simulator fails; None if it fails at
    once."""
    policy: Any = model.live()
    found = episode(world, teacher, seed, max_steps, lambda seen, seconds, said: policy(seen, seconds), may_fail=True)
    if not found["rewards"]:
        return None
    spans = found["infos"]["elapsed"][:-1]
    kept = {name: value for name, value in found.items() if name in ("actions", "rewards")}
    observations = at(found["observations"], slice(-1))
    return Demonstration(np.cumsum(spans) - spans[:1], spans, observations, success=None, **kept)


# -- spaces


def seen_in(space: spaces.Space[Any]) -> tuple[Seen, ...]:
    """The parts of an observation.

    Raises:
        InputError: a part has a kind that is not supported.
    """
    if isinstance(space, spaces.Dict):
        return tuple(_seen(name, part) for name, part in space.spaces.items())
    return (_seen(None, space),)


def _seen(name: str | None, space: spaces.Space[Any]) -> Seen:
    if is_image(space):
        assert space.shape is not None
        return Seen(name, "picture", space.shape)
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return Seen(name, "numbers", space.shape)
    if isinstance(space, spaces.Discrete):
        return Seen(name, "choice", (int(space.n),), int(space.start))
    what = "observations are" if name is None else f"the observations' {name!r} is"
    raise InputError(f"{what} {space}; a policy learns from vectors, pictures, whole numbers, or a Dict of these")


def done_in(space: spaces.Space[Any]) -> Does:
    """The form of an action.

    Raises:
        InputError: an action is neither bounded numbers nor a choice between two or more.
    """
    if isinstance(space, spaces.Discrete) and space.n > 1:
        return Does(n=int(space.n), first=int(space.start))
    if isinstance(space, spaces.Box) and space.shape and np.isfinite([space.low, space.high]).all():
        low, high = (tuple(bound.astype(float).ravel().tolist()) for bound in (space.low, space.high))
        return Does(space.shape, low, high)
    raise InputError(f"actions are {space}; a policy learns numbers within finite bounds, or one of two or more")


# -- demonstrations as a recording


def _parts(shown: Demonstrations) -> tuple[list[Demonstration], list[Demonstration]]:
    """Training and validation episodes: the last fifth is held out, or the end of a single episode."""
    episodes = list(shown.episodes)
    if len(episodes) > 1:
        held = max(1, round(HELD_OUT * len(episodes)))
        return episodes[:-held], episodes[-held:]
    (only,) = episodes
    cut = round((1 - HELD_OUT) * len(only))
    if not 0 < cut < len(only):
        raise InputError(f"one demonstration of {len(only)} steps is too little to learn from; give more")
    return [_piece(only, slice(0, cut))], [_piece(only, slice(cut, None))]


def _piece(one: Demonstration, place: slice) -> Demonstration:
    arrays = {name: getattr(one, name)[place] for name in ("times", "elapsed", "actions", "rewards")}
    return replace(one, observations=at(one.observations, place), **arrays)


def _recording(
    episodes: list[Demonstration], seen: tuple[Seen, ...], does: Does, time_unit: str, first: int = 0
) -> Recording:
    series = []
    for i, one in enumerate(episodes, first):
        values = flat(seen, one.observations)
        values = values if values.dtype == np.uint8 else values.astype(np.float64)
        series.append(Series(one.times, values, targets(one.actions, does.n > 0), name=str(i)))
    channels = tuple(name for part in seen for name in part.channels)
    return Recording(tuple(series), channels, target="action", time_unit=time_unit)


def _task(training: Recording, does: Does) -> Task:
    if does.n:
        return Task("classification", "step", "action", labels=tuple(str(does.first + i) for i in range(does.n)))
    return Task("regression", "step", "action").fit(training)


def _scales(training: Recording, seen: tuple[Seen, ...]) -> Preprocessing:
    """Scales vectors by their own mean and standard deviation, and pixels to -2 to 2."""
    means, deviations, ends, place = [], [], [], 0
    for part in seen:
        if part.kind == "picture":
            mean, std = np.full(part.size, 127.5), np.full(part.size, 63.75)
            ends.append(np.full((2, part.size), np.nan))  # pixels are never out of range
        else:
            values = np.concatenate([s.values[:, place : place + part.size] for s in training.series])
            mean, std = mean_and_std(values)
            ends.append(np.stack(extremes(values)))
        means.append(mean)
        deviations.append(np.where(std > 0, std, 1.0))
        place += part.size
    low, high = np.concatenate(ends, 1)
    gap = training.median_gap()
    return Preprocessing(
        training.channels,
        np.concatenate(means),
        np.concatenate(deviations),
        gap if gap > 0 else 1.0,
        training.time_unit,
        False,
        low=low,
        high=high,
        longest_gap=float(training.gaps().max(initial=0.0)),
    )


def _pictures(seen: tuple[Seen, ...]) -> tuple[list[list[int]], int]:
    """The first channel and the size of each image, as in a model's config, and the parameters of all encoders."""
    found, place, parameters = [], 0, 0
    for part in seen:
        if part.kind == "picture":
            height, width, depth = part.shape
            found.append([place, height, width, depth])
            with seeded():
                parameters += PictureEncoder(part.size, 0, (height, width, depth)).live_parameters()
        place += part.size
    return found, parameters
