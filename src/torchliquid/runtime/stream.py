"""Models and layers on live samples, one at a time, the state kept between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from torchliquid.alarms import AlarmState
from torchliquid.errors import InputError
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.model import Model
from torchliquid.runtime.stepper import compiled

Recurrence = Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]]
"""From inputs (n, 1, C), timespans (n, 1) and a state to outputs and the new state; None is the first state."""


@overload
def stream(model_or_layer: Model, n: int = 1) -> ModelStream: ...
@overload
def stream(model_or_layer: RecurrentLayer | nn.LSTM | nn.GRU, n: int = 1) -> LayerStream: ...
def stream(model_or_layer: nn.Module, n: int = 1) -> ModelStream | LayerStream:
    """Run a model, or a bare layer, on ``n`` live streams at once.

    Args:
        model_or_layer: a :class:`Model`, fed raw readings, or a layer (``LTC``, ``CfC`` and their relatives,
            ``nn.LSTM``, ``nn.GRU`` of one layer in one direction), fed as it is. It is put in evaluation mode, and
            its weights must not change afterwards.
        n: streams that go on side by side, each with its own state.

    Raises:
        InputError: something else was given, or less than one stream.
    """
    if n < 1:
        raise InputError(f"a stream needs n of 1 or more, not {n}")
    if isinstance(model_or_layer, Model):
        return ModelStream(model_or_layer, n)
    if isinstance(model_or_layer, RecurrentLayer | nn.LSTM | nn.GRU):
        return LayerStream(model_or_layer, n)
    raise InputError(f"a Model or a layer can be streamed, not a {type(model_or_layer).__name__}")


class LayerStream:
    """A bare layer: samples in, outputs out.

    Attributes:
        n: streams side by side; with one, arrays have no dimension for it.
    """

    def __init__(self, layer: RecurrentLayer | nn.LSTM | nn.GRU, n: int = 1) -> None:
        if isinstance(layer, nn.LSTM | nn.GRU) and (layer.num_layers > 1 or layer.bidirectional):
            raise InputError("a stream takes an LSTM or a GRU of one layer in one direction")
        self.n = n
        self._core = _Core(_gated(layer) if isinstance(layer, nn.LSTM | nn.GRU) else _liquid(layer), layer, n)

    def step(self, values: np.ndarray | Sequence[float], elapsed: float | np.ndarray | None = None) -> np.ndarray:
        """One sample of each stream.

        Args:
            values: (C,), or (n, C) of several streams.
            elapsed: time since the sample before, in the layer's own unit, a number or (n,); None: 1.

        Returns:
            (O,), or (n, O), float32.
        """
        if (answer := self._core.fast(values, elapsed)) is not None:
            return answer
        inputs = _shaped(values, self.n, self._core.input_size)
        spans = np.float32(1.0) if elapsed is None else _elapsed(elapsed, self.n).astype(np.float32)
        spans = np.broadcast_to(spans, self.n)
        outputs = self._core.step(inputs.astype(np.float32), spans)
        return outputs if self.n > 1 else outputs[0]

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        """Copies of the state's parts, (n, ...) each; they can be set again."""
        return self._core.state

    @state.setter
    def state(self, parts: Sequence[np.ndarray]) -> None:
        self._core.state = tuple(parts)

    def reset(self, which: Sequence[int] | np.ndarray | None = None) -> None:
        """Begin anew: all streams, or those named."""
        self._core.reset(_rows(which))


