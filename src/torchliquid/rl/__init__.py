"""Reinforcement learning with liquid policies, for ``RecurrentPPO`` of sb3-contrib.

The memory can use the elapsed time, and episodes can begin inside a sequence. A trained policy becomes a
:class:`torchliquid.Model`, which can be streamed, exported and evaluated like any other model.
"""

from torchliquid.errors import InputError

try:
    import sb3_contrib  # noqa: F401
except ModuleNotFoundError:
    raise InputError("tl.rl needs sb3-contrib and Stable-Baselines3: pip install 'torchliquid[rl]'") from None

from torchliquid.rl.elapsed import WithElapsed
from torchliquid.rl.export import policy_of
from torchliquid.rl.policy import LiquidPolicy

__all__ = ["LiquidPolicy", "WithElapsed", "policy_of"]
