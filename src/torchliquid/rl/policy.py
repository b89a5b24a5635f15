"""A policy of sb3-contrib whose memory is a liquid network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    MlpExtractor,
    NatureCNN,
)
from torch import Tensor, nn

from torchliquid.data.columns import nearest
from torchliquid.errors import InputError
from torchliquid.models.build import KINDS
from torchliquid.models.networks import Encoder, Liquid
from torchliquid.rl.elapsed import Timed, without

NOT_OURS = ("dropout", "pictures")
"""Settings of a network that are not allowed. Dropout would change the probabilities of actions between the rollout and
the training. Images are encoded by the extractors of Stable-Baselines3."""


class Memory(nn.Module):
    """A network of liquid layers with the interface that a recurrent policy needs.

    Args:
        kind: one of :data:`torchliquid.models.KINDS`.
        config: settings of the network.
        input_size: number of features, without the elapsed time.
        time_scale: elapsed time that becomes a span of 1; None: samples have no elapsed time, and all spans are 1.

    Attributes:
        num_layers, hidden_size: shape of the state, (num_layers, B, hidden_size), with all parts side by side.
        output_size: number of output features.

    Raises:
        InputError: the kind has no liquid layers, or the config does not suit it.
    """

    num_layers = 1

    def __init__(self, kind: str, config: Mapping[str, Any], input_size: int, time_scale: float | None) -> None:
        super().__init__()
        self.time_scale = time_scale
        self.config = dict(config)
        try:
            self.network = KINDS[kind].network(input_size, self.config)
        except TypeError as error:
            raise InputError(f"memory_kwargs do not fit a {kind}: {error}") from None
        self.parts = [part for part in self.network.chain if isinstance(part, Liquid | Encoder)]
        if len(self.parts) != len(self.network.chain) or not self.network.cells:
            raise InputError(f"a {kind} has no liquid layers; take cfc, cfc_ncp, ltc or ltc_ncp")
        with torch.no_grad():
            _, state = self.network(torch.zeros(1, 1, input_size), torch.ones(1, 1))
        self.sizes = [part.shape[1] for part in state]
        self.hidden_size = sum(self.sizes)
        self.output_size = self.network.output_size

    def forward(self, features: Tensor, state: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Run over sequences.

        Args:
            features: (B, T, F); if there is an elapsed time, it is the last feature.
            state: (B, hidden_size) state before the first sample.
            starts: (B, T) bool, True where an episode begins. There the state is set to zeros, and the span is 1.

        Returns:
            The outputs (B, T, output_size), and the state after the last sample.

        Raises:
            InputError: an elapsed time is negative.
        """
        spans = torch.ones_like(features[..., 0])
        if self.time_scale is not None:
            features, seconds = features[..., :-1], features[..., -1]
            if not seconds.is_cuda and bool((seconds < 0).any()):
                raise InputError(
                    f"an observation's elapsed time is {float(seconds.min()):g}; it must not be negative or be scaled: "
                    "with VecNormalize observe a Dict, and leave it out of norm_obs_keys"
                )
            spans = torch.where(starts, spans, seconds / self.time_scale)
        before = iter(self.network.own_states(state.split(self.sizes, 1)))
        after: list[Tensor] = []
        for part in self.network.chain:
            own = next(before)
            if isinstance(part, Liquid):
                features, new = part(features, spans, None, own, starts)
            else:
                features, new = part(features, spans, None, own)
            after += new
        return features, torch.cat(after, 1)