class ModelStream:
    """A model: raw readings in, probabilities or values in the target's unit out; it is put in evaluation mode.

    Attributes:
        model: whose answers are given.
        n: streams side by side; with one, arrays have no dimension for it.
        alarm: whether an alarm is on after the last sample, a bool, or (n,) of several streams; None where the model's
            task has no alarms.
    """

    def __init__(self, model: Model, n: int = 1) -> None:
        self.model = model
        self.n = n
        rule = model.task.alarm if model.task.per == "step" else None
        self._alarms = [AlarmState(rule) for _ in range(n)] if rule and rule.threshold is not None else []
        self._held = np.zeros((n, model.preprocessing.n_channels))
        self._started = np.zeros(n, dtype=bool)
        self._core = _Core(lambda x, spans, hx: model(x, spans, None, hx), model, n, self._held, self._started)

    def step(self, values: np.ndarray | Sequence[float], elapsed: float | np.ndarray | None = None) -> np.ndarray:
        """One sample of each stream.

        Args:
            values: (C,) raw readings in the order of the model's channels, or (n, C) of several streams; NaN where
                not observed.
            elapsed: time since the sample before, in the recording's unit, a number or (n,). A stream's first is not
                used; None, NaN, a negative or an infinite one counts as the usual gap.

        Returns:
            (K,), or (n, K), float64: the classes' probabilities in the order of ``model.task.labels``, or values. Of a
            task per series, the answer to the series so far.
        """
        answer = self._answer(values, elapsed)
        if self._alarms:
            self._follow(answer, elapsed)
        return answer

    def _answer(self, values: np.ndarray | Sequence[float], elapsed: float | np.ndarray | None) -> np.ndarray:
        if (fast := self._core.fast(values, elapsed)) is not None:
            return fast
        rule = self.model.preprocessing
        # What Preprocessing does with a series, for one sample of n streams.
        scaled = rule.scaled(_shaped(values, self.n, rule.n_channels))
        observed = ~np.isnan(scaled)
        np.copyto(self._held, scaled, where=observed)
        inputs = np.concatenate([self._held, observed], 1) if rule.with_mask else self._held
        spans = rule.spans(_elapsed(np.nan if elapsed is None else elapsed, self.n))
        spans = np.where(self._started, spans, np.float32(1.0))
        self._started[:] = True
        answer = self.model.task.decode(self._core.step(inputs.astype(np.float32), spans))
        return answer if self.n > 1 else answer[0]

    def label(self, probabilities: np.ndarray) -> Any:
        """The name of the class that is answered, by the alarm's threshold where the task has one, else the likeliest;
        None where the numbers are not finite; of several streams an array of names."""
        task = self.model.task
        names = np.array([*task.labels, None], dtype=object)
        return names[np.where(np.isfinite(probabilities).all(-1), task.decide(probabilities), -1)]

    @property
    def alarm(self) -> bool | np.ndarray | None:
        if not self._alarms:
            return None
        return self._alarms[0].on if self.n == 1 else np.array([alarm.on for alarm in self._alarms])

    def _follow(self, answer: np.ndarray, elapsed: float | np.ndarray | None) -> None:
        task, rule = self.model.task, self.model.preprocessing
        over = np.atleast_1d(task.decide(answer) == task.positive)
        spans = rule.spans(_elapsed(np.nan if elapsed is None else elapsed, self.n)) * rule.time_scale
        for alarm, one, span in zip(self._alarms, over, np.broadcast_to(spans, self.n), strict=True):
            alarm.step(bool(one), float(span))

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        """Copies of what is remembered, (n, ...) each: readings held, whether a sample came, the network's parts, and
        of a task with alarms whether each is on, and since when."""
        alarms = (np.array([alarm.state for alarm in self._alarms]),) if self._alarms else ()
        return (self._held.copy(), self._started.copy(), *self._core.state, *alarms)

    @state.setter
    def state(self, parts: Sequence[np.ndarray]) -> None:
        held, started, *network = parts
        alarms = network.pop() if self._alarms and network else np.empty(0)
        if self._alarms and np.shape(alarms) != (self.n, 3):
            raise InputError(f"the alarms' state has shape {np.shape(alarms)}; {(self.n, 3)} is needed")
        if np.shape(held) != self._held.shape or np.shape(started) != self._started.shape:
            given = [np.shape(held), np.shape(started)]
            raise InputError(f"what is held has shapes {given}; {[self._held.shape, self._started.shape]} are needed")
        self._core.state = tuple(network)
        self._held[...] = held
        self._started[...] = started
        for alarm, state in zip(self._alarms, alarms, strict=True):
            alarm.state = tuple(state)

    def reset(self, which: Sequence[int] | np.ndarray | None = None) -> None:
        """Begin anew: all streams, or those named."""
        rows = _rows(which)
        self._held[rows] = 0.0
        self._started[rows] = False
        self._core.reset(rows)
        for alarm in np.array(self._alarms, dtype=object)[rows] if self._alarms else ():
            alarm.reset()


