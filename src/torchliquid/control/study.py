"""Compare kinds of policies that learn from the same demonstrations, in the closed loop: clean and under shifts.

    OUT/study.json            what is compared; a folder holds one comparison
    OUT/demonstrations/N/     Minari data sets of a few episodes each
    OUT/policies/ID.safetensors
    OUT/lines.jsonl           finished work, one line each; it is not repeated
    OUT/results.json, OUT/report.html

``what`` of a line is ``"trained"``, ``"validated"``, ``"pair"`` or ``"tested"``. The pair to compare is written before
any test world is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cloudpickle
import numpy as np
from gymnasium import spaces

from torchliquid.control.contenders import FEW, Contender, named
from torchliquid.control.demonstrations import JITTER, Demonstrations, demonstrations, record
from torchliquid.control.environments import EnvMaker, Expert, expert_of, made
from torchliquid.control.evaluation import CLEAN, Episode, policy_of, process_died, run_episode
from torchliquid.control.imitation import done_in, imitate, seen_in
from torchliquid.control.interval import can_be_set, name_of
from torchliquid.control.shifts import Shift, possible, shift_kinds
from torchliquid.errors import InputError, check_size
from torchliquid.files import (
    locked,
    make_folder,
    read_json,
    remove_leftovers,
    write_atomically,
    write_folder,
    write_json,
)
from torchliquid.jobs import Job, run_all, workers
from torchliquid.jobs.lines import append, read
from torchliquid.models.model import Model
from torchliquid.models.networks import PictureEncoder
from torchliquid.models.storage import pack
from torchliquid.study.run.runner import THREADS, Quiet, StudyListener
from torchliquid.training.loop import TrainingConfig, TrainingError

Array = np.ndarray
LINES = "lines.jsonl"
RATES = (0.01, 0.005, 0.02)
"""Learning rates of the tuning trials, the same for all contenders."""

DEMONSTRATED, VALIDATED, TESTED = 100_000, 200_000, 300_000
"""First seeds of the worlds of each part. No world is in two parts."""

CHUNK = 2
"""Demonstrations per data set. A killed run repeats at most this many."""


@dataclass(frozen=True)
class Setting:
    """The size of a comparison.

    Attributes:
        contenders: their names.
        seeds: number of trainings of each contender.
        trials: number of learning rates tried for each contender with the first seed. The best one on the validation
            worlds is used for all seeds.
        demonstrations: number of episodes of the expert.
        noise, dropped: see :func:`torchliquid.control.record`.
        updates: number of updates of the weights.
        dagger: number of rounds of DAgger.
        parameters: budget of live parameters, without the encoder.
        validation, test: number of worlds. Each test world is used clean and under each shift.
        shifts: class names of the shifts, with their severities.
        max_steps: maximum length of an episode.

    Raises:
        InputError: a number is too small, or there are more trials than learning rates.
    """

    contenders: tuple[str, ...] = FEW
    seeds: int = 1
    trials: int = 1
    demonstrations: int = 30
    noise: float = 0.2
    dropped: float = 0.2
    updates: int = 300
    dagger: int = 0
    parameters: int = 2500
    validation: int = 6
    test: int = 8
    shifts: tuple[tuple[str, float], ...] = ()
    max_steps: int = 10_000

    def __post_init__(self) -> None:
        sizes = ("seeds", "trials", "demonstrations", "updates", "parameters", "validation", "test", "max_steps")
        check_size(**{name: getattr(self, name) for name in sizes})
        if self.trials > len(RATES):
            raise InputError(f"trials must be at most {len(RATES)}, not {self.trials}: each tries one learning rate")


@dataclass(frozen=True)
class Policy:
    """One training: a contender with a seed and a learning rate."""

    contender: Contender
    seed: int
    lr: float

    @property
    def id(self) -> str:
        return f"{self.contender.name}-{self.seed}-{self.lr:g}"

    @property
    def words(self) -> str:
        return f"{self.contender.label}, seed {self.seed}, rate {self.lr:g}"

    @property
    def line(self) -> dict[str, Any]:
        """What identifies it in a line."""
        return {"contender": self.contender.name, "seed": self.seed, "lr": self.lr}


def assess(
    env: EnvMaker,
    expert: Expert | None = None,
    folder: str | os.PathLike[str] = "control",
    setting: Setting | None = None,
    *,
    source: Demonstrations | str | os.PathLike[str] | None = None,
    jobs: int = 1,
    ray: str | None = None,
    listener: StudyListener | None = None,
    title: str = "",
    command: str = "",
) -> dict[str, Any]:
    """Train policies of several kinds to imitate an expert, and compare them in the closed loop.

    All policies learn from the same demonstrations and have the same image encoder, the same number of live parameters
    behind it (within 10 %) and the same tuning trials. The best liquid contender on the validation worlds is compared
    with the best other one on the test worlds, clean and under shifts. No policy is trained again for a shift. The
    demonstrations come from the clean world, but with lost frames (``setting.dropped``) and irregular intervals, see
    :func:`torchliquid.control.record`. So all policies have met these two shifts to that degree. A training that fails,
    for example because the loss is not finite, does not count, and the comparison continues.

    Args:
        env: name in Gymnasium, or a function that makes the environment.
        expert: see :func:`torchliquid.control.record`; None: the expert of a world of this package.
        folder: folder of the comparison. A stopped comparison continues if the function is called with the same
            arguments.
        setting: size of the comparison; None: small, with the shifts that suit the environment at a middle severity.
        source: existing demonstrations of the same environment; None: the expert is recorded.
        jobs: number of processes. With 2 or more, an environment that ends its process counts as a crash.
        ray: address of a Ray cluster that does the work instead.
        listener: is told about the progress.
        title, command: for the report.

    Returns:
        The figures, as in ``results.json``; ``report.html`` shows them.

    Raises:
        InputError: the environment cannot be made, its observations or actions are not supported, a shift does not suit
            it, the folder holds another comparison, or all trainings of the liquid or of the other contenders failed.
    """
    setting = setting or Setting()
    contenders = named(setting.contenders)
    setting = replace(setting, contenders=tuple(one.name for one in contenders))
    world = made(env)
    if not setting.shifts:
        middle = tuple((kind.__name__, kind.severities[len(kind.severities) // 2]) for kind in possible(world))
        setting = replace(setting, shifts=middle)
    if not isinstance(world.action_space, spaces.Box):  # noise needs continuous actions
        setting = replace(setting, noise=0.0)
    units = {kind.name: kind(world, severity).unit for kind, severity in shift_kinds(setting.shifts)}
    jitter = JITTER if can_be_set(world) else 0.0
    seen_in(world.observation_space)
    done_in(world.action_space)
    if expert_of(world, expert) is None and source is None:
        raise InputError(f"{name_of(world)} has no expert of its own; give one, or demonstrations")
    name = name_of(world)
    shown = source if source is None or isinstance(source, Demonstrations) else demonstrations(source, world)
    world.close()
    for one in contenders:
        if one.hyper.get("motors", 0) and len(done_in(world.action_space).low) > 1:
            raise InputError(f"the contender {one.name} is for one action, but {name} has more; leave it out")
    place = Path(folder)
    if shown is not None:
        setting = replace(setting, demonstrations=len(shown))
    packed = cloudpickle.dumps((env, expert))
    study = _Study(place, packed, setting, contenders, shown, listener or Quiet(), ray is not None)
    of = {"expert": _name(expert), "demonstrations": _digest(shown)}
    about = json.loads(json.dumps({"environment": name, **of, "setting": asdict(setting)}))
    _claim(place, about)
    with locked(place / ".lock", f"another run uses {place}; wait until it ends, or choose another folder"):
        remove_leftovers(place)
        write_json(place / "study.json", about)
        with workers(jobs, THREADS, ray) as run_jobs:
            study.run(run_jobs)
        from torchliquid.control.report import write_report
        from torchliquid.control.summary import summary

        results = summary(read(place / LINES), about, units, jitter, title or name, command)
        write_json(place / "results.json", results)
        write_report(place, results, env, expert)
    return results


def _claim(folder: Path, about: dict[str, Any]) -> None:
    """Check that the folder can be written, and is empty or holds this comparison."""
    make_folder(folder)
    path = folder / "study.json"
    if path.exists():
        found = read_json(path, dict)
        wrong = [k for k in about["setting"] if found.get("setting", {}).get(k) != about["setting"][k]]
        wrong = [k for k in wrong if k not in ("seeds", "contenders")]
        wrong += [k for k in ("environment", "expert", "demonstrations") if found.get(k, about[k]) != about[k]]
        if wrong:
            what = ", ".join(dict.fromkeys(wrong))
            raise InputError(
                f"the folder {folder} holds another comparison (it differs in {what}); give the same command to "
                "continue it, or choose another folder (--out)"
            )
    elif any(not one.name.startswith(".") for one in folder.iterdir()):
        raise InputError(f"the folder {folder} holds other files; choose an empty one (--out)")


def _name(expert: Expert | None) -> str:
    """Module and name of a function, or of an object's class."""
    if expert is None:
        return ""
    named = expert if hasattr(expert, "__qualname__") else type(expert)
    return f"{named.__module__}:{named.__qualname__}"


