"""Closed loop: policies that steer a Gymnasium environment, judged where they were never trained.

Importing it registers ``torchliquid/FlyToTarget-v0`` and ``torchliquid/KeepLane-v0``.
"""

from torchliquid.errors import InputError

try:
    import gymnasium
except ModuleNotFoundError:
    raise InputError("tl.control needs Gymnasium, MuJoCo and Minari: pip install 'torchliquid[control]'") from None

for _name, _home in (("FlyToTarget", "fly"), ("KeepLane", "drive")):
    gymnasium.register(f"torchliquid/{_name}-v0", f"torchliquid.control.worlds.{_home}:{_name}")

from torchliquid.control import shifts  # noqa: E402
from torchliquid.control.demonstrations import Demonstrations, demonstrations, record  # noqa: E402
from torchliquid.control.evaluation import Evaluation, evaluate  # noqa: E402
from torchliquid.control.imitation import imitate  # noqa: E402
from torchliquid.control.study import Setting, assess  # noqa: E402

__all__ = [
    "Demonstrations",
    "Evaluation",
    "Setting",
    "assess",
    "demonstrations",
    "evaluate",
    "imitate",
    "record",
    "shifts",
]
