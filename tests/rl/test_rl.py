from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

pytest.importorskip("sb3_contrib")
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tests.control.toys import Toy
from torch import Tensor, nn

import torchliquid as tl
from torchliquid.control.shifts import DroppedFrames, Jitter
from torchliquid.errors import InputError
from torchliquid.models.networks import Liquid
from torchliquid.rl.policy import LiquidPolicy, Memory

SMALL: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, "device": "cpu", "seed": 0}
SCALE = 0.02


class Watched(gym.Env[Any, Any]):
    """Observes a Dict: readings, a gear, and the time since the observation before."""

    observation_space = spaces.Dict(
        {
            "state": spaces.Box(-1, 1, (3,), np.float32),
            "clock": spaces.Box(0, np.inf, (1,), np.float32),
            "gear": spaces.Discrete(4),
        }
    )
    action_space = spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._seen(), {}

    def _seen(self) -> dict[str, Any]:
        rng = self.np_random
        self.seconds = float(np.float32(rng.uniform(0.001, 0.08)))
        return {
            "state": rng.uniform(-1, 1, 3).astype(np.float32),
            "clock": np.array([self.seconds], np.float32),
            "gear": np.int64(rng.integers(4)),
        }

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self._seen(), -float(np.square(action).sum()), self.steps >= 7, False, {"elapsed": self.seconds}


def cart() -> gym.Env[Any, Any]:
    return tl.rl.WithElapsed(Jitter(gym.make("CartPole-v1"), 0.9))


def made(env: Any, steps: int = 16, **kwargs: Any) -> RecurrentPPO:
    given = {**SMALL, "n_steps": steps}
    return RecurrentPPO(LiquidPolicy, env, policy_kwargs={"units": 9, "time_scale": SCALE, **kwargs}, **given)


