"""Evaluate a policy in an environment, unchanged and under shifts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import polars as pl
from gymnasium import spaces

from torchliquid.control.environments import Env, EnvLike, Expert, checked_action, expert_of, made, own_expert, reason
from torchliquid.control.interval import elapsed, name_of
from torchliquid.control.shifts import Shift
from torchliquid.errors import InputError, check_size
from torchliquid.models.predictor import Predictor
from torchliquid.runtime.policy import PolicyStream

Array = np.ndarray
Policy = Callable[[Any, float], Any]
"""Returns the action for an observation and the seconds since the previous one. If it has a method ``reset``, this is
called at the start of each episode."""

CLEAN = "clean"


@dataclass(frozen=True, eq=False)
class Episode:
    """The result of one episode.

    Attributes:
        shift, unit, severity: the shift; ``"clean"``, ``""`` and 0 without one.
        seed: seed of the reset.
        success: ``info["is_success"]`` at the end, or else whether the sum of rewards reaches the environment's
            ``reward_threshold``; None: neither is known.
        crashed: ``info["crashed"]`` at the end, or True if the simulator failed.
        why: the simulator's error, or the action if it was not finite; otherwise empty.
        steps, seconds: length of the episode.
        reward: sum of the rewards.
        clipped: number of actions that were out of bounds.
        path: (N, D) ``info["position"]`` at each step, in metres; None: not given.
        path_error: mean distance to the expert's path in the same scene, in metres; None: not known.
    """

    shift: str
    unit: str
    severity: float
    seed: int
    success: bool | None
    crashed: bool
    why: str
    steps: int
    seconds: float
    reward: float
    clipped: int
    path: Array | None
    path_error: float | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All episodes of a policy.

    Attributes:
        environment: name of the environment.
        episodes: the episodes, ordered by shift, severity and seed.
    """

    environment: str
    episodes: tuple[Episode, ...]

    def summary(self) -> pl.DataFrame:
        """One row per shift and severity: ``episodes``, ``success`` (share), ``crashes``, ``time_to_target`` (median of
        the successful episodes, seconds), ``path_error`` (mean, metres), ``reward`` (mean)."""
        columns = ("shift", "severity", "success", "crashed", "seconds", "path_error", "reward")
        kinds = (pl.String, pl.Float64, pl.Boolean, pl.Boolean, pl.Float64, pl.Float64, pl.Float64)
        frame = pl.DataFrame(
            {name: [getattr(one, name) for one in self.episodes] for name in columns},
            schema=dict(zip(columns, kinds, strict=True)),
        )
        return frame.group_by("shift", "severity", maintain_order=True).agg(
            pl.len().alias("episodes"),
            pl.col("success").cast(pl.Float64).mean(),
            pl.col("crashed").sum().alias("crashes"),
            pl.col("seconds").filter(pl.col("success")).median().alias("time_to_target"),
            pl.col("path_error").mean(),
            pl.col("reward").mean(),
        )