def _digest(shown: Demonstrations | None) -> str:
    """A fingerprint of given demonstrations: their times and actions."""
    if shown is None:
        return ""
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(part).tobytes() for one in shown.episodes for part in (one.times, one.actions))
    ).hexdigest()


@dataclass
class _Study:
    """The phases of a comparison."""

    folder: Path
    packed: bytes
    setting: Setting
    contenders: tuple[Contender, ...]
    source: Demonstrations | None
    listener: StudyListener
    on_cluster: bool

    def done(self, what: str) -> dict[str, dict[str, Any]]:
        """The finished lines of a kind, by their id."""
        return {line["id"]: line for line in read(self.folder / LINES, "what", "id") if line["what"] == what}

    def keep(self, what: str, name: str, line: dict[str, Any]) -> None:
        append(self.folder / LINES, {"what": what, "id": name, **line})

    def run(self, run_jobs: Any) -> None:
        setting, n = self.setting, len(self.contenders)
        training = n * (setting.updates / 15 + setting.validation)
        self.listener.planned(
            {
                "demonstrations": setting.demonstrations,
                "trials": setting.trials * training,
                "trainings": (setting.seeds - 1) * training + 1e-9,
                "test worlds": n * setting.seeds * (1 + len(setting.shifts)) * setting.test,
            }
        )
        if self.source is None:
            self._demonstrate(run_jobs)
        first = [Policy(c, 0, lr) for c in self.contenders for lr in RATES[: setting.trials]]
        self._train("trials", first, run_jobs)
        best = self._best()
        rest = [Policy(c, seed, best[c.name]) for c in self.contenders for seed in range(setting.seeds)]
        self._train("trainings", rest, run_jobs)
        self._fix_pair(rest)
        self._test(rest, run_jobs)

    # -- demonstrations

    def _demonstrate(self, run_jobs: Any) -> None:
        (self.folder / "demonstrations").mkdir(exist_ok=True)
        todo, starts = [], range(0, self.setting.demonstrations, CHUNK)
        for i, start in enumerate(starts):
            place = self.folder / "demonstrations" / str(i)
            if not place.exists():
                n = min(CHUNK, self.setting.demonstrations - start)
                args = (self.packed, n, DEMONSTRATED + start, self.setting)
                name = f"demonstrations {start + 1} to {start + n}"
                todo.append(Job(name, _demonstrated, args, partial(write_folder, place)))
        self.listener.phase("demonstrations", len(starts) - len(todo), len(starts))
        run_jobs(todo, self.listener)

    # -- trainings

    def _train(self, phase: str, policies: list[Policy], run_jobs: Any) -> None:
        (self.folder / "policies").mkdir(exist_ok=True)
        trained, validated = self.done("trained"), self.done("validated")
        todo = [one for one in policies if one.id not in trained]
        self.listener.phase(phase, len(policies) - len(todo), len(policies))
        if todo:
            # Processes on this machine read the files themselves; those of a cluster may share no disk.
            shown = self.source or self.folder / "demonstrations"
            shown = all_demonstrations(shown) if self.on_cluster and isinstance(shown, Path) else shown
            args = (self.packed, shown, self.setting)
            of = {one.words: one for one in todo}
            jobs = [Job(name, _trained, (*args, one), partial(self._keep_trained, one)) for name, one in of.items()]

            def died(name: str) -> None:  # in the rounds of DAgger, policies steer and may crash the simulator
                self._keep_trained(of[name], (None, {"broken_off": "the simulator ended its process"}))

            if self.setting.dagger:
                run_all(jobs, lambda left: run_jobs(left, self.listener), died)
            else:
                run_jobs(jobs, self.listener)
        worlds = (None, 0.0, VALIDATED, self.setting.validation)
        whole = [one for one in self._whole(policies) if one.id not in validated]
        self._steer("validated", [(one.id, one, *worlds) for one in whole], run_jobs)
        episodes = [one for line in self.done("validated").values() for one in line["episodes"]]
        told = [one["success"] for one in episodes if not one["why"]]
        if told and all(success is None for success in told):
            raise InputError(
                "the environment never says whether an episode succeeded, so nothing can be compared: set "
                'info["is_success"] at the end of an episode, or register it with a reward_threshold'
            )

    def _keep_trained(self, one: Policy, found: tuple[bytes | None, dict[str, Any]]) -> None:
        data, about = found
        if data is not None:
            write_atomically(self._policy(one), lambda part: part.write_bytes(data))
        self.keep("trained", one.id, {**one.line, **about})

    def _whole(self, policies: list[Policy]) -> list[Policy]:
        """The policies whose training did not fail."""
        trained = self.done("trained")
        return [one for one in policies if "broken_off" not in trained[one.id]]

    def _policy(self, one: Policy) -> Path:
        return self.folder / "policies" / f"{one.id}.safetensors"

    def _best(self) -> dict[str, float]:
        """For each contender, the learning rate of its best trial on the validation worlds, of equals the first. A
        failed trial counts only if all failed."""
        validated = self.done("validated")

        found = {}
        for contender in self.contenders:
            tried = [Policy(contender, 0, lr) for lr in RATES[: self.setting.trials]]
            best = max(self._whole(tried), key=lambda one: _score(validated[one.id]), default=tried[0])
            found[contender.name] = best.lr
        return found

    def _fix_pair(self, policies: list[Policy]) -> None:
        """Write down the best liquid contender and the best other one on the validation worlds, before any test."""
        validated, whole, pair = self.done("validated"), self._whole(policies), {}
        for family in ("liquid", "other"):
            own = {c.name: [one for one in whole if one.contender is c] for c in self.contenders if c.family == family}
            scores = {n: tuple(np.mean([_score(validated[p.id]) for p in of], 0)) for n, of in own.items() if of}
            if not scores:
                first = next(one for one in policies if one.contender.family == family)
                side = "liquid networks" if family == "liquid" else "networks that are not liquid"
                raise InputError(
                    f"all trainings of {side} broke off, so nothing can be compared; of {first.words}: "
                    f"{self.done('trained')[first.id]['broken_off']}"
                )
            pair[family] = max(scores, key=scores.__getitem__)
        name = json.dumps([pair, self.setting.seeds, [c.name for c in self.contenders]])
        if name not in self.done("pair"):
            self.keep("pair", name, pair)

    # -- steering

    def _test(self, policies: list[Policy], run_jobs: Any) -> None:
        tested = self.done("tested")
        groups = []
        for one in self._whole(policies):
            for kind, severity in ((None, 0.0), *shift_kinds(self.setting.shifts)):
                name = f"{one.id}/{CLEAN if kind is None else kind.__name__}/{severity:g}"
                groups.append((name, one, kind, severity, TESTED, self.setting.test))
        todo = [group for group in groups if group[0] not in tested]
        self.listener.phase("test worlds", len(groups) - len(todo), len(groups))
        self._steer("tested", todo, run_jobs)

    def _steer(self, what: str, groups: list[tuple[Any, ...]], run_jobs: Any) -> None:
        """Run episodes, one job per group. If the simulator ends the process, all worlds of the group count as
        crashed."""
        of = {_words(group): group for group in groups}

        def keep(group: tuple[Any, ...], episodes: list[dict[str, Any]]) -> None:
            name, one, kind, severity, _, _ = group
            shift = {"shift": CLEAN if kind is None else kind.name, "severity": severity}
            self.keep(what, name, {**one.line, **shift, "episodes": episodes})

        def died(name: str) -> None:
            _, _, kind, severity, first, worlds = of[name]
            keep(of[name], [_plain(process_died(kind, severity, first + i)) for i in range(worlds)])

        jobs = [
            Job(
                name,
                _steered,
                (self.packed, self._policy(group[1]).read_bytes(), *group[2:], self.setting),
                partial(keep, group),
            )
            for name, group in of.items()
        ]
        run_all(jobs, lambda left: run_jobs(left, self.listener), died)