class LiquidPolicy(RecurrentActorCriticPolicy):
    """A policy for ``RecurrentPPO`` with a liquid network as its memory::

        RecurrentPPO(LiquidPolicy, env, policy_kwargs={"memory": "cfc", "units": 32, "elapsed": -1, "time_scale": 0.02})

    Args:
        observation_space, action_space, lr_schedule: given by ``RecurrentPPO``.
        memory: a kind of network with liquid layers, one of :data:`torchliquid.models.KINDS`: ``"cfc"``, ``"ltc"``,
            with a wiring ``"cfc_ncp"`` and ``"ltc_ncp"``, or another one.
        units: number of neurons. With a wiring, this includes the motor neurons.
        memory_kwargs: further settings of the kind: ``{"mode": "pure"}``, ``{"motors": 4}``, ``{"encoder": [16]}``.
        elapsed: where an observation has the time since the previous one: a key of a Dict, or an index of a vector. The
            memory uses it as time, not as an input. None: observations come at regular times.
        time_scale: the usual elapsed time, in the unit of the observation.
        net_arch: dense layers after the memory, as in Stable-Baselines3; none by default.
        features_extractor_class: extractor for everything but the elapsed time; None: chosen by the observation, as in
            the policies of Stable-Baselines3.
        shared_lstm, enable_critic_lstm: whether the critic shares the actor's memory, or has its own, as in
            sb3-contrib. If both are False, it has no memory.
        others: other arguments of ``ActorCriticPolicy``.

    Raises:
        InputError: the memory is unknown, or the elapsed time is not in the observation.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Any,
        *,
        memory: str = "cfc",
        units: int = 32,
        memory_kwargs: Mapping[str, Any] | None = None,
        elapsed: str | int | None = None,
        time_scale: float = 1.0,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        shared_lstm: bool = False,
        enable_critic_lstm: bool = True,
        **others: Any,
    ) -> None:
        if shared_lstm and (enable_critic_lstm or not others.get("share_features_extractor", True)):
            raise InputError("shared_lstm=True needs enable_critic_lstm=False, and a shared features extractor")
        if not time_scale > 0:
            raise InputError(f"time_scale={time_scale}; give the usual time from one observation to the next")
        self.memory, self.units, self.memory_kwargs = memory, units, dict(memory_kwargs or {})
        self.elapsed, self.time_scale = elapsed, time_scale
        self.shared_lstm, self.enable_critic_lstm = shared_lstm, enable_critic_lstm
        rest = observation_space if elapsed is None else without(observation_space, elapsed)
        super(RecurrentActorCriticPolicy, self).__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[] if net_arch is None else net_arch,
            features_extractor_class=features_extractor_class or _extractor(rest),
            **others,
        )

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        if self.elapsed is None:
            return super().make_features_extractor()
        rest = without(self.observation_space, self.elapsed)
        extractor = self.features_extractor_class(rest, **self.features_extractor_kwargs)
        return Timed(self.observation_space, self.elapsed, extractor)

    def _build_mlp_extractor(self) -> None:
        """Create the memories and the layers after them; called before the optimizer is created."""
        self.lstm_actor = self._memory()
        self.lstm_critic = self._memory() if self.enable_critic_lstm else None
        self.critic = None
        if not (self.shared_lstm or self.enable_critic_lstm):
            self.critic = nn.Linear(self.features_dim, self.lstm_actor.output_size)
        self.lstm_hidden_state_shape = (Memory.num_layers, 1, self.lstm_actor.hidden_size)
        self.mlp_extractor = MlpExtractor(
            self.lstm_actor.output_size, self.net_arch, self.activation_fn, device=self.device
        )

    def _memory(self) -> Memory:
        timed = self.elapsed is not None
        return Memory(
            self.memory,
            _config(self.memory, self.units, self.memory_kwargs),
            self.features_dim - timed,
            self.time_scale if timed else None,
        )

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor, lstm: Any
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Outputs (n_seq T, O) from features (n_seq T, F), and the new state. sb3-contrib keeps two state tensors; the
        first one holds the whole state."""
        n_seq = lstm_states[0].shape[1]
        starts = episode_starts.reshape(n_seq, -1) > 0.5
        outputs, state = lstm(features.unflatten(0, (n_seq, -1)), lstm_states[0][0], starts)
        return outputs.flatten(0, 1), (state.unsqueeze(0), lstm_states[1])

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """As in sb3-contrib. Without a state, every observation counts as the first of an episode."""
        if state is None and episode_start is None:
            batch, _ = self.obs_to_tensor(observation)
            episode_start = np.ones(len(next(iter(batch.values())) if isinstance(batch, dict) else batch), bool)
        return super().predict(observation, state, episode_start, deterministic)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        names = ("memory", "units", "memory_kwargs", "elapsed", "time_scale", "shared_lstm", "enable_critic_lstm")
        return {**super()._get_constructor_parameters(), **{name: getattr(self, name) for name in names}}


def _config(memory: str, units: int, given: Mapping[str, Any]) -> dict[str, Any]:
    if memory not in KINDS:
        raise InputError(f"there is no memory {memory!r}; {nearest(memory, KINDS)}")
    for name in NOT_OURS:
        if given.get(name):
            raise InputError(f"memory_kwargs may not hold {name}")
    if not isinstance(units, int) or units < 1:
        raise InputError(f"units={units!r}; give a whole number of neurons")
    kind = KINDS[memory]
    sizes = kind.sizes(units, dict(given), 0)
    if "motors" in sizes:
        sizes["motors"] = min(8, max(units // 3, 1))
    return {**kind.defaults, **sizes, "units": units, **given}


def _extractor(space: spaces.Space[Any]) -> type[BaseFeaturesExtractor]:
    if isinstance(space, spaces.Dict):
        return CombinedExtractor
    return NatureCNN if is_image_space(space) else FlattenExtractor