def evaluate(
    policy: Policy | Predictor,
    env: EnvLike,
    episodes: int = 20,
    shifts: type[Shift] | Iterable[type[Shift] | tuple[type[Shift], float]] = (),
    *,
    expert: Expert | None = None,
    seed: int = 0,
    max_steps: int = 10_000,
    jobs: int = 1,
    progress: Callable[[Episode], None] | None = None,
) -> Evaluation:
    """Run a policy in the environment, first unchanged and then under each shift. Nothing is trained.

    An episode in which the simulator fails counts as crashed. The evaluation continues in a new environment, or in a
    new episode if ``env`` is an environment.

    Args:
        policy: called with an observation and the seconds since the previous one; returns an action. Actions out of
            bounds are clipped and counted. A model from :func:`torchliquid.control.imitate` can be passed, too.
        env: name in Gymnasium, an environment, or a function that makes one.
        episodes: number of episodes for each shift and severity, with the same seeds for each.
        shifts: classes, each used at all its ``severities``, or pairs of a class and a severity; or one class.
        expert: the expert whose path is the reference, see :func:`torchliquid.control.record`; None: the expert of a
            world of this package, or none.
        seed: seed of the first episode; the following episodes count up.
        max_steps: maximum length of an episode.
        jobs: number of episodes at a time, each in its own process. Then a simulator that ends its process counts as a
            crash, too. With more than 1, ``env`` must be a name or a function.
        progress: called after each episode.

    Raises:
        InputError: the environment cannot be made or reset, a shift does not suit it, or the policy fails on an
            observation or does not return an action.
    """
    check_size(episodes=episodes, max_steps=max_steps, jobs=jobs)
    if isinstance(policy, Predictor):
        policy = policy_of(policy)
    if not callable(policy):
        raise InputError(
            f"the policy is a {type(policy).__name__}; give a function of an observation and the seconds elapsed"
        )
    tried = [(None, 0.0), *_severities(shifts)]
    for shift, severity in tried:  # an unsuitable shift must fail now, not after hours
        world = shifted(env, shift, severity)
        name = name_of(world)
        if not isinstance(env, gym.Env):
            world.close()
    calls = [
        (policy, env, shift, severity, seed + i, expert, max_steps)
        for shift, severity in tried
        for i in range(episodes)
    ]
    done: dict[int, Episode] = {}

    def keep(place: int, one: Episode) -> None:
        done[place] = one
        if progress is not None:
            progress(one)

    if jobs == 1:
        for place, call in enumerate(calls):
            keep(place, run_episode(*call, not done))
    elif isinstance(env, gym.Env):
        raise InputError("an environment cannot be sent to other processes: give its name or a function, or jobs=1")
    else:
        _in_processes(calls, jobs, keep)
    return Evaluation(name, tuple(done[place] for place in range(len(calls))))


def policy_of(model: Predictor) -> Policy:
    """The policy of a model.

    Raises:
        InputError: the model was not trained to act.
    """
    stream = model.live()
    if not isinstance(stream, PolicyStream):
        raise InputError("the model is no policy: it was trained on a recording; train one by tl.control.imitate")
    return stream


def _in_processes(calls: list[tuple[Any, ...]], processes: int, keep: Callable[[int, Episode], None]) -> None:
    """Run each episode in its own process. If the process dies, the episode is a crash; interrupted ones run again."""
    from torchliquid.jobs import Job, Silent, run_all, run_jobs

    def died(name: str) -> None:
        _, _, shift, severity, seed, _, _ = calls[int(name)]
        keep(int(name), process_died(shift, severity, seed))

    jobs = [
        Job(str(place), _episode_job, (cloudpickle.dumps((*call, place == 0)),), partial(keep, place))
        for place, call in enumerate(calls)
    ]
    run_all(jobs, lambda left: run_jobs(left, Silent(), processes, 1), died)


def process_died(shift: type[Shift] | None, severity: float, seed: int) -> Episode:
    """The result of an episode that ended its process."""
    why = "the simulator ended its process"
    named = (shift.name, shift.unit) if shift is not None else (CLEAN, "")
    return Episode(*named, severity, seed, False, True, why, 0, 0.0, 0.0, 0, None)


def _episode_job(packed: bytes, progress: object) -> Iterator[Episode]:
    yield run_episode(*cloudpickle.loads(packed))


def _severities(
    shifts: type[Shift] | Iterable[type[Shift] | tuple[type[Shift], float]],
) -> Iterator[tuple[type[Shift] | None, float]]:
    for one in (shifts,) if isinstance(shifts, type) else shifts:
        kind, *severity = one if isinstance(one, tuple) else (one,)
        if not (isinstance(kind, type) and issubclass(kind, Shift)) or len(severity) > 1:
            raise InputError(f"{one!r} is no shift; give classes such as Fog, or pairs with a severity, (Fog, 0.4)")
        yield from ((kind, s) for s in severity or kind.severities)


def shifted(env: EnvLike, shift: type[Shift] | None, severity: float) -> Env:
    world = made(env)
    return world if shift is None else shift(world, severity)


