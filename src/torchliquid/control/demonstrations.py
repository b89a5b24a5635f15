"""Record an expert's episodes with their real times as a Minari data set, and read Minari data sets."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from torchliquid.control.environments import Env, EnvLike, Expert, Tree, at, checked_action, expert_of, made, reason
from torchliquid.control.interval import can_be_set, elapsed, name_of
from torchliquid.control.shifts import DroppedFrames, Jitter, boxes, is_image, scale, within
from torchliquid.data import Recording
from torchliquid.data.recording import Series
from torchliquid.errors import InputError, check_size

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One episode.

    Attributes:
        times: (T,) time since the first observation.
        elapsed: (T,) time since the previous observation.
        observations: T observations, in the form of the space.
        actions: T actions, each chosen at the observation of the same index.
        rewards: (T,) rewards of these actions.
        success: whether the episode ended in success; None: not known.
    """

    times: Array
    elapsed: Array
    observations: Tree
    actions: Tree
    rewards: Array
    success: bool | None

    def __len__(self) -> int:
        return len(self.times)


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes of one environment.

    Attributes:
        episodes: one or more episodes.
        observation_space, action_space: the spaces of all episodes.
        environment: name in Gymnasium; empty: not known.
        time_unit: ``"s"``, or ``"samples"`` if the data set has no times.
    """

    episodes: tuple[Demonstration, ...]
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    environment: str
    time_unit: str

    def __len__(self) -> int:
        return len(self.episodes)

    def recording(self) -> Recording:
        """A recording for :func:`torchliquid.fit`: a series per episode, observations as channels, actions as targets.

        Discrete actions become labels.

        Raises:
            InputError: the observations are images, which a recording cannot hold, or the actions are neither vectors
                nor discrete.
        """
        if any(is_image(box) for box in boxes(self.observation_space)):
            raise InputError(
                f"observations of {self.environment or 'the data set'} are pictures: use the episodes' arrays"
            )
        if not isinstance(self.action_space, spaces.Discrete | spaces.Box):
            raise InputError(f"actions are {self.action_space}; a recording takes a vector or discrete ones")
        discrete = isinstance(self.action_space, spaces.Discrete)
        series = tuple(
            Series(one.times, self._flat(one), targets(one.actions, discrete), name=str(i))
            for i, one in enumerate(self.episodes)
        )
        channels = tuple(f"observation_{i + 1}" for i in range(series[0].values.shape[1]))
        return Recording(series, channels, target="action", time_unit=self.time_unit)

    def _flat(self, one: Demonstration) -> Array:
        flat: list[Any] = [spaces.flatten(self.observation_space, at(one.observations, i)) for i in range(len(one))]
        return np.stack(flat).astype(float)


def targets(actions: Array, discrete: bool) -> Array:
    """Actions as a recording's targets: the labels of discrete ones, or values, (T,) if an action is one number."""
    if discrete:
        return np.array([str(action) for action in np.asarray(actions).ravel().tolist()], object)
    values = np.asarray(actions, float).reshape(len(actions), -1)
    return values[:, 0] if values.shape[1] == 1 else values


def _stacked(values: list[Any]) -> Tree:
    if isinstance(values[0], dict):
        return {name: _stacked([value[name] for value in values]) for name in values[0]}
    if isinstance(values[0], tuple):
        return tuple(_stacked(list(parts)) for parts in zip(*values, strict=True))
    return np.stack([np.asarray(value) for value in values])


DROPPED, JITTER = 0.2, 0.25
"""The share of observations that :func:`record` and DAgger drop, and by which their control intervals vary."""


def irregular(base: Env, dropped: float = DROPPED, jitter: float = JITTER) -> Env:
    """The environment with lost observations and, if they can be set, varying control intervals."""
    return DroppedFrames(Jitter(base, jitter if can_be_set(base) else 0.0), dropped)


