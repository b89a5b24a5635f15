"""Runs models and layers on live samples, one at a time, and keeps their state."""

from __future__ import annotations

import logging
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torchliquid.alarms import AlarmState
from torchliquid.data import given
from torchliquid.errors import InputError, printable
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.conformal import Band, Interval
from torchliquid.models.model import Model
from torchliquid.models.predictor import Predictor, set_state
from torchliquid.models.tabular import Tabular, TabularSteps
from torchliquid.runtime import table
from torchliquid.runtime.stepper import compiled

log = logging.getLogger(__name__)

LARGEST = 2.0**60
"""Largest number in a state. A step that would exceed it is a fault in exported C too."""

Recurrence = Callable[[Tensor, Tensor, Any], tuple[Tensor, Any]]
"""From inputs (n, 1, C), timespans (n, 1) and a state to outputs and the new state; None: the initial state."""


@overload
def stream(model_or_layer: Predictor, n: int = 1) -> ModelStream: ...
@overload
def stream(model_or_layer: RecurrentLayer | nn.LSTM | nn.GRU, n: int = 1) -> LayerStream: ...
def stream(model_or_layer: Predictor | nn.Module, n: int = 1) -> ModelStream | LayerStream:
    """Run a model, or a layer, on ``n`` parallel live streams.

    Args:
        model_or_layer: any model (:class:`Model`, :class:`~torchliquid.models.Tabular`,
            :class:`~torchliquid.models.Naive`), which gets raw readings; a policy, which gets observations and returns
            actions (:class:`torchliquid.runtime.policy.PolicyStream`); or a layer (``LTC``, ``CfC`` and their
            relatives, ``nn.LSTM``, ``nn.GRU``, stacked or not), which gets its inputs. It is put in evaluation mode,
            and its weights must not change afterwards.
        n: number of parallel streams, each with its own state.

    Raises:
        InputError: the first argument is neither a model nor a layer, or a bidirectional layer; or ``n`` is below 1.
    """
    if n < 1:
        raise InputError(f"n must be 1 or more, not {n}")
    if isinstance(model_or_layer, Predictor):
        return model_or_layer.live(n)
    if isinstance(model_or_layer, RecurrentLayer | nn.LSTM | nn.GRU):
        return LayerStream(model_or_layer, n)
    raise InputError(f"only a model or a layer can be streamed, not a {type(model_or_layer).__name__}")


class LayerStream:
    """A layer on live samples, from :func:`stream`.

    Attributes:
        n: number of parallel streams; if it is 1, arrays have no dimension for it.
    """

    def __init__(self, layer: RecurrentLayer | nn.LSTM | nn.GRU, n: int = 1) -> None:
        if layer.bidirectional:
            raise InputError("a bidirectional layer cannot be streamed, because it needs future samples")
        self.n = n
        self.layer = layer
        self._prepare()

    def _prepare(self) -> None:
        self._core = _Core(_by_layer(self.layer), self.layer, self.n)

    def __getstate__(self) -> dict[str, Any]:
        return {"n": self.n, "layer": self.layer, "parts": self._core.state}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.n, self.layer = kept["n"], kept["layer"]
        self._prepare()
        self._core.state = kept["parts"]

    def step(self, values: np.ndarray | Sequence[float], elapsed: float | np.ndarray | None = None) -> np.ndarray:
        """One sample of each stream.

        Args:
            values: (C,), or (n, C) for several streams.
            elapsed: time since the previous sample, in the layer's unit, a number or (n,); None: 1.

        Returns:
            (O,), or (n, O), float32.
        """
        plain = type(values) is np.ndarray and (elapsed is None or type(elapsed) is float)
        if plain and (answer := self._core.fast(values, elapsed)) is not None:
            return answer
        if isinstance(values, np.ma.MaskedArray):
            values = given.floats(values, "a sample")
        if given.is_typed(elapsed):
            elapsed = given.span(elapsed, "its own unit")
        if not plain and (answer := self._core.fast(values, elapsed)) is not None:
            return answer
        inputs = _shaped(values, self.n, self._core.input_size)
        spans = np.float32(1.0) if elapsed is None else _elapsed(elapsed, self.n).astype(np.float32)
        spans = np.broadcast_to(spans, self.n)
        outputs = self._core.step(inputs.astype(np.float32), spans)
        return outputs if self.n > 1 else outputs[0]

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        """Copies of the parts of the state, (n, ...) each, for a stack layer by layer. It can be set."""
        return self._core.state

    @state.setter
    def state(self, parts: Sequence[np.ndarray]) -> None:
        self._core.state = tuple(parts)

    def reset(self, which: Sequence[int] | np.ndarray | None = None) -> None:
        """Restart all streams, or those named."""
        self._core.reset(_rows(which))


