"""A model: preprocessing, a network and a readout, from raw readings to answers in the target's unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchliquid.data.batch import Batch, batches
from torchliquid.data.preprocessing import Preprocessing, aligned
from torchliquid.data.recording import Recording
from torchliquid.data.windows import Windows
from torchliquid.errors import InputError
from torchliquid.models.calibration import Calibration
from torchliquid.models.networks import Network, State
from torchliquid.models.predictor import Predictor
from torchliquid.tasks import Task

CHUNK = 256
"""Number of samples per call while the state is carried on. It bounds the memory and does not change results."""

SIDE_BY_SIDE = 64
"""Number of series per call."""


@dataclass
class Sample:
    """A few scaled training windows: inputs (N, T, n), timespans (N, T), lengths (N,), and the model's outputs for them
    when it was saved, (N, T, K) or (N, K); None before it was saved."""

    inputs: Tensor
    timespans: Tensor
    lengths: Tensor
    outputs: Tensor | None = None


class Model(nn.Module, Predictor):
    """Preprocessing, network and readout, which are trained, compared, saved and deployed together.

    Attributes:
        kind: the kind of network, one of :data:`torchliquid.models.KINDS`.
        config: plain data to build the network from.
        task, preprocessing: fitted on the training part.
        metadata: plain data saved with the model: version, date, how it was trained, the meaning of the columns.
        sample: scaled training windows for self-tests and calibration; None if the model was not trained.
    """

    def __init__(
        self, kind: str, config: dict[str, Any], network: Network, task: Task, preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.kind = kind
        self.config = config
        self.task = task
        self.preprocessing = preprocessing
        self.metadata: dict[str, Any] = {}
        self.sample: Sample | None = None
        self.network = network
        self.readout = nn.Linear(network.output_size, task.n_outputs)

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, hx: State | None = None
    ) -> tuple[Tensor, State]:
        """Outputs for scaled inputs; :meth:`Task.decode` turns them into probabilities or values.

        Args:
            inputs: (B, T, n_inputs) from preprocessing.
            timespans: (B, T) in units of the model's time scale.
            lengths: (B,) samples of each sequence; None: all.
            hx: the state after an earlier piece of the same sequences.

        Returns:
            outputs (B, T, K) for a task per step. For a task per series (B, K), the readout of the mean of all samples'
            features so far. And the state after each sequence's last sample.
        """
        if self.task.per == "step":
            features, state = self.network(inputs, timespans, lengths, hx)
            outputs = self.readout(features)
            return self.task.with_last(outputs, inputs) if self.task.change else outputs, state
        state, (total, count) = (None, (None, None)) if hx is None else (hx[:-2], hx[-2:])
        features, state = self.network(inputs, timespans, lengths, state)
        # In double precision, because single cannot count beyond 2^24 samples. Apple's GPUs only have single.
        wide = torch.float32 if features.device.type == "mps" else torch.float64
        if lengths is None:
            new, n = features.sum(1, dtype=wide), features.new_full((len(features), 1), features.shape[1], dtype=wide)
        else:
            valid = torch.arange(features.shape[1], device=features.device) < lengths.unsqueeze(1)
            new = torch.where(valid.unsqueeze(2), features, 0.0).sum(1, dtype=wide)
            n = lengths.unsqueeze(1).to(wide)
        total, count = (new, n) if total is None or count is None else (total + new, count + n)
        return self.readout((total / count.clamp_min(1)).to(features.dtype)), (*state, total, count)

    # -- over recordings

    def outputs(
        self, recording: Recording, windows: Windows | None = None, progress: Callable[[int], object] | None = None
    ) -> list[np.ndarray]:
        """Decoded answers for each series, (T, K), or (K,) for a task per series.

        Args:
            recording: with all of the model's channels, in any order and among others; targets are not needed.
            windows: None: as in use, with the state carried on through each series. Otherwise each window starts with a
                fresh state. A sample's answer comes from the first window that scores it; a series' answer is the mean
                of its windows' answers.
            progress: called with the number of samples that have an answer, if ``windows`` is None.

        Raises:
            InputError: a channel is missing, or times have another unit.
        """
        recording = aligned(recording, self.preprocessing)
        with evaluating(self):
            return self._carried(recording, progress) if windows is None else self._windowed(recording, windows)

    def _carried(self, recording: Recording, progress: Callable[[int], object] | None) -> list[np.ndarray]:
        prepared = [self.preprocessing(s) for s in recording.series]
        longest_first = sorted(range(len(prepared)), key=lambda i: -len(prepared[i][0]))
        found: list[np.ndarray] = [np.empty(0)] * len(prepared)
        done = 0
        for i in range(0, len(prepared), SIDE_BY_SIDE):
            group = longest_first[i : i + SIDE_BY_SIDE]
            pieces: dict[int, list[np.ndarray]] = {i: [] for i in group}
            for members, raw in self._pieces([prepared[i] for i in group]):
                for place, output in zip(members, raw, strict=True):
                    pieces[group[place]].append(output)
                done += CHUNK * len(members)
                if progress is not None:
                    progress(min(done, recording.n_samples))
            for i, outputs in pieces.items():
                found[i] = np.concatenate(outputs) if self.task.per == "step" else outputs[-1]
        return [self.task.decode(f) for f in found]

    def _pieces(self, prepared: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[range, list[np.ndarray]]]:
        """Outputs of series, the longest first, piece by piece. Series that have ended drop out at the end of the
        batch."""
        device = self.readout.weight.device
        lengths = np.array([len(spans) for _, spans in prepared])
        state: State | None = None
        for start in range(0, max(int(lengths[0]), 1), CHUNK):
            active = max(int((lengths > start).sum()), 1)
            n = np.minimum(lengths[:active] - start, CHUNK)
            inputs = np.zeros((active, n[0], self.preprocessing.n_inputs), dtype=np.float32)
            spans = np.zeros((active, n[0]), dtype=np.float32)
            for row in range(active):
                inputs[row, : n[row]] = prepared[row][0][start : start + n[row]]
                spans[row, : n[row]] = prepared[row][1][start : start + n[row]]
            before = None if state is None else tuple(s[:active] for s in state)
            ends = None if (n == n[0]).all() else torch.from_numpy(n).to(device)
            raw, state = self(torch.from_numpy(inputs).to(device), torch.from_numpy(spans).to(device), ends, before)
            raw = raw.cpu().numpy()
            yield range(active), [raw[r, : n[r]] if self.task.per == "step" else raw[r] for r in range(active)]

    def _windowed(self, recording: Recording, windows: Windows) -> list[np.ndarray]:
        device = self.readout.weight.device
        k = self.task.n_outputs
        per_step = self.task.per == "step"
        found = [np.full((len(s), k) if per_step else (k,), np.nan if per_step else 0.0) for s in recording.series]
        count = np.zeros(len(found))
        windows = replace(windows, stride=min(windows.stride, windows.length - windows.burn_in))  # without gaps
        for batch in unlabelled_batches(self, recording, windows):
            raw, _ = self(batch.inputs.to(device), batch.timespans.to(device), batch.lengths.to(device))
            decoded = self.task.decode(raw.cpu().numpy())
            for row, (i, start, stop) in zip(decoded, batch.where, strict=True):
                if per_step:
                    new = found[i][start:stop]
                    fresh = np.isnan(new[:, 0])
                    fresh[: windows.scored_from(start)] = False
                    new[fresh] = row[: stop - start][fresh]
                else:
                    found[i] += row
                    count[i] += 1
        return found if per_step else [f / max(n, 1) for f, n in zip(found, count, strict=True)]

    # -- the model itself

    def numbers(self) -> Iterator[np.ndarray]:
        yield from (value.detach().cpu().numpy() for value in self.state_dict().values())

    def recalibrate(self, calibration: Calibration) -> None:
        """Put a calibration of the probabilities into the readout, where a stream and an export use it too."""
        with torch.no_grad():
            for parameter in (self.readout.weight, self.readout.bias):
                parameter /= calibration.temperature
            if calibration.shift:
                self.readout.bias[self.task.positive] += calibration.shift
        self.metadata["calibration"] = {"temperature": calibration.temperature, "shift": calibration.shift}

    @property
    def calibration(self) -> Calibration:
        """The last calibration, which the readout contains already."""
        return Calibration(**self.metadata.get("calibration", {}))

    def live_parameters(self) -> int:
        """Number of parameters that can change an output, without those that a wiring's mask switches off."""
        return self.network.live_parameters() + sum(p.numel() for p in self.readout.parameters())

    def self_test(self) -> float:
        """Largest difference between the outputs for the saved sample now and when the model was saved.

        Raises:
            InputError: the model has no sample, or the outputs differ by more than rounding.
        """
        if self.sample is None or self.sample.outputs is None:
            raise InputError("the model file holds no sample to test the model on; save it with one")
        now, then = self.on_sample(), self.sample.outputs
        difference = (now - then).abs().max().item() if now.numel() else 0.0
        if now.numel() and not difference <= 1e-3 * max(1.0, then.abs().max().item()):
            raise InputError(
                f"the model's outputs differ by {difference:.2g} from those it was saved with: "
                "the file was changed, or this machine computes wrongly; save the model again"
            )
        return difference

    def on_sample(self) -> Tensor:
        """Raw outputs for the sample; zeros after the end of a sequence."""
        assert self.sample is not None
        device = self.readout.weight.device
        one = self.sample
        with evaluating(self):
            outputs, _ = self(one.inputs.to(device), one.timespans.to(device), one.lengths.to(device))
        outputs = outputs.cpu()
        if self.task.per == "step":
            ended = torch.arange(outputs.shape[1]) >= one.lengths.unsqueeze(1)
            outputs = outputs.masked_fill(ended.unsqueeze(2), 0.0)
        return outputs


def unlabelled_batches(model: Model, recording: Recording, windows: Windows) -> Iterator[Batch]:
    """Windows of an aligned recording as inputs of a model, without targets."""
    blank = replace(recording, series=tuple(replace(s, targets=None) for s in recording.series))
    return batches(blank, model.preprocessing, replace(model.task, horizon=None), windows, SIDE_BY_SIDE)


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Put the model in evaluation mode without gradients, and restore its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
