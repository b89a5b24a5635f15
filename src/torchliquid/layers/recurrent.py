"""What the liquid families share: a cell that runs whole sequences, and the layer people call."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from torchliquid.errors import InputError
from torchliquid.kernels.scan import unrolled
from torchliquid.layers.forms import (
    State,
    check_input,
    check_tensor,
    checked_spans,
    in_dtype,
    reset_of,
    spans_of,
    state_of,
    under_autocast,
    valid_of,
    values_are_hidden,
)
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.parts import dtype_of, is_called, odd_parts, refresh, says_all
from torchliquid.solvers import LIMITS, instability
from torchliquid.wirings import Wiring

if TYPE_CHECKING:
    from torchliquid.layers.ode import Solver

log = logging.getLogger(__name__)


class RecurrentCell(nn.Module):
    """The parameters of a recurrence, and its kernel with them.

    Attributes:
        input_size: C.
        state_size: H.
        output_size: O, what :meth:`read` gives.
        wiring: who connects to whom; None without one.
        by: what steps its ODE; None where that is the cell's own arithmetic.
        stable_solver: one that it can have whose steps hold at any span.
        plain_parts: classes of the modules in it whose weights the kernel reads.
    """

    input_size: int
    state_size: int
    output_size: int
    wiring: Wiring | None = None
    by: Solver | None = None
    stable_solver = "dopri5"
    plain_parts: tuple[type[nn.Module], ...] = (nn.Linear, nn.GRUCell, nn.ModuleList)
    asked_span = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._fixed: dict[str, Tensor] = {}

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self)

    def recur(
        self,
        inputs: Float[Tensor, "B T C"],
        timespans: Float[Tensor, "B T"],
        state: Float[Tensor, "B H"],
        lengths: Int[Tensor, " B"] | None = None,
        memory: nn.Module | None = None,
        cell: Float[Tensor, "B H"] | None = None,
        reset: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
        """States, and with a memory its cell states, after each sample of whole sequences.

        By the kernel; where a part is more than the weights that the kernel reads (another module, such as an adapter,
        or one with hooks), sample after sample by calling it.
        """
        if says_all(self, *self.plain_parts) and (memory is None or is_plain_memory(memory)):
            return self.kernel(inputs, timespans, state, lengths, memory, cell, reset)
        return unrolled(self.step, inputs, timespans, state, lengths, inputs, remember(memory), cell, (), reset)

    def kernel(
        self,
        inputs: Tensor,
        timespans: Tensor,
        state: Tensor,
        lengths: Tensor | None = None,
        memory: Any = None,
        cell: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """:meth:`recur` from the weights alone."""
        raise NotImplementedError

    def step(self, x: Float[Tensor, "B C"], h: Float[Tensor, "B H"], span: Float[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """One sample, with the cell's parts called."""
        return self.kernel(x.unsqueeze(1), span.unsqueeze(1), h)[0][:, 0]

    def read_weights(self) -> None:
        """Make sure that the weights say all, as whoever takes them somewhere else needs.

        Raises:
            InputError: a part that is no plain module, by its name.
        """
        refresh(self)
        for part in odd_parts(self, *self.plain_parts):
            raise InputError(f"{type(self).__name__} has another part than its own, {part}: its weights do not say all")

    @property
    def sensory_size(self) -> int:
        """Inputs, under the name that ncps has."""
        return self.input_size

    @property
    def motor_size(self) -> int:
        """Outputs, under the name that ncps has."""
        return self.output_size

    @property
    def synapse_count(self) -> int:
        """Synapses between neurons."""
        return self._wired().synapse_count

    @property
    def sensory_synapse_count(self) -> int:
        """Synapses from inputs to neurons."""
        return self._wired().sensory_synapse_count

    def _wired(self) -> Wiring:
        if self.wiring is None:
            raise AttributeError("this layer has no wiring, and so no synapses to count")
        return self.wiring

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """Outputs from states: the states, where a cell does not say otherwise."""
        return states

    def extra_repr(self) -> str:
        """Sizes, and the mode or solver where there is one, for ``print``."""
        solver = None if self.by is None else self.by.name
        said = {
            **{name: getattr(self, name) for name in ("input_size", "state_size", "output_size")},
            "mode": getattr(self, "mode", None),
            "solver": getattr(self, "solver", solver),
        }
        return ", ".join(f"{name}={value}" for name, value in said.items() if value is not None)

    def fastest_rate(self) -> float | None:
        """How fast the state can decay, 1 / time, which explicit steps must be short against; None without a leak."""
        return None

    def instability(self, span: float) -> str | None:
        """One line on what to do where the solver's steps may be too long for a span; None where they hold."""
        self.asked_span = max(self.asked_span, span)
        if self.by is None or (rate := self.fastest_rate()) is None:
            return None
        return instability(self.by.name, self.by.unfolds, rate, span, self.stable_solver)

    def warn_of_long_steps(self, spans: Tensor) -> None:
        """Log :meth:`instability` where a span is longer than any that was asked about before."""
        if self.by is None or self.by.name not in LIMITS or values_are_hidden(spans) or not spans.numel():
            return
        if self.asked_span and spans.device.type != "cpu":
            return  # a look at a GPU's values makes the CPU wait
        longest = float(spans.detach().max())
        if longest > self.asked_span and (advice := self.instability(longest)):
            log.warning(advice)

    def structure(self) -> dict[str, np.ndarray]:
        """What the wiring fixes, as masks of 0 and 1, by the names under which a ``state_dict`` tells it."""
        return {}

    def fixed(self) -> dict[str, Tensor]:
        """What the wiring fixes as the kernel reads it, by name: kept where the module goes, and out of reach of
        arithmetic on parameters and buffers."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_fixed" not in self.__dict__:  # saved whole, with buffers
            self._fixed = self.fixed()
            for name in self._fixed:
                self._buffers.pop(name, None)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RecurrentCell:
        super()._apply(fn, recurse)
        for name, tensor in self._fixed.items():
            like = fn(tensor.new_empty(0))
            if not like.is_meta:
                self._fixed[name] = tensor.to(like)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        like = next(self.parameters(), torch.empty(0))
        for name, mask in self.structure().items():
            destination[prefix + name] = torch.from_numpy(mask).to(like.device, self.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Weights of another wiring often have the same shapes, and would mean other synapses. A mean of several
        # state_dicts, or one in half precision, still tells its wiring.
        *_, errors = args
        for name, mask in self.structure().items():
            given = state_dict.pop(prefix + name, None)
            own = torch.from_numpy(mask)
            if (
                given is not None
                and not values_are_hidden(given)
                and not (given.shape == own.shape and torch.equal(given.cpu().float().round().bool(), own))
            ):
                errors.append(f"{prefix}{name} is that of another wiring: load into a layer with the same one")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def live_parameters(self, with_memory: bool = False) -> int:
        """Parameters of the cell that can change the output, alone or with a memory in front: all, likewise."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, input: Tensor, hx: Tensor | None = None, ts: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            input: one sample each, (B, C), or (C,).
            hx: the state before it, (B, H) or (H,); None: zeros.
            ts: time since the sample before: a number, (B,) or (B, 1).

        Returns:
            The output (B, O) and the new state (B, H).

        Raises:
            InputError: as in :meth:`RecurrentLayer.forward`.
        """
        check_tensor("input", input)
        if under_autocast(input):
            hx = hx.to(self.dtype) if isinstance(hx, Tensor) else hx
            with torch.autocast(input.device.type, enabled=False):
                return RecurrentCell.forward(self, input.to(self.dtype), hx, ts)
        check_input(input, (1, 2), self.input_size, self.dtype)
        batched = input.dim() == 2
        x = (input if batched else input.unsqueeze(0)).unsqueeze(1)
        spans = checked_spans(spans_of(ts, x, batched), batched)
        h, _ = state_of(hx, x, self.state_size, False, batched)
        new = self.recur(x, spans, h)[0][:, 0]
        output, new = self.read(new), new.clone()  # a state set to zero in place leaves the output alone
        return (output, new) if batched else (output[0], new[0])


def is_plain_memory(memory: nn.Module) -> bool:
    """Whether a kernel may read a memory's weights."""
    return type(memory) is MemoryCell and not is_called(memory) and says_all(memory, nn.Linear)


