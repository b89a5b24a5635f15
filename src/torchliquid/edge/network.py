"""A model prepared for export: its description, the plausible range of its readings, and the cores of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import LIMIT, Preprocessing
from torchliquid.edge.cores import CORES
from torchliquid.edge.cores.core import LARGEST, Core, peak
from torchliquid.edge.plausible import Plausible, plausible
from torchliquid.errors import InputError
from torchliquid.models import Model, description
from torchliquid.models.conformal import Interval
from torchliquid.models.description import Dense, Description, Part, Picture, arrays, unknown
from torchliquid.tasks import Task

LONGEST_LOG = 89.0
"""The largest logarithm of a span that a float can hold."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One part of the chain in C.

    Attributes:
        part: its description.
        cores: the cores that run for each sample, in this order; with mixed memory an LSTM, then the core.
        prefix: prefix of its names; empty if the network has one part.
        hidden, cell, waited: where its states begin among those of all parts: neurons, their memory, clocks.
        span_here: whether it reads the span and is not the first part, which gets it from the preprocessing.
    """

    part: Part
    cores: tuple[Core[Any], ...]
    prefix: str
    hidden: int
    cell: int
    waited: int
    span_here: bool = False

    @property
    def core(self) -> Core[Any]:
        return self.cores[-1]

    @property
    def first(self) -> int:
        """The slice of its outputs among all states."""
        return self.hidden + self.part.first


@dataclass(frozen=True, eq=False)
class Network:
    """A whole model.

    Attributes:
        described: its arrays.
        limits: which readings and gaps are plausible.
        name: name of the C's files, types and functions.
        interval: around the answers, if any.
    """

    described: Description
    limits: Plausible
    name: str = "model"
    interval: Interval | None = None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One stage per part."""
        parts = self.described.parts
        made: list[Stage] = []
        hidden = cell = waited = 0
        for i, part in enumerate(parts):
            prefix = f"part{i + 1}_" if len(parts) > 1 else ""
            datas = [part.core] if part.memory is None else [part.memory, part.core]
            cores = tuple(
                CORES[type(data)](data, part.inputs, part.units - part.clocks, self.name, prefix) for data in datas
            )
            made.append(Stage(part, cores, prefix, hidden, cell, waited, part.with_span and i > 0))
            hidden, cell, waited = hidden + part.neurons, cell + part.cells, waited + part.clocks
        return tuple(made)

    @property
    def cores(self) -> tuple[Core[Any], ...]:
        """The cores of all stages."""
        return tuple(core for stage in self.stages for core in stage.cores)

    @cached_property
    def readout(self) -> Dense:
        """The map from the last part's states to the outputs."""
        part, readout = self.described.parts[-1], self.described.readout
        readout = readout if part.projection is None else readout.after(part.projection)
        return readout if part.output_map is None else readout.after_affine(part.output_map)

    @property
    def preprocessing(self) -> Preprocessing:
        return self.described.preprocessing

    @property
    def task(self) -> Task:
        return self.described.task

    @property
    def units(self) -> int:
        """Number of neurons that keep a state."""
        return sum(part.neurons for part in self.described.parts)

    @property
    def clocks(self) -> int:
        """Number of times since a call, of a mixture's experts."""
        return sum(part.clocks for part in self.described.parts)

    @property
    def cells(self) -> int:
        """Number of cell states, besides the hidden states."""
        return sum(part.cells for part in self.described.parts)

    @property
    def with_span(self) -> bool:
        """Whether the logarithm of the span is one more input of the first part."""
        return self.described.parts[0].with_span

    @property
    def features(self) -> int:
        """Number of inputs of the first part at each step."""
        return self.preprocessing.n_inputs + self.with_span

    @property
    def longest_span(self) -> float:
        """Longer spans have the same effect and are cut here, because they would overflow."""
        return min(core.longest_span for core in self.cores)

    @property
    def averages(self) -> bool:
        """Whether the answer to a series is the mean over its samples."""
        return self.task.per == "series"

    @property
    def words(self) -> str:
        """The model in a few words."""
        stage = self.stages[-1]
        kind = stage.core.label + (" with mixed memory" if len(stage.cores) > 1 else "")
        layers = sum(part.states > 0 for part in self.described.parts)
        kind = kind if layers == 1 else f"{layers} layers of {kind}"
        encoded = " behind convolutions" if self._seen else " behind dense layers" if layers < len(self.stages) else ""
        return f"{kind} of {self.units} neurons{encoded}"

    @property
    def _seen(self) -> bool:
        return any(type(part.core) is Picture for part in self.described.parts)

    @cached_property
    def pixels(self) -> frozenset[int]:
        """Places of readings that need no name: a picture's, but its first."""
        found: list[int] = []
        places = list(range(self.preprocessing.n_channels))
        for part in self.described.parts:
            if type(part.core) is Picture:
                own = places[part.core.start : part.core.start + part.core.size]
                found += own[1:]
                places = [place for place in places if place not in set(own)]
        return frozenset(found)

    @property
    def alike(self) -> bool:
        """Whether all readings have one scale, as pixels do: that of the first stands for all."""
        scales = self.preprocessing
        return self._seen and bool((scales.mean == scales.mean[0]).all() and (scales.unit == scales.unit[0]).all())

    def with_cores(self, cores: Mapping[int, Any]) -> Network:
        """The same with other arrays in these parts."""
        parts = tuple(replace(p, core=cores.get(i, p.core)) for i, p in enumerate(self.described.parts))
        return replace(self, described=replace(self.described, parts=parts))

    def bounded(self) -> bool:
        """Whether the equations rule out that a state overflows in single precision, for every input."""
        return all(core.bounded for core in self.cores) and self.reach() < LARGEST

    def reach(self) -> float:
        """Bound of every sum on the way to a bounded state, and from it to the outputs."""
        source, peaks = float(LIMIT), [0.0]
        for stage in self.stages:
            most = max(source, stage.core.bound, LONGEST_LOG if stage.span_here else 0.0)
            peaks += [each for core in stage.cores for each in core.peaks(most)]
            source = stage.core.bound
        return max(*peaks, peak(self.readout, self.stages[-1].core.bound)) + self.task.change * LIMIT


