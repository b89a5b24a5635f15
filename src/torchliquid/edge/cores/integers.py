"""Weights in integers: int8 rows with a scale each, int8 or int16 values, int32 sums.

An integer q stands for the value ``q * 2**-shift``; each kind of value has its own shift (see :class:`Formats`). One
multiplication brings a row's sum into the unit of the next operation. Rows that feed a tanh are in units of 1/4096,
rows that feed a sigmoid in 1/2048, so that both use one table over -8 to 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from torchliquid.edge import text
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.description import Dense

UNITS = {"tanh": 4096.0, "sigmoid": 2048.0}
FULL = 2**30
"""The weights keep all sums below this, whatever the values are."""


@dataclass(frozen=True)
class Widths:
    """Bits of the inputs, of the hidden layers of a backbone and of the states. ``wide`` names the layers whose weights
    have 16 bits instead of 8."""

    input: int = 8
    hidden: int = 8
    state: int = 8
    wide: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        """The same text in every run, because a saved state's fingerprint contains it."""
        names = ", ".join(map(repr, sorted(self.wide)))
        wide = f"frozenset({{{names}}})" if names else "frozenset()"
        return f"Widths(input={self.input}, hidden={self.hidden}, state={self.state}, wide={wide})"

    @property
    def bits(self) -> tuple[int, int, int]:
        return self.input, self.hidden, self.state

    @property
    def words(self) -> str:
        wide = [n for n in ("input", "hidden", "state") if getattr(self, n) == 16]
        names = {"input": "inputs", "hidden": "the backbone's values", "state": "states"}
        values = f", int16 {' and '.join(names[n] for n in wide)}" if wide else " and values"
        return f"int8 weights{values}" + (f", int16 weights of {' and '.join(sorted(self.wide))}" if self.wide else "")


@dataclass(frozen=True)
class Formats:
    """The shifts in one part: an integer q stands for q * 2**-shift. ``inputs`` has one shift per input, ``inner`` the
    shifts of each part of a mixture."""

    widths: Widths
    inputs: tuple[int, ...]
    hidden: tuple[int, ...]
    drive: int
    gate: int
    head: int
    state: int
    cell: int
    inner: tuple[Formats, ...] = field(default=(), repr=False)

    @property
    def input(self) -> int:
        """The coarsest of the inputs' units; sums over inputs are in it."""
        return min(self.inputs)

    def shift(self, kind: str) -> int:
        """Of the inputs (the coarsest), of the states, or of a numbered hidden layer such as ``hidden0``."""
        if kind.startswith("hidden"):
            return self.hidden[int(kind[6:])]
        value: int = getattr(self, kind)
        return value

    @property
    def finer(self) -> np.ndarray:
        """(F,) how much each input's shift exceeds the coarsest one."""
        return np.array(self.inputs) - self.input


