"""Shifts: nothing at severity 0, the same for the same seed, observations that stay in their spaces; and each does
what it says."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

gym = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env, data_equivalence  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from tests.control.toys import ACTIONS, SPACES, Toy  # noqa: E402

from torchliquid.control import shifts  # noqa: E402
from torchliquid.errors import InputError  # noqa: E402

TOYS = [(sees, does, fixed) for sees in SPACES for does in ACTIONS for fixed in (False, True)]


def run(env: Any, seed: int, steps: int = 8) -> list[Any]:
    env.action_space.seed(seed)
    found: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        found.append(env.step(env.action_space.sample()))
        if found[-1][2] or found[-1][3]:
            found.append(env.reset())
    return found


@st.composite
def shifted(draw: st.DrawFn) -> tuple[tuple[str, str, bool], type[shifts.Shift], float]:
    toy = draw(st.sampled_from(TOYS))
    kind = draw(st.sampled_from(shifts.possible(Toy(*toy))))
    return toy, kind, draw(st.sampled_from((0.0, *kind.severities)))


@given(case=shifted(), seed=st.integers(0, 2**31))
@settings(max_examples=150)
def test_spaces_hold_and_seeds_repeat(case: tuple[Any, Any, float], seed: int) -> None:
    toy, kind, severity = case
    if kind is shifts.SlowerControl and toy[2]:
        severity = round(severity)
    env = kind(Toy(*toy), severity)
    found = run(env, seed)
    assert all(one[0] in env.observation_space for one in found)
    assert data_equivalence(found, run(kind(Toy(*toy), severity), seed), exact=True)
    plain = run(Toy(*toy), seed)
    if severity == 0:
        assert data_equivalence(found, plain, exact=True)


@pytest.mark.parametrize("kind", shifts.ANYWHERE)
def test_every_shift_does_something(kind: type[shifts.Shift]) -> None:
    assert not data_equivalence(run(kind(Toy("dict"), kind.severities[0]), 1), run(Toy("dict"), 1), exact=True)


@pytest.mark.parametrize("world", ["FlyToTarget", "KeepLane"])
def test_our_worlds_stay_valid_under_several_at_once(world: str) -> None:
    pytest.importorskip("mujoco")
    env = gym.make(f"torchliquid/{world}-v0").unwrapped
    own = [kind for kind in shifts.possible(env) if kind in shifts.WORLDS]
    assert len(own) == (5 if world == "FlyToTarget" else 3)
    for kind in (*own, shifts.DroppedFrames, shifts.Jitter, shifts.RotatedCamera, shifts.ActuatorGain, shifts.Delay):
        env = kind(env, kind.severities[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version")
        check_env(env)


@given(seed=st.integers(0, 2**31), share=st.sampled_from([0.2, 0.5, 0.8]))
@settings(max_examples=20)
def test_dropped_frames_tell_the_true_time(seed: int, share: float) -> None:
    env = shifts.DroppedFrames(shifts.Jitter(Toy(), 0.5), share)
    env.reset(seed=seed)
    total, steps = 0.0, 0
    while True:
        _, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        total, steps = total + info["elapsed"], steps + 1
        assert reward == pytest.approx(info["elapsed"])
        if terminated or truncated:
            break
    assert total == pytest.approx(env.unwrapped.seconds)
    assert steps <= 40


def test_the_control_interval_changes_and_comes_back() -> None:
    for kind, factor in ((shifts.SlowerControl, 2.0), (shifts.FasterControl, 0.5)):
        toy = Toy()
        env = kind(toy, 1.0)
        env.reset(seed=0)
        *_, info = env.step(np.ones(2, np.float32))
        assert info["elapsed"] == pytest.approx(0.1 * factor)
        assert toy.place == pytest.approx(0.1 * factor)
        assert toy.dt == 0.1
    cart = shifts.SlowerControl(gym.make("CartPole-v1"), 1.0)
    cart.reset(seed=0)
    assert cart.step(0)[4]["elapsed"] == pytest.approx(0.04)


def test_delay_shows_the_past() -> None:
    plain, late = run(Toy(), 4), run(shifts.Delay(Toy(), 2.0), 4)
    for now, then in ((0, 0), (1, 0), (2, 0), (3, 1), (6, 4)):
        np.testing.assert_array_equal(late[now][0], plain[then][0])


def test_a_rotation_by_a_right_angle_is_one() -> None:
    env = shifts.RotatedCamera(Toy("dict"), 90.0)
    seen, plain = run(env, 0)[0][0]["camera"], run(Toy("dict"), 0)[0][0]["camera"]
    assert any((seen == np.rot90(plain, k)).all() for k in (1, 3))


@pytest.mark.parametrize("share", shifts.Occlusion.severities)
def test_patches_hide_no_more_than_they_say(share: float) -> None:
    env = shifts.Occlusion(Toy("image"), share)
    hidden = [(run(env, seed)[0][0] == 96).all(-1).mean() for seed in range(20)]
    assert 0.4 * share < np.mean(hidden) < 1.5 * share


def test_more_silent_sensors_include_the_fewer() -> None:
    for seed in range(10):
        one, two = (run(shifts.SilentSensor(Toy("vector"), n), seed)[3][0] for n in (1.0, 2.0))
        assert (one == 0).sum() == 1
        assert (two == 0).sum() == 2
        assert (two[one == 0] == 0).all()


def test_a_user_adds_one() -> None:
    class Mirrored(shifts.Shift):
        name, unit, severities = "mirrored", "1: mirrored", (1.0,)

        def observation(self, observation: Any) -> Any:
            return observation[:, ::-1].copy()

    np.testing.assert_array_equal(run(Mirrored(Toy("image"), 1.0), 0)[0][0], run(Toy("image"), 0)[0][0][:, ::-1])


@pytest.mark.parametrize(
    ("kind", "toy", "severity", "says"),
    [
        (shifts.SensorNoise, ("vector",), -1.0, "sensor noise: a severity of -1.0"),
        (shifts.SensorNoise, ("vector",), float("nan"), "a severity of nan"),
        (shifts.DroppedFrames, ("vector",), 1.0, "at most 0.95"),
        (shifts.Fog, ("vector",), 0.2, "fog cannot be applied to Toy: its observations hold no picture"),
        (shifts.SensorNoise, ("words",), 0.1, "its observations hold no numbers"),
        (shifts.SilentSensor, ("words",), 1.0, "its observations hold no numbers"),
        (shifts.Hue, ("grey",), 15.0, "its pictures have no colours"),
        (shifts.ActuatorGain, ("vector", "discrete"), 0.1, "its actions are not continuous"),
        (shifts.Wind, ("vector",), 1.0, "wind cannot be applied to Toy: it has no setting 'wind'"),
        (shifts.Jitter, ("vector", "continuous", True), 0.5, "Toy has a fixed control interval"),
        (shifts.SlowerControl, ("vector", "continuous", True), 0.5, "the severity must be a whole number"),
    ],
)
def test_what_cannot_be_shifted(kind: Any, toy: Any, severity: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        kind(Toy(*toy), severity)
