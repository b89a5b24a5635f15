"""What all recurrent layers share: the forms in which they may be called."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from torchliquid.errors import InputError
from torchliquid.layers.memory import MemoryCell

State = Tensor | tuple[Tensor, Tensor]
"""h (B, H), or with mixed memory (h, c)."""


class RecurrentLayer(nn.Module):
    """A recurrence over whole sequences, called as ``output, hx = layer(input, hx, timespans, lengths)``."""

    input_size: int
    state_size: int
    output_size: int

    def __init__(self, return_sequences: bool, batch_first: bool) -> None:
        super().__init__()
        self.return_sequences = return_sequences
        self.batch_first = batch_first
        self.lstm: MemoryCell | None = None

    def recur(
        self,
        inputs: Float[Tensor, "B T C"],
        timespans: Float[Tensor, "B T"],
        state: Float[Tensor, "B H"],
        cell: Float[Tensor, "B H"] | None,
        lengths: Int[Tensor, " B"] | None,
    ) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
        """States, and with mixed memory cell states, after each sample."""
        raise NotImplementedError

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """Outputs from states."""
        raise NotImplementedError

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        timespans: Tensor | float | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run over sequences.

        Args:
            input: (B, T, C), (T, B, C) with ``batch_first=False``, or (T, C); or a ``PackedSequence``.
            hx: the state before the first sample, (B, H) or (H,), with mixed memory a tuple of two; None: zeros.
            timespans: time between each sample and the one before: a number, (B,), or one a sample, shaped as the
                input with or without a last dimension of 1. None: 1.
            lengths: (B,) samples of each sequence; what stands behind them changes nothing. None: all of them.

        Returns:
            Outputs, shaped as the input, zero behind a sequence's length; without ``return_sequences`` those of each
            sequence's last sample, (B, O). And the state after each sequence's last sample, to go on with.

        Raises:
            InputError: shapes that do not fit; timespans that are negative, NaN or infinite. The latter is looked
                at in eager mode only: under ``torch.compile``, ``torch.export`` and ``torch.func`` finite timespans of
                0 or more are a precondition.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx, timespans, lengths)
        if input.dim() not in (2, 3) or input.shape[-1] != self.input_size:
            raise InputError(
                f"input has shape {tuple(input.shape)}; (batch, time, {self.input_size}) or (time, {self.input_size}) "
                "is needed"
            )
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(0)
        if batched and not self.batch_first:
            x = x.transpose(0, 1)
        if x.shape[1] == 0:
            raise InputError("input has no samples: its time dimension is 0")
        spans = self._timespans(timespans, x, batched)
        h, c = self._initial(hx, x, batched)
        valid = None
        if lengths is not None:
            valid = _valid(lengths, x)
            # What is padding must not reach a gradient, not even as NaN times zero.
            x = x.masked_fill(~valid.unsqueeze(2), 0.0)
            spans = spans.masked_fill(~valid, 0.0)
        states, cells = self.recur(x, spans, h, c, lengths)
        last = (states[:, -1], cells[:, -1]) if c is not None else states[:, -1]
        if self.return_sequences:
            output = self.read(states)
            if valid is not None:
                output = output.masked_fill(~valid.unsqueeze(2), 0.0)
            if batched and not self.batch_first:
                output = output.transpose(0, 1)
        else:
            output = self.read(states[:, -1])
        if not batched:
            return output[0], (last[0][0], last[1][0]) if isinstance(last, tuple) else last[0]
        return output, last

    def _packed(
        self, input: PackedSequence, hx: State | None, timespans: Tensor | float | None, lengths: Tensor | None
    ) -> tuple[Tensor | PackedSequence, State]:
        if lengths is not None:
            raise InputError("a PackedSequence has its lengths with it: give no others")
        x, lengths = pad_packed_sequence(input, batch_first=self.batch_first)
        output, last = self(x, hx, timespans, lengths.to(x.device))
        if self.return_sequences:
            output = pack_padded_sequence(output, lengths, self.batch_first, enforce_sorted=False)
        return output, last

    def _timespans(self, timespans: Tensor | float | None, x: Tensor, batched: bool) -> Tensor:
        """(B, T) in the input's dtype, checked."""
        batch, time = x.shape[:2]
        if timespans is None:
            return x.new_ones(batch, time)
        spans = torch.as_tensor(timespans, dtype=x.dtype, device=x.device)
        given = tuple(spans.shape)
        if spans.dim() >= 2 and spans.shape[-1] == 1 and spans.dim() == (3 if batched else 2):
            spans = spans.squeeze(-1)
        if not batched and spans.dim() == 1:
            spans = spans.unsqueeze(0)
        elif spans.dim() == 1:
            spans = spans.unsqueeze(1)
        elif spans.dim() == 2 and batched and not self.batch_first:
            spans = spans.transpose(0, 1)
        if spans.dim() not in (0, 2) or (spans.dim() == 2 and spans.shape not in ((batch, time), (batch, 1))):
            want = f"({batch}, {time})" if self.batch_first or not batched else f"({time}, {batch})"
            raise InputError(
                f"timespans have shape {given}; a number, one a sequence ({batch},) or one a sample {want} is needed"
            )
        if not _tracing(spans):
            bad = ~(spans >= 0) | torch.isinf(spans)
            if bool(bad.any()):
                where = bad.nonzero()[0].tolist()
                value = spans[tuple(where)].item()
                place = f" of sequence {where[0]}, sample {where[1] if spans.shape[1] > 1 else 0}" if where else ""
                raise InputError(f"the timespan{place} is {value:g}; it must be finite and not negative")
        return spans.expand(batch, time)

    def _initial(self, hx: State | None, x: Tensor, batched: bool) -> tuple[Tensor, Tensor | None]:
        batch = x.shape[0]
        mixed = self.lstm is not None
        if hx is None:
            zeros = x.new_zeros(batch, self.state_size)
            return zeros, zeros if mixed else None
        if isinstance(hx, tuple) != mixed:
            raise InputError(
                "with mixed memory the state is a tuple (h, c)" if mixed else "the state is one tensor, not a tuple"
            )
        parts = hx if isinstance(hx, tuple) else (hx,)
        want = (batch, self.state_size) if batched else (self.state_size,)
        for part in parts:
            if part.shape != want:
                raise InputError(f"the state has shape {tuple(part.shape)}; {want} is needed")
        h, *c = (part if batched else part.unsqueeze(0) for part in parts)
        return h, c[0] if c else None


def _valid(lengths: Tensor, x: Tensor) -> Bool[Tensor, "B T"]:
    batch, time = x.shape[:2]
    if lengths.shape != (batch,):
        raise InputError(f"lengths have shape {tuple(lengths.shape)}; one a sequence, ({batch},), is needed")
    if not _tracing(lengths) and not bool(((lengths >= 1) & (lengths <= time)).all()):
        raise InputError(f"lengths run from {int(lengths.min())} to {int(lengths.max())}; 1 to {time} is possible")
    return torch.arange(time, device=x.device) < lengths.unsqueeze(1)


def _tracing(tensor: Tensor) -> bool:
    """Whether values can't be looked at: compiled, exported, or under a torch.func transform."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.maybe_current_level() is not None
        or tensor.device.type == "meta"
    )