def _words(group: tuple[Any, ...]) -> str:
    _, one, kind, severity, _, worlds = group
    return f"{one.words}, {CLEAN if kind is None else kind.name} {severity:g}, {worlds} worlds"


def all_demonstrations(folder: Path) -> Demonstrations:
    """The demonstrations of all data sets in a folder."""
    parts = [demonstrations(place) for place in sorted(folder.iterdir(), key=lambda p: int(p.name)) if place.is_dir()]
    return replace(parts[0], episodes=tuple(one for part in parts for one in part.episodes))


def _score(line: dict[str, Any]) -> tuple[float, float]:
    """The share of successes, and for ties the closeness to the expert's path or, without one, the reward."""
    episodes = line["episodes"]
    errors = [-one["path_error"] for one in episodes if one["path_error"] is not None]
    close = errors or [one["reward"] for one in episodes]
    return float(np.mean([bool(one["success"]) for one in episodes])), float(np.mean(close))


# -- jobs


def _demonstrated(
    packed: bytes, episodes: int, seed: int, setting: Setting, progress: Callable[[float, str], None]
) -> Iterator[dict[str, bytes]]:
    """The files of one recorded data set."""
    env, expert = cloudpickle.loads(packed)

    def told(done: int) -> None:
        progress(done / episodes, f"{done} of {episodes}")

    more = {"dropped": setting.dropped, "noise": setting.noise, "max_steps": setting.max_steps}
    with TemporaryDirectory() as name:
        place = Path(name) / "demonstrations"
        record(env, expert, episodes, place, seed=seed, progress=told, **more)  # type: ignore[arg-type]
        yield {one.relative_to(place).as_posix(): one.read_bytes() for one in place.rglob("*") if one.is_file()}


