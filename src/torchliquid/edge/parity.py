"""Python's outputs for a recording, step by step, and how far a compiled export is from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from torchliquid.data.preprocessing import Preprocessing, aligned
from torchliquid.data.recording import Recording
from torchliquid.data.windows import Windows
from torchliquid.edge.emulator import RESET, SET_STATE, Replayed, record_types
from torchliquid.edge.generate import Field
from torchliquid.edge.plausible import Plausible
from torchliquid.errors import InputError
from torchliquid.models import Model, description
from torchliquid.models.model import Sample, evaluating, unlabelled_batches
from torchliquid.models.predictor import Predictor
from torchliquid.models.sample import LENGTH, covering
from torchliquid.models.tabular import Tabular
from torchliquid.runtime.stream import ModelStream

MATCHING = 16
"""Number of rows by which a piece of one recording is recognised in another."""

Samples = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Raw inputs (T, C), elapsed times (T,) and where a series starts (T,)."""


def _nothing() -> np.ndarray:
    return np.empty(0, np.float32)


@dataclass(frozen=True, eq=False)
class Walk:
    """Samples as a device gets them, and PyTorch's answer to each.

    Attributes:
        inputs (T, C), elapsed (T,): raw, float32.
        reset (T,): where the state starts again.
        outputs (T, K): answers, as :meth:`Task.decode` returns them.
        hidden (T, H), cell (T, H or 0), mean, rest (T, K or 0): the state after each sample; of tables there is none.
        waited (T, E): the time since each expert of a mixture was called, after each sample.
        probabilities: whether the outputs are probabilities.
    """

    inputs: np.ndarray
    elapsed: np.ndarray
    reset: np.ndarray
    outputs: np.ndarray
    hidden: np.ndarray = field(default_factory=_nothing)
    cell: np.ndarray = field(default_factory=_nothing)
    mean: np.ndarray = field(default_factory=_nothing)
    rest: np.ndarray = field(default_factory=_nothing)
    waited: np.ndarray = field(default_factory=_nothing)
    probabilities: bool = False

    @property
    def samples(self) -> np.ndarray:
        """(T,) number of samples since the state started."""
        at = np.arange(len(self))
        return at + 1 - np.maximum.accumulate(np.where(self.reset, at, 0))

    @property
    def spread(self) -> np.ndarray:
        """(K,) the unit in which differences of an output are measured: its standard deviation.

        For an output that hardly moves it is that of the output that moves most. It is at least a thousandth for
        probabilities, and ten thousand times the last bit for values, because no float is finer.
        """
        own = self.outputs.std(0)
        bits = 1e4 * float(np.finfo(np.float32).eps) * float(np.abs(self.outputs).max(initial=0.0))
        return np.maximum(own, max(1e-3 * float(own.max()), 1e-3 if self.probabilities else bits, 1e-30))

    def __len__(self) -> int:
        return len(self.elapsed)


def samples_of(model: Predictor, recording: Recording, most: int = 10_000) -> Samples:
    """Up to ``most`` samples of a recording: raw inputs (T, C), elapsed times (T,) and where a series starts (T,)."""
    inputs, elapsed, reset = [], [], []
    left = most
    for series in aligned(recording, model.preprocessing).series:
        n = min(len(series), left)
        inputs.append(series.values[:n])
        elapsed.append(np.diff(series.times[:n], prepend=series.times[:1] - model.preprocessing.time_scale))
        reset.append(np.arange(n) == 0)
        left -= n
    with np.errstate(over="ignore"):
        return (
            np.concatenate(inputs).astype(np.float32),
            np.concatenate(elapsed).astype(np.float32),
            np.concatenate(reset),
        )


def samples_of_pieces(scales: Preprocessing, sample: Sample) -> Samples:
    """Raw samples from scaled pieces, such as the training sample in a model file."""
    valid = torch.arange(sample.timespans.shape[1]) < sample.lengths.unsqueeze(1)
    scaled = sample.inputs[valid].double().numpy()
    values = scaled[:, : scales.n_channels] * scales.std + scales.mean
    if scales.with_mask:
        values[scaled[:, scales.n_channels :] < 0.5] = np.nan
    reset = np.zeros(valid.shape, dtype=bool)
    reset[:, 0] = True
    elapsed = sample.timespans[valid].double().numpy() * scales.time_scale
    return values.astype(np.float32), elapsed.astype(np.float32), reset[valid.numpy()]


