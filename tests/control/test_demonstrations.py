"""Demonstrations: what is recorded is what happened, at its times; data sets from elsewhere; and what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

gym = pytest.importorskip("gymnasium")
minari = pytest.importorskip("minari")

from tests.control.toys import ACTIONS, SPACES, Toy  # noqa: E402

from torchliquid import control  # noqa: E402
from torchliquid.control.environments import at  # noqa: E402
from torchliquid.errors import InputError  # noqa: E402


def push(env: Any, observation: Any) -> Any:
    """Away from the middle, by what the state says."""
    if isinstance(env.action_space, gym.spaces.Discrete):
        return env.steps % 3
    return np.array([2.0 if env.place >= 0 else -2.0, 0.01 * env.steps], np.float32)


@pytest.mark.parametrize("does", ACTIONS)
@pytest.mark.parametrize("sees", SPACES)
def test_a_record_holds_what_happened(sees: str, does: str, tmp_path: Path) -> None:
    found = control.record(lambda: Toy(sees, does), push, 3, tmp_path / "toy-v2", dropped=0.4, jitter=0.5, seed=7)
    assert len(found) == 3
    for i, one in enumerate(found.episodes):
        env = control.shifts.DroppedFrames(control.shifts.Jitter(Toy(sees, does), 0.5), 0.4)
        observation, info = env.reset(seed=7 + i)
        spans = [0.1]
        for k in range(len(one)):
            seen = at(one.observations, k)
            flat = [gym.spaces.flatten(env.observation_space, o) for o in (seen, observation)]
            np.testing.assert_array_equal(*flat)
            action = push(env.unwrapped, observation)
            np.testing.assert_array_equal(one.actions[k], action)
            observation, _, terminated, truncated, info = env.step(action)
            spans.append(info["elapsed"])
        assert terminated or truncated
        assert one.success == info["is_success"]
        np.testing.assert_allclose(one.elapsed, spans[:-1])
        np.testing.assert_allclose(np.diff(one.times), spans[1:-1])
        assert len({round(span, 6) for span in spans}) > 3


def test_minari_itself_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    control.record(lambda: Toy("image"), push, 2, tmp_path / "toy-v0")
    theirs = minari.load_dataset("toy-v0")
    assert theirs.total_episodes == 2
    np.testing.assert_array_equal(
        theirs[1].observations[:-1], control.demonstrations("toy-v0").episodes[1].observations
    )


def test_a_set_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by Minari, without times, of an environment of Gymnasium's; and a recording to learn from."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gym.make("CartPole-v1")
    buffers = []
    for i in range(3):
        seen, done = [env.reset(seed=i)[0]], []
        ended = False
        while not ended:
            done.append(int(seen[-1][2] + seen[-1][3] > 0))
            observation, _, terminated, truncated, _ = env.step(done[-1])
            seen.append(observation)
            ended = terminated or truncated or len(done) == 60
        n = len(done)
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                id=i,
                observations=seen,
                actions=done,
                rewards=[1.0] * n,
                terminations=[False] * n,
                truncations=[False] * n,
            )
        )
    with pytest.warns(UserWarning, match="is set to None"):
        minari.create_dataset_from_buffers("cart/hand-v1", buffers, env=env)
    found = control.demonstrations("cart/hand-v1", env, step=0.02)
    assert found.environment == "CartPole-v1"
    recording = found.recording()
    assert recording.time_unit == "s"
    assert recording.n_series == 3
    np.testing.assert_allclose(np.diff(recording.series[0].times), 0.02)
    assert recording.series[0].values.shape == (60, 4)
    assert set(recording.series[0].targets.tolist()) <= {"0", "1"}  # type: ignore[union-attr]
    assert control.demonstrations("cart/hand-v1").time_unit == "samples"
    with pytest.raises(InputError, match=r"cart/hand-v1 is of another environment than Toy: its observation space"):
        control.demonstrations("cart/hand-v1", Toy())


def test_vectors_become_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = control.record(lambda: Toy("vector"), push, 2, "toy")
    recording = found.recording()
    one, series = found.episodes[1], recording.series[1]
    np.testing.assert_array_equal(series.values, one.observations)
    np.testing.assert_array_equal(series.targets, one.actions)
    np.testing.assert_array_equal(series.times, one.times)


@pytest.mark.parametrize("name", ["FlyToTarget", "KeepLane"])
def test_our_worlds_are_recorded_with_their_experts(name: str, tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    found = control.record(f"torchliquid/{name}-v0", None, 1, tmp_path / "world", max_steps=60)
    one = found.episodes[0]
    assert one.observations.shape == (len(one), 48, 64, 3)
    assert one.elapsed.min() < 0.045 < 0.055 < one.elapsed.max()
    assert found.environment == f"torchliquid/{name}-v0"
    with pytest.raises(InputError, match="are pictures: use the episodes' arrays"):
        found.recording()


@pytest.mark.parametrize(
    ("expert", "says"),
    [
        (None, "Toy has no expert of its own"),
        (
            lambda env, o: np.zeros(3),
            r"the expert answers array.*; an action of Toy is numbers of shape \(2,\) from -2 to 2",
        ),
        (lambda env, o: np.array([5.0, 0]), "outside the bounds of Toy; clip it"),
        (lambda env, o: np.array([np.nan, 0]), "which is no action of Toy"),
        (lambda env, o: "left", "the expert answers 'left'"),
    ],
)
def test_experts_that_are_none(expert: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        control.record(lambda: Toy(), expert, 1, tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_an_expert_that_fails_leaves_nothing_half_written(tmp_path: Path) -> None:
    def fails(env: Any, observation: Any) -> Any:
        if env.steps > 5:
            raise RuntimeError("the expert is tired")
        return np.zeros(2, np.float32)

    with pytest.raises(InputError, match="tired"):
        control.record(lambda: Toy(), fails, 2, tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_no_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match="there is no Minari data set nowhere"):
        control.demonstrations("nowhere")
    with pytest.raises(InputError, match=r"it holds no metadata\.json"):
        control.demonstrations(tmp_path)
    whole = tmp_path / "toy"
    control.record(lambda: Toy(), push, 1, whole)
    with pytest.raises(InputError, match="exists; give another folder"):
        control.record(lambda: Toy(), push, 1, whole)
    about = whole / "data/metadata.json"
    text = about.read_text()
    about.write_text(json.dumps({k: v for k, v in json.loads(text).items() if k != "action_space"}))
    with pytest.raises(InputError, match="it does not say its spaces"):
        control.demonstrations(whole)
    about.write_text(text[:40])
    with pytest.raises(InputError, match="cannot be read"):
        control.demonstrations(whole)
    about.write_text(text)
    data = whole / "data/main_data.hdf5"
    data.write_bytes(data.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"is damaged|cannot be read"):
        control.demonstrations(whole)


def make_toy(**given: Any) -> Toy:
    return Toy(**given)


def test_an_environment_that_a_function_makes_is_named(tmp_path: Path) -> None:
    gym.register("Named-v0", entry_point=make_toy, kwargs={"sees": "dict"})
    gym.register("Nameless-v0", entry_point=lambda: Toy())
    gym.register("Unplain-v0", entry_point=make_toy, kwargs={"fixed": np.bool_(True)})
    found = control.record("Named-v0", push, 2, tmp_path / "named-v0")
    assert found.environment == "Named-v0"
    theirs = minari.dataset.minari_dataset.MinariDataset(tmp_path / "named-v0" / "data")
    assert theirs.env_spec.entry_point == f"{make_toy.__module__}:make_toy"
    with pytest.raises(InputError, match=r"Nameless-v0 is registered with a function that has no name .*module:Class"):
        control.record("Nameless-v0", push, 2, tmp_path / "nameless-v0")
    with pytest.raises(InputError, match="Unplain-v0 has settings that are no plain data"):
        control.record("Unplain-v0", push, 2, tmp_path / "unplain-v0")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["named-v0"]


@pytest.mark.parametrize("noise", [-0.1, float("nan")])
def test_noise_is_a_number_from_none(noise: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"noise is .*; give a number from 0 upwards"):
        control.record("Pendulum-v1", lambda env, seen: [0.0], 1, tmp_path / "set", noise=noise)


def test_steps_take_time(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="step is 0; give the seconds per step, more than 0"):
        control.demonstrations(tmp_path, step=0)
