"""What the liquid families share: a cell that runs whole sequences, and the layer people call."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from torchliquid.errors import InputError
from torchliquid.layers.forms import (
    State,
    check_input,
    check_spans,
    check_tensor,
    in_dtype,
    spans_of,
    state_of,
    under_autocast,
    valid_of,
)
from torchliquid.layers.memory import MemoryCell
from torchliquid.solvers import instability
from torchliquid.wirings import Wiring

if TYPE_CHECKING:
    from torchliquid.layers.ode import Solver


class RecurrentCell(nn.Module):
    """The parameters of a recurrence, and its kernel with them.

    Attributes:
        input_size: C.
        state_size: H.
        output_size: O, what :meth:`read` gives.
        wiring: who connects to whom; None without one.
        by: what steps its ODE; None where that is the cell's own arithmetic.
        stable_solver: one that it can have whose steps hold at any span.
    """

    input_size: int
    state_size: int
    output_size: int
    wiring: Wiring | None = None
    by: Solver | None = None
    stable_solver = "dopri5"

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def recur(
        self,
        inputs: Float[Tensor, "B T C"],
        timespans: Float[Tensor, "B T"],
        state: Float[Tensor, "B H"],
        lengths: Int[Tensor, " B"] | None = None,
        memory: MemoryCell | None = None,
        cell: Float[Tensor, "B H"] | None = None,
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
        """The kernel over whole sequences: states, and with a memory its cell states, after each sample."""
        raise NotImplementedError

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
        if self.by is None or (rate := self.fastest_rate()) is None:
            return None
        return instability(self.by.name, self.by.unfolds, rate, span, self.stable_solver)

    def fixed_buffers(self) -> dict[str, np.ndarray]:
        """What the wiring says that buffers hold, by their names."""
        return {}

    @torch.no_grad()
    def restore_buffers(self) -> None:
        """Fill them with it, as after ``to_empty``."""
        for name, fixed in self.fixed_buffers().items():
            self.get_buffer(name).copy_(torch.from_numpy(fixed))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Weights of another wiring often have the same shapes, and would mean other synapses.
        *_, errors = args
        for name, fixed in self.fixed_buffers().items():
            own = torch.from_numpy(fixed).to(self.get_buffer(name).dtype)
            if not torch.equal(state_dict.setdefault(prefix + name, own).to(own), own):
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
        spans = spans_of(ts, x, batched)
        check_spans(spans, batched)
        h, _ = state_of(hx, x, self.state_size, False, batched)
        new = self.recur(x, spans, h)[0][:, 0]
        output, new = self.read(new), new.clone()  # a state set to zero in place leaves the output alone
        return (output, new) if batched else (output[0], new[0])


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


class RecurrentLayer(nn.Module):
    """A recurrence over whole sequences, called as ``output, hx = layer(input, hx, timespans, lengths)``.

    Attributes:
        input_size: C.
        state_size: H.
        output_size: O, the last dimension of the output.
        wiring: the layer's own copy of who connects to whom; None without one.
    """

    def __init__(self, cell: RecurrentCell, return_sequences: bool, batch_first: bool, mixed_memory: bool) -> None:
        super().__init__()
        self.rnn_cell = cell
        self.return_sequences = return_sequences
        self.batch_first = batch_first
        self.input_size, self.state_size, self.wiring = cell.input_size, cell.state_size, cell.wiring
        self.output_size = cell.output_size
        self.lstm = MemoryCell(self.input_size, self.state_size) if mixed_memory else None

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """Outputs from states."""
        return self.rnn_cell.read(states)

    def live_parameters(self) -> int:
        """Parameters that can change the output; see the cell's method for what does not count."""
        mine = self.rnn_cell.live_parameters(self.lstm is not None)
        return mine + sum(p.numel() for name, p in self.named_parameters() if not name.startswith("rnn_cell."))

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        timespans: Tensor | PackedSequence | float | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run over sequences.

        Args:
            input: (B, T, C), (T, B, C) with ``batch_first=False``, or (T, C); or a ``PackedSequence``. NaN is a
                number like any other and stays in its own sequence.
            hx: the state before the first sample, (B, H) or (H,), with mixed memory a tuple of two; None: zeros.
            timespans: time between each sample and the one before, in units of the model's own time scale: a number,
                one a sequence (B,), or one a sample, shaped as the input with or without a last dimension of 1; a
                ``PackedSequence`` where the input is one. None: 1.
            lengths: (B,) samples of each sequence; what stands behind them changes nothing. None: all of them.

        Returns:
            Outputs, shaped as the input, zero behind a sequence's length; without ``return_sequences`` those of each
            sequence's last sample, (B, O). And the state after each sequence's last sample, to go on with.

        Raises:
            InputError: what is no tensor; shapes or dtypes that do not fit; spans that are negative, NaN or infinite;
                lengths outside 1 to T. Values are looked at in eager mode only: under ``torch.compile``,
                ``torch.export`` and ``torch.func`` good spans and lengths are a precondition.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, timespans, lengths)
        return self._padded(input, hx, timespans, lengths)

    def _padded(
        self, input: Tensor, hx: State | None, timespans: Tensor | PackedSequence | float | None, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        check_tensor("input", input)
        if under_autocast(input):
            dtype = self.rnn_cell.dtype
            with torch.autocast(input.device.type, enabled=False):  # half precision is not enough to carry a state
                return self._padded(input.to(dtype), in_dtype(hx, dtype), timespans, lengths)
        check_input(input, (2, 3), self.input_size, self.rnn_cell.dtype)
        if isinstance(timespans, PackedSequence):
            raise InputError("timespans are a PackedSequence and the input is not: give both in one form")
        batched = input.dim() == 3
        time_first = batched and not self.batch_first
        x = input if batched else input.unsqueeze(0)
        x = x.transpose(0, 1) if time_first else x
        spans = spans_of(timespans, x, batched, not time_first)
        h, c = state_of(hx, x, self.state_size, self.lstm is not None, batched)
        valid = None
        if lengths is not None:
            check_tensor("lengths", lengths)
            valid = valid_of(lengths.to(x.device), x)
            lengths = lengths.to(x.device, torch.int64)
            # What is padding must not reach a gradient, not even as NaN times zero.
            x = x.masked_fill(~valid.unsqueeze(2), 0.0)
            spans = spans.masked_fill(~valid, 0.0)
        check_spans(spans, batched)

        states, cells = self.rnn_cell.recur(x, spans, h, lengths, self.lstm, c)
        output = self.read(states if self.return_sequences else states[:, -1])
        if valid is not None and self.return_sequences:
            output = output.masked_fill(~valid.unsqueeze(2), 0.0)
        if time_first and self.return_sequences:
            output = output.transpose(0, 1)
        # Of its own: a state set to zero in place leaves the outputs alone, one kept does not keep them all.
        h, c = states[:, -1].clone(), None if c is None else cells[:, -1].clone()
        if not batched:
            output, h, c = output[0], h[0], None if c is None else c[0]
        return output, h if c is None else (h, c)

    def _packed(
        self,
        input: PackedSequence,
        hx: State | None,
        timespans: Tensor | PackedSequence | float | None,
        lengths: Tensor | None,
    ) -> tuple[Tensor | PackedSequence, State]:
        if lengths is not None:
            raise InputError("a PackedSequence has its lengths with it: give no others")
        x, lengths = pad_packed_sequence(input, self.batch_first)
        if isinstance(timespans, PackedSequence):
            timespans, _ = pad_packed_sequence(timespans, self.batch_first)
        output, last = self._padded(x, hx, timespans, lengths)
        if not self.return_sequences:
            return output, last
        order = input.sorted_indices
        if order is not None:  # the input's own order: sorting anew may break ties differently
            output, lengths = output.index_select(0 if self.batch_first else 1, order), lengths[order.cpu()]
        data = pack_padded_sequence(output, lengths, self.batch_first).data
        return PackedSequence(data, input.batch_sizes, order, input.unsorted_indices), last
