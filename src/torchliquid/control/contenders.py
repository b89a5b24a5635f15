"""The contenders of a comparison: kinds of networks of equal live parameters behind the same image encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torchliquid.data.columns import nearest
from torchliquid.errors import InputError


@dataclass(frozen=True)
class Contender:
    """One kind of policy.

    Attributes:
        name: its name in commands.
        label: its name in reports.
        family: ``"liquid"`` or ``"other"``.
        kind: one of :data:`torchliquid.models.KINDS`.
        hyper: further settings of the kind. If they fix the size, the budget of parameters is not used.
    """

    name: str
    label: str
    family: Literal["liquid", "other"]
    kind: str
    hyper: Mapping[str, Any] = field(default_factory=dict)


PUBLISHED = Contender(
    "published",
    "LTC on NCP, 19 neurons",
    "liquid",
    "ltc_ncp",
    {"units": 19, "motors": 1, "sparsity": 0.38, "wiring_seed": 0},
)
"""The published size: 19 neurons and 253 synapses behind 32 features for one action (Lechner et al., Nature Machine
Intelligence 2, 2020). A wiring of 19 neurons drawn with this sparsity has 251 synapses."""

CONTENDERS: tuple[Contender, ...] = (
    Contender("ltc_ncp", "LTC on NCP", "liquid", "ltc_ncp"),
    Contender("cfc_ncp", "CfC on NCP", "liquid", "cfc_ncp"),
    Contender("cfc", "CfC", "liquid", "cfc"),
    Contender("lstm", "LSTM", "other", "lstm"),
    Contender("gru", "GRU", "other", "gru"),
    Contender("neural_ode", "Neural ODE", "other", "neural_ode"),
    Contender("transformer", "Transformer", "other", "transformer", {"context": 32}),
    Contender("feedforward", "Feed-forward", "other", "feedforward"),
    Contender("frames", "Feed-forward, last 4 frames", "other", "feedforward", {"frames": 4}),
)

BY_NAME = {one.name: one for one in (*CONTENDERS, PUBLISHED)}

FEW = ("ltc_ncp", "cfc", "lstm", "feedforward")
"""The contenders of a small comparison."""


def named(names: tuple[str, ...]) -> tuple[Contender, ...]:
    """The contenders with the given names.

    Raises:
        InputError: a name is unknown, or there is no liquid contender or no other one.
    """
    for name in names:
        if name not in BY_NAME:
            raise InputError(f"there is no contender {name!r}; {nearest(name, BY_NAME)}")
    found = tuple(BY_NAME[name] for name in dict.fromkeys(names))
    if len({one.family for one in found}) < 2:
        raise InputError(
            f"{', '.join(names)}: a comparison needs a liquid contender and another one, such as cfc and lstm"
        )
    return found
