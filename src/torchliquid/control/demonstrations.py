"""What an expert did, with the real times: recorded into a Minari data set, and read from any."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from torchliquid.control.environments import Env, Expert, Tree, at, checked_action, expert_of, made, reason
from torchliquid.control.interval import can_be_set, elapsed, name_of
from torchliquid.control.shifts import DroppedFrames, Jitter, boxes, is_image, scale, within
from torchliquid.data import Recording
from torchliquid.data.recording import Series
from torchliquid.errors import InputError

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One episode.

    Attributes:
        times: (T,) since its first observation.
        elapsed: (T,) since the observation before each.
        observations: T of them, as the space has them.
        actions: T of them; each follows the observation of the same place.
        rewards: (T,) that followed.
        success: whether it ended in one; None: not known.
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
        episodes: one or more.
        observation_space, action_space: of all.
        environment: its name in Gymnasium; empty: not known.
        time_unit: ``"s"``, or ``"samples"`` where the set holds no times.
    """

    episodes: tuple[Demonstration, ...]
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    environment: str
    time_unit: str

    def __len__(self) -> int:
        return len(self.episodes)

    def recording(self) -> Recording:
        """Observations as channels and actions as targets, an episode a series, for :func:`torchliquid.fit`.

        Discrete actions become labels.

        Raises:
            InputError: the observations are pictures, which a recording cannot hold, or the actions are neither a
                vector nor discrete.
        """
        if any(is_image(box) for box in boxes(self.observation_space)):
            raise InputError(
                f"observations of {self.environment or 'the data set'} are pictures: use the episodes' arrays"
            )
        if isinstance(self.action_space, spaces.Discrete):
            targets = [np.array([str(a) for a in one.actions], object) for one in self.episodes]
        elif isinstance(self.action_space, spaces.Box):
            targets = [np.asarray(one.actions, float).reshape(len(one), -1) for one in self.episodes]
            targets = [one[:, 0] if one.shape[1] == 1 else one for one in targets]
        else:
            raise InputError(f"actions are {self.action_space}; a recording takes a vector or discrete ones")
        values = [self._flat(one) for one in self.episodes]
        series = tuple(
            Series(one.times, value, target, name=str(i))
            for i, (one, value, target) in enumerate(zip(self.episodes, values, targets, strict=True))
        )
        channels = tuple(f"observation_{i + 1}" for i in range(values[0].shape[1]))
        return Recording(series, channels, target="action", time_unit=self.time_unit)

    def _flat(self, one: Demonstration) -> Array:
        flat: list[Any] = [spaces.flatten(self.observation_space, at(one.observations, i)) for i in range(len(one))]
        return np.stack(flat).astype(float)


def _stacked(values: list[Any]) -> Tree:
    if isinstance(values[0], dict):
        return {name: _stacked([value[name] for value in values]) for name in values[0]}
    if isinstance(values[0], tuple):
        return tuple(_stacked(list(parts)) for parts in zip(*values, strict=True))
    return np.stack([np.asarray(value) for value in values])


DROPPED, JITTER = 0.2, 0.25
"""What :func:`record` and DAgger lose of the observations, and by what share their control intervals jitter."""


