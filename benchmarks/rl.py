"""Compares liquid memories with sb3-contrib's LSTM in PPO: ``python -m benchmarks.rl`` writes docs/rl.md.

The environment is CartPole without its velocities, at control intervals that jitter. ``--seeds``, ``--steps`` and
``--memory`` change what is run, ``--jobs`` how many trainings run at a time. Finished trainings are kept in ``--lines``
and not repeated.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation
from sb3_contrib import RecurrentPPO
from scipy import stats
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.means import mean_and_half
from torchliquid.control.shifts import Jitter
from torchliquid.jobs.job import Job, Silent
from torchliquid.jobs.lines import append, read
from torchliquid.jobs.processes import run_jobs
from torchliquid.page.document import Table
from torchliquid.rl import LiquidPolicy, WithElapsed

PAGE = Path(__file__).parents[1] / "docs/rl.md"
JITTER = 0.9
SCALES = np.array([2.4, 0.21, 0.02], np.float32)
"""Where an episode ends, in metres and radians, and the usual interval in seconds."""

ENVIRONMENTS, EPISODES, FIRST_TEST = 8, 50, 1_000_000
HEAD = """# Reinforcement learning in figures

Written by `{command}`. The policies are those of [Reinforcement learning](guides/rl.md).

{short}
The environment is CartPole without its velocities, at control intervals that jitter by up to 90 %. A policy sees the
positions of the cart and the pole, and the time since the previous observation. Each policy is trained by sb3-contrib's
`RecurrentPPO` with the same settings, the same number of parameters (actor and critic together), the same {steps:,}
steps of the environment, and {seeds} seeds. The settings were not tuned. They come from five trainings, four of the CfC
and one of the LSTM.

*Reward at the end* is the reward of the most likely actions in {episodes} new episodes, at most 500: the mean over
seeds, and its 95 % interval. *After as long* is the reward of the last 50 training episodes after {fastest:.0f} s of
processor time, which the fastest policy took for all steps. The LSTM policy is slower because it steps one sample at a
time through sequences in which an episode starts.

"""
RATE = 0.003
PPO: dict[str, Any] = {
    "n_steps": 64,
    "batch_size": 256,
    "n_epochs": 10,
    "gamma": 0.98,
    "gae_lambda": 0.9,
    "device": "cpu",
}


@dataclass(frozen=True)
class Contender:
    """A policy, with its size: all have about 9,700 parameters, actor and critic together."""

    label: str
    policy: Any
    kwargs: dict[str, Any]


MEMORIES = {
    "lstm": Contender("LSTM (sb3-contrib)", "MlpLstmPolicy", {"lstm_hidden_size": 32, "net_arch": []}),
    "cfc": Contender("CfC", LiquidPolicy, {"memory": "cfc", "units": 30}),
    "ltc": Contender("LTC", LiquidPolicy, {"memory": "ltc", "units": 33}),
}


def world() -> gym.Env[Any, Any]:
    """CartPole whose observations are the two positions and the time since the previous one, scaled to about 1."""
    env = gym.make("CartPole-v1")
    box = env.observation_space
    assert isinstance(box, spaces.Box)
    places = spaces.Box(box.low[[0, 2]], box.high[[0, 2]])
    env = WithElapsed(Jitter(TransformObservation(env, lambda seen: seen[[0, 2]], places), JITTER))
    box = env.observation_space
    return TransformObservation(env, lambda seen: seen / SCALES, box)


def made(name: str, seed: int) -> RecurrentPPO:
    one = MEMORIES[name]
    kwargs = {**one.kwargs, **({"elapsed": 2} if one.policy is LiquidPolicy else {})}
    env = DummyVecEnv([lambda: Monitor(world())] * ENVIRONMENTS)
    return RecurrentPPO(one.policy, env, learning_rate=lambda left: RATE * left, policy_kwargs=kwargs, seed=seed, **PPO)


class Curve(BaseCallback):
    """Records the mean reward of the last 50 episodes at regular intervals, with the processor time."""

    def __init__(self, every: int) -> None:
        super().__init__()
        self.every, self.points, self.begun = every, list[tuple[int, float, float]](), time.process_time()

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every < ENVIRONMENTS and self.model.ep_info_buffer:
            mean = float(np.mean([one["r"] for one in list(self.model.ep_info_buffer)[-50:]]))
            self.points.append((self.num_timesteps, time.process_time() - self.begun, mean))
        return True


class Progress(Silent):
    """Prints each finished training."""

    def finished(self, job: Job) -> None:
        print(job.name, "is trained", flush=True)


def trained(name: str, seed: int, steps: int, progress: Any = None) -> Any:
    """Train once; yields the rewards in new episodes, the processor time and the learning curve."""
    torch.set_num_threads(1)
    model = made(name, seed)
    curve = Curve(steps // 20)
    model.learn(steps, curve)
    seconds = time.process_time() - curve.begun
    tests = DummyVecEnv([world])
    tests.seed(FIRST_TEST)
    rewards, _ = evaluate_policy(model, tests, EPISODES, return_episode_rewards=True, warn=False)
    parameters = sum(p.numel() for p in model.policy.parameters())
    if name != "lstm":  # those that a wiring's mask switches off do not count
        for memory in (model.policy.lstm_actor, model.policy.lstm_critic):
            parameters += memory.network.live_parameters() - sum(p.numel() for p in memory.parameters())
    yield {
        "memory": name,
        "seed": seed,
        "steps": steps,
        "parameters": parameters,
        "seconds": seconds,
        "rewards": rewards,
        "curve": curve.points,
    }


def key(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["memory"], line["seed"], line["steps"]


def interval(values: list[float]) -> str:
    """The mean, and its 95 % interval by Student's t."""
    mean, half = mean_and_half(values)
    return f"{mean:.0f}" + ("" if math.isinf(half) else f" ({mean - half:.0f} to {mean + half:.0f})")