class ModelStream:
    """A model on live samples: from raw readings to probabilities, or to values in the target's unit.

    A stream can be copied and pickled. Its state can be read and set, also in another process.

    Attributes:
        model: the model, in evaluation mode.
        n: number of parallel streams; if it is 1, arrays have no dimension for it.
        alarm: whether an alarm is on after the last sample, a bool, or (n,) for several streams; None if the model's
            task has no alarms.
        interval: the ends (K, 2) around the last answer, or (n, K, 2) for several streams; None if the model has no
            interval, and before the first sample. For a forecast it adapts to later readings.
        faults: counts for all streams: ``"unreadable"`` texts among the readings, ``"repeated"`` and ``"backward"``
            times, ``"restarts"`` of a state that was no longer finite. The first of each is logged.
    """

    _core: _Core | _Plain

    def __init__(self, model: Predictor, n: int = 1) -> None:
        self.model = model
        self.n = n
        alarm = model.task.alarm if model.task.per == "step" else None
        self._alarms = [AlarmState(alarm) for _ in range(n)] if alarm and alarm.threshold is not None else []
        self.faults: Counter[str] = Counter()
        interval = Interval.of(model)
        self._bands = (
            [] if interval is None else [Band(model.task, interval, model.preprocessing.time_scale) for _ in range(n)]
        )
        self._held = np.zeros((n, model.preprocessing.n_channels))
        self._started = np.zeros(n, dtype=bool)
        self._last = np.full(n, -np.inf)
        self._answer: np.ndarray | None = None
        self._told: set[Any] = set()
        self._prepare()

    def _prepare(self) -> None:
        model = self.model
        if isinstance(model, Model):
            self._core = _Core(lambda x, spans, hx: model(x, spans, None, hx), model, self.n, self._held, self._started)
        else:
            self._core = _Plain(model, self.n, self._held, self._started)
        self._print = np.full(self.n, _fingerprint(model), dtype=np.uint64)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: value for name, value in vars(self).items() if name not in ("_core", "_print")}
        return kept | {"parts": self._core.state}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        parts = kept.pop("parts")
        vars(self).update(kept)
        self._prepare()
        self._core.state = parts

    def step(self, values: Any, elapsed: Any = None, time: Any = None) -> np.ndarray:
        """One sample of each stream, or several samples one after the other.

        Args:
            values: (C,) raw readings in the order of the model's channels, or (n, C) for several streams; NaN, masked,
                None or ``pd.NA`` if not observed. Or by name: a mapping, a pandas Series or a data frame, in any order.
                A channel without a reading is not observed; this is logged, as is a reading without a channel. Text is
                read as in the training's table, with its decimal mark and its placeholders for missing values; a column
                of words has its own name (``{"valve": "open"}``). Text that is not a number, such as
                ``"unavailable"``, and unknown words are not observed and counted. (T, C), or (T, n, C), are T samples.
            elapsed: time since the previous sample, in the recording's unit or as a ``timedelta``, one or (n,). It is
                not used for a stream's first sample. None, NaN, negative and infinite times count as the usual gap.
            time: the sample's time instead, a number in the recording's unit or a date. A sample with the same time as
                the previous one changes nothing and gets the last answer. In a mapping, the time may have the name of
                the training's column of times.

        Returns:
            (K,), or (n, K), float64: the classes' probabilities in the order of ``model.task.labels``, or values. For a
            task per series, the answer to the series so far. For T samples (T, K), or (T, n, K).

        Raises:
            InputError: a sample has another shape, none of the channels or complex numbers; or a time has a unit and
                the model's times have none.
        """
        one = 1 if self.n == 1 else 2
        plain = type(values) is np.ndarray and values.dtype.kind == "f" and values.ndim == one and time is None
        plain = plain and (elapsed is None or (isinstance(elapsed, float | int) and not elapsed < 0))
        if plain and (answer := self._core.fast(values, elapsed)) is not None:
            if answer.item(0) != answer.item(0) or (self.n > 1 and np.isnan(answer).any()):
                answer = self._restarted(values, elapsed, answer)
            if self._alarms:
                self._follow(answer, elapsed)
            if self._bands:
                self._band(values, elapsed, answer)
            return answer
        return self._read(values, elapsed, time)

    def _read(self, values: Any, elapsed: Any, time: Any) -> np.ndarray:
        """One or several samples in any form."""
        scales = self.model.preprocessing
        table = self.model.metadata.get("columns", {})
        if isinstance(values, Mapping) and table.get("time") not in scales.channels:
            values, stamp = given.taken_time(values, table)
            time = stamp if time is None and elapsed is None else time
        sample, unreadable, names = given.readings(values, scales.channels, table)
        self._tell_names(*names)
        if unreadable:
            self._count(
                "unreadable", unreadable, f"{unreadable} texts among the readings are not numbers: not observed"
            )
        if sample.ndim == (1 if self.n == 1 else 2) + 1:
            whens = [_each(when, len(sample), self.n) for when in (elapsed, time)]
            return np.stack([self._one(*each) for each in zip(sample, *whens, strict=True)])
        return self._one(sample, elapsed, time)

    def _one(self, sample: np.ndarray, elapsed: Any, time: Any) -> np.ndarray:
        """One sample of each stream, as numbers."""
        scales = self.model.preprocessing
        sample = _shaped(sample, self.n, scales.n_channels)
        repeated = np.zeros(self.n, dtype=bool)
        if time is not None:
            now = np.broadcast_to(given.stamp(time, scales.time_unit, self.model.metadata.get("columns", {})), self.n)
            elapsed, repeated = now - self._last, now == self._last
            self._last = np.where(np.isnan(now), self._last, now)
        elapsed = _elapsed(np.nan if elapsed is None else given.span(elapsed, scales.time_unit), self.n)
        if (backward := int((elapsed < 0).sum())) > 0:
            self._count("backward", backward, "a clock went back: the usual gap is used")
        before, last = (self.state, self._answer) if repeated.any() else ((), None)
        answer = self._advanced(sample, elapsed)
        if self._alarms:
            self._follow(answer, elapsed)
        if self._bands:
            self._band(sample, elapsed, answer, repeated)
        if repeated.any():
            self._count("repeated", int(repeated.sum()), "a second sample with the same time: it is ignored")
            self.state = _mixed_states(repeated, before, self.state)
            answer = answer if last is None else _mixed(repeated, last, answer)
        self._answer = answer.copy()
        return answer

    def _advanced(self, sample: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
        answer = self._stepped(sample, elapsed)
        return self._restarted(sample, elapsed, answer) if self._core.broken().any() else answer

    def _stepped(self, sample: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
        """Preprocess one sample (n, C), as Preprocessing does for a series, and run the model."""
        spans = float(elapsed) if elapsed.ndim == 0 else np.broadcast_to(elapsed, self.n).astype(np.float64)
        if (fast := self._core.fast(sample if self.n > 1 else sample[0], spans)) is not None:
            return fast
        scales = self.model.preprocessing
        scaled = scales.scaled(sample)
        observed = ~np.isnan(scaled)
        np.copyto(self._held, scaled, where=observed)
        inputs = np.concatenate([self._held, scales.mask(observed)], 1) if scales.with_mask else self._held
        scaled_spans = np.where(self._started, scales.spans(elapsed), np.float32(1.0))
        self._started[:] = True
        answer = self._core.step(inputs.astype(np.float32), scaled_spans)
        return answer if self.n > 1 else answer[0]

    def _restarted(self, sample: np.ndarray, elapsed: Any, answer: np.ndarray) -> np.ndarray:
        """The answer after restarting, with this sample, the streams whose state is no longer finite."""
        broken = self._core.broken()
        if not broken.any():
            return answer
        self._count(
            "restarts",
            int(broken.sum()),
            "the state was no longer finite, for example with an explicit solver after a long gap: the stream restarts",
        )
        after = self._core.state
        self._core.reset(broken)
        self._started[broken] = False
        sample = _shaped(sample, self.n, self.model.preprocessing.n_channels)
        again = self._stepped(sample, _elapsed(np.nan if elapsed is None else elapsed, self.n))
        self._core.state = _mixed_states(broken, self._core.state, after)
        self._core.reset(self._core.broken())
        return _mixed(broken, again, answer)

    def _count(self, what: str, times: int, words: str) -> None:
        if not self.faults[what]:
            log.warning("%s (more of this is counted in faults[%r])", printable(words), what)
        self.faults[what] += times

    def _tell_names(self, missing: tuple[str, ...], more: tuple[str, ...]) -> None:
        """Log once which channels have no reading, and which readings have no channel."""
        if (missing or more) and (missing, more) not in self._told:
            self._told.add((missing, more))
            for words, names in (("no reading of", missing), ("not among the model's channels:", more)):
                if names:
                    log.warning("a sample by name: %s %s", words, ", ".join(map(repr, names)))

    def label(self, probabilities: np.ndarray) -> Any:
        """The name of the predicted class: by the alarm's threshold if the task has one, else the most probable. None
        if the numbers are not finite. For several streams an array of names."""
        task = self.model.task
        names = np.array([*task.labels, None], dtype=object)
        return names[np.where(np.isfinite(probabilities).all(-1), task.decide(probabilities), -1)]

    @property
    def alarm(self) -> bool | np.ndarray | None:
        if not self._alarms:
            return None
        return self._alarms[0].on if self.n == 1 else np.array([alarm.on for alarm in self._alarms])

    def _follow(self, answer: np.ndarray, elapsed: float | np.ndarray | None) -> None:
        task = self.model.task
        over = np.atleast_1d(task.decide(answer) == task.positive)
        for alarm, one, span in zip(self._alarms, over, self._spans(elapsed), strict=True):
            alarm.step(bool(one), float(span))

    def _spans(self, elapsed: float | np.ndarray | None) -> np.ndarray:
        """(n,) the spans before a sample, in the recording's unit."""
        scales = self.model.preprocessing
        spans = scales.spans(_elapsed(np.nan if elapsed is None else elapsed, self.n))
        return np.broadcast_to(spans, self.n) * scales.time_scale

    @property
    def interval(self) -> np.ndarray | None:
        ends = [band.ends for band in self._bands if band.ends is not None]
        return None if len(ends) < max(len(self._bands), 1) else ends[0] if self.n == 1 else np.stack(ends)

    def _band(self, values: np.ndarray, elapsed: Any, answer: np.ndarray, repeated: np.ndarray | None = None) -> None:
        scales, column = self.model.preprocessing, self.model.task.column or 0
        spans = scales.spans(_elapsed(np.nan if elapsed is None else elapsed, self.n)).astype(float) * scales.time_scale
        rows, answers = np.reshape(values, (self.n, -1)), np.reshape(answer, (self.n, -1))
        for i, (band, span) in enumerate(zip(self._bands, np.broadcast_to(spans, self.n), strict=True)):
            if repeated is None or not repeated[i]:
                band.step(float(rows[i, column]), float(span), answers[i])

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        """Copies of the state's parts, (n, ...) each: the last readings, whether there was a sample, a fingerprint of
        the model, the time of the last sample if times were given, the network's parts, and for a task with alarms
        their state. The current half width of a forecast's interval is not among them, but in a copied or pickled
        stream.

        Setting it raises an InputError if it belongs to another model, or does not fit.
        """
        alarms = (np.array([alarm.state for alarm in self._alarms]),) if self._alarms else ()
        kept = (self._held, self._started, self._print, self._last)
        return (*(part.copy() for part in kept), *self._core.state, *alarms)

    @state.setter
    def state(self, parts: Sequence[np.ndarray]) -> None:
        held, started, *network = parts
        if np.shape(held) != self._held.shape or np.shape(started) != self._started.shape:
            given = [np.shape(held), np.shape(started)]
            raise InputError(f"what is held has shapes {given}; {[self._held.shape, self._started.shape]} are needed")
        # states of earlier versions have neither a fingerprint nor the time of the last sample
        named = bool(network) and np.asarray(network[0]).dtype == np.uint64
        if named and not np.array_equal(network.pop(0), self._print):
            raise InputError("the state is of another model, or of another number of streams: begin with reset()")
        timed = bool(network) and np.ndim(network[0]) == 1
        last = network.pop(0) if timed else np.full(self.n, -np.inf)
        alarms = network.pop() if self._alarms and network else np.empty(0)
        if self._alarms and np.shape(alarms) != (self.n, 3):
            raise InputError(f"the alarms' state has shape {np.shape(alarms)}; {(self.n, 3)} is needed")
        self._core.state = tuple(network)
        self._held[...] = held
        self._started[...] = started
        self._last[...] = last
        self._answer = None
        for alarm, state in zip(self._alarms, alarms, strict=True):
            alarm.state = tuple(state)

    def reset(self, which: Sequence[int] | np.ndarray | None = None) -> None:
        """Restart all streams, or those named."""
        rows = _rows(which)
        self._held[rows] = 0.0
        self._started[rows] = False
        self._last[rows] = -np.inf
        self._core.reset(rows)
        for each in (self._alarms, self._bands):
            for one in np.array(each, dtype=object)[rows] if each else ():
                one.reset()


def _fingerprint(model: Predictor) -> int:
    """A checksum of the scales and the model's numbers, which give a state its meaning."""
    scales = model.preprocessing
    crc = zlib.crc32(repr((model.kind, scales.channels, scales.with_mask, scales.time_scale)).encode())
    for array in (scales.mean, scales.unit, *model.numbers()):
        crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), crc)
    return crc


