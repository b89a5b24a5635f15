"""The course of a training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Doubt = Literal["", "plateau", "falling"]
"""Why a training says nothing about its model: it never left the naive answer, or was still improving at its end."""


@dataclass
class History:
    """The course of a training, from one validation to the next.

    Attributes:
        loss: mean training loss since the previous validation.
        validation: metrics on the validation part, with the state carried as in use.
        updates: number of updates before each validation.
        epochs: number of passes over the training part, begun before each validation.
        best: index of the validation whose weights the model has.
        doubt: empty if the training is conclusive.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    updates: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    best: int = -1
    doubt: Doubt = ""