def record(
    env: EnvLike,
    expert: Expert | None,
    episodes: int,
    folder: str | os.PathLike[str],
    *,
    dropped: float = DROPPED,
    jitter: float = JITTER,
    noise: float = 0.0,
    seed: int = 0,
    max_steps: int = 10_000,
    progress: Callable[[int], None] | None = None,
) -> Demonstrations:
    """Record an expert's observations and actions with their real times, as a Minari data set in a new folder.

    Args:
        env: name in Gymnasium, an environment, or a function that makes one.
        expert: called with the environment without its wrappers, whose state it may read, and the observation; returns
            the action. None: the expert of a world of this package.
        episodes: number of episodes.
        folder: the new folder; it appears when it is complete. If ``MINARI_DATASETS_PATH`` is the folder above,
            ``minari.load_dataset`` finds it by name and version. A name without a version gets ``-v0`` inside.
        dropped: share of observations that are lost. The previous action is kept meanwhile, and ``infos["elapsed"]``
            has the true time.
        jitter: share by which control intervals are longer or shorter; 0 for environments with a fixed interval.
        noise: size of random pushes that are added to the expert's action, as a share of half the range of continuous
            actions. They act about half of the time, for a quarter of a second or longer, so that the demonstrations
            show how to recover (Laskey et al., arXiv 1703.09327). The expert's own action is recorded.
        seed: seed of the first episode; the following episodes count up.
        max_steps: maximum length of an episode.
        progress: called with the number of finished episodes.

    Raises:
        InputError: the environment cannot be made or named, the expert does not return an action, a number is too
            small, or the folder exists.
    """
    storage = _minari("minari.dataset.minari_storage").MinariStorage
    buffer = _minari("minari.data_collector.episode_buffer").EpisodeBuffer
    check_size(episodes=episodes, max_steps=max_steps)
    if not 0 <= noise < np.inf:
        raise InputError(f"noise is {noise}; give a number from 0 upwards")
    folder = Path(folder).absolute()  # Minari computes wrong sizes for relative paths
    base = made(env)
    expert = expert_of(base, expert)
    if expert is None:
        raise InputError(
            f"{name_of(base)} has no expert of its own; give one: a function of the environment and observation"
        )
    if noise and not isinstance(base.action_space, spaces.Box):
        raise InputError(f"noise is for continuous actions; those of {name_of(base)} are {base.action_space}")
    spec = _spec(base)
    world = irregular(base, dropped, jitter)
    with _appearing(folder) as part:
        data = part / "data"
        data.mkdir()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not serializable")
            store = storage.new(data, base.observation_space, base.action_space, spec, jpeg_encoding=False)
        version = "" if re.search(r"-v\d+$", folder.name) else "-v0"
        name = re.sub(r"[^-\w]", "-", folder.name) + version
        store.update_metadata({"dataset_id": name, "minari_version": _minari("minari").__version__})
        for i in range(episodes):
            act = _WithNoise(base.action_space, noise, seed + i) if noise else None
            store.update_episodes([buffer(id=i, seed=seed + i, **episode(world, expert, seed + i, max_steps, act))])
            if progress is not None:
                progress(i + 1)
    return demonstrations(folder)


def _spec(env: Env) -> Any:
    """The environment's spec as plain data, with its entry point as a name."""
    spec = env.spec
    if spec is None:
        return None
    entry = spec.entry_point
    if callable(entry):
        name = f"{getattr(entry, '__module__', '')}:{getattr(entry, '__qualname__', '<')}"
        if "<" in name:
            raise InputError(
                f"{spec.id} is registered with a function that has no name ({entry}), so a data set cannot refer to "
                'it: register it with entry_point="module:Class", or pass the function as env'
            )
        spec = replace(spec, entry_point=name)
    try:
        spec.to_json()
    except (TypeError, ValueError) as error:
        raise InputError(f"{spec.id} has settings that are no plain data, which a data set needs ({error})") from None
    return spec


class _WithNoise:
    """The expert's action with random pushes, each of which lasts for some steps."""

    def __init__(self, space: spaces.Space[Any], noise: float, seed: int) -> None:
        assert isinstance(space, spaces.Box)
        self.space, self.size = space, noise * scale(space)
        self.rng = np.random.default_rng([seed, 77])
        self.left, self.push = 0, 0.0 * self.size

    def __call__(self, observation: Any, seconds: float, action: Any) -> Any:
        if not self.left:
            self.left = int(self.rng.integers(5, 15))
            pushing = self.rng.random() < 0.5
            self.push = pushing * self.size * self.rng.uniform(-1, 1, self.space.shape)
        self.left -= 1
        return within(self.space, action + self.push)


def episode(
    world: Env,
    expert: Expert,
    seed: int,
    max_steps: int,
    act: Callable[[Any, float, Any], Any] | None = None,
    may_fail: bool = False,
) -> dict[str, Any]:
    """Run an episode and return what Minari stores of it, with the expert's actions.

    Args:
        act: returns the action to do instead, from the observation, the seconds since the previous one and the expert's
            action.
        may_fail: whether a failure of the simulator or of ``act`` ends the episode instead of raising.

    Raises:
        InputError: the expert does not return an action, or the simulator or ``act`` fails.
    """
    try:
        observation, info = world.reset(seed=seed)
    except Exception as error:
        raise InputError(f"{name_of(world)} cannot be reset: {reason(error)}") from None
    seen, done = [observation], list[Any]()
    rewards, ends = list[float](), list[tuple[bool, bool]]()
    infos = [(elapsed(world, info), bool(info.get("is_success", False)))]
    while True:
        try:
            action, beyond = checked_action(_asked(expert, world, observation), world, "the expert")
        except FloatingPointError as error:
            raise InputError(f"{error}, which is no action of {name_of(world)}; return finite numbers") from None
        if beyond:
            raise InputError(
                f"the expert answers an action outside the bounds of {name_of(world)}; clip it in the expert"
            )
        try:
            doing = action
            if act is not None:
                doing, _ = checked_action(act(observation, infos[-1][0], action), world, "the policy")
            observation, reward, terminated, truncated, info = world.step(doing)
        except InputError:
            raise
        except Exception as error:
            if not may_fail:
                raise InputError(f"{name_of(world)} fails under the expert: {reason(error)}") from error
            break
        truncated = truncated or (len(done) + 1 >= max_steps and not terminated)
        seen.append(observation)
        done.append(action)
        rewards.append(float(reward))
        ends.append((bool(terminated), bool(truncated)))
        infos.append((elapsed(world, info), bool(info.get("is_success", False))))
        if terminated or truncated:
            break
    spans, succeeded = map(np.array, zip(*infos, strict=True))
    return {
        "observations": _stacked(seen),
        "actions": _stacked(done) if done else [],
        "rewards": rewards,
        "terminations": [terminated for terminated, _ in ends],
        "truncations": [truncated for _, truncated in ends],
        "infos": {"elapsed": spans, "is_success": succeeded},
    }