def _compiled_step(
    stepper: Any, values: Any, elapsed: Any, shape: Any, dtype: type[np.floating] = np.float64
) -> np.ndarray | None:
    """The answer of a compiled stepper; None, with nothing changed, if there is none or it does not accept the
    sample."""
    if stepper is None:
        return None
    out: np.ndarray = np.empty(shape, dtype)
    if stepper.step(values, elapsed, out):
        return out
    # A list, a column of a table, another dtype, or a NumPy number.
    plain = np.ascontiguousarray(values, dtype=np.float64)
    if elapsed is not None:
        elapsed = float(elapsed) if np.ndim(elapsed) == 0 else np.ascontiguousarray(elapsed, dtype=np.float64)
    return out if stepper.step(plain, elapsed, out) else None


def _mixed(which: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The first answers for some streams, the second for the others."""
    chosen = which if first.ndim == 1 else which[:, None]
    return np.where(chosen, first, second)


def _mixed_states(
    which: np.ndarray, first: Sequence[np.ndarray], second: Sequence[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """The first state for some streams, the second for the others. The second's parts (n, T, ...) may be longer."""
    mixed = []
    for one, other in zip(first, second, strict=True):
        if one.ndim > 1 and one.shape[1] < other.shape[1]:
            one = np.concatenate([np.zeros_like(other[:, one.shape[1] :]), one], 1)
        mixed.append(np.where(which.reshape(-1, *[1] * (one.ndim - 1)), one, other))
    return tuple(mixed)


def _each(when: Any, samples: int, n: int) -> list[Any]:
    """A time, or one for each of several samples."""
    if when is None or np.ndim(when) == 0 or (n > 1 and np.shape(when) == (n,)):
        return [when] * samples
    if len(when) != samples:
        raise InputError(f"{len(when)} times were given for {samples} samples")
    return list(when)


class _Plain:
    """The steps of a model that is not a network."""

    def __init__(self, model: Predictor, n: int, held: np.ndarray, started: np.ndarray) -> None:
        self.steps, self.n = model.steps(n), n
        self.step, self.reset = self.steps.step, self.steps.reset
        self._stepper = None
        if isinstance(model, Tabular) and isinstance(self.steps, TabularSteps):
            self._stepper = table.compiled(model, self.steps, held, started)
        self._out_shape = (n, model.task.n_outputs) if n > 1 else model.task.n_outputs

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        return self.steps.state

    @state.setter
    def state(self, parts: tuple[np.ndarray, ...]) -> None:
        self.steps.state = parts

    def fast(self, values: Any, elapsed: Any) -> np.ndarray | None:
        return _compiled_step(self._stepper, values, elapsed, self._out_shape)

    def broken(self) -> np.ndarray:
        return np.zeros(self.n, dtype=bool)


class _Core:
    """The steps of a recurrence, in float32 on the CPU; compiled if possible."""

    def __init__(
        self,
        recurrence: Recurrence,
        module: Model | RecurrentLayer | nn.LSTM | nn.GRU,
        n: int,
        held: np.ndarray | None = None,
        started: np.ndarray | None = None,
    ) -> None:
        self.recurrence, self.n = recurrence, n
        self.input_size = module.preprocessing.n_inputs if isinstance(module, Model) else module.input_size
        module.eval()
        parameter = next(module.parameters(), torch.empty(0))  # quantised modules have none
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
            raise InputError(f"a stream runs float32 on the CPU, not {parameter.dtype} on {parameter.device}")
        with torch.inference_mode():
            outputs, after = recurrence(torch.zeros(n, 1, self.input_size), torch.ones(n, 1), None)
        self.parts = tuple(np.zeros(part.shape, part.numpy().dtype) for part in after)
        self._stepper = compiled(module, self.parts, held, started)
        self._out_shape = (n, outputs.shape[-1]) if n > 1 else outputs.shape[-1]
        self._out_type = np.float64 if isinstance(module, Model) else np.float32
        self._decoded = module.task.decode if isinstance(module, Model) else None

    def fast(self, values: Any, elapsed: Any) -> np.ndarray | None:
        return _compiled_step(self._stepper, values, elapsed, self._out_shape, self._out_type)

    def step(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """Outputs (n, O), or a model's decoded answers, to inputs (n, C) and timespans (n,)."""
        with torch.inference_mode():
            x, t = torch.from_numpy(inputs), torch.tensor(spans)
            state = tuple(torch.from_numpy(part) for part in self.parts)
            outputs, after = self.recurrence(x.unsqueeze(1), t.unsqueeze(1), state)
            for part, new in zip(self.parts, after, strict=True):
                part[...] = new.numpy()
            array: np.ndarray = (outputs[:, 0] if outputs.ndim == 3 else outputs).numpy()
        return array if self._decoded is None else self._decoded(array)

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        return tuple(part.copy() for part in self.parts)

    @state.setter
    def state(self, parts: tuple[np.ndarray, ...]) -> None:
        set_state(self.parts, parts)

    def reset(self, rows: Any) -> None:
        for part in self.parts:
            part[rows] = 0.0

    def broken(self) -> np.ndarray:
        """(n,) True if a state is not finite, or so large that later steps would overflow."""
        broken = np.zeros(self.n, dtype=bool)
        for part in self.parts:
            broken |= ~(np.abs(part.reshape(self.n, -1)) < LARGEST).all(1)
        return broken


def _by_layer(layer: RecurrentLayer | nn.LSTM | nn.GRU) -> Recurrence:
    """Steps of a layer, for any layout of its arguments. The state is h, and c if there is one, layer by layer."""
    liquid = isinstance(layer, RecurrentLayer)
    sizes: list[int | None] = [None] * layer.num_layers
    if isinstance(layer, RecurrentLayer):
        others: Any = layer.others
        sizes = [one.rnn_cell.state_size for one in (layer, *others)]
    stacked = not liquid or len(sizes) > 1
    swapped = (lambda x: x) if layer.batch_first else (lambda x: x.transpose(0, 1))

    def recur(x: Tensor, spans: Tensor, state: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        hx: Any = None
        if state is not None:
            kinds = len(state) // len(sizes)
            hx = tuple(_piled(state[k::kinds]) if stacked else state[k] for k in range(kinds))
            hx = hx if kinds > 1 else hx[0]
        options = {"timespans": swapped(spans), "return_states": False} if liquid else {}
        outputs, hx = layer(swapped(x), hx, **options)
        whole = [part if stacked else part.unsqueeze(0) for part in (hx if isinstance(hx, tuple) else (hx,))]
        after = tuple(part[k, :, :size] for k, size in enumerate(sizes) for part in whole)
        return outputs.reshape(len(x), -1), after

    return recur


def _piled(parts: Sequence[Tensor]) -> Tensor:
    """(L, n, H) from one part of each layer's state (n, H_l), padded with zeros."""
    widest = max(part.shape[1] for part in parts)
    return torch.stack([F.pad(part, (0, widest - part.shape[1])) for part in parts])


def _rows(which: Sequence[int] | np.ndarray | None) -> Any:
    if which is None:
        return slice(None)
    rows = np.asarray(which)
    return rows if rows.size else np.empty(0, dtype=np.intp)


def _elapsed(elapsed: float | np.number | np.ndarray, n: int) -> np.ndarray:
    array = np.asarray(elapsed, dtype=np.float64)
    if array.shape not in ((), (1,), (n,)):
        raise InputError(f"elapsed has shape {array.shape}; a number or {(n,)} is needed")
    return array


def _shaped(values: np.ndarray | Sequence[float], n: int, width: int) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape == ((width,) if n == 1 else (n, width)) or array.shape == (n, width):
        return array.reshape(n, width)
    raise InputError(f"a sample has shape {array.shape}; {(width,) if n == 1 else (n, width)} is needed")