def remember(memory: nn.Module | None) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """A memory called for one sample: from (x, h, c) to the new (h, c)."""
    return None if memory is None else lambda x, h, c: memory(x, (h, c))


def own_wiring(wiring: Wiring, input_size: int | None) -> tuple[Wiring, int]:
    """Build a wiring and copy it, so that nothing done to it later changes a layer; and its number of outputs.

    Raises:
        InputError: the wiring is built for another number of inputs, or does not know its inputs or outputs.
    """
    if input_size is not None:
        wiring.build(input_size)
    if wiring.input_dim is None:
        raise InputError("the wiring does not know its inputs: give their number, or call wiring.build() first")
    if wiring.output_dim is None:
        raise InputError("the wiring does not know its outputs: call wiring.set_output_dim() first")
    return copy.deepcopy(wiring), wiring.output_dim


def check_size(**sizes: int) -> None:
    """Refuse what is no whole number of at least one, by name."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool):
            own = f"{type(size).__module__}.{type(size).__name__}; wirings come from torchliquid.wirings"
            given = repr(size) if isinstance(size, int | float | str | None) else own
            raise InputError(f"{name} is a whole number, not {given}")
        if size < 1:
            raise InputError(f"{name} is at least 1, not {size}")


@dataclass(frozen=True)
class Stack:
    """How many layers stand on each other, and in which directions they run.

    Attributes:
        again: makes one more layer, on so many inputs.
        num_layers, dropout, bidirectional: as in ``nn.LSTM``.

    Raises:
        InputError: no layer, a dropout outside [0, 1] or with no layer behind it.
    """

    again: Callable[[int], RecurrentLayer]
    num_layers: int = 1
    dropout: float = 0.0
    bidirectional: bool = False

    def __post_init__(self) -> None:
        check_size(num_layers=self.num_layers)
        if not 0 <= self.dropout <= 1:
            raise InputError(f"dropout lies from 0 to 1, not at {self.dropout}")
        if self.dropout and self.num_layers == 1:
            raise InputError(f"dropout={self.dropout} acts between layers, and num_layers is 1")


class RecurrentLayer(nn.Module):
    """A recurrence over whole sequences, called as ``output, hx = layer(input, hx, timespans, lengths)``.

    Attributes:
        input_size: C.
        state_size: H.
        output_size: O, the last dimension of the output.
        wiring: the layer's own copy of who connects to whom; None without one.
        num_layers, bidirectional: L, and whether there are D = 2 directions, or 1.
        others: the layers of a stack but the first: that layer's other direction, then the second layer's, and so on.

    Args:
        return_states: also give the states of all neurons after every sample, see :meth:`forward`.
        num_layers: layers on each other, each reading the outputs of the one below.
        dropout: of the outputs between two layers, in training.
        bidirectional: run each layer both ways, each way with weights of its own, the outputs side by side.

    Raises:
        InputError: no layer, a dropout outside 0 to 1 or with no layer above it to act on.
    """

    num_layers = 1
    bidirectional = False
    dropout = 0.0
    return_states = False

    def __init__(
        self,
        cell: RecurrentCell,
        return_sequences: bool,
        batch_first: bool,
        mixed_memory: bool,
        return_states: bool = False,
        stack: Stack | None = None,
    ) -> None:
        super().__init__()
        self.rnn_cell = cell
        self.return_sequences = return_sequences
        self.batch_first = batch_first
        self.return_states = return_states
        self.input_size, self.state_size, self.wiring = cell.input_size, cell.state_size, cell.wiring
        self.output_size = cell.output_size
        self.lstm = MemoryCell(self.input_size, self.state_size) if mixed_memory else None
        self.others = nn.ModuleList()
        if stack is not None:
            self.pile(stack)

    def pile(self, stack: Stack) -> None:
        """Make the other layers of a stack."""
        self.num_layers, self.bidirectional, self.dropout = stack.num_layers, stack.bidirectional, stack.dropout
        directions = 2 if stack.bidirectional else 1
        for number in range(1, stack.num_layers * directions):
            self.others.append(stack.again(self.input_size if number < directions else directions * self.output_size))
        self.output_size *= directions
        others: Any = self.others
        self.state_size = max([self.state_size, *(other.state_size for other in others)])

    @property
    def sensory_size(self) -> int:
        """Inputs, under the name that ncps has."""
        return self.input_size

    @property
    def motor_size(self) -> int:
        """Outputs of the cell, under the name that ncps has."""
        return self.rnn_cell.output_size

    @property
    def synapse_count(self) -> int:
        """Synapses between neurons."""
        return self.rnn_cell.synapse_count

    @property
    def sensory_synapse_count(self) -> int:
        """Synapses from inputs to neurons."""
        return self.rnn_cell.sensory_synapse_count

    def read_weights(self) -> None:
        """Make sure that the weights of one layer say all, as whoever takes them somewhere else needs.

        Raises:
            InputError: a stack; a part that is no plain module, or has hooks, by its name.
        """
        if self.others:
            raise InputError(
                f"a {type(self).__name__} of {len(self.others) + 1} layers or directions runs only as it is"
            )
        cell, memory = self.rnn_cell, self.lstm
        if not isinstance(cell, RecurrentCell) or is_called(cell):
            raise InputError(f"rnn_cell is another module or has hooks ({type(cell).__name__}): weights do not say all")
        if memory is not None and not is_plain_memory(memory):
            raise InputError(f"lstm is another module or has hooks ({type(memory).__name__}): weights do not say all")
        self.rnn_cell.read_weights()

    def project(self, outputs: Float[Tensor, "*B N"]) -> Float[Tensor, "*B O"]:
        """What is made of the cell's outputs: nothing, where a layer does not say otherwise."""
        return outputs

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """Outputs from states."""
        return self.project(self.rnn_cell.read(states))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "others" not in self._modules:  # saved whole, before there were stacks
            self.others = nn.ModuleList()

    def live_parameters(self) -> int:
        """Parameters that can change the output; see the cell's method for what does not count."""
        mine = self.rnn_cell.live_parameters(self.lstm is not None)
        others: Any = self.others
        mine += sum(other.live_parameters() for other in others)
        front = ("rnn_cell.", "others.")
        return mine + sum(p.numel() for name, p in self.named_parameters() if not name.startswith(front))

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        timespans: Tensor | PackedSequence | float | None = None,
        lengths: Tensor | None = None,
        reset: Tensor | PackedSequence | None = None,
        return_states: bool | None = None,
    ) -> Any:
        """Run over sequences.

        Args:
            input: (B, T, C), (T, B, C) with ``batch_first=False``, or (T, C); or a ``PackedSequence``. NaN is a
                number like any other and stays in its own sequence.
            hx: the state before the first sample, (B, H) or (H,), of a stack (L D, B, H) or (L D, H) as in
                ``nn.LSTM``; with mixed memory a tuple of two; None: zeros.
            timespans: time between each sample and the one before, in units of the model's own time scale: a number,
                one a sequence (B,), or one a sample, shaped as the input with or without a last dimension of 1, or
                (1, T), with ``batch_first=False`` (T, 1), for all sequences alike; a ``PackedSequence`` where the
                input is one. None: 1. Backwards, a sample's span is the one between it and the sample behind it, and
                the last sample's is what the first one's is forwards.
            lengths: (B,) samples of each sequence; what stands behind them changes nothing. None: all of them.
            reset: bool, shaped as the input without its channels: true where the state starts anew, from zeros,
                before the sample, as where an episode begins; a ``PackedSequence`` where the input is one.
            return_states: whether to return the states as well; None: as the layer was made.

        Returns:
            Outputs, shaped as the input, zero behind a sequence's length; without ``return_sequences`` those of each
            sequence's last sample, (B, O), backwards of its first. And the state after each sequence's last sample, to
            go on with. With ``return_states`` also the states of all neurons after every sample, laid as the input is,
            (B, T, H), of a stack (L D, B, T, H).

        Raises:
            InputError: what is no tensor; shapes or dtypes that do not fit; spans that are negative, NaN or infinite;
                lengths outside 1 to T; one span a sequence where there are as many samples as sequences. Values are
                looked at in eager mode only, and not on a GPU, where a sequence with such a span or length becomes NaN:
                under ``torch.compile``, ``torch.export`` and ``torch.func`` good spans and lengths are a precondition.
        """
        wants_states = self.return_states if return_states is None else return_states
        if isinstance(input, PackedSequence):
            results = self._packed(input, hx, timespans, lengths, reset, wants_states)
        else:
            results = self._padded(input, hx, timespans, lengths, reset, wants_states)
        return results if wants_states else results[:2]

    def _padded(
        self,
        input: Tensor,
        hx: State | None,
        timespans: Tensor | PackedSequence | float | None,
        lengths: Tensor | None,
        reset: Tensor | PackedSequence | None,
        wants_states: bool,
    ) -> tuple[Tensor, State, Tensor | None]:
        check_tensor("input", input)
        dtype = dtype_of(self.rnn_cell)
        if under_autocast(input):
            with torch.autocast(input.device.type, enabled=False):  # half precision is not enough to carry a state
                return self._padded(input.to(dtype), in_dtype(hx, dtype), timespans, lengths, reset, wants_states)
        check_input(input, (2, 3), self.input_size, dtype)
        for name, series in (("timespans", timespans), ("reset", reset)):
            if isinstance(series, PackedSequence):
                raise InputError(f"{name}: a PackedSequence, and the input is not: give both in one form")
        batched = input.dim() == 3
        time_first = batched and not self.batch_first
        x = input if batched else input.unsqueeze(0)
        x = x.transpose(0, 1) if time_first else x
        spans = spans_of(timespans, x, batched, not time_first)  # type: ignore[arg-type]
        anew = reset_of(reset, x, batched, not time_first)  # type: ignore[arg-type]
        stacked = len(self.others) + 1 if self.others else None
        h, c = state_of(hx, x, self.state_size, self.lstm is not None, batched, stacked)
        valid = None
        if lengths is not None:
            check_tensor("lengths", lengths)
            valid = valid_of(lengths, x)
            lengths = lengths.to(x.device, torch.int64)
            # What is padding must not reach a gradient, not even as NaN times zero.
            x = x.masked_fill(~valid.unsqueeze(2), 0.0)
            spans = spans.masked_fill(~valid, 0.0)
        spans = checked_spans(spans, batched, lengths)
        if isinstance(self.rnn_cell, RecurrentCell):
            self.rnn_cell.warn_of_long_steps(spans)

        if stacked is None:
            output, states, last = self._run(x, spans, h, lengths, c, anew, self.return_sequences)
        else:
            output, states, last = self._run_stack(x, spans, h, lengths, c, anew)
        if valid is not None:
            if self.return_sequences:
                output = output.masked_fill(~valid.unsqueeze(2), 0.0)
            states = states.masked_fill(~valid.unsqueeze(2), 0.0) if wants_states else states
        if time_first:
            output = output.transpose(0, 1) if self.return_sequences else output
            states = states.transpose(-3, -2)
        if not batched:
            output, states = output[0], states.squeeze(-3)
            last = tuple(part.squeeze(-2) for part in last)
        return output, last if len(last) > 1 else last[0], states  # type: ignore[return-value]

    def _run(
        self,
        x: Float[Tensor, "B T C"],
        spans: Float[Tensor, "B T"],
        h: Float[Tensor, "B H"],
        lengths: Int[Tensor, " B"] | None,
        c: Float[Tensor, "B H"] | None,
        reset: Bool[Tensor, "B T"] | None,
        whole: bool = True,
    ) -> tuple[Tensor, Float[Tensor, "B T H"], tuple[Tensor, ...]]:
        """This layer alone: outputs (B, T, O), or of the last samples (B, O); states; the last h, and c."""
        if isinstance(self.rnn_cell, RecurrentCell) and not is_called(self.rnn_cell):
            states, cells = self.rnn_cell.recur(x, spans, h, lengths, self.lstm, c, reset)
            output = self.read(states if whole else states.select(1, -1))
        else:
            said: list[Tensor] = []

            def step(x: Tensor, h: Tensor, span: Tensor) -> Tensor:
                output, new = self.rnn_cell(x, h, span)
                said.append(output)
                return new

            refresh(self.rnn_cell)
            states, cells = unrolled(step, x, spans, h, lengths, x, remember(self.lstm), c, (), reset)
            output = torch.stack(said, 1)
            output = self.project(output if whole else _last(output, lengths))
        # Of their own: a state set to zero in place leaves the outputs alone, one kept does not keep them all.
        # By select: PyTorch 2.7's export takes a slice of the batch for a condition on its size.
        last = (states, *(() if c is None else (cells,)))
        return output, states, tuple(part.select(1, -1).clone() for part in last)

    def _run_stack(
        self,
        x: Float[Tensor, "B T C"],
        spans: Float[Tensor, "B T"],
        h: Float[Tensor, "LD B H"],
        lengths: Int[Tensor, " B"] | None,
        c: Float[Tensor, "LD B H"] | None,
        reset: Bool[Tensor, "B T"] | None,
    ) -> tuple[Tensor, Float[Tensor, "LD B T H"], tuple[Tensor, ...]]:
        for i, other in enumerate(self.others):
            if not isinstance(other, RecurrentLayer) or is_called(other):
                raise InputError(
                    f"others.{i} is read and not called: put hooks and wrappers on its rnn_cell, or around the stack"
                )
        layers: list[Any] = [self, *self.others]
        directions = 2 if self.bidirectional else 1
        all_states, all_last = [], []
        outputs: list[Tensor] = []
        turned = turned_spans = turned_reset = None
        if self.bidirectional:
            turned = _turned(x.shape[1], lengths, x.device)
            turned_spans, turned_reset = _shifted(spans, turned), _shifted(reset, turned, first=False)
        for number in range(self.num_layers):
            if number:
                x = F.dropout(torch.cat(outputs, 2), self.dropout, self.training)
                outputs = []
            for layer, k in ((layers[k], k) for k in range(number * directions, (number + 1) * directions)):
                size = layer.rnn_cell.state_size  # where a state holds inputs as well, as GRU-D's, each has its own
                own = h[k, :, :size], lengths, None if c is None else c[k]
                if k % directions == 0:
                    output, states, last = layer._run(x, spans, *own, reset)
                else:
                    assert turned is not None
                    output, states, last = layer._run(_by_time(x, turned), turned_spans, *own, turned_reset)
                    output, states = _by_time(output, turned), _by_time(states, turned)
                outputs.append(output)
                all_states.append(F.pad(states, (0, self.state_size - size)))
                all_last.append(tuple(F.pad(part, (0, self.state_size - size)) for part in last))
        if not self.return_sequences:
            outputs = [_last(outputs[0], lengths), *(output[:, 0] for output in outputs[1:])]
        return torch.cat(outputs, -1), torch.stack(all_states), tuple(map(torch.stack, zip(*all_last, strict=True)))

    def _packed(
        self,
        input: PackedSequence,
        hx: State | None,
        timespans: Tensor | PackedSequence | float | None,
        lengths: Tensor | None,
        reset: Tensor | PackedSequence | None,
        wants_states: bool,
    ) -> tuple[Tensor | PackedSequence, State, Tensor | PackedSequence | None]:
        if lengths is not None:
            raise InputError("a PackedSequence has its lengths with it: give no others")
        x, lengths = pad_packed_sequence(input, self.batch_first)
        timespans = _unpacked("timespans", timespans, lengths, self.batch_first)
        reset = _unpacked("reset", reset, lengths, self.batch_first)
        output, last, states = self._padded(x, hx, timespans, lengths, reset, wants_states)
        whole: Tensor | PackedSequence = output
        if self.return_sequences:
            whole = _packed_like(input, output, lengths, self.batch_first)
        if not wants_states or states is None or self.others:
            return whole, last, states
        return whole, last, _packed_like(input, states, lengths, self.batch_first)


