"""Recurrent layers over whole sequences, single or stacked."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from torchliquid.cells import Sequences
from torchliquid.errors import InputError
from torchliquid.layers.cell import RecurrentCell, is_plain_memory, remember
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
)
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.parts import dtype_of, is_called, refresh
from torchliquid.layers.stack import Backwards, Stack, at_last
from torchliquid.scan import unrolled

OVER_TIME = ("sequential", "parallel", "auto")


class RecurrentLayer(nn.Module):
    """A recurrence over whole sequences, called as ``output, hx = layer(input, hx, timespans, lengths)``.

    Attributes:
        input_size: C.
        state_size: H.
        output_size: O, the last dimension of the output.
        wiring: the layer's own copy of the wiring; None without one.
        num_layers, bidirectional: L, and whether there are D = 2 directions instead of 1.
        others: the other layers of a stack: the first layer's other direction, then those of the second layer, and so
            on.

    Args:
        return_states: whether to return the states of all neurons too, see :meth:`forward`.
        num_layers: number of stacked layers.
        dropout: probability of dropout on the outputs between two layers, in training.
        bidirectional: whether each layer runs in both directions, with separate weights and concatenated outputs.

    Raises:
        InputError: there is no layer, or dropout is outside 0 to 1 or has no layer after it.
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
        """Create the other layers of a stack."""
        self.num_layers, self.bidirectional, self.dropout = stack.num_layers, stack.bidirectional, stack.dropout
        directions = 2 if stack.bidirectional else 1
        for number in range(1, stack.num_layers * directions):
            self.others.append(stack.again(self.input_size if number < directions else directions * self.output_size))
        self.output_size *= directions
        others: Any = self.others
        self.state_size = max([self.state_size, *(other.state_size for other in others)])

    @property
    def over_time(self) -> str:
        """``"sequential"``, ``"parallel"`` or ``"auto"``: how the samples of whole sequences are stepped.

        With ``"parallel"``, all samples are solved at once by Newton's method; if it does not converge, the samples are
        stepped one after the other. ``"auto"`` uses it only where it is faster: for long sequences of cells with a
        diagonal Jacobian that have no kernel. See :mod:`torchliquid.parallel`. ``rnn_cell.solved`` has diagnostics of
        the last call, ``rnn_cell.fallbacks`` the number of calls that did not converge.

        Raises:
            InputError: set to any other value.
        """
        return self.rnn_cell.over_time

    @over_time.setter
    def over_time(self, way: str) -> None:
        if way not in OVER_TIME:
            raise InputError(f"over_time is {', '.join(map(repr, OVER_TIME[:-1]))} or {OVER_TIME[-1]!r}, not {way!r}")
        for layer in (self, *self.others):
            layer.rnn_cell.over_time = way

    @property
    def sensory_size(self) -> int:
        """Number of inputs, under the name that ncps uses."""
        return self.input_size

    @property
    def motor_size(self) -> int:
        """Number of outputs of the cell, under the name that ncps uses."""
        return self.rnn_cell.output_size

    @property
    def synapse_count(self) -> int:
        """Number of synapses between neurons."""
        return self.rnn_cell.synapse_count

    @property
    def sensory_synapse_count(self) -> int:
        """Number of synapses from inputs to neurons."""
        return self.rnn_cell.sensory_synapse_count

    def read_weights(self) -> None:
        """Check that this layer, the first of a stack, is defined by its weights, so that they can be used elsewhere.

        Raises:
            InputError: a part is not a plain module or has hooks; the message names it.
        """
        cell, memory = self.rnn_cell, self.lstm
        if not isinstance(cell, RecurrentCell) or is_called(cell):
            raise InputError(
                f"rnn_cell is another module or has hooks ({type(cell).__name__}): weights alone do not define it"
            )
        if memory is not None and not is_plain_memory(memory):
            raise InputError(
                f"lstm is another module or has hooks ({type(memory).__name__}): weights alone do not define it"
            )
        self.rnn_cell.read_weights()

    def project(self, outputs: Float[Tensor, "*B N"]) -> Float[Tensor, "*B O"]:
        """Project the cell's outputs; by default they are unchanged."""
        return outputs

    def around(self, inputs: Float[Tensor, "*B C"], outputs: Float[Tensor, "*B O"]) -> Float[Tensor, "*B O"]:
        """The layer's final outputs, from its inputs and its outputs; by default the latter."""
        return outputs

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """Outputs from states."""
        return self.project(self.rnn_cell.read(states))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "others" not in self._modules:  # saved whole, before there were stacks
            self.others = nn.ModuleList()

    def live_parameters(self) -> int:
        """Number of parameters that can change the output; see the cell's method."""
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
            input: (B, T, C), (T, B, C) with ``batch_first=False``, (T, C), or a ``PackedSequence``. NaN is passed on
                like any number, and does not affect other sequences.
            hx: initial state, (B, H) or (H,), of a stack (L D, B, H) or (L D, H) as in ``nn.LSTM``; with mixed memory a
                tuple of two. None: zeros.
            timespans: time between each sample and the previous one, in units of the model's time scale. A number; (B,)
                per sequence; per sample, shaped like the input with or without a last dimension of 1; (1, T), with
                ``batch_first=False`` (T, 1), for all sequences; or a ``PackedSequence`` if the input is one. None: 1.
                In the backward direction, the span of a sample is that to the next sample; the last sample has the span
                of the first one.
            lengths: (B,) number of samples of each sequence; values past a sequence's length are padding and are
                ignored. None: T.
            reset: bool, shaped like the input without channels: True where the state is set to zeros before a sample,
                such as at the start of an episode; a ``PackedSequence`` if the input is one.
            return_states: whether to return the states too; None: as given to the constructor.

        Returns:
            The outputs, shaped like the input, zero in the padding. Without ``return_sequences``, the output of the
            last sample of each sequence, (B, O), in the backward direction of the first. Also the state after the last
            sample of each sequence, and with ``return_states`` the states of all neurons after every sample, (B, T, H)
            in the layout of the input, of a stack (L D, B, T, H).

        Raises:
            InputError: an argument is not a tensor; shapes or dtypes do not match; a span is negative, NaN or infinite;
                a length is outside 1 to T; (B,) spans are ambiguous because B = T. Values are checked in eager mode on
                the CPU only. On a GPU, a sequence with an invalid span or length becomes NaN. Under ``torch.compile``,
                ``torch.export`` and ``torch.func``, spans and lengths must be valid.
        """
        wants_states = self.return_states if return_states is None else return_states
        output: Tensor | PackedSequence
        states: Tensor | PackedSequence
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise InputError("a PackedSequence contains its lengths; leave lengths out")
            x, lengths = pad_packed_sequence(input, self.batch_first)
            timespans = _unpacked("timespans", timespans, lengths, self.batch_first)
            reset = _unpacked("reset", reset, lengths, self.batch_first)
            output, last, states = self._padded(x, hx, timespans, lengths, reset, wants_states)
            if self.return_sequences:
                output = _packed_like(input, output, lengths, self.batch_first)
            if wants_states and not self.others:
                states = _packed_like(input, states, lengths, self.batch_first)
        else:
            output, last, states = self._padded(input, hx, timespans, lengths, reset, wants_states)
        return (output, last, states) if wants_states else (output, last)

    def _padded(
        self,
        input: Tensor,
        hx: State | None,
        timespans: Tensor | PackedSequence | float | None,
        lengths: Tensor | None,
        reset: Tensor | PackedSequence | None,
        wants_states: bool,
    ) -> tuple[Tensor, State, Tensor]:
        check_tensor("input", input)
        dtype = dtype_of(self.rnn_cell)
        if under_autocast(input):
            with torch.autocast(input.device.type, enabled=False):  # half precision is not enough for the state
                return self._padded(input.to(dtype), in_dtype(hx, dtype), timespans, lengths, reset, wants_states)
        check_input(input, (2, 3), self.input_size, dtype)
        for name, series in (("timespans", timespans), ("reset", reset)):
            if isinstance(series, PackedSequence):
                raise InputError(f"{name} is a PackedSequence and the input is not; give both in the same form")
        batched = input.dim() == 3
        time_first = batched and not self.batch_first
        x = input if batched else input.unsqueeze(0)
        x = x.transpose(0, 1) if time_first else x
        spans = spans_of(timespans, x, batched, not time_first)  # type: ignore[arg-type]
        restart = reset_of(reset, x, batched, not time_first)  # type: ignore[arg-type]
        stacked = len(self.others) + 1 if self.others else None
        h, c = state_of(hx, x, self.state_size, self.lstm is not None, batched, stacked)
        valid = None
        if lengths is not None:
            check_tensor("lengths", lengths)
            valid = valid_of(lengths, x)
            lengths = lengths.to(x.device, torch.int64)
            # Padding must not reach a gradient, not even as NaN times zero.
            x = x.masked_fill(~valid.unsqueeze(2), 0.0)
            spans = spans.masked_fill(~valid, 0.0)
        spans = checked_spans(spans, batched, lengths)
        if isinstance(self.rnn_cell, RecurrentCell):
            self.rnn_cell.warn_of_long_steps(spans)

        over = Sequences(x, spans, h, lengths, None, None, c, restart)
        run = self._run if stacked is None else self._run_stack
        output, states, last = run(over, self.return_sequences)
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

    def _run(self, over: Sequences, whole: bool = True) -> tuple[Tensor, Float[Tensor, "B T H"], tuple[Tensor, ...]]:
        """Run this layer only: outputs (B, T, O), or of the last samples (B, O); states; the last h, and c."""
        x, lengths, c = over.inputs, over.lengths, over.memory_cell
        if isinstance(self.rnn_cell, RecurrentCell) and not is_called(self.rnn_cell):
            states, cells = self.rnn_cell.recur(x, over.timespans, over.state, lengths, self.lstm, c, over.reset)
            output = self.read(states if whole else states.select(1, -1))
        else:
            outputs: list[Tensor] = []

            def step(x: Tensor, h: Tensor, span: Tensor) -> Tensor:
                output, new = self.rnn_cell(x, h, span)
                outputs.append(output)
                return new

            refresh(self.rnn_cell)
            states, cells = unrolled(step, over._replace(memory_drive=x), remember(self.lstm))
            output = torch.stack(outputs, 1)
            output = self.project(output if whole else at_last(output, lengths))
        output = self.around(x if whole else at_last(x, lengths), output)
        # Copies: the caller may change a state in place, and keeping it does not keep all states.
        # With select, since PyTorch 2.7's export turns a slice of the batch into a condition on its size.
        last = (states, *(() if c is None else (cells,)))
        return output, states, tuple(part.select(1, -1).clone() for part in last)

    def _run_stack(self, over: Sequences, whole: bool) -> tuple[Tensor, Float[Tensor, "LD B T H"], tuple[Tensor, ...]]:
        """As :meth:`_run`, for all layers. A state that is smaller than H is padded with zeros."""
        for i, other in enumerate(self.others):
            if not isinstance(other, RecurrentLayer) or is_called(other):
                raise InputError(
                    f"others.{i} is read and not called; put hooks and wrappers on its rnn_cell, or around the stack"
                )
        h, c, directions = over.state, over.memory_cell, 2 if self.bidirectional else 1
        backwards = Backwards.of(over)
        all_states: list[Tensor] = []
        all_last: list[tuple[Tensor, ...]] = []
        outputs: list[Tensor] = []
        for k, layer in enumerate((self, *self.others)):
            if k and k % directions == 0:
                over = over._replace(inputs=F.dropout(torch.cat(outputs, 2), self.dropout, self.training))
                outputs = []
            size = layer.rnn_cell.state_size
            own = over._replace(state=h[k, :, :size], memory_cell=None if c is None else c[k])
            if k % directions == 0:
                output, states, last = layer._run(own)
            else:
                output, states, last = layer._run(backwards.sequences(own))
                output, states = backwards(output), backwards(states)
            missing = (0, h.shape[2] - size)
            outputs.append(output)
            all_states.append(F.pad(states, missing))
            all_last.append(tuple(F.pad(part, missing) for part in last))
        if not whole:
            outputs = [at_last(outputs[0], over.lengths), *(output[:, 0] for output in outputs[1:])]
        return torch.cat(outputs, -1), torch.stack(all_states), tuple(map(torch.stack, zip(*all_last, strict=True)))


def _unpacked(name: str, series: Any, lengths: Tensor, batch_first: bool) -> Any:
    if not isinstance(series, PackedSequence):
        return series
    padded, own = pad_packed_sequence(series, batch_first)
    if not torch.equal(own, lengths):
        raise InputError(f"{name} and input are packed with different lengths: {own.tolist()} and {lengths.tolist()}")
    return padded


def _packed_like(input: PackedSequence, series: Tensor, lengths: Tensor, batch_first: bool) -> PackedSequence:
    order = input.sorted_indices
    if order is not None:  # the input's order, because sorting again may order ties differently
        series, lengths = series.index_select(0 if batch_first else 1, order), lengths[order.cpu()]
    data = pack_padded_sequence(series, lengths, batch_first).data
    return PackedSequence(data, input.batch_sizes, order, input.unsorted_indices)