class Integers:
    """Collects the constants of a part and the variables of its templates.

    Attributes:
        formats: the shifts of its values.
        prefix: prefix of its names in the C.
        constants: the constants so far.
        context: variables of the templates.
        inner: of each part of a mixture.
    """

    def __init__(self, formats: Formats, prefix: str = "") -> None:
        self.formats, self.prefix = formats, prefix
        self.constants: list[Constant] = []
        self.inner: list[Integers] = []
        self.context: dict[str, Any] = {"shifts": {}, "denses": [], "wired": [], "suffix": {}}

    def add(self, constant: Constant) -> None:
        self.constants.append(constant)

    def array(self, name: str, values: Any, kind: str, remark: str = "") -> None:
        """Add a constant under the part's prefix."""
        self.add(Constant(text.array(f"{self.prefix}{name}", values, kind), remark))

    def finer(self) -> None:
        """Add by how much the units of inputs are finer than the coarsest, where they are."""
        if self.formats.finer.any():
            self.array("finer", self.formats.finer, "uint8_t")

    def units(self, *functions: str, each: int = 1) -> Any:
        """The factors that bring sums into the units that these functions read, ``each`` rows for each."""
        return np.repeat([UNITS[name] for name in functions], each)

    def dense(
        self,
        name: str,
        dense: Dense,
        inputs: int,
        unit: float | np.ndarray,
        remark: str,
        only: str = "",
        source: str = "input",
    ) -> None:
        """Add a matrix over (inputs, states): int8 rows, int32 biases, and factors into the unit of what comes next.

        ``only``: the kind of all columns, if there is only one.
        """
        kinds = (only,) if only else (source, "state") if dense.weight.shape[1] > inputs else (source,)
        sum_ = self.sum(name, kinds, [inputs] if len(kinds) == 2 else [], dense)
        self._rows(name, sum_, sum_.weight, unit, remark, "denses", "_".join(kinds))

    def wires(
        self, i: int, heads: Dense, mask: np.ndarray, unit: np.ndarray, kind: str, source: str, where: str
    ) -> None:
        """Add the rows of f and g: the existing weights from the layer before, and the weights inside the layer."""
        n, name = mask.shape[1], f"head{i}"
        sum_ = self.sum(name, (source, "state"), [n], heads)
        kept = sum_.weight[:, :n][np.tile(mask, (len(sum_.weight) // len(mask), 1))]
        sources, count = wires(mask)
        self.array(f"wire{i}_weight", kept if len(kept) else [0], self.weight_type(name), f"Synapses into {where}.")
        self.array(f"wire{i}_source", sources if len(sources) else [0], kind)
        self.array(f"wire{i}_count", count, kind)
        self._rows(name, sum_, sum_.weight[:, n:], unit, "And inside the layer.", "wired", source)

    def _rows(
        self, name: str, sum_: Sum, weight: np.ndarray, unit: float | np.ndarray, remark: str, functions: str, kind: str
    ) -> None:
        """Add the constants of a sum, and the C function for its kind of columns to those of this name."""
        factor, shift = _factors(sum_.scale * 2.0**-sum_.shift * unit, sum_.largest, name)
        self.array(f"{name}_weight", weight, self.weight_type(name), remark)
        self.array(f"{name}_bias", sum_.bias, "int32_t")
        self.array(f"{name}_factor", factor, "int32_t")
        self.context["shifts"][name] = shift
        combination = {"name": kind + self.context["suffix"][name], **sum_.context}
        if combination not in self.context[functions]:
            self.context[functions].append(combination)

    def sum(self, name: str, kinds: tuple[str, ...], splits: list[int], dense: Dense) -> Sum:
        """The rows in integers of a layer whose columns are of these kinds, divided at ``splits``."""
        wide = self.is_wide(name)
        self.context["suffix"][name] = "_wide" if wide else ""
        # Products of int16 and int16 are shifted down by 8 bits before they are summed. The sums are in the unit of
        # the coarser source; the finer source is shifted into it.
        over = [8 if wide and self.most(kind) > 128 else 0 for kind in kinds]
        shifts = [self.shift(kind) - o for kind, o in zip(kinds, over, strict=True)]
        coarse = min(shifts)
        parts = np.split(dense.weight, splits, 1)
        reach = np.concatenate([self.reach(kind, part.shape[1]) for kind, part in zip(kinds, parts, strict=True)])
        bound = np.abs(dense.weight) @ reach * 2.0**coarse
        scale, weight, bias = _quantised(dense, coarse, bound, 16 if wide else 8)
        # These sums of each kind's columns are not shifted down yet.
        split = np.split(weight, splits, 1)
        for part, kind, o in zip(split, kinds, over, strict=True):
            self.check(np.abs(part) @ self.reach(kind, part.shape[1]) * 2.0 ** (self.shift(kind) - o), name)
        context = {
            "kinds": kinds,
            "over": over,
            "down": [shift - coarse for shift in shifts],
            "type": self.weight_type(name),
        }
        return Sum(scale, weight, bias, coarse, bound / scale + np.abs(bias), context)

    def is_wide(self, name: str) -> bool:
        return self.prefix + name in self.formats.widths.wide

    def weight_type(self, name: str) -> str:
        return "int16_t" if self.is_wide(name) else "int8_t"

    def shift(self, kind: str) -> int:
        return self.formats.shift(kind)

    def most(self, kind: str) -> float:
        bits: int = getattr(self.formats.widths, "hidden" if kind.startswith("hidden") else kind)
        return 2.0 ** (bits - 1)

    def reach(self, kind: str, n: int) -> np.ndarray:
        """(n,) the largest value that each input's integer can hold."""
        shifts = np.array(self.formats.inputs[:n]) if kind == "input" else np.full(n, self.shift(kind))
        return self.most(kind) * 2.0**-shifts

    def check(self, sums: np.ndarray, name: str) -> None:
        """Check that sums fit.

        Raises:
            InputError: a sum does not fit int32.
        """
        if (sums >= 2**31).any():
            raise InputError(
                f"{name} is too large for int8: its sums need more than 32 bits; export it with --quantize none"
            )


@dataclass(frozen=True, eq=False)
class Sum:
    """Rows of weights in integers.

    Attributes:
        scale (R,), weight (R, C), bias (R,): the unit of each row's weights, and weights and bias in this unit.
        shift: the shift of the values in the sums.
        largest (R,): bound of each row's sum.
        context: variables for the template of the C function that sums.
    """

    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    shift: int
    largest: np.ndarray
    context: dict[str, Any]


def _quantised(dense: Dense, shift: int, bound: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scale of each row, its weights with ``bits`` bits, and int32 biases. ``bound`` is the largest sum of a row in
    units of the values."""
    scale = np.abs(dense.weight).max(1) / (2 ** (bits - 1) - 1)
    scale = np.maximum.reduce(
        [scale, bound / (FULL / 2), np.abs(dense.bias) * 2.0**shift / (FULL / 2), np.full_like(scale, 1e-12)]
    )
    return scale, np.round(dense.weight / scale[:, None]), np.round(dense.bias / scale * 2.0**shift)


def _factors(factor: np.ndarray, bound: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """Integer factors and a shift: a sum times its factor, shifted down, is in the unit of what comes next."""
    if (bound * factor).max() >= 2**30:
        raise InputError(f"the weights of {name} are too large for int8; export the model with --quantize none")
    shift = min(30 - math.ceil(math.log2(factor.max())), 62)
    return np.round(factor * 2.0**shift), shift


def wires(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sources of the weights that a mask keeps, and how many each neuron has."""
    return np.nonzero(mask)[1], mask.sum(1)