def _trained(
    packed: bytes,
    source: Demonstrations | Path,
    setting: Setting,
    one: Policy,
    progress: Callable[[float, str], None],
) -> Iterator[tuple[bytes | None, dict[str, Any]]]:
    """The policy's file and its figures. If the training fails: None and the reason."""
    env, expert = cloudpickle.loads(packed)
    shown = all_demonstrations(source) if isinstance(source, Path) else source
    begun, used = time.perf_counter(), time.process_time()
    try:
        model = imitate(
            shown,
            one.contender.kind,
            parameters=setting.parameters,
            config=TrainingConfig(lr=one.lr, updates=setting.updates),
            dagger=setting.dagger,
            env=env,
            expert=expert,
            max_steps=setting.max_steps,
            seed=one.seed,
            progress=progress,
            **one.contender.hyper,
        )
    except TrainingError as error:
        yield None, {"broken_off": str(error)}
        return
    seeing = sum(part.live_parameters() for part in model.network.chain if isinstance(part, PictureEncoder))
    yield (
        pack(model, with_sample=True),
        {
            "parameters": model.live_parameters() - seeing,
            "encoder": seeing,
            "bytes": model.n_bytes(),
            "seconds": time.perf_counter() - begun,
            "cpu_seconds": time.process_time() - used,
            "training": model.metadata["training"],
        },
    )