def _unpacked(name: str, series: Any, lengths: Tensor, batch_first: bool) -> Any:
    if not isinstance(series, PackedSequence):
        return series
    padded, own = pad_packed_sequence(series, batch_first)
    if not torch.equal(own, lengths):
        raise InputError(
            f"{name} are packed with other lengths than the input: {own.tolist()}, and the input {lengths.tolist()}"
        )
    return padded


def _packed_like(input: PackedSequence, series: Tensor, lengths: Tensor, batch_first: bool) -> PackedSequence:
    order = input.sorted_indices
    if order is not None:  # the input's own order: sorting anew may break ties differently
        series, lengths = series.index_select(0 if batch_first else 1, order), lengths[order.cpu()]
    data = pack_padded_sequence(series, lengths, batch_first).data
    return PackedSequence(data, input.batch_sizes, order, input.unsorted_indices)


def _last(outputs: Float[Tensor, "B T O"], lengths: Int[Tensor, " B"] | None) -> Float[Tensor, "B O"]:
    """Those of each sequence's last sample."""
    if lengths is None:
        return outputs[:, -1]
    return outputs[torch.arange(outputs.shape[0], device=outputs.device), lengths - 1]


def _turned(time: int, lengths: Int[Tensor, " B"] | None, device: torch.device) -> Int[Tensor, "B T"]:
    """Places of the samples from each sequence's end to its start; what is behind the end stays."""
    t = torch.arange(time, device=device).unsqueeze(0)
    if lengths is None:
        return t.flip(1)
    ends = lengths.unsqueeze(1)
    return torch.where(t < ends, ends - 1 - t, t)


def _by_time(series: Tensor, places: Int[Tensor, "B T"]) -> Tensor:
    places = places.expand(series.shape[0], -1)
    return series.gather(1, places if series.dim() == 2 else places.unsqueeze(2).expand(series.shape))


def _shifted(series: Tensor | None, places: Int[Tensor, "B T"], first: bool | None = None) -> Any:
    """What stands between samples, turned: behind the first sample comes what was before the last one.

    Args:
        first: what stands before the first sample then; None: what does so forwards.
    """
    if series is None:
        return None
    start = series[:, :1] if first is None else torch.full_like(series[:, :1], first)
    # One sample more and the last one away: of a slice of T - 1 samples an export would ask that T is not 1.
    return torch.cat([start, _by_time(series, places)], 1)[:, : series.shape[1]]
