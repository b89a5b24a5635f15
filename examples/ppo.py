"""PPO (arXiv 1707.06347) around a liquid layer, without a library for it.

    python examples/ppo.py

A cart balances a pole. Its velocities are hidden and its control intervals jitter, so the network needs a memory and
the elapsed time. Two things differ from PPO with a feed-forward network:

* While acting, the state goes from one observation to the next, and is zero where an episode begins.
* In training, whole stretches are run again from their first state, and ``reset`` says where an episode begins inside a
  stretch.
"""

from __future__ import annotations

from argparse import ArgumentParser

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import torchliquid as tl
from torchliquid.control.shifts import Jitter

parser = ArgumentParser()
parser.add_argument("--updates", type=int, default=100)
parser.add_argument("--environments", type=int, default=16)
parser.add_argument("--steps", type=int, default=64)
parser.add_argument("--passes", type=int, default=8)
parser.add_argument("--units", type=int, default=32)
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--out", default="ppo.pt")
given = parser.parse_args()

USUAL, GAMMA, LAMBDA, CLIP = 0.02, 0.98, 0.9, 0.2
REWARD = 1 - GAMMA  # a step, so that values lie from 0 to 1 and do not drown the actor in the memory that both have


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.memory = tl.CfC(2, given.units, backbone_units=given.units)
        self.actor, self.critic = nn.Linear(given.units, 2), nn.Linear(given.units, 1)
        nn.init.orthogonal_(self.actor.weight, 0.01)

    def forward(
        self, seen: Tensor, state: Tensor | None, elapsed: Tensor, starts: Tensor
    ) -> tuple[Categorical, Tensor, Tensor]:
        """The distribution of actions, the values, and the state after the last observation.

        Args:
            seen: (B, T, 2) observations.
            state: the state before the first of them.
            elapsed: (B, T) the time before each.
            starts: (B, T) whether an episode begins there.
        """
        features, state = self.memory(seen, state, timespans=elapsed / USUAL, reset=starts)
        return Categorical(logits=self.actor(features)), self.critic(features).squeeze(-1), state


def tensor(values: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(values, 1)).float()


torch.manual_seed(given.seed)
n = given.environments
worlds = [Jitter(gym.make("CartPole-v1"), 0.9) for _ in range(n)]
network = ActorCritic()
optimizer = torch.optim.Adam(network.parameters(), given.lr)

seen = np.stack([world.reset(seed=given.seed * n + i)[0][[0, 2]] for i, world in enumerate(worlds)])
elapsed, starts = np.full(n, USUAL), np.ones(n, bool)
state = torch.zeros(n, network.memory.state_size)
lengths, finished = np.zeros(n), [0.0]

for update in range(given.updates):
    for group in optimizer.param_groups:
        group["lr"] = given.lr * (1 - update / given.updates)

    # Act, and keep what each step saw and the state before the first.
    first, kept = state, []
    for _ in range(given.steps):
        step = [torch.from_numpy(part)[:, None] for part in (seen, elapsed.astype(np.float32), starts)]
        with torch.no_grad():
            chances, value, state = network(step[0], state, step[1], step[2])
        actions = chances.sample()
        rewards, before = np.full(n, REWARD), (seen.copy(), elapsed.copy(), starts.copy())
        for i, world in enumerate(worlds):
            observation, _, terminated, truncated, info = world.step(int(actions[i]))
            lengths[i] += 1
            elapsed[i], starts[i] = info["elapsed"], terminated or truncated
            if truncated and not terminated:  # it was only cut off: what would have come counts
                end = torch.from_numpy(observation[[0, 2]])[None, None]
                with torch.no_grad():
                    _, more, _ = network(
                        end, state[i : i + 1], torch.full((1, 1), info["elapsed"]), torch.zeros(1, 1, dtype=torch.bool)
                    )
                rewards[i] += GAMMA * more.item()
            if starts[i]:
                finished.append(lengths[i])
                lengths[i], elapsed[i] = 0, USUAL
                observation, _ = world.reset()
            seen[i] = observation[[0, 2]]
        chance = chances.log_prob(actions)[:, 0].numpy()
        kept.append((*before, actions[:, 0].numpy(), chance, value[:, 0].numpy(), rewards, starts.copy()))
    obs, spans, began, actions, chances_then, values, rewards, ends = map(tensor, zip(*kept, strict=True))

    # How much better than expected each action was (generalised advantage estimation, arXiv 1506.02438).
    with torch.no_grad():
        step = [torch.from_numpy(part)[:, None] for part in (seen, elapsed.astype(np.float32), starts)]
        _, after, _ = network(step[0], state, step[1], step[2])
    advantages, running = torch.zeros_like(values), torch.zeros(n)
    following = torch.cat([values[:, 1:], after], 1)
    for t in reversed(range(given.steps)):
        goes_on = 1 - ends[:, t]
        error = rewards[:, t] + GAMMA * following[:, t] * goes_on - values[:, t]
        running = error + GAMMA * LAMBDA * goes_on * running
        advantages[:, t] = running
    returns = advantages + values

    # Learn, from whole stretches of some environments at a time.
    for _ in range(given.passes):
        for rows in torch.randperm(n).chunk(4):
            now, value, _ = network(obs[rows], first[rows], spans[rows], began[rows].bool())
            ratio = (now.log_prob(actions[rows]) - chances_then[rows]).exp()
            gain = advantages[rows]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            loss = -torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
            loss = loss + 0.5 * (returns[rows] - value).square().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()
    print(f"update {update + 1}: {np.mean(finished[-50:]):.0f} steps an episode")

torch.save(network.state_dict(), given.out)
