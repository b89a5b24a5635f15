"""The cores, one file each: how each is generated as float32 C, as integer C and as ONNX."""

from __future__ import annotations

from typing import Any

from torchliquid.edge.cores.cfc import CfcCore
from torchliquid.edge.cores.core import Core
from torchliquid.edge.cores.dense import EncoderCore
from torchliquid.edge.cores.gated import GruCore, LstmCore
from torchliquid.edge.cores.lrcssm import LrcSsmCore
from torchliquid.edge.cores.ltc import LtcCore
from torchliquid.edge.cores.mixture import MixtureCore
from torchliquid.edge.cores.picture import PictureCore
from torchliquid.models.description import Cfc, Encoder, Gru, LrcSsm, Lstm, Ltc, Mixture, Picture

CORES: dict[type, type[Core[Any]]] = {
    Ltc: LtcCore,
    Cfc: CfcCore,
    LrcSsm: LrcSsmCore,
    Lstm: LstmCore,
    Gru: GruCore,
    Encoder: EncoderCore,
    Picture: PictureCore,
    Mixture: MixtureCore,
}
"""The core of each class of description. A new cell is added here."""
