"""Liquid layers: what a user puts into an ``nn.Module``."""

from torchliquid.layers.cfc import CfC, CfCCell, WiredCfCCell
from torchliquid.layers.convert import from_ncps
from torchliquid.layers.ltc import LTC, LTCCell
from torchliquid.layers.memory import MemoryCell

__all__ = ["LTC", "CfC", "CfCCell", "LTCCell", "MemoryCell", "WiredCfCCell", "from_ncps"]
