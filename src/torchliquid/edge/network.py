"""A model on its way to a device: its description, the limits of its readings, and the cores that its parts become."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import LIMIT, Preprocessing
from torchliquid.edge.cores import CORES
from torchliquid.edge.cores.core import LARGEST, Core, peak
from torchliquid.edge.plausible import Plausible, plausible
from torchliquid.errors import InputError
from torchliquid.models import Model, description
from torchliquid.models.description import Dense, Description, Part, arrays, unknown
from torchliquid.tasks import Task

LONGEST_LOG = 89.0
"""Of the logarithm of a span that a float can be."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One part of the chain in C.

    Attributes:
        part: what it is made of.
        cores: what runs at each sample, one after the other: with mixed memory an LSTM, then the core.
        prefix: of its names: empty in a network of one part.
        hidden, cell: where its states begin among all parts'.
        span_here: whether it is fed the span, and is not the first, of which the preprocessing takes care.
    """

    part: Part
    cores: tuple[Core[Any], ...]
    prefix: str
    hidden: int
    cell: int
    span_here: bool = False

    @property
    def core(self) -> Core[Any]:
        return self.cores[-1]

    @property
    def first(self) -> int:
        """Of its outputs, among all states."""
        return self.hidden + self.part.first


@dataclass(frozen=True, eq=False)
class Network:
    """A whole model.

    Attributes:
        described: its arrays.
        limits: which readings and gaps are plausible.
        name: of the C's files, types and functions.
    """

    described: Description
    limits: Plausible
    name: str = "model"

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One a part."""
        parts = self.described.parts
        made: list[Stage] = []
        hidden = cell = 0
        for i, part in enumerate(parts):
            prefix = f"part{i + 1}_" if len(parts) > 1 else ""
            datas = [part.core] if part.memory is None else [part.memory, part.core]
            cores = tuple(CORES[type(data)](data, part.inputs, part.units, self.name, prefix) for data in datas)
            made.append(Stage(part, cores, prefix, hidden, cell, part.with_span and i > 0))
            hidden, cell = hidden + part.states, cell + part.cells
        return tuple(made)

    @property
    def cores(self) -> tuple[Core[Any], ...]:
        """Of all stages."""
        return tuple(core for stage in self.stages for core in stage.cores)

    @property
    def core(self) -> Any:
        """The arrays of the last recurrence."""
        return self.stages[-1].core.data

    @cached_property
    def readout(self) -> Dense:
        """From the last part's states to the answers."""
        part, readout = self.described.parts[-1], self.described.readout
        readout = readout if part.projection is None else readout.after(part.projection)
        return readout if part.output_map is None else readout.after_affine(part.output_map)

    @property
    def first(self) -> int:
        """Of the states that the readout reads."""
        return self.stages[-1].first

    @property
    def preprocessing(self) -> Preprocessing:
        return self.described.preprocessing

    @property
    def task(self) -> Task:
        return self.described.task

    @property
    def units(self) -> int:
        return sum(part.states for part in self.described.parts)

    @property
    def cells(self) -> int:
        """Cell states besides the hidden ones."""
        return sum(part.cells for part in self.described.parts)

    @property
    def with_span(self) -> bool:
        """Whether the logarithm of the span is one more thing that the first part is fed."""
        return self.described.parts[0].with_span

    @property
    def features(self) -> int:
        """Values that the first part is fed at each step."""
        return self.preprocessing.n_inputs + self.with_span

    @property
    def longest_span(self) -> float:
        """Spans beyond it change nothing any more, and would only overflow."""
        return min(core.longest_span for core in self.cores)

    def bounded(self) -> bool:
        """Whether no input can make a state overflow in single precision, by its equations."""
        return all(core.bounded for core in self.cores) and self.reach() < LARGEST

    def reach(self) -> float:
        """A value that no sum on the way to a bounded state, or from it to the answers, exceeds."""
        source, peaks = float(LIMIT), [0.0]
        for stage in self.stages:
            most = max(source, stage.core.bound, LONGEST_LOG if stage.span_here else 0.0)
            peaks += [each for core in stage.cores for each in core.peaks(most)]
            source = stage.core.bound
        return max(*peaks, peak(self.readout, self.stages[-1].core.bound)) + self.task.change * LIMIT


def describe(model: Model, limits: Plausible | None = None, name: str = "model") -> Network:
    """The network of a model.

    Args:
        limits: None: those that its training part gives.
        name: an identifier.

    Raises:
        InputError: arithmetic that no generator here knows, by its name; weights that are no finite numbers.
    """
    described = description.describe(model)
    for part, one in zip(described.parts, model.network.chain, strict=True):
        if type(part.core) not in CORES:
            raise unknown(model.kind, type(getattr(one, "layer", one)))
    if not any(part.states for part in described.parts):
        raise InputError(f"a {model.kind} has no memory, and there is no C or ONNX for it; export a recurrent model")
    if any(part.projection is not None or part.output_map is not None for part in described.parts[:-1]):
        raise InputError("a layer that another one follows cannot be exported with a projection or an output mapping")
    found = Network(described, limits or plausible(model.preprocessing), name)
    _check(found)
    return found


def _check(network: Network) -> None:
    for array in arrays(*(core.data for core in network.cores), network.readout):
        if array.dtype == np.float64 and not (np.abs(array) < 3e38).all():
            raise InputError("a weight of the model is not a finite number; train it again")
    for core in network.cores:
        core.check()
    scales = network.preprocessing
    for name, std, mean in zip(scales.channels, scales.std, scales.mean, strict=True):
        if not (1e-30 < std < 1e30 and abs(mean) < 1e30):
            raise InputError(f"the channel {name!r} has a scale that single precision cannot hold: deviation {std:g}")
    if not 1e-30 < scales.time_scale < 1e30:
        raise InputError(f"the time scale {scales.time_scale:g} is one that single precision cannot hold")
    if not all(abs(v) < 1e30 for v in (*network.task.mean, *network.task.std, network.task.change)):
        raise InputError("the target has a scale that single precision cannot hold; scale it before training")