def _asked(expert: Expert, world: Env, observation: Any) -> Any:
    try:
        return expert(world.unwrapped, observation)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"the expert fails on an observation of {name_of(world)}: {reason(error)}; it is called with the "
            "environment and the observation"
        ) from error


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder that gets its name when it is complete."""
    if folder.exists():
        raise InputError(f"{folder} exists; give another folder, or remove it")
    try:
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".", suffix=".part"))
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        yield part
        part.chmod(0o755)
        os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def demonstrations(
    source: str | os.PathLike[str] | Any, env: Env | None = None, step: float | None = None
) -> Demonstrations:
    """Read any Minari data set. Nothing in it is run, and its environment is not made.

    Args:
        source: its folder, its name among the user's data sets, or a ``MinariDataset``.
        env: the environment it must belong to; None: any.
        step: seconds per step if the data set has no times (``infos["elapsed"]``); None: steps are 1 apart.

    Raises:
        InputError: the data set does not exist, is damaged or empty, or belongs to another environment.
    """
    if step is not None and not 0 < step < np.inf:
        raise InputError(f"step is {step}; give the seconds per step, more than 0")
    dataset = _opened(source)
    if env is not None:
        for what in ("observation_space", "action_space"):
            if getattr(dataset, what) != getattr(env, what):
                raise InputError(
                    f"the data set {dataset.id} is of another environment than {name_of(env)}: its "
                    f"{what.replace('_', ' ')} is {getattr(dataset, what)}, not {getattr(env, what)}"
                )
    try:
        episodes = list(dataset.iterate_episodes())
    except Exception as error:
        raise InputError(f"the data set {dataset.id} is damaged: {reason(error)}") from None
    if not episodes:
        raise InputError(f"the data set {dataset.id} holds no episodes")
    timed = all("elapsed" in (one.infos or {}) for one in episodes)
    return Demonstrations(
        tuple(_read(one, timed, step or 1.0, dataset.id) for one in episodes),
        dataset.observation_space,
        dataset.action_space,
        dataset.env_spec.id if dataset.env_spec is not None else "",
        "s" if timed or step else "samples",
    )


def _read(one: Any, timed: bool, step: float, name: str) -> Demonstration:
    length = len(one.rewards)
    spans = np.asarray(one.infos["elapsed"], float)[:length] if timed else np.full(length, step)
    if len(spans) != length or not (np.isfinite(spans).all() and (spans >= 0).all()):
        raise InputError(
            f"the data set {name}, episode {one.id}: its elapsed times are not {length} numbers from 0 upwards"
        )
    infos = one.infos or {}
    success = infos.get("is_success", infos.get("success"))
    return Demonstration(
        times=np.cumsum(spans) - spans[:1],
        elapsed=spans,
        observations=at(one.observations, slice(0, length)),
        actions=one.actions,
        rewards=np.asarray(one.rewards, float),
        success=None if success is None else bool(np.asarray(success)[-1]),
    )


def _opened(source: Any) -> Any:
    minari = _minari("minari")
    if isinstance(source, minari.MinariDataset):
        return source
    folder = Path(source)
    if not folder.is_dir():
        try:
            from minari.storage.datasets_root_dir import get_dataset_path

            folder = get_dataset_path(str(source))
        except OSError:
            pass
    if not folder.is_dir():
        raise InputError(f"there is no Minari data set {source}; give its folder, or get it: minari download {source}")
    data = next((place for place in (folder / "data", folder) if (place / "metadata.json").is_file()), None)
    if data is None:
        raise InputError(f"{source} is no Minari data set: it holds no metadata.json")
    try:
        about = minari.dataset.minari_storage.MinariStorage.read_raw_metadata(data)
        if not all(isinstance(about.get(f"{what}_space"), str) for what in ("observation", "action")):
            raise ValueError("it does not say its spaces")
        return minari.MinariDataset(data)
    except Exception as error:
        raise InputError(f"the data set {source} cannot be read: {reason(error)}") from None


def _minari(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise InputError("demonstrations need Minari: pip install 'torchliquid[control]'") from None