def sequences(policy: LiquidPolicy, n: int = 3, time: int = 11) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Features (n time, F) with an elapsed time, a state that is not zero, and where episodes begin."""
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(n * time, policy.features_dim, generator=draw)
    features[:, -1] = 0.001 + 0.08 * torch.rand(n * time, generator=draw)
    state = 0.5 * torch.randn(1, n, policy.lstm_actor.hidden_size, generator=draw)
    starts = (torch.rand(n, time, generator=draw) < 0.3).float()
    assert 0 < starts[:, 1:].sum() < starts[:, 1:].numel()
    return features, (state, torch.zeros_like(state)), starts.flatten()


class Stepped(nn.Module):
    """The call form of ``nn.LSTM`` around our layer, without its reset mask."""

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        (part,) = memory.parts
        assert isinstance(part, Liquid)
        self.layer, self.mixed = part.layer, len(memory.sizes) == 2
        self.input_size = part.layer.input_size + 1

    def forward(self, features: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        state = states[0][0]
        hx = tuple(part.contiguous() for part in state.chunk(2, 1)) if self.mixed else state
        spans = torch.where(state.eq(0).all(1), 1.0, features[0, :, -1] / SCALE)
        output, new = self.layer(features[0, :, None, :-1], hx, timespans=spans[:, None])
        return output.transpose(0, 1), ((torch.cat(new, 1) if self.mixed else new)[None], states[1])


@pytest.mark.parametrize(
    ("memory", "kwargs"),
    [
        ("cfc", {}),
        ("cfc", {"mode": "pure"}),
        ("cfc", {"mixed_memory": True}),
        ("ltc", {}),
        ("cfc_ncp", {"motors": 3}),
        ("ltc_ncp", {"motors": 3}),
        ("ltc_ncp", {"motors": 3, "mixed_memory": True}),
        ("ctrnn", {}),
        ("lrcssm", {}),
    ],
)
def test_episodes_that_begin_inside_a_sequence_are_those_of_single_steps(memory: str, kwargs: dict[str, Any]) -> None:
    policy = made(cart(), memory=memory, memory_kwargs=kwargs, elapsed=-1).policy
    features, states, starts = sequences(policy)
    whole, (last, _) = policy._process_sequence(features, states, starts, policy.lstm_actor)

    each, now = [], states
    for x, start in zip(features.reshape(3, 11, -1).unbind(1), starts.reshape(3, 11).unbind(1), strict=True):
        output, now = policy._process_sequence(x, now, start, policy.lstm_actor)
        each.append(output)
    torch.testing.assert_close(whole, torch.stack(each, 1).flatten(0, 1), rtol=0, atol=2e-6)
    torch.testing.assert_close(last, now[0], rtol=0, atol=2e-6)

    # sb3-contrib's own way: it multiplies the state by zero, and steps.
    other, (after, _) = RecurrentActorCriticPolicy._process_sequence(
        features, states, starts, Stepped(policy.lstm_actor)
    )
    torch.testing.assert_close(whole, other, rtol=0, atol=2e-6)
    torch.testing.assert_close(last, after, rtol=0, atol=2e-6)

    # Nothing before an episode's start reaches what comes after it.
    begun = starts.clone().reshape(3, 11)
    begun[:, 5] = 1
    changed = features.clone().reshape(3, 11, -1)
    changed[:, :5] += 1
    one, _ = policy._process_sequence(features, states, begun.flatten(), policy.lstm_actor)
    two, _ = policy._process_sequence(changed.flatten(0, 1), states, begun.flatten(), policy.lstm_actor)
    one, two = (outputs.reshape(3, 11, -1) for outputs in (one, two))
    assert torch.equal(one[:, 5:], two[:, 5:])
    assert not torch.allclose(one[:, :5], two[:, :5])


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"memory_kwargs": {"layers": 2, "encoder": [5]}},
        {"shared_lstm": True, "enable_critic_lstm": False},
        {"enable_critic_lstm": False, "net_arch": {"pi": [7], "vf": [8]}},
        {"memory": "ltc_ncp", "share_features_extractor": False, "memory_kwargs": {"motors": 2}},
    ],
)
def test_what_is_learnt_from_is_what_was_collected(kwargs: dict[str, Any]) -> None:
    """The first update sees the probabilities with which actions were drawn: states, starts and times all agree."""
    model = made(DummyVecEnv([cart, cart]), 64, elapsed=-1, **kwargs)
    model.train = lambda: None
    model.learn(128)
    assert model.rollout_buffer.episode_starts[1:].any()
    for batch in model.rollout_buffer.get(24):
        mask = batch.mask > 0.5
        with torch.no_grad():
            values, chances, _ = model.policy.evaluate_actions(
                batch.observations, batch.actions.long().flatten(), batch.lstm_states, batch.episode_starts
            )
        torch.testing.assert_close(chances[mask], batch.old_log_prob[mask], rtol=0, atol=1e-5)
        torch.testing.assert_close(values.flatten()[mask], batch.old_values[mask], rtol=0, atol=1e-5)


def test_time_counts_and_is_no_input() -> None:
    policy = made(cart(), elapsed=-1).policy
    features, states, starts = sequences(policy)
    whole, _ = policy._process_sequence(features, states, torch.zeros_like(starts), policy.lstm_actor)
    features[:, -1] *= 2
    later, _ = policy._process_sequence(features, states, torch.zeros_like(starts), policy.lstm_actor)
    assert (whole - later).abs().max() > 1e-3
    assert policy.lstm_actor.parts[0].layer.input_size == 4  # CartPole's, without the elapsed time


def test_saved_and_loaded_as_stable_baselines3_does(tmp_path: Path) -> None:
    model = made(Watched(), memory="ltc_ncp", elapsed="clock", memory_kwargs={"motors": 4}).learn(32)
    model.save(tmp_path / "model.zip")
    model.policy.save(tmp_path / "policy.pt")
    again = RecurrentPPO.load(tmp_path / "model.zip", env=Watched())
    alone = LiquidPolicy.load(tmp_path / "policy.pt")
    fresh = made(Watched(), memory="ltc_ncp", elapsed="clock", memory_kwargs={"motors": 4})
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:  # weights alone: what is pickled is not even looked at
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, b"no JSON and no pickle" if name == "data" else data)
    fresh.set_parameters(tmp_path / "weights.zip")
    observation, _ = Watched().reset(seed=3)
    for other in (again, alone, fresh):
        one, hidden = model.predict(observation, deterministic=True)
        two, same = other.predict(observation, deterministic=True)
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(hidden[0], same[0])
    again.learn(16)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("memory", ["cfc", "ltc_ncp"])
def test_the_actor_is_a_model_that_does_the_same(memory: str, normalized: bool, tmp_path: Path) -> None:
    env: Any = DummyVecEnv([Watched])
    if normalized:
        env = VecNormalize(env, norm_obs_keys=["state"])
    model = made(env, memory=memory, elapsed="clock").learn(64)
    tl.rl.policy_of(model).save(tmp_path / "policy.safetensors")
    policy = tl.stream(tl.Model.load(tmp_path / "policy.safetensors"))
    world = Watched()
    for seed in (1, 2):
        observation, info = world.reset(seed=seed)
        policy.reset()
        state, done, start = None, False, np.ones(1, bool)
        while not done:
            action = policy(observation, info.get("elapsed"))
            seen = {name: np.asarray(part)[None] for name, part in observation.items()}
            expected, state = model.predict(
                env.normalize_obs(seen) if normalized else seen, state, start, deterministic=True
            )
            np.testing.assert_allclose(action, expected[0], rtol=0, atol=1e-5)
            observation, _, done, _, info = world.step(action)
            start = np.zeros(1, bool)


@pytest.mark.parametrize("normalized", [False, True])
def test_the_last_rollout_is_the_models_sample(normalized: bool) -> None:
    told: list[tuple[dict[str, Any], float]] = []

    class Told(Watched):
        def _seen(self) -> dict[str, Any]:
            told.append((super()._seen(), self.seconds))
            return told[-1][0]

    env: Any = DummyVecEnv([Told])
    model = made(VecNormalize(env, norm_obs_keys=["state"]) if normalized else env, elapsed="clock").learn(32)
    actor = tl.rl.policy_of(model)
    assert actor.preprocessing.channels[3:5] == ("gear[3]", "state[0]")  # Gymnasium sorts a Dict's parts
    seen = np.array([np.append(np.eye(4)[one["gear"]], one["state"]) for one, _ in told[-20:]])
    assert 0.02 < (actor.preprocessing.longest_gap or 0) <= np.float32(0.08)
    assert actor.sample is not None
    inputs = actor.sample.inputs[0, : actor.sample.lengths[0]].double()
    inputs = inputs * torch.from_numpy(actor.preprocessing.std) + torch.from_numpy(actor.preprocessing.mean)
    gaps = np.abs(seen[:, None] - inputs.numpy()[None]).max(-1).min(0)
    # A VecNormalize goes on learning its scales, by which alone the rollout's can be undone.
    assert gaps.max() < (0.3 if normalized else 1e-5)


def test_the_model_is_evaluated_and_exported(tmp_path: Path) -> None:
    from torchliquid.edge.pipe import Piped

    model = made(cart(), elapsed=-1).learn(64)
    actor = tl.rl.policy_of(model)
    found = tl.control.evaluate(actor, cart, episodes=2, shifts=[(DroppedFrames, 0.4)])
    assert len(found.episodes) == 4
    assert all(one.steps > 1 and not one.why for one in found.episodes)
    whole = tl.stream(actor)
    observation, _ = cart().reset(seed=1)
    with Piped(actor) as device:
        for i in range(5):
            seconds = None if i == 0 else 0.01 * i
            assert device(observation, seconds or SCALE) == whole(observation, seconds)


@pytest.mark.parametrize("elapsed", [5, -1, "2", 2.0, True])
def test_a_clock_that_is_nowhere_breaks_the_description(elapsed: Any) -> None:
    actor = tl.rl.policy_of(made(cart(), elapsed=2))
    seen = actor.metadata["policy"]["seen"][0]
    assert seen["elapsed"] == 2
    assert len(tl.stream(actor).seen[0].channels) == 4
    seen["elapsed"] = elapsed
    with pytest.raises(InputError, match="the policy's description is invalid"):
        tl.stream(actor)


def test_even_times_need_no_clock() -> None:
    model = RecurrentPPO(LiquidPolicy, "CartPole-v1", policy_kwargs={"memory": "ltc", "units": 5}, **SMALL).learn(32)
    actor = tl.rl.policy_of(model, interval=0.02)
    assert actor.preprocessing.time_scale == 0.02
    assert len(tl.control.evaluate(actor, "CartPole-v1", episodes=1).episodes) == 1
    with pytest.raises(InputError, match="interval= says it, in seconds"):
        tl.rl.policy_of(model)


@pytest.mark.parametrize(
    ("env", "kwargs", "words"),
    [
        (cart, {"memory": "cfk"}, "there is no memory 'cfk'; did you mean 'cfc'"),
        (cart, {"memory": "lstm"}, "a lstm has no liquid layers; take cfc"),
        (cart, {"units": 0}, "units=0; give a whole number"),
        (cart, {"memory_kwargs": {"wings": 2}}, "memory_kwargs do not fit a cfc"),
        (cart, {"memory_kwargs": {"layers": 2, "dropout": 0.1}}, "memory_kwargs may not hold dropout"),
        (cart, {"elapsed": 7}, "elapsed=7 is no index of an observation of 5 numbers"),
        (cart, {"elapsed": "clock"}, "elapsed='clock' fits no observation Box"),
        (Watched, {"elapsed": "time"}, "elapsed='time' is no single number of the observation"),
        (Watched, {"elapsed": "state"}, "elapsed='state' is no single number of the observation"),
        (cart, {"time_scale": 0.0}, "time_scale=0.0; give the usual time"),
        (cart, {"shared_lstm": True}, "shared_lstm=True needs enable_critic_lstm=False"),
    ],
)
def test_what_cannot_be_a_policy_is_one_line(env: Any, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        made(env(), **kwargs)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_a_model_is_one_line() -> None:
    with pytest.raises(InputError, match="dense layers behind its memory"):
        tl.rl.policy_of(made(cart(), elapsed=-1, net_arch=[8]))
    with pytest.raises(InputError, match="a LiquidPolicy becomes a model, not a RecurrentActorCriticPolicy"):
        tl.rl.policy_of(RecurrentPPO("MlpLstmPolicy", "CartPole-v1", **SMALL))
    with pytest.raises(InputError, match=r"elapsed=-1 tells it"):
        tl.rl.policy_of(made(cart(), elapsed=-1), interval=0.02)
    with pytest.raises(InputError, match="an observation's elapsed time is -"):
        made(VecNormalize(DummyVecEnv([cart])), elapsed=-1).learn(64)
    with pytest.raises(InputError, match="a vector, or a Dict without 'elapsed', is needed"):
        tl.rl.WithElapsed(Toy("image"))


def test_elapsed_time_is_that_of_the_shifts() -> None:
    world = tl.rl.WithElapsed(DroppedFrames(Toy("dict"), 0.6))
    gym.utils.passive_env_checker.check_obs(world.reset(seed=1)[0], world.observation_space, "reset")
    told = []
    for _ in range(8):
        observation, _, _, _, info = world.step(np.ones(2, np.float32))
        told.append(observation["elapsed"].item())
        assert told[-1] == pytest.approx(info["elapsed"])
    assert max(told) > 0.15


def test_the_extra_is_named() -> None:
    code = "import sys; sys.modules['sb3_contrib'] = None; import torchliquid; torchliquid.rl"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == (
        "torchliquid.errors.InputError: tl.rl needs sb3-contrib and Stable-Baselines3: pip install 'torchliquid[rl]'"
    )
