"""What each core provides for float32 C, integer C and ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from torchliquid.edge import text
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers, Widths
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.description import Dense

Layout = Literal["rows", "columns"]
Data = TypeVar("Data")

LARGEST = 1e36
"""Bound for every sum in the C, so that nothing overflows in single precision."""


@dataclass
class Ranges:
    """The largest magnitudes seen in one part of a network.

    Attributes:
        features: (F,) of each input.
        hidden, drive: of each inner dense layer, after and before its activation.
        gate: of a CfC's time gate a; 0 in mode pure.
        head: of a CfC's f in mode pure.
        state, cell: of the hidden and the cell states.
        inner: of each part of a mixture.
    """

    features: np.ndarray
    state: float = 0.0
    cell: float = 0.0
    hidden: list[float] = field(default_factory=list)
    drive: list[float] = field(default_factory=list)
    gate: float = 0.0
    head: float = 0.0
    inner: list[Ranges] = field(default_factory=list)


@dataclass(frozen=True)
class Needs:
    """The ranges that integers must cover.

    Attributes:
        state: the largest state. ``exact``: whether this is a bound that always holds.
        hidden: the largest value of each inner dense layer, and whether it is such a bound.
        rate: the largest decay rate.
    """

    state: float = 1.0
    exact: bool = True
    hidden: tuple[tuple[float, bool], ...] = ()
    rate: float = 0.0


@dataclass(frozen=True, eq=False)
class Core(Generic[Data]):
    """One core of a network in an export. The defaults suit a gated unit with a bounded state.

    Attributes:
        data: its arrays, from :mod:`torchliquid.models.description`.
        inputs: number of inputs.
        units: number of states, or of rows of a dense layer.
        model: prefix of the C's files, types and functions.
        prefix: prefix of the core's own names in the C; empty if the network has one part.
        label: name for readers.
        template: name of its C template in ``templates/float32`` and in ``templates/int8``; ``float32`` and ``int8``
            hold the template's text instead if there is no file.
        call: how the template's function is called, with x, span, h and c, and with y if its outputs differ from its
            states.
        functions: functions that the template calls: tanh, sigmoid, gelu and sparse in single precision; tanh, sigmoid,
            exp and normal in integers.
        longest_span: longer spans have the same effect and are cut here, because they would overflow.
        clips: whether its integer function returns how many values it clipped.
        reads_span: whether its integer function takes the span as a separate argument.
        remarks: on its dense layers, by name.
        divides: whether its integer function divides by what it computes.
    """

    data: Data
    inputs: int
    units: int
    model: str = "model"
    prefix: str = ""

    label: ClassVar[str]
    template: ClassVar[str] = ""
    float32: ClassVar[str] = ""
    int8: ClassVar[str] = ""
    call: ClassVar[str] = "liquid({x}, span, {h})"
    reads_span: ClassVar[bool] = True
    remarks: ClassVar[Mapping[str, str]] = {}

    @property
    def functions(self) -> set[str]:
        return {"tanh", "sigmoid"}

    @property
    def tables(self) -> set[str]:
        return {"tanh", "sigmoid"}

    @property
    def longest_span(self) -> float:
        return 1e30

    @property
    def clips(self) -> bool:
        return False

    @property
    def divides(self) -> bool:
        return False

    @property
    def has_hidden(self) -> bool:
        """Whether it has values between inputs and states, which have a width of their own in integers."""
        return False

    @property
    def passes(self) -> str:
        """The kind of its outputs in integers, as in :meth:`Formats.shift`."""
        return "state"

    def hidden_bits(self, widths: Widths) -> int:
        """Bits of the values between inputs and states, and of outputs that differ from the states."""
        return widths.hidden

    @property
    def steps(self) -> Any:
        """What else, besides the arrays, determines the meaning of a saved state."""
        return ""

    @property
    def bounded(self) -> bool:
        """Whether its equations rule out that a state overflows in single precision, for every input."""
        return True

    @property
    def bound(self) -> float:
        """Bound of the states, if they are bounded."""
        return 2.0

    def peaks(self, source: float) -> list[float]:
        """Bound of every sum on the way to the state, if no input or state exceeds ``source``."""
        return [peak(dense, source) for dense in self.maps().values()]

    def maps(self) -> dict[str, Dense]:
        """Its dense layers, by the name of their constants."""
        return {}

    def check(self) -> None:
        """Check the weights.

        Raises:
            InputError: weights that this core cannot have.
        """

    def constants(self, layout: Layout) -> list[Constant]:
        """Its constants in single precision, under prefixed names: those of its dense layers."""
        named = (self.named(name, dense, layout, self.remarks.get(name, "")) for name, dense in self.maps().items())
        return [constant for both in named for constant in both]

    def context(self) -> dict[str, Any]:
        """Variables of its template besides the sizes."""
        return {}

    @property
    def inner(self) -> tuple[Core[Any], ...]:
        """The cores that it calls, each with a prefix of its own."""
        return ()

    @property
    def answers(self) -> bool:
        """Whether its outputs differ from its states."""
        return False

    @property
    def outputs(self) -> int:
        """Number of outputs that differ from its states."""
        return self.units

    # -- in integers

    def weights(self) -> dict[str, int]:
        """Its layers of weights, each with the number of weights. Each layer may have 8 or 16 bits."""
        return {name: dense.weight.size for name, dense in self.maps().items()}

    def measure(self, seen: Ranges, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        """Record the sizes of inner values in ``seen``, from inputs (T, F) and states (T, H) before and after."""

    def map(self, x: np.ndarray) -> np.ndarray:
        """The outputs of a core without a state for inputs (T, F)."""
        raise NotImplementedError

    def answer(self, x: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The outputs, if they differ from the states, for inputs (T, F) and states (T, H) after them."""
        raise self._no_integers()

    def needs(self, seen: Ranges, widths: Widths) -> Needs:
        return Needs()

    def integers(self, made: Integers) -> None:
        """Its constants."""
        raise self._no_integers()

    def _no_integers(self) -> InputError:
        return InputError(f"{self.label} cannot be exported in integers: use --quantize none")

    # -- as ONNX

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        """Add the nodes of one step; returns the names of the new h and c."""
        raise NotImplementedError

    def onnx_answer(self, g: Graph, x: str, h: str) -> str:
        """Add the nodes from inputs and new states to the outputs; returns their name."""
        return h

    # -- helpers of the cores

    def size(self, who: str) -> Constant:
        """The numbers of its states and inputs."""
        upper = self.prefix.upper()
        sizes = f"enum {{ {upper}UNITS = {self.units}, {upper}FEATURES = {self.inputs} }};"
        return Constant(sizes, f"{who}: {self.label}.")

    def named(self, name: str, dense: Dense, layout: Layout, remark: str) -> list[Constant]:
        """The constants of a dense layer."""
        return [
            self.weight(name, dense.weight, layout, remark),
            Constant(text.array(f"{self.prefix}{name}_bias", dense.bias)),
        ]

    def weight(self, name: str, weight: np.ndarray, layout: Layout, remark: str = "") -> Constant:
        return Constant(text.array(f"{self.prefix}{name}_weight", weight.T if layout == "columns" else weight), remark)


def peak(dense: Dense, source: float) -> float:
    """Bound of every row's sum if no value exceeds ``source``."""
    return float((np.abs(dense.weight).sum(1) * source + np.abs(dense.bias)).max())


def largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))
