"""Evaluation: what is counted is what happened; simulators that fail, policies that cannot steer."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

gym = pytest.importorskip("gymnasium")

from tests.control.toys import Toy  # noqa: E402

from torchliquid import control  # noqa: E402
from torchliquid.control.evaluation import _path_error  # noqa: E402
from torchliquid.errors import InputError  # noqa: E402

FULL = np.array([2.0, 0.0])


def test_success_time_and_elapsed_are_what_happened() -> None:
    seen: list[float] = []

    def policy(observation: Any, elapsed: float) -> Any:
        seen.append(elapsed)
        return FULL

    found = control.evaluate(
        policy,
        lambda: Toy(),
        3,
        [control.shifts.SensorNoise, (control.shifts.DroppedFrames, 0.5), (control.shifts.SlowerControl, 1.0)],
        seed=5,
    )
    table = found.summary()
    assert table["shift"].to_list() == ["clean", *["sensor noise"] * 3, "dropped frames", "slower control"]
    assert table["severity"].to_list() == [0, 0.1, 0.2, 0.4, 0.5, 1.0]
    assert table["success"].to_list() == [1.0] * 6
    assert table["crashes"].to_list() == [0] * 6
    assert table["time_to_target"][0] == pytest.approx(1.5, abs=0.11)
    assert table["time_to_target"][5] == pytest.approx(1.5, abs=0.11)
    assert [one.seed for one in found.episodes[:3]] == [5, 6, 7]
    assert max(seen) > 0.25
    assert sum(one.steps for one in found.episodes) == len(seen)


def test_experts_against_themselves_and_who_does_nothing() -> None:
    pytest.importorskip("mujoco")
    world = gym.make("torchliquid/FlyToTarget-v0", season="urban")
    itself = control.evaluate(lambda observation, elapsed: world.unwrapped.expert(), world, 2).summary()
    assert itself["success"][0] == 1
    assert itself["path_error"][0] == pytest.approx(0, abs=1e-9)
    idle = control.evaluate(lambda observation, elapsed: np.zeros(4), "torchliquid/FlyToTarget-v0", 1, max_steps=40)
    assert idle.episodes[0].success is False
    assert idle.episodes[0].path_error < 0.5


def test_the_expert_is_flown_in_the_shifted_world() -> None:
    pytest.importorskip("mujoco")
    world = gym.make("torchliquid/FlyToTarget-v0", trees=60)
    shifts = [(control.shifts.Season, 3.0), (control.shifts.DroppedFrames, 0.4)]
    table = control.evaluate(lambda observation, elapsed: world.unwrapped.expert(), world, 1, shifts).summary()
    assert table["path_error"].to_list() == pytest.approx([0, 0, 0], abs=1e-9)


def test_the_path_error_of_lines() -> None:
    line = np.array([[0.0, 0], [4, 0]])
    assert _path_error(np.array([[0.0, 3], [2, -1], [4, 0], [7, 4]]), line) == pytest.approx((3 + 1 + 0 + 5) / 4)


class Failing(Toy):
    """Its simulator fails in episodes of even seeds."""

    def reset(self, **given: Any) -> Any:
        self.seed = given.get("seed")
        return super().reset(**given)

    def step(self, action: Any) -> Any:
        if self.seed % 2 == 0 and self.steps == 4:
            raise RuntimeError("the state is\nno number")
        return super().step(action)


def test_a_simulator_that_fails_is_a_crash_and_the_rest_goes_on() -> None:
    found = control.evaluate(lambda observation, elapsed: FULL, lambda: Failing(), 4)
    assert [one.crashed for one in found.episodes] == [True, False, True, False]
    assert [one.success for one in found.episodes] == [False, True, False, True]
    assert found.episodes[0].why == "RuntimeError: the state is no number"
    assert found.episodes[0].steps == 4
    assert found.summary()["crashes"][0] == 2


class Dying(Toy):
    """Its simulator takes the process down in the episode of seed 1."""

    def reset(self, **given: Any) -> Any:
        self.seed = given.get("seed")
        return super().reset(**given)

    def step(self, action: Any) -> Any:
        if self.seed == 1 and self.steps == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().step(action)


def test_a_simulator_that_takes_its_process_down_is_a_crash_too() -> None:
    gain = 2.0
    apart = control.evaluate(lambda o, e: np.array([gain, 0.0]), lambda: Dying(), 3, jobs=2)
    assert [one.crashed for one in apart.episodes] == [False, True, False]
    assert apart.episodes[1].why == "the simulator ended its process"
    here = control.evaluate(lambda o, e: FULL, lambda: Toy(), 3)
    for i in (0, 2):
        assert apart.episodes[i].seconds == here.episodes[i].seconds
        np.testing.assert_array_equal(apart.episodes[i].path, here.episodes[i].path)
    with pytest.raises(InputError, match="give its name or a function, or jobs=1"):
        control.evaluate(lambda o, e: FULL, Toy(), 1, jobs=2)
    with pytest.raises(InputError, match="the policy fails on an observation of Toy"):
        control.evaluate(lambda o, e: o["camera"], lambda: Toy(), 2, jobs=2)


def test_answers_that_are_no_numbers_or_too_large() -> None:
    calls = iter(range(10**6))
    found = control.evaluate(lambda o, e: np.array([np.nan, 0]) if next(calls) == 3 else FULL, lambda: Toy(), 2)
    assert found.episodes[0].crashed
    assert "the policy answers array([nan" in found.episodes[0].why
    assert found.episodes[1].success
    large = control.evaluate(lambda o, e: np.array([9.0, 0.0]), lambda: Toy(), 1).episodes[0]
    assert large.clipped == large.steps
    np.testing.assert_allclose(large.path[1], 0.2)


def test_environments_from_elsewhere_say_when_they_are_solved() -> None:
    """CartPole has no success of its own; balancing 500 steps reaches its threshold."""
    rule = control.evaluate(lambda o, e: int(o[0] + 2 * o[1] + 20 * o[2] + 5 * o[3] > 0), "CartPole-v1", 2)
    assert [one.success for one in rule.episodes] == [True, True]
    assert control.evaluate(lambda o, e: 0, "CartPole-v1", 1).episodes[0].success is False


class WithMemory:
    def __init__(self) -> None:
        self.begun = 0

    def reset(self) -> None:
        self.begun += 1

    def __call__(self, observation: Any, elapsed: float) -> Any:
        return FULL


def test_a_policy_is_told_that_an_episode_begins() -> None:
    policy = WithMemory()
    control.evaluate(policy, lambda: Toy(), 3)
    assert policy.begun == 3


@pytest.mark.parametrize(
    ("policy", "env", "shifts", "says"),
    [
        (lambda o, e: FULL, "Nowhere-v3", (), "the environment 'Nowhere-v3' cannot be made: NameNotFound"),
        (lambda o, e: FULL @ o, lambda: Toy(), (), r"the policy fails on an observation of Toy \(\(3,\) float32\)"),
        (lambda o, e: o["camera"], lambda: Toy(), (), "the policy fails on an observation of Toy"),
        (lambda o, e: np.zeros(7), lambda: Toy(), (), "the policy answers .*; an action of Toy is numbers"),
        (lambda o, e: 0.5, "CartPole-v1", (), "an action of CartPole-v1 is a whole number from 0 to 1"),
        (lambda o, e: 7, "CartPole-v1", (), "the policy answers .*7"),
        (lambda o, e: FULL, lambda: Toy(), [control.shifts.Fog], "fog cannot be applied to Toy"),
        ("fast", lambda: Toy(), (), "the policy is a str; give a function"),
        (lambda o, e: FULL, lambda: Toy(), ["fog"], "'fog' is no shift; give classes"),
        (lambda o, e: FULL, lambda: Toy(), [control.shifts.Delay(Toy(), 1.0)], "is no shift; give classes"),
        (lambda o, e: FULL, gym.vector.SyncVectorEnv([Toy]), (), "the environment cannot be made"),
        (lambda o, e: FULL, lambda: Broken(), (), "Broken cannot be reset: .*set MUJOCO_GL=osmesa"),
    ],
)
def test_what_cannot_be_evaluated(policy: Any, env: Any, shifts: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        control.evaluate(policy, env, 1, shifts)


class Broken(Toy):
    """An environment that draws, on a machine without OpenGL."""

    def reset(self, **given: Any) -> Any:
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")


def test_a_severity_is_a_number_and_one_shift_needs_no_list() -> None:
    with pytest.raises(InputError, match=r"a severity of 0\.4; give a number"):
        control.evaluate(lambda seen, seconds: 0, "CartPole-v1", 1, [(control.shifts.SensorNoise, "0.4")])
    with pytest.raises(InputError, match="max_steps must be at least 1"):
        control.evaluate(lambda seen, seconds: 0, "CartPole-v1", 1, max_steps=0)
    found = control.evaluate(lambda seen, seconds: 0, "CartPole-v1", 1, control.shifts.SensorNoise, max_steps=2)
    assert [one.severity for one in found.episodes] == [0.0, *control.shifts.SensorNoise.severities]
