"""What happened in a training."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class History:
    """What happened, epoch by epoch.

    Attributes:
        loss: mean training loss.
        validation: metrics on the validation part, as the model will be used.
        best: the epoch (from 0) whose weights the model has.
    """

    loss: list[float] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    best: int = -1