def describe(model: Model, limits: Plausible | None = None, name: str = "model") -> Network:
    """The network of a model.

    Args:
        limits: which readings and gaps are plausible; None: from the model's training part.
        name: an identifier.

    Raises:
        InputError: a part cannot be exported (the message names it), or a weight is not finite.
    """
    described = description.describe(model)
    for part, one in zip(described.parts, model.network.chain, strict=True):
        if any(type(each.core) not in CORES for each in (part, *part.inner)):
            raise unknown(model.kind, type(getattr(one, "layer", one)))
        if any(each.inner for each in part.inner):
            raise InputError(
                "a mixture among a mixture's experts can't be exported; let their experts stand side by side"
            )
    if not any(part.states for part in described.parts):
        raise InputError(f"a {model.kind} has no memory and cannot be exported as C or ONNX; export a recurrent model")
    if any(part.projection is not None or part.output_map is not None for part in described.parts[:-1]):
        raise InputError("only the last layer can be exported with a projection or an output mapping")
    found = Network(described, limits or plausible(model.preprocessing), name, Interval.of(model))
    for array in arrays(*(core.data for core in found.cores), found.readout):
        if array.dtype == np.float64 and not (np.abs(array) < 3e38).all():
            raise InputError("a weight of the model is not a finite number; train it again")
    for core in found.cores:
        core.check()
    check_scales(found.preprocessing, found.task)
    return found


def check_scales(scales: Preprocessing, task: Task) -> None:
    """Whether single precision holds them.

    Raises:
        InputError: it does not.
    """
    for name, std, mean in zip(scales.channels, scales.std, scales.mean, strict=True):
        if not (1e-30 < std < 1e30 and abs(mean) < 1e30):
            raise InputError(
                f"single precision cannot hold the scale of the channel {name!r}: its standard deviation is {std:g}"
            )
    if not 1e-30 < scales.time_scale < 1e30:
        raise InputError(f"single precision cannot hold the time scale {scales.time_scale:g}; use another unit of time")
    if not all(abs(v) < 1e30 for v in (*task.mean, *task.std, task.change)):
        raise InputError("single precision cannot hold the target's scale; scale the target before training")