def record(
    env: str | Env | Callable[[], Env],
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
    """Let an expert act, and keep what it saw and did with the real times, as a Minari data set in a new folder.

    Args:
        env: its name in Gymnasium, itself, or a function that makes it.
        expert: called with the environment without its wrappers, whose state it may read, and the observation; answers
            the action. None: the one that a world of ours has.
        episodes: how many.
        folder: where the data set goes; it appears once it is whole. ``minari.load_dataset`` finds it by its name and
            version where ``MINARI_DATASETS_PATH`` is the folder above; a name without a version gets ``-v0`` inside.
        dropped: the share of observations that are lost; the action before holds, ``infos["elapsed"]`` tells the time.
        jitter: by what share control intervals are longer or shorter; environments with fixed ones have none.
        noise: how far pushes lead away from what the expert does, a share of half the range of continuous actions;
            about half of the time, for a quarter of a second or longer, so that the demonstrations show how to come
            back (Laskey et al., arXiv 1703.09327). What is kept is the expert's action.
        seed: of the first episode; others follow.
        max_steps: after which an episode is cut.
        progress: called with the number of episodes that are done.

    Raises:
        InputError: the environment cannot be made or named, the expert answers what is no action of it, or the folder
            exists.
    """
    storage = _minari("minari.dataset.minari_storage").MinariStorage
    buffer = _minari("minari.data_collector.episode_buffer").EpisodeBuffer
    if episodes < 1:
        raise InputError(f"{episodes} episodes; give 1 or more")
    folder = Path(folder).absolute()  # Minari adds up sizes of relative paths wrongly
    base = made(env)
    expert = expert_of(base, expert)
    if expert is None:
        raise InputError(
            f"{name_of(base)} has no expert of its own; give one: a function of the environment and observation"
        )
    if noise and not isinstance(base.action_space, spaces.Box):
        raise InputError(f"noise is of continuous actions; those of {name_of(base)} are {base.action_space}")
    spec = _spec(base)
    world = DroppedFrames(Jitter(base, jitter if can_be_set(base) else 0.0), dropped)
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
            act = _Pushed(base.action_space, noise, seed + i) if noise else None
            store.update_episodes([buffer(id=i, seed=seed + i, **episode(world, expert, seed + i, max_steps, act))])
            if progress is not None:
                progress(i + 1)
    return demonstrations(folder)


def _spec(env: Env) -> Any:
    """How Gymnasium makes the environment again, as a data set can hold it: a class or function by its name.

    Raises:
        InputError: it has no such name, or settings that are no plain data.
    """
    spec = env.spec
    if spec is None:
        return None
    entry = spec.entry_point
    if callable(entry):
        name = f"{getattr(entry, '__module__', '')}:{getattr(entry, '__qualname__', '<')}"
        if "<" in name:
            raise InputError(
                f"{spec.id} is registered with a function that has no name ({entry}), so that a data set cannot say "
                'what it is of: register it with entry_point="module:Class", or give the function in its place'
            )
        spec = replace(spec, entry_point=name)
    try:
        spec.to_json()
    except (TypeError, ValueError) as error:
        raise InputError(f"{spec.id} has settings that are no plain data, which a data set needs ({error})") from None
    return spec


class _Pushed:
    """Does what the expert says and something besides, which stays for some steps."""

    def __init__(self, space: spaces.Space[Any], noise: float, seed: int) -> None:
        assert isinstance(space, spaces.Box)
        self.space, self.size = space, noise * scale(space)
        self.rng = np.random.default_rng([seed, 77])
        self.left, self.push = 0, 0.0 * self.size

    def __call__(self, observation: Any, seconds: float, said: Any) -> Any:
        if not self.left:
            self.left = int(self.rng.integers(5, 15))
            pushing = self.rng.random() < 0.5
            self.push = pushing * self.size * self.rng.uniform(-1, 1, self.space.shape)
        self.left -= 1
        return within(self.space, said + self.push)


def episode(
    world: Env,
    expert: Expert,
    seed: int,
    max_steps: int,
    act: Callable[[Any, float, Any], Any] | None = None,
    may_fail: bool = False,
) -> dict[str, Any]:
    """What Minari keeps of an episode, with the expert's actions.

    Args:
        act: what is done instead, of the observation, the seconds since the one before and the expert's action.
        may_fail: whether an episode ends where the simulator or ``act`` fails.

    Raises:
        InputError: the expert answers no action, or something fails that may not.
    """
    try:
        observation, info = world.reset(seed=seed)
    except Exception as error:
        raise InputError(f"{name_of(world)} cannot be reset: {reason(error)}") from None
    seen: list[Any] = [observation]
    done: list[Any] = []
    rewards: list[float] = []
    ends: list[bool] = []
    cuts: list[bool] = []
    spans, succeeded = [elapsed(world, info)], [bool(info.get("is_success", False))]
    while True:
        try:
            action, beyond = checked_action(_asked(expert, world, observation), world, "the expert")
        except FloatingPointError as error:
            raise InputError(f"{error}, which is no action of {name_of(world)}") from None
        if beyond:
            raise InputError(
                f"the expert answers an action outside the bounds of {name_of(world)}; clip it in the expert"
            )
        try:
            doing = action
            if act is not None:
                doing, _ = checked_action(act(observation, spans[-1], action), world, "the policy")
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
        ends.append(bool(terminated))
        cuts.append(bool(truncated))
        spans.append(elapsed(world, info))
        succeeded.append(bool(info.get("is_success", False)))
        if terminated or truncated:
            break
    infos = {"elapsed": np.array(spans), "is_success": np.array(succeeded)}
    return {
        "observations": _stacked(seen),
        "actions": _stacked(done) if done else [],
        "rewards": rewards,
        "terminations": ends,
        "truncations": cuts,
        "infos": infos,
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
    """A folder to fill that gets its name once it is whole.

    Raises:
        InputError: there is one of the name, or its place cannot be written.
    """
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
    """Read a Minari data set, whoever made it. Nothing in it is run, and its environment is not made.

    Args:
        source: its folder, its name among the user's data sets, or a ``MinariDataset``.
        env: what it must be of; None: of any.
        step: seconds of a step where the set holds no times (``infos["elapsed"]``); None: steps are 1 apart.

    Raises:
        InputError: there is no such set, it is damaged or empty, or of another environment.
    """
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
    success = (one.infos or {}).get("is_success", (one.infos or {}).get("success"))
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
    """A module of Minari.

    Raises:
        InputError: it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise InputError("demonstrations need Minari: pip install 'torchliquid[control]'") from None