def run_episode(
    policy: Policy,
    env: EnvLike,
    shift: type[Shift] | None,
    severity: float,
    seed: int,
    expert: Expert | None,
    max_steps: int,
    first: bool = False,
) -> Episode:
    """Run one episode, see :func:`evaluate`. If the ``first`` one cannot be reset, this raises instead of a crash."""
    world = shifted(env, shift, severity)
    teacher = expert_of(world, expert)
    run = Run(world, max_steps)
    begin = getattr(policy, "reset", None)
    if callable(begin):
        begin()
    try:
        run.go(policy, seed)
    except InputError:
        raise
    except Exception as error:
        if first and not run.steps and run.observation is None:
            raise InputError(f"{name_of(world)} cannot be reset: {reason(error)}") from None
        run.crashed, run.success, run.why = True, False, reason(error)
    path = np.array(run.path) if run.path else None
    gap = None
    if teacher is not None and path is not None:
        gap = _path_error(path, expert_path(world, teacher, seed, max_steps))
    if not isinstance(env, gym.Env):
        world.close()
    named = (shift.name, getattr(world, "unit", "")) if shift is not None else (CLEAN, "")
    return Episode(
        *named,
        severity=severity,
        seed=seed,
        success=run.success,
        crashed=run.crashed,
        why=run.why,
        steps=run.steps,
        seconds=run.seconds,
        reward=run.reward,
        clipped=run.clipped,
        path=path,
        path_error=gap,
    )


class Run:
    """One running episode. Its attributes stay known if the simulator fails."""

    def __init__(self, world: Env, max_steps: int) -> None:
        self.world, self.max_steps = world, max_steps
        self.observation: Any = None
        self.steps, self.seconds, self.reward, self.clipped = 0, 0.0, 0.0, 0
        self.success: bool | None = None
        self.crashed, self.why = False, ""
        self.path: list[Array] = []

    def go(self, policy: Policy, seed: int) -> None:
        self.observation, info = self.world.reset(seed=seed)
        self._note(info)
        ended = False
        while not ended and self.steps < self.max_steps:
            answer = self._answer(policy, elapsed(self.world, info))
            try:
                action, beyond = checked_action(answer, self.world, "the policy")
            except FloatingPointError as error:
                self.crashed, self.success, self.why = True, False, str(error)
                return
            self.clipped += beyond
            self.observation, reward, terminated, truncated, info = self.world.step(action)
            self.steps += 1
            self.seconds += elapsed(self.world, info)
            self.reward += float(reward)
            self._note(info)
            ended = terminated or truncated
        threshold = self.world.spec.reward_threshold if self.world.spec is not None else None
        if "is_success" in info or "success" in info:
            self.success = bool(info.get("is_success", info.get("success")))
        elif threshold is not None:
            self.success = self.reward >= threshold
        self.crashed = bool(info.get("crashed", False))

    def _answer(self, policy: Policy, seconds: float) -> Any:
        try:
            return policy(self.observation, seconds)
        except InputError:
            raise
        except Exception as error:
            what = _shapes(self.world.observation_space)
            raise InputError(
                f"the policy fails on an observation of {name_of(self.world)} ({what}): {reason(error)}"
            ) from error

    def _note(self, info: dict[str, Any]) -> None:
        if "position" in info:
            self.path.append(np.atleast_1d(np.asarray(info["position"], float)))


def _shapes(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Dict):
        return ", ".join(f"{name}: {_shapes(part)}" for name, part in space.spaces.items())
    return f"{space.shape} {space.dtype}"


def expert_path(world: Env, expert: Expert, seed: int, max_steps: int) -> Array | None:
    """(N, D) the expert's path in the same scene; None if the simulator fails under the expert, too."""
    base: Any = world.unwrapped
    run = Run(world, max_steps)
    if expert is own_expert:
        base.blind = True
    try:
        run.go(lambda observation, seconds: expert(base, observation), seed)
    except InputError:
        raise
    except Exception:
        return None
    finally:
        if expert is own_expert:
            base.blind = False
    return np.array(run.path)


def _path_error(path: Array, other: Array | None) -> float | None:
    """Mean distance of a path's points to another path, which consists of straight lines between its points."""
    if other is None or path.shape[1] != other.shape[1] or len(other) < 2:
        return None
    start, way = other[:-1], np.diff(other, axis=0)
    long = np.maximum((way * way).sum(1), 1e-12)
    gaps = []
    for place in path:
        share = (((place - start) * way).sum(1) / long).clip(0, 1)
        gaps.append(np.sqrt(((start + share[:, None] * way - place) ** 2).sum(1).min()))
    return float(np.mean(gaps))
