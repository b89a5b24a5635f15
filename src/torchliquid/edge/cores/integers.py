"""Weights in integers: int8 rows with a scale each, int8 or int16 values, int32 sums.

A value stands for ``q * 2**-shift``, with a shift for each kind of value (see :class:`Formats`). A row's sum is brought
into the unit that comes next by one multiplication. Rows that a tanh reads are in 1/4096, rows that a sigmoid reads in
1/2048, so that both look into one table over -8 to 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchliquid.edge import text
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.description import Dense

UNITS = {"tanh": 4096.0, "sigmoid": 2048.0}
FULL = 2**30
"""What sums stay below, by their weights, whatever the values."""


@dataclass(frozen=True)
class Widths:
    """Bits of the values: inputs, hidden layers of a backbone, states; and ``wide``, the layers whose weights have 16
    bits instead of 8."""

    input: int = 8
    hidden: int = 8
    state: int = 8
    wide: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        """In the same order in every run, since a saved state's fingerprint has it."""
        names = ", ".join(map(repr, sorted(self.wide)))
        wide = f"frozenset({{{names}}})" if names else "frozenset()"
        return f"Widths(input={self.input}, hidden={self.hidden}, state={self.state}, wide={wide})"

    @property
    def words(self) -> str:
        wide = [n for n in ("input", "hidden", "state") if getattr(self, n) == 16]
        names = {"input": "inputs", "hidden": "the backbone's values", "state": "states"}
        values = f", int16 {' and '.join(names[n] for n in wide)}" if wide else " and values"
        return f"int8 weights{values}" + (f", int16 weights of {' and '.join(sorted(self.wide))}" if self.wide else "")


@dataclass(frozen=True)
class Formats:
    """Shifts in one part: a value q stands for q * 2**-shift. Each value that it is fed has its own in ``inputs``."""

    widths: Widths
    inputs: tuple[int, ...]
    hidden: tuple[int, ...]
    drive: int
    gate: int
    head: int
    state: int
    cell: int

    @property
    def input(self) -> int:
        """The coarsest of the inputs': that of their sums."""
        return min(self.inputs)

    @property
    def finer(self) -> np.ndarray:
        """(F,) by how much each input's shift is more than that."""
        return np.array(self.inputs) - self.input