class _Core:
    """One step of a recurrence after the other, in float32 on the processor: compiled where it can be."""

    def __init__(
        self,
        recurrence: Recurrence,
        module: Model | RecurrentLayer | nn.LSTM | nn.GRU,
        n: int,
        held: np.ndarray | None = None,
        started: np.ndarray | None = None,
    ) -> None:
        self.recurrence = recurrence
        self.input_size = module.preprocessing.n_inputs if isinstance(module, Model) else module.input_size
        module.eval()
        parameter = next(module.parameters())
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
            raise InputError(f"a stream runs float32 on the CPU, not {parameter.dtype} on {parameter.device}")
        with torch.inference_mode():
            outputs, after = recurrence(torch.zeros(n, 1, self.input_size), torch.ones(n, 1), None)
        self._parts = tuple(np.zeros(part.shape, part.numpy().dtype) for part in _parts(after))
        self._single = not isinstance(after, tuple)
        self._stepper = compiled(module, self._parts, held, started)
        self._out_shape = (n, outputs.shape[-1]) if n > 1 else outputs.shape[-1]
        self._out_type = np.float64 if isinstance(module, Model) else np.float32

    def fast(self, values: Any, elapsed: Any) -> np.ndarray | None:
        """The answer of the compiled stepper; None, with nothing done, where it does not take the sample as it is."""
        if self._stepper is None:
            return None
        out: np.ndarray = np.empty(self._out_shape, self._out_type)
        if self._stepper.step(values, elapsed, out):
            return out
        # A list, a column of a table, another type, a number of NumPy's.
        plain = np.ascontiguousarray(values, dtype=np.float64)
        if elapsed is not None:
            elapsed = float(elapsed) if np.ndim(elapsed) == 0 else np.ascontiguousarray(elapsed, dtype=np.float64)
        return out if self._stepper.step(plain, elapsed, out) else None

    def step(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x, t = torch.from_numpy(inputs), torch.tensor(spans)
            state = tuple(torch.from_numpy(part) for part in self._parts)
            outputs, after = self.recurrence(x.unsqueeze(1), t.unsqueeze(1), state[0] if self._single else state)
            for part, new in zip(self._parts, _parts(after), strict=True):
                part[...] = new.numpy()
            array: np.ndarray = (outputs[:, 0] if outputs.ndim == 3 else outputs).numpy()
            return array

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        return tuple(part.copy() for part in self._parts)

    @state.setter
    def state(self, parts: tuple[np.ndarray, ...]) -> None:
        want = [part.shape for part in self._parts]
        given = [np.shape(part) for part in parts]
        if want != given:
            raise InputError(f"the state has parts of shapes {given}; {want} are needed")
        for part, new in zip(self._parts, parts, strict=True):
            part[...] = new

    def reset(self, rows: Any) -> None:
        for part in self._parts:
            part[rows] = 0.0


def _liquid(layer: RecurrentLayer) -> Recurrence:
    if not (layer.batch_first and layer.return_sequences):
        raise InputError("a stream takes layers with batch_first=True and return_sequences=True")
    return lambda x, spans, hx: layer(x, hx, timespans=spans)


def _gated(layer: nn.LSTM | nn.GRU) -> Recurrence:
    """Time plays no part; states lead with the layer's dimension, ours with the stream's."""

    def recur(x: Tensor, spans: Tensor, hx: Any) -> tuple[Tensor, Any]:
        if hx is not None:
            hx = tuple(part.unsqueeze(0) for part in hx) if isinstance(hx, tuple) else hx.unsqueeze(0)
        outputs, hx = layer(x if layer.batch_first else x.transpose(0, 1), hx)
        after = tuple(part.squeeze(0) for part in hx) if isinstance(hx, tuple) else hx.squeeze(0)
        return outputs if layer.batch_first else outputs.transpose(0, 1), after

    return recur


def _parts(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def _rows(which: Sequence[int] | np.ndarray | None) -> Any:
    if which is None:
        return slice(None)
    rows = np.asarray(which)
    return rows if rows.size else np.empty(0, dtype=np.intp)


def _elapsed(elapsed: float | np.ndarray, n: int) -> np.ndarray:
    array = np.asarray(elapsed, dtype=np.float64)
    if array.shape not in ((), (1,), (n,)):
        raise InputError(f"elapsed has shape {array.shape}; a number or {(n,)} is needed")
    return array


def _shaped(values: np.ndarray | Sequence[float], n: int, width: int) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape == ((width,) if n == 1 else (n, width)) or array.shape == (n, width):
        return array.reshape(n, width)
    raise InputError(f"a sample has shape {array.shape}; {(width,) if n == 1 else (n, width)} is needed")
