"""Reinforcement learning with liquid policies: for the ``RecurrentPPO`` of sb3-contrib.

Memory that knows how much time passed, episodes that begin inside a sequence, and a trained policy as a
:class:`torchliquid.Model`, which streams, exports and is evaluated like any other.
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
