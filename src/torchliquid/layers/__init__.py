"""Liquid layers and their relatives: what a user puts into an ``nn.Module``."""

from torchliquid.layers.cfc import CfC, CfCCell, WiredCfCCell
from torchliquid.layers.convert import from_ncps
from torchliquid.layers.ctgru import CTGRU
from torchliquid.layers.ctrnn import CTRNN
from torchliquid.layers.grud import GRUD
from torchliquid.layers.lrcssm import LrcSSM
from torchliquid.layers.ltc import LTC, LTCCell
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.mixture import MixtureOfLiquid
from torchliquid.layers.neural_ode import NeuralODE
from torchliquid.layers.ode_lstm import ODELSTM

__all__ = [
    "CTGRU",
    "CTRNN",
    "GRUD",
    "LTC",
    "ODELSTM",
    "CfC",
    "CfCCell",
    "LTCCell",
    "LrcSSM",
    "MemoryCell",
    "MixtureOfLiquid",
    "NeuralODE",
    "WiredCfCCell",
    "from_ncps",
]