class Integers:
    """The constants of a part in the making, and what its templates need to know of them.

    Attributes:
        formats: of its values.
        prefix: of its names in the C.
        constants: those made so far.
        context: of the templates.
    """

    def __init__(self, formats: Formats, prefix: str = "") -> None:
        self.formats, self.prefix = formats, prefix
        self.constants: list[Constant] = []
        self.context: dict[str, Any] = {"shifts": {}, "denses": [], "wired": [], "suffix": {}}

    def add(self, constant: Constant) -> None:
        self.constants.append(constant)

    def array(self, name: str, values: Any, kind: str, remark: str = "") -> None:
        """A constant under the part's name."""
        self.add(Constant(text.array(f"{self.prefix}{name}", values, kind), remark))

    def units(self, *functions: str, each: int = 1) -> Any:
        """By which sums are multiplied that these functions read, so many rows each."""
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
        """A matrix over (inputs, states): int8 rows, int32 biases, and factors into the unit of what comes next.

        ``only``: all columns are of this kind.
        """
        kinds = (only,) if only else (source, "state") if dense.weight.shape[1] > inputs else (source,)
        sum_ = self.sum(name, kinds, [inputs] if len(kinds) == 2 else [], dense)
        factor, shift = _factors(sum_.scale * 2.0**-sum_.shift * unit, sum_.largest, name)
        self.array(f"{name}_weight", sum_.weight, self.weight_type(name), remark)
        self.array(f"{name}_bias", sum_.bias, "int32_t")
        self.array(f"{name}_factor", factor, "int32_t")
        self.context["shifts"][name] = shift
        combination = {"name": "_".join(kinds) + self.context["suffix"][name], **sum_.context}
        if combination not in self.context["denses"]:
            self.context["denses"].append(combination)

    def wires(
        self, i: int, heads: Dense, mask: np.ndarray, unit: np.ndarray, kind: str, source: str, where: str
    ) -> None:
        """Rows of f and g: the weights from the layer before that exist, and those inside the layer."""
        n = mask.shape[1]
        name = f"head{i}"
        found = self.sum(name, (source, "state"), [n], heads)
        factor, shift = _factors(found.scale * 2.0**-found.shift * unit, found.largest, name)
        weight, type_ = found.weight, self.weight_type(name)
        kept = np.concatenate([part[:, :n][mask] for part in np.split(weight, len(weight) // len(mask))])
        sources, count = wires(mask)
        self.array(f"wire{i}_weight", kept if len(kept) else [0], type_, f"Synapses into {where}.")
        self.array(f"wire{i}_source", sources if len(sources) else [0], kind)
        self.array(f"wire{i}_count", count, kind)
        self.array(f"{name}_weight", weight[:, n:], type_, "And inside the layer.")
        self.array(f"{name}_bias", found.bias, "int32_t")
        self.array(f"{name}_factor", factor, "int32_t")
        self.context["shifts"][name] = shift
        combination = {"name": source + self.context["suffix"][name], **found.context}
        if combination not in self.context["wired"]:
            self.context["wired"].append(combination)

    def sum(self, name: str, kinds: tuple[str, ...], splits: list[int], dense: Dense) -> Sum:
        """Integer rows of a layer over columns of these kinds, cut at ``splits``."""
        wide = self.is_wide(name)
        self.context["suffix"][name] = "_wide" if wide else ""
        # Products of int16 with int16 lose 8 bits before they are summed; the sums are then in the coarser of the
        # sources' units, into which the finer one is shifted.
        over = [8 if wide and self.most(kind) > 128 else 0 for kind in kinds]
        shifts = [self.shift(kind) - o for kind, o in zip(kinds, over, strict=True)]
        coarse = min(shifts)
        parts = np.split(dense.weight, splits, 1)
        reach = np.concatenate([self.reach(kind, part.shape[1]) for kind, part in zip(kinds, parts, strict=True)])
        bound = np.abs(dense.weight) @ reach * 2.0**coarse
        scale, weight, bias = _rows(dense, coarse, bound, 16 if wide else 8)
        # On the way, the sums of the columns of each kind are not yet shifted down.
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
        """Of inputs (the coarsest), of states, or of a numbered hidden layer: ``hidden0``."""
        if kind.startswith("hidden"):
            return self.formats.hidden[int(kind[6:])]
        value: int = getattr(self.formats, kind)
        return value

    def most(self, kind: str) -> float:
        bits: int = getattr(self.formats.widths, "hidden" if kind.startswith("hidden") else kind)
        return 2.0 ** (bits - 1)

    def reach(self, kind: str, n: int) -> np.ndarray:
        """(n,) the largest value that each can stand for."""
        shifts = np.array(self.formats.inputs[:n]) if kind == "input" else np.full(n, self.shift(kind))
        return self.most(kind) * 2.0**-shifts

    def check(self, sums: np.ndarray, name: str) -> None:
        """Raises:
        InputError: a sum that no int32 holds.
        """
        if (sums >= 2**31).any():
            raise InputError(
                f"{name} is too large for int8, its sums need more than 32 bits; export it with --quantize none"
            )


@dataclass(frozen=True, eq=False)
class Sum:
    """Rows of weights in integers.

    Attributes:
        scale (R,), weight (R, C), bias (R,): one unit of a row's weights, the weights and the bias in it.
        shift: of the unit of the values in the sums.
        largest (R,): what no sum exceeds.
        context: of the C function that sums.
    """

    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    shift: int
    largest: np.ndarray
    context: dict[str, Any]


def _rows(dense: Dense, shift: int, bound: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale of each row, its weights of so many bits, int32 biases; ``bound`` is the largest sum of a row in units of
    the values."""
    scale = np.abs(dense.weight).max(1) / (2 ** (bits - 1) - 1)
    scale = np.maximum.reduce(
        [scale, bound / (FULL / 2), np.abs(dense.bias) * 2.0**shift / (FULL / 2), np.full_like(scale, 1e-12)]
    )
    return scale, np.round(dense.weight / scale[:, None]), np.round(dense.bias / scale * 2.0**shift)


def _factors(factor: np.ndarray, bound: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """Whole numbers and the shift that make a sum times one of them the unit that comes next."""
    if (bound * factor).max() >= 2**30:
        raise InputError(f"the weights of {name} are too large for int8; export the model with --quantize none")
    shift = min(30 - math.ceil(math.log2(factor.max())), 62)
    return np.round(factor * 2.0**shift), shift


def wires(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sources of the weights that a mask leaves, and how many each neuron has."""
    return np.nonzero(mask)[1], mask.sum(1)
