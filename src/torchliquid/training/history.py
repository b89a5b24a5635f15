"""What happened in a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Doubt = Literal["", "plateau", "falling"]
"""Why a training does not judge its model: it never left the naive answer, or was still improving at its end."""


@dataclass
class History:
    """What happened, from one look at the validation part to the next.

    Attributes:
        loss: mean training loss since the look before.
        validation: metrics on the validation part, as the model will be used.
        updates: of the weights, made until each look.
        epochs: passes over the training part, begun until each look.
        best: the look (from 0) whose weights the model has.
        doubt: empty where the training judges the model.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    best: int = -1
    doubt: Doubt = ""