def samples_of_model(model: Model, most: int = 1024) -> Samples:
    """Up to ``most`` samples of the training sample in a model file, as evenly chosen pieces.

    Raises:
        InputError: the file holds none.
    """
    sample = carried(model)
    n = max(1, most // sample.timespans.shape[1])
    places = np.unique(np.linspace(0, len(sample.lengths) - 1, n).round().astype(int))
    return samples_of_pieces(model.preprocessing, pieces(sample, places))


def samples_covering(model: Model, recording: Recording) -> Samples:
    """Samples of a recording, as pieces that cover it, with its extremes."""
    windows = Windows(LENGTH, LENGTH)
    cut = list(unlabelled_batches(model, aligned(recording, model.preprocessing), windows))
    return samples_of_pieces(model.preprocessing, covering(cut))


def halves(samples: Samples) -> tuple[Samples, Samples]:
    """Divide samples in two: every second series and the others. If the series are too uneven for that, or there is
    only one, the rows before and after the middle, where the second half starts a new series.

    Raises:
        InputError: there are too few samples.
    """
    inputs, elapsed, reset = samples
    n = len(elapsed)
    if n < 2:
        raise InputError("one sample can't both choose an export's integers and measure their error: give more samples")
    second = np.cumsum(reset) % 2 == 0
    if not n / 4 <= second.sum() <= n * 3 / 4:
        second = np.arange(n) >= n // 2
        reset = reset | (np.arange(n) == n // 2)
    first = ~second
    return (inputs[first], elapsed[first], reset[first]), (inputs[second], elapsed[second], reset[second])


def repeated(scales: Preprocessing, scaled_by: Samples, others: Samples) -> float:
    """The share of the pieces that set the integers' scales whose last rows are also found in ``others``. Pieces of the
    training part, for example, are found in the file that the model was trained on. Constant rows do not count."""

    def rows(samples: Samples) -> np.ndarray:
        inputs = samples[0].astype(np.float64)
        last = np.maximum.accumulate(np.where(np.isnan(inputs), 0, np.arange(len(inputs))[:, None]), 0)
        held = np.take_along_axis(inputs, last, 0)
        scaled = np.clip(np.nan_to_num((held - scales.mean) / scales.unit), -1e6, 1e6)
        window = min(MATCHING, len(inputs))
        found: np.ndarray = sliding_window_view(np.rint(scaled * 100).astype(np.int32), window, 0)
        return found

    ends = np.append(np.flatnonzero(scaled_by[2])[1:], len(scaled_by[1]))
    pieces = rows(scaled_by)[[end - MATCHING for end in ends if end >= MATCHING]]
    seen = {piece.tobytes() for piece in pieces if np.ptp(piece, axis=1).any()}
    there = {row.tobytes() for row in rows(others)}
    return len(seen & there) / len(seen) if seen else 0.0


def split(model: Model) -> tuple[Sample, Sample | None]:
    """The pieces of a model's sample to calibrate on, with every extreme, and others to measure on; None if there are
    too few.

    Raises:
        InputError: the model has no sample.
    """
    sample = carried(model)
    ended = torch.arange(sample.timespans.shape[1]) >= sample.lengths.unsqueeze(1)
    values = torch.cat([sample.inputs, sample.timespans.unsqueeze(2)], 2)
    lowest = values.masked_fill(ended.unsqueeze(2), torch.inf).amin(1)
    highest = values.masked_fill(ended.unsqueeze(2), -torch.inf).amax(1)
    extreme = set(lowest.argmin(0).tolist()) | set(highest.argmax(0).tolist())
    others = [i for i in range(len(sample.lengths)) if i not in extreme]
    measured = others[1::2]
    if not measured:
        return sample, None
    rest = sorted(set(range(len(sample.lengths))) - set(measured))
    return pieces(sample, np.array(rest)), pieces(sample, np.array(measured))


def carried(model: Model) -> Sample:
    """A model's sample.

    Raises:
        InputError: the model has none.
    """
    if model.sample is None or not len(model.sample.lengths):
        raise InputError(
            "the model file holds no sample of the training data: save the model with one, or give --calibrate"
        )
    return model.sample


def pieces(sample: Sample, places: np.ndarray) -> Sample:
    """The pieces of a sample at these indices."""
    return Sample(sample.inputs[places], sample.timespans[places], sample.lengths[places])


def made_up(scales: Preprocessing, count: int) -> Samples:
    """``count`` synthetic samples: a random walk around the training means."""
    values = scales.mean + scales.std * np.cumsum(
        np.random.default_rng(0).normal(size=(count, scales.n_channels)) * 0.3, 0
    )
    return values.astype(np.float32), np.full(count, scales.time_scale, dtype=np.float32), np.arange(count) == 0


def walk(
    model: Model | Tabular, inputs: np.ndarray, elapsed: np.ndarray, reset: np.ndarray, limits: Plausible | None = None
) -> Walk:
    """Run the model, one sample after the other. It does not see readings beyond ``limits`` that were set by hand."""
    if isinstance(model, Tabular):
        return _walk_table(model, (inputs, elapsed, reset), limits)
    x, spans = fed(model.preprocessing, (inputs, elapsed, reset), limits)
    per_series, state = model.task.per == "series", None
    raws, hidden, cell = [], [], []
    with evaluating(model):
        for row, span, begins in zip(torch.from_numpy(x), torch.from_numpy(spans), reset, strict=True):
            raw, state = model(row[None, None], span[None, None], None, None if begins else state)
            states = model.network.own_states(state[:-2] if per_series else state)
            raws.append(raw.reshape(-1).numpy())
            hidden.append(_side_by_side([each[0] for each in states if each]))
            cell.append(_side_by_side([each[1] for each in states if len(each) > 1]))
    outputs, after = np.stack(raws), np.stack(hidden)
    mean = outputs if per_series else outputs[:, :0]
    own = of_neurons(model)
    return Walk(
        inputs, elapsed, reset, model.task.decode(outputs), after[:, own], np.stack(cell), mean, np.zeros_like(mean),
        after[:, ~own], model.task.kind == "classification",
    )  # fmt: skip


def fed(scales: Preprocessing, samples: Samples, limits: Plausible | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What a model is fed: features (T, F) and spans (T,), float32. Readings and gaps beyond ``limits`` set by hand
    count as missing."""
    inputs, elapsed, reset = samples
    readings, times = (inputs, elapsed) if limits is None else limits.cleaned(inputs, elapsed)
    hold, rows, spans = scales.start(), [], []
    for values, time, begins in zip(readings, times, reset, strict=True):
        hold = scales.start() if begins else hold
        x, span = scales.step(hold, values.astype(np.float64), float(time))
        rows.append(x)
        spans.append(span)
    return np.stack(rows), np.array(spans, dtype=np.float32)


def _walk_table(model: Tabular, samples: Samples, limits: Plausible | None) -> Walk:
    """By the live stream, whose state is nothing but the last samples."""
    inputs, elapsed, reset = samples
    readings, times = (inputs, elapsed) if limits is None else limits.cleaned(inputs, elapsed)
    stream, outputs = ModelStream(model), []
    spans = np.where(times >= 0, times, np.nan).astype(np.float64)  # what is no time is the usual gap
    for values, span, begins in zip(readings, spans, reset, strict=True):
        if begins:
            stream.reset()
        outputs.append(stream.step(values.astype(np.float64), float(span)))
    return Walk(*samples, np.stack(outputs), probabilities=model.task.kind == "classification")


def of_neurons(model: Model) -> np.ndarray:
    """(H,) which of a network's states are neurons'; the others are times since a call, of a mixture's experts."""
    found: list[np.ndarray] = [np.empty(0, dtype=bool)]
    for part in description.describe(model).parts:
        found += [np.ones(part.neurons, dtype=bool), np.zeros(part.clocks, dtype=bool)]
    return np.concatenate(found)


def _side_by_side(states: list[torch.Tensor]) -> np.ndarray:
    return np.concatenate([each[0].numpy() for each in states]) if states else np.empty(0, np.float32)


def records(walked: Walk, fields: Sequence[Field], same_state: bool) -> tuple[np.ndarray, np.dtype]:
    """The samples as the program's records, and the type of its answers.

    Args:
        same_state: before each sample, set the state to PyTorch's.
    """
    given, found = record_types(walked.inputs.shape[1], walked.outputs.shape[1], list(fields))
    made = np.zeros(len(walked), dtype=given)
    made["inputs"], made["elapsed"] = walked.inputs, walked.elapsed
    made["flags"] = np.where(walked.reset, RESET, 0)
    if same_state:
        follows = np.flatnonzero(~walked.reset[1:]) + 1
        made["flags"][follows] |= SET_STATE
        for name in given["state"].names or ():
            made["state"][name][follows] = getattr(walked, name)[follows - 1]
    return made, found


def differences(walked: Walk, found: Replayed) -> np.ndarray:
    """(T,) of each sample the largest difference of an output, in its spread."""
    off: np.ndarray = np.abs(found.records["outputs"] - walked.outputs) / walked.spread
    return off.max(1)


def agreement(walked: Walk, found: Replayed) -> float:
    """The share of the samples at which a mixture calls the experts that it calls in Python."""
    return float(((found.records["state"]["waited"] == 0) == (walked.waited == 0)).all(1).mean())


def largest_difference(walked: Walk, found: Replayed) -> float:
    """Largest difference of an output, in units of its spread."""
    return float(differences(walked, found).max(initial=0.0))
