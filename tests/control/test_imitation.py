from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from tests.control.toys import Toy

import torchliquid as tl
from torchliquid import Model, control
from torchliquid.control.contenders import CONTENDERS, PUBLISHED, Contender
from torchliquid.control.environments import at
from torchliquid.control.imitation import seen_in
from torchliquid.data.recording import Series
from torchliquid.errors import InputError
from torchliquid.models import KINDS
from torchliquid.models.networks import Frames, PictureEncoder
from torchliquid.runtime.policy import PolicyStream, flat
from torchliquid.training import TrainingConfig

QUICK = TrainingConfig(epochs=2)


def toy_expert(env: Any, observation: Any) -> Any:
    if isinstance(env.action_space, spaces.Discrete):
        return env.steps % 2
    return np.array([1.0, np.sin(env.place)], np.float32)


class Finds(gym.Env[Any, Any]):
    """A white block in a picture; the action is where it is, from side to side. The block is hidden two times of three,
    so that only who remembers knows it; ``vision`` is the picture's height and width."""

    def __init__(self, vision: tuple[int, int] = (12, 16)) -> None:
        self.vision = vision
        self.observation_space = spaces.Dict(
            {"camera": spaces.Box(0, 255, (*vision, 3), np.uint8), "time": spaces.Box(-1, 1, (2,), np.float32)}
        )
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.dt = 0.1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.off = 0, 0.0
        self.place = self.np_random.uniform(-1, 1)
        return self.seen(), {"position": np.zeros(1)}

    def seen(self) -> Any:
        high, wide = self.vision
        picture = np.full((high, wide, 3), 40, np.uint8)
        if self.steps % 3 == 0:
            column = round((self.place + 1) / 2 * (wide - 3))
            picture[2:8, column : column + 3] = 250
        return {"camera": picture, "time": np.array([self.steps % 3 - 1, 0.0], np.float32)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.off += abs(float(action[0]) - self.place)
        self.steps += 1
        if self.steps % 3 == 0:
            self.place = float(np.clip(self.place + self.np_random.uniform(-0.6, 0.6), -1, 1))
        done = self.steps >= 30
        return self.seen(), 0.0, done, False, {"position": np.zeros(1), "is_success": done and self.off < 6}


def knows(env: Any, observation: Any) -> Any:
    return np.array([env.place], np.float32)


@pytest.mark.parametrize("sees", ["vector", "image", "grey", "dict"])
@pytest.mark.parametrize("does", ["continuous", "discrete"])
def test_any_observation_and_action_can_be_learnt(sees: str, does: str, tmp_path: Path) -> None:
    env = Toy(sees, does)
    shown = control.record(env, toy_expert, 3, tmp_path / "shown")
    model = control.imitate(shown, "gru", config=QUICK, parameters=500)
    model.save(tmp_path / "policy.safetensors")
    policy, again = tl.stream(model), tl.stream(Model.load(tmp_path / "policy.safetensors"))
    assert isinstance(policy, PolicyStream)
    assert isinstance(again, PolicyStream)
    observation, _ = env.reset(seed=1)
    for seconds in (0.1, 0.3, 0.05):
        action = policy.step(observation, seconds)
        assert env.action_space.contains(action)
        np.testing.assert_array_equal(again(observation, seconds), action)
        observation, *_ = env.step(action)
    found = control.evaluate(model, env, 2)
    assert [one.why for one in found.episodes] == ["", ""]


def test_pictures_and_memory_together_solve_what_neither_does_alone(tmp_path: Path) -> None:
    shown = control.record(Finds, knows, 40, tmp_path / "shown", dropped=0.0)
    training = TrainingConfig(updates=160)
    with_memory = control.imitate(shown, "gru", config=training)
    without = control.imitate(shown, "feedforward", config=training)
    ends = [control.evaluate(m, Finds(), 10, seed=900).summary()["success"][0] for m in (with_memory, without)]
    assert ends[0] >= 0.8
    assert ends[1] <= 0.3
    encoders = [one for one in with_memory.network.chain if isinstance(one, PictureEncoder)]
    assert len(encoders) == 1


def test_dagger_adds_what_the_policy_visits(tmp_path: Path) -> None:
    shown = control.record(Finds, knows, 4, tmp_path / "shown")
    model = control.imitate(shown, "lstm", config=QUICK, dagger=2, dagger_episodes=3, env=Finds(), expert=knows)
    assert model.metadata["training"]["series"] == 3 + 2 * 3
    with pytest.raises(InputError, match="name their environment"):
        control.imitate(shown, "lstm", config=QUICK, dagger=1)
    with pytest.raises(InputError, match="has no expert of its own"):
        control.imitate(shown, "lstm", config=QUICK, dagger=1, env=Finds())


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> control.Demonstrations:
    return control.record(Finds, knows, 3, tmp_path_factory.mktemp("blocks") / "shown")


@pytest.mark.parametrize("contender", [*CONTENDERS, PUBLISHED], ids=lambda one: one.name)
def test_every_contender_learns_from_pictures_and_steers_with_a_memory(
    contender: Contender, blocks: control.Demonstrations
) -> None:
    model = control.imitate(blocks, contender.kind, config=TrainingConfig(updates=1), **contender.hyper)
    (episode,) = control.evaluate(model, Finds(), 1).episodes
    assert (episode.steps, episode.why) == (30, "")
    policy, one = tl.stream(model), blocks.episodes[0]
    series = Series(one.times, flat(policy.seen, one.observations).astype(float))
    recording = tl.Recording((series,), model.preprocessing.channels, time_unit=model.preprocessing.time_unit)
    for k, answer in enumerate(model.outputs(recording)[0][:12]):
        action = policy(at(one.observations, k), float(one.elapsed[k]))
        np.testing.assert_allclose(action, np.clip(answer, -1, 1), rtol=0, atol=1e-5)


class Fails(Finds):
    """Its simulator fails where a policy steers: in an episode's third step, in every other episode at once."""

    episodes = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.episodes += 1
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if abs(float(action[0]) - self.place) > 1e-6 and self.steps >= 2 * (self.episodes % 2):
            raise RuntimeError("unstable")
        return super().step(action)


def test_a_simulator_that_fails_under_the_policy_ends_an_episode_of_dagger_and_no_more(tmp_path: Path) -> None:
    shown = control.record(Finds, knows, 4, tmp_path / "shown")
    model = control.imitate(shown, "gru", config=QUICK, dagger=1, dagger_episodes=4, env=Fails(), expert=knows)
    assert model.metadata["training"]["series"] == 3 + 2

    def astray(env: Any, observation: Any) -> Any:
        return np.array([-np.sign(env.place)], np.float32)

    with pytest.raises(InputError, match=r"^Fails fails under the expert: RuntimeError: unstable$"):
        control.record(Fails, astray, 2, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_demonstrations_of_one_episode_and_of_a_world_by_name(tmp_path: Path) -> None:
    gym.register("test/Short-v0", "tests.control.toys:Toy", max_episode_steps=20)
    shown = control.record("test/Short-v0", toy_expert, 1, tmp_path / "shown", dropped=0.0)
    model = control.imitate(tmp_path / "shown", "cfc", config=QUICK, parameters=300)
    assert model.metadata["policy"]["environment"] == "test/Short-v0"
    assert model.metadata["training"]["samples"] == round(0.8 * len(shown.episodes[0]))


def test_noise_leads_astray_and_the_expert_leads_back(tmp_path: Path) -> None:
    def back(env: Any, observation: Any) -> Any:
        return np.array([-env.unwrapped.place, 0.0], np.float32)

    still = control.record(Toy(), back, 2, tmp_path / "still", dropped=0, jitter=0)
    pushed = control.record(Toy(), back, 2, tmp_path / "pushed", dropped=0, jitter=0, noise=0.5)
    spread = [np.std(np.concatenate([one.actions[:, 0] for one in each.episodes])) for each in (still, pushed)]
    assert spread[0] == 0
    assert spread[1] > 0.05
    with pytest.raises(InputError, match="noise is for continuous actions"):
        control.record(Toy(does="discrete"), toy_expert, 1, tmp_path / "none", noise=0.5)


def test_a_policy_refuses_what_it_was_not_trained_on(tmp_path: Path) -> None:
    shown = control.record(Toy("dict"), toy_expert, 2, tmp_path / "shown")
    model = control.imitate(shown, "gru", config=QUICK, parameters=500)
    policy: Any = tl.stream(model)
    good, _ = Toy("dict").reset(seed=0)
    for change, words in (
        ({"camera": np.zeros((9, 10, 3), np.uint8)}, r"'camera' has shape \(9, 10, 3\)"),
        ({"gear": np.int64(7)}, "'gear' is 7"),
        ({"state": "far"}, "'state' has type"),
    ):
        with pytest.raises(InputError, match=words):
            policy({**good, **change}, 0.1)
    with pytest.raises(InputError, match="lacks 'camera'"):
        policy({"state": good["state"]}, 0.1)
    with pytest.raises(InputError, match="lacks 'camera'"):
        control.evaluate(model, Toy("vector"), 1)
    with pytest.raises(InputError, match="steers one environment"):
        tl.stream(model, 3)
    model.metadata["policy"]["seen"][0]["shape"] = [3]
    with pytest.raises(InputError, match="description is invalid"):
        tl.stream(model)
    with pytest.raises(InputError, match="a policy learns"):
        control.imitate(control.record(Toy("words"), toy_expert, 2, tmp_path / "words"), "gru")


def test_a_model_of_a_recording_is_no_policy() -> None:
    recording = tl.Recording.from_arrays(np.random.default_rng(0).normal(size=(200, 2)), targets=np.arange(200.0))
    model = tl.fit(recording, kind="gru", config=QUICK)
    with pytest.raises(InputError, match="the model is no policy"):
        control.evaluate(model, Toy(), 1)


@pytest.mark.parametrize("height", [1, 9, 48, 300])
@pytest.mark.parametrize("width", [1, 64, 240])
def test_the_picture_encoder_stays_small_and_keeps_the_rest(height: int, width: int) -> None:
    encoder = PictureEncoder(height * width * 3 + 5, 2, (height, width, 3))
    assert encoder.live_parameters() <= 10_000
    inputs = torch.randn(2, 3, height * width * 3 + 5)
    features, state = encoder(inputs, torch.ones(2, 3))
    assert state == ()
    assert features.shape == (2, 3, encoder.output_size) == (2, 3, 5 + 32)
    torch.testing.assert_close(features[..., :2], inputs[..., :2])
    torch.testing.assert_close(features[..., 2:5], inputs[..., -3:])
    other = inputs.clone()
    other[0, 1, 2] += 1
    assert not torch.equal(encoder(other, torch.ones(2, 3))[0][0, 1], features[0, 1])


def test_several_frames_are_the_last_ones_and_zeros_before() -> None:
    network = Frames(2, 3, 4)
    inputs = torch.randn(2, 6, 2)
    features, _ = network(inputs, torch.ones(2, 6))
    known = torch.cat([torch.zeros(2, 3, 2), inputs], 1)
    for t in range(6):
        rows = known[:, t : t + 4].transpose(1, 2).flatten(1)
        torch.testing.assert_close(features[:, t], torch.tanh(network.linear(rows)))


def test_frames_flatten_as_the_channels_are_named() -> None:
    seen = seen_in(
        spaces.Dict({"camera": spaces.Box(0, 255, (2, 3, 3), np.uint8), "gear": spaces.Discrete(2, start=5)})
    )
    camera = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    values = flat(seen, {"camera": camera, "gear": np.int64(6)})
    names = [name for one in seen for name in one.channels]
    assert values[names.index("camera[1,2,0]")] == camera[1, 2, 0]
    assert values[names.index("gear[1]")] == 1
    assert "feedforward" in KINDS


@pytest.mark.slow
def test_cartpole_is_balanced(tmp_path: Path) -> None:
    def expert(env: Any, observation: Any) -> int:
        x, v, angle, turn = observation
        return int(0.05 * x + 0.1 * v + angle + 0.3 * turn > 0)

    env = gym.wrappers.TimeLimit(CartPoleEnv(), 300)
    shown = control.record(env, expert, 10, tmp_path / "shown")
    model = control.imitate(shown, "cfc", config=TrainingConfig(updates=300), dagger=1, env=env, expert=expert)
    found = control.evaluate(model, env, 5, seed=77)
    assert np.mean([one.steps for one in found.episodes]) > 250


def test_rounds_of_dagger_are_counted_from_none() -> None:
    with pytest.raises(InputError, match="give 0 or more rounds of 1 or more episodes"):
        control.imitate("nowhere", dagger=-1)
