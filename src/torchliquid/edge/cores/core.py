"""What every kind of core says of itself: to C in single precision, to C in integers, to ONNX."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np

from torchliquid.edge import text
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.description import Dense

if TYPE_CHECKING:
    from torchliquid.edge.cores.graph import Graph
    from torchliquid.edge.cores.integers import Integers, Widths

Layout = Literal["rows", "columns"]
Data = TypeVar("Data")

LARGEST = 1e36
"""What no sum in the C may reach, so that nothing in single precision overflows."""


@dataclass
class Ranges:
    """Largest sizes seen in one part of a network.

    Attributes:
        features: (F,) of each value that it is fed.
        hidden, drive: of each dense layer inside it, after and before its activation.
        gate: of a CfC's time gate a; 0 in mode pure.
        head: of f in mode pure.
        state, cell: of the states.
    """

    features: np.ndarray
    state: float = 0.0
    cell: float = 0.0
    hidden: list[float] = field(default_factory=list)
    drive: list[float] = field(default_factory=list)
    gate: float = 0.0
    head: float = 0.0


@dataclass(frozen=True)
class Needs:
    """What integers must have room for.

    Attributes:
        state: the largest state; ``exact``, that is a bound which always holds.
        hidden: the largest value of each dense layer inside it, and whether that is exact.
        rate: the largest of a decay.
    """

    state: float = 1.0
    exact: bool = True
    hidden: tuple[tuple[float, bool], ...] = ()
    rate: float = 0.0


@dataclass(frozen=True, eq=False)
class Core(Generic[Data]):
    """One core on its way to a device. What is set here holds for a gated unit with a bounded state.

    Attributes:
        data: its arrays, of :mod:`torchliquid.models.description`.
        inputs: values that it is fed.
        units: of its states, or rows of a dense layer.
        model: the name of the C's files, types and functions.
        prefix: of its own names in the C: empty in a network of one part.
        label: for people.
        template: of its C, the name of a file in ``templates/float32`` and in ``templates/int8``; ``float32`` and
            ``int8`` are that text itself where it is no file.
        call: of the function that the template makes, from x, span, h and c; and y, where it answers beside its states.
        functions: those that it calls, of tanh, sigmoid, gelu and sparse in single precision, of tanh, sigmoid, exp and
            normal in integers.
        longest_span: spans beyond it change nothing any more, and would only overflow.
        clips: whether its function in integers returns how many values it clipped.
        reads_span: whether that function takes the span apart.
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
    def has_hidden(self) -> bool:
        """Whether it has values between its inputs and its states, with a width of their own in integers."""
        return False

    @property
    def steps(self) -> Any:
        """What gives a saved state its meaning besides the arrays."""
        return ""

    @property
    def bounded(self) -> bool:
        """Whether no input can make a state overflow in single precision, by its equations."""
        return True

    @property
    def bound(self) -> float:
        """What no state exceeds, where it is bounded."""
        return 2.0

    def peaks(self, source: float) -> list[float]:
        """What no sum on the way to the state exceeds, where no input or state exceeds ``source``."""
        return [peak(dense, source) for dense in self.dense()]

    def dense(self) -> list[Dense]:
        """Its dense layers, which read inputs and states."""
        return []

    def check(self) -> None:
        """Raises:
        InputError: weights that cannot be.
        """

    def constants(self, layout: Layout) -> list[Constant]:
        """In single precision, named with the prefix."""
        raise NotImplementedError

    def context(self) -> dict[str, Any]:
        """What its templates need besides sizes."""
        return {}

    @property
    def answers(self) -> bool:
        """Whether its outputs are other values than its states, as many."""
        return False

    # -- in integers

    def weights(self) -> dict[str, int]:
        """Its layers of weights, each of which may have 8 or 16 bits, and how many numbers each has."""
        return {}

    def measure(self, seen: Ranges, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        """Put the sizes of inner values into ``seen``, from inputs (T, F) and states (T, H) before and after."""

    def map(self, x: np.ndarray) -> np.ndarray:
        """What a core without a state makes of its inputs (T, F)."""
        raise NotImplementedError

    def needs(self, seen: Ranges, widths: Widths) -> Needs:
        return Needs()

    def integers(self, made: Integers) -> None:
        """Its constants."""
        raise InputError(f"there are no integers for {self.label}: export it with --quantize none")

    # -- as ONNX

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        """The nodes of one step, and the names of the new h and c."""
        raise NotImplementedError

    def onnx_answer(self, g: Graph, x: str, h: str) -> str:
        """The nodes from inputs and new states to its outputs, and their name."""
        return h

    # -- for those that are made here

    def named(self, name: str, dense: Dense, layout: Layout, remark: str) -> list[Constant]:
        """A dense layer's constants."""
        return [
            self.weight(name, dense.weight, layout, remark),
            Constant(text.array(f"{self.prefix}{name}_bias", dense.bias)),
        ]

    def weight(self, name: str, weight: np.ndarray, layout: Layout, remark: str = "") -> Constant:
        return Constant(text.array(f"{self.prefix}{name}_weight", weight.T if layout == "columns" else weight), remark)


def peak(dense: Dense, source: float) -> float:
    """What no row's sum exceeds where no value exceeds ``source``."""
    return float((np.abs(dense.weight).sum(1) * source + np.abs(dense.bias)).max())


def largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))