def _steered(
    packed: bytes,
    policy: bytes,
    kind: type[Shift] | None,
    severity: float,
    first: int,
    worlds: int,
    setting: Setting,
    progress: Callable[[float, str], None],
) -> Iterator[list[dict[str, Any]]]:
    env, expert = cloudpickle.loads(packed)
    with TemporaryDirectory() as name:
        place = Path(name) / "policy.safetensors"
        place.write_bytes(policy)
        steering = _Timed(policy_of(Model.load(place)))
    found = []
    for i in range(worlds):
        one = run_episode(steering, env, kind, severity, first + i, expert, setting.max_steps)
        found.append(_plain(one) | {"step_ms": steering.milliseconds()})
        progress((i + 1) / worlds, f"{sum(bool(e['success']) for e in found)} of {i + 1} succeed")
    yield found


class _Timed:
    """A policy that measures the processor time of its steps."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.times = policy, list[float]()

    def reset(self) -> None:
        self.policy.reset()

    def __call__(self, observation: Any, seconds: float) -> Any:
        begun = time.process_time()
        action = self.policy(observation, seconds)
        self.times.append(time.process_time() - begun)
        return action

    def milliseconds(self) -> float:
        return 1000 * float(np.median(self.times)) if self.times else 0.0


def _plain(one: Episode) -> dict[str, Any]:
    """An episode as plain data, its path thinned to about 60 points."""
    kept = ("seed", "success", "crashed", "why", "steps", "seconds", "reward", "clipped", "path_error")
    path = None if one.path is None else np.round(one.path[:: max(1, len(one.path) // 60), :2], 2).tolist()
    return {name: getattr(one, name) for name in kept} | {"path": path}
