"""Measures how large a network's inner values get on its training sample, to scale its integers."""

from __future__ import annotations

import numpy as np
import torch

from torchliquid.edge import parity
from torchliquid.edge.cores.core import Ranges, largest
from torchliquid.edge.network import Network
from torchliquid.edge.parity import Walk
from torchliquid.models import Model
from torchliquid.models.description import Lstm
from torchliquid.models.networks import with_spans


def ranges(model: Model, network: Network, walked: Walk) -> tuple[Ranges, ...]:
    """Measure the ranges in each part. Before each sample the state is set to PyTorch's."""
    x, spans = parity.fed(model.preprocessing, (walked.inputs, walked.elapsed, walked.reset), network.limits)
    found = []
    for stage in network.stages:
        part = stage.part
        x = with_spans(torch.from_numpy(x), torch.from_numpy(spans)).numpy() if part.with_span else x
        after, cell = (
            states[:, at : at + n]
            for states, at, n in ((walked.hidden, stage.hidden, part.neurons), (walked.cell, stage.cell, part.cells))
        )
        seen = Ranges(np.abs(x).max(0, initial=0.0), largest(after), largest(cell))
        before = _before(after, walked)
        if part.memory is not None:
            before = _remembered(part.memory, x, before, _before(cell, walked))
            seen.state = max(seen.state, 1.0)
        stage.core.measure(seen, x.astype(np.float64), before.astype(np.float64), after.astype(np.float64))
        found.append(seen)
        if stage.core.answers:
            x = stage.core.answer(x, after)
        else:
            x = after[:, part.first : part.first + part.outputs] if part.states else stage.core.map(x)
    return tuple(found)


def _before(states: np.ndarray, walked: Walk) -> np.ndarray:
    return np.where(walked.reset[:, None], 0, np.roll(states, 1, 0))


def _remembered(memory: Lstm, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The output h of the memory after a sample."""
    rows = memory.gates(np.concatenate([x, h], 1).astype(np.float64))
    enter, keep, candidate, out = torch.from_numpy(rows).chunk(4, 1)
    cell = keep.sigmoid() * torch.from_numpy(c) + enter.sigmoid() * candidate.tanh()
    made: np.ndarray = (out.sigmoid() * cell.tanh()).numpy()
    return made
