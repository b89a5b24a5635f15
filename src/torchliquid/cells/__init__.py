"""The recurrences in plain PyTorch, one per file: the reference that all other implementations are compared with.

Each is a cell with its weights (:class:`~torchliquid.cells.recurrence.Recurrence`).
:func:`torchliquid.backends.run` runs it over sequences.
"""

from torchliquid.cells.cfc import CfC
from torchliquid.cells.ctgru import CTGRU
from torchliquid.cells.ctrnn import CTRNN
from torchliquid.cells.grud import GRUD
from torchliquid.cells.lrcssm import LrcSSM
from torchliquid.cells.ltc import LTC
from torchliquid.cells.ode_rnn import ODERNN
from torchliquid.cells.recurrence import Recurrence, Sequences, States

__all__ = ["CTGRU", "CTRNN", "GRUD", "LTC", "ODERNN", "CfC", "LrcSSM", "Recurrence", "Sequences", "States"]