def reward_at(line: dict[str, Any], seconds: float) -> float:
    """The reward of the last training episodes after some seconds of the processor."""
    _, times, rewards = np.array(line["curve"]).T
    return float(np.interp(seconds, times, rewards))


def written(lines: list[dict[str, Any]], command: str) -> str:
    """The page."""
    by_memory = {name: [one for one in lines if one["memory"] == name] for name in MEMORIES}
    by_memory = {name: sorted(own, key=lambda one: one["seed"]) for name, own in by_memory.items() if own}
    fastest = min(float(np.mean([one["seconds"] for one in own])) for own in by_memory.values())
    head = ("memory", "parameters", "reward at the end", "against the LSTM", "each seed", "processor", "after as long")
    rows, answers = [], list[str]()
    for name, own in by_memory.items():
        rewards = [float(np.mean(one["rewards"])) for one in own]
        against = "–"
        if name != "lstm" and "lstm" in by_memory and len(own) > 1:
            others = [float(np.mean(one["rewards"])) for one in by_memory["lstm"]]
            found = stats.ttest_ind(rewards, others, equal_var=False).confidence_interval()
            side = "better than" if found.low > 0 else "worse than" if found.high < 0 else "not shown to differ from"
            times = np.mean([one["seconds"] for one in by_memory["lstm"]]) / np.mean([one["seconds"] for one in own])
            answers.append(
                f"* After as many steps, the {MEMORIES[name].label}'s reward is **{side}** the LSTM's. "
                f"Its training took {100 / times:.0f} % of the LSTM's processor time."
            )
            against = f"{np.mean(rewards) - np.mean(others):+.0f} ({found.low:+.0f} to {found.high:+.0f})"
        rows.append(
            (
                MEMORIES[name].label,
                f"{own[0]['parameters']:,}",
                interval(rewards),
                against,
                ", ".join(f"{reward:.0f}" for reward in rewards),
                f"{np.mean([one['seconds'] for one in own]):.0f} s",
                interval([reward_at(one, fastest) for one in own]),
            )
        )
    table = Table(head, tuple(rows)).markdown()
    seeds, steps = max(len(own) for own in by_memory.values()), lines[0]["steps"]
    text = HEAD.format(
        command=command, short="\n".join([*answers, ""]), seeds=seeds, steps=steps, fastest=fastest, episodes=EPISODES
    )
    return f"{text}{table}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--memory", action="append", choices=MEMORIES)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--lines", type=Path, default=Path("rl.jsonl"))
    given = parser.parse_args()
    wanted = [(name, seed, given.steps) for seed in range(given.seeds) for name in given.memory or MEMORIES]
    there = {key(line) for line in read(given.lines)}
    keep = partial(append, given.lines)
    jobs = [Job(f"{one[0]}, seed {one[1]}", trained, one, keep) for one in wanted if one not in there]
    run_jobs(jobs, Progress(), given.jobs, 1)
    lines = {key(line): line for line in read(given.lines)}
    changed = [name for name in ("seeds", "steps") if getattr(given, name) != parser.get_default(name)]
    options = "".join(f" --{name} {getattr(given, name)}" for name in changed)
    PAGE.write_text(written([lines[one] for one in wanted], f"python -m benchmarks.rl{options}"))


if __name__ == "__main__":
    main()
