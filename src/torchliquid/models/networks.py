"""Networks with one call form: features of each sample from inputs, timespans and a state.

``network(inputs (B, T, n), timespans (B, T), lengths (B,) | None, state | None) -> (features (B, T, F), state)``.
A state is a tuple of tensors with the batch first. Before the first sample it is all zeros. Every kind gives the same
numbers for a long sequence in pieces as for the whole sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from torchliquid.errors import InputError
from torchliquid.layers import GRUD
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.recurrent import RecurrentLayer

State = tuple[Tensor, ...]


def packed(values: Tensor, lengths: Tensor | None) -> PackedSequence:
    """(B, T, ...) without the padding after each sequence's end, in any order; ``lengths`` None: all have T samples."""
    ends = torch.full((len(values),), values.shape[1]) if lengths is None else lengths.cpu()
    return pack_padded_sequence(values, ends, batch_first=True, enforce_sorted=False)


def padded(sequences: PackedSequence, time: int) -> Tensor:
    """(B, T, ...) from the result of :func:`packed`, with zeros after each sequence's end."""
    return pad_packed_sequence(sequences, batch_first=True, total_length=time)[0]


class Network(nn.Module):
    """Base class of all kinds; ``output_size`` is F."""

    output_size: int

    @property
    def chain(self) -> tuple[Network, ...]:
        """The networks that it consists of, each fed by the one before; itself if it is one."""
        return (self,)

    @property
    def cells(self) -> tuple[RecurrentCell, ...]:
        """The cells of its layers that belong to this package."""
        return ()

    @property
    def state_parts(self) -> int:
        """Number of tensors in its state."""
        return 1

    def own_states(self, state: State) -> list[State]:
        """The states of the networks that it consists of."""
        return [state]

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        raise NotImplementedError

    def live_parameters(self) -> int:
        """Number of parameters that can change the features."""
        return sum(p.numel() for p in self.parameters())


class Liquid(Network):
    """A layer with the call form of LTC."""

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.layer = layer
        self.output_size = layer.output_size

    @property
    def cells(self) -> tuple[RecurrentCell, ...]:
        return (self.layer.rnn_cell,)

    @property
    def state_parts(self) -> int:
        return 1 if self.layer.lstm is None else 2

    def forward(
        self,
        inputs: Tensor,
        timespans: Tensor,
        lengths: Tensor | None = None,
        state: State | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        hx = None if state is None else state[0] if len(state) == 1 else state
        features, hx = self.layer(inputs, hx, timespans=timespans, lengths=lengths, reset=reset)
        return features, hx if isinstance(hx, tuple) else (hx,)

    def live_parameters(self) -> int:
        return self.layer.live_parameters()


class Gated(Network):
    """LSTM or GRU, with the time since the previous sample as one more input."""

    def __init__(self, kind: str, input_size: int, units: int) -> None:
        super().__init__()
        make = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.rnn = make(input_size + 1, units, batch_first=True)
        self.output_size = units

    @property
    def state_parts(self) -> int:
        return 2 if isinstance(self.rnn, nn.LSTM) else 1

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        x = with_spans(inputs, timespans)
        # In torch's states the layer comes first, and the GRU's is not a tuple.
        before = None if state is None else tuple(s.unsqueeze(0) for s in state)
        hx = before[0] if before is not None and len(before) == 1 else before
        if lengths is None or bool((lengths == x.shape[1]).all()):
            features, hx = self.rnn(x, hx)
        else:
            outputs, hx = self.rnn(packed(x, lengths), hx)
            features = padded(outputs, x.shape[1])
        return features, tuple(s.squeeze(0) for s in (hx if isinstance(hx, tuple) else (hx,)))


class MaskedGRUD(Network):
    """A GRU-D: its inputs are scaled values and, if ``masked``, behind them their mask, 1 where one was observed."""

    def __init__(self, input_size: int, units: int, masked: bool = True) -> None:
        super().__init__()
        self.layer = GRUD(input_size // 2 if masked else input_size, units)
        self.masked = masked
        self.output_size = units

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        values, mask = inputs.chunk(2, -1) if self.masked else (inputs, torch.ones_like(inputs))
        features, hx = self.layer(values, None if state is None else state[0], timespans, lengths, mask > 0)
        return features, (hx,)

    def live_parameters(self) -> int:
        """All; without a mask not those that fade what was not observed."""
        return super().live_parameters() - (0 if self.masked else 2 * self.layer.rnn_cell.input_size)


class Encoder(Network):
    """A dense layer with tanh, applied to each sample separately."""

    state_parts = 0

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, output_size)
        self.output_size = output_size

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        return torch.tanh(self.linear(inputs)), ()


class Frames(Network):
    """A dense layer with tanh over the inputs of the last ``frames`` samples, with zeros before the first."""

    def __init__(self, input_size: int, output_size: int, frames: int) -> None:
        super().__init__()
        self.linear = nn.Linear(frames * input_size, output_size)
        self.frames = frames
        self.output_size = output_size

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        batch, time, width = inputs.shape
        before = inputs.new_zeros(batch, self.frames - 1, width) if state is None else state[0]
        whole = torch.cat([before, inputs], 1)
        features = torch.tanh(self.linear(whole.unfold(1, self.frames, 1).flatten(2)))
        end = torch.full((batch,), time, device=inputs.device) if lengths is None else lengths
        last = end.unsqueeze(1) + torch.arange(self.frames - 1, device=inputs.device)
        return features, (whole[torch.arange(batch, device=inputs.device).unsqueeze(1), last],)


class PictureEncoder(Network):
    """Features of a picture among the inputs, for each sample separately: convolutions with a stride of 2 and ReLU
    until at most 12 places are left, then a dense layer with tanh; at most 10,000 parameters for up to 3 colours.

    Args:
        input_size: number of inputs.
        start: where the picture begins among the inputs, (height, width, channels) row by row.
        shape: height, width and channels.

    The outputs are the other inputs, in their order, then the features.
    """

    state_parts = 0
    FEATURES = 32
    FILTERS = (8, 12, 16, 8, 8, 8)  # of the first convolutions; 4 of all after them
    PLACES = 12

    def __init__(self, input_size: int, start: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        height, width, depth = shape
        self.start, self.shape = start, shape
        self.size = height * width * depth
        if start < 0 or start + self.size > input_size:
            raise InputError(f"a picture of {self.size} numbers from index {start} does not fit {input_size} inputs")
        layers: list[nn.Conv2d] = []
        while not layers or height * width > self.PLACES:
            filters = self.FILTERS[len(layers)] if len(layers) < len(self.FILTERS) else 4
            kernel = 3 if layers else 5
            layers.append(nn.Conv2d(depth, filters, kernel, stride=2, padding=kernel // 2))
            height, width, depth = -(-height // 2), -(-width // 2), filters
        self.convolutions = nn.ModuleList(layers)
        self.linear = nn.Linear(height * width * depth, self.FEATURES)
        self.output_size = input_size - self.size + self.FEATURES

    @property
    def layers(self) -> tuple[nn.Conv2d, ...]:
        """The convolutions."""
        return tuple(self.convolutions)  # type: ignore[arg-type]

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        end = self.start + self.size
        picture = inputs[..., self.start : end].flatten(0, 1).unflatten(1, self.shape).permute(0, 3, 1, 2)
        for convolution in self.convolutions:
            picture = torch.relu(convolution(picture))
        # Row by row with the channels last, in the picture's own order.
        features = torch.tanh(self.linear(picture.permute(0, 2, 3, 1).flatten(1)))
        return torch.cat(
            [inputs[..., : self.start], inputs[..., end:], features.unflatten(0, inputs.shape[:2])], -1
        ), ()


class Chain(Network):
    """Networks one after the other, each fed with the features of the previous one; in training with dropout between
    them."""

    def __init__(self, networks: Sequence[Network], dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise InputError(f"dropout must be from 0 to below 1, not {dropout}")
        if dropout and len(networks) == 1:
            raise InputError(
                f"dropout={dropout} acts between layers, but there is only one: give layers=2 or an encoder"
            )
        self.networks = nn.ModuleList(networks)
        self.dropout = dropout
        self.output_size = networks[-1].output_size

    @property
    def chain(self) -> tuple[Network, ...]:
        return tuple(self.networks)  # type: ignore[arg-type]

    @property
    def cells(self) -> tuple[RecurrentCell, ...]:
        return tuple(cell for network in self.chain for cell in network.cells)

    @property
    def state_parts(self) -> int:
        return sum(network.state_parts for network in self.chain)

    def own_states(self, state: State) -> list[State]:
        parts = iter(state)
        return [tuple(islice(parts, network.state_parts)) for network in self.chain]

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        after: State = ()
        before = [None] * len(self.networks) if state is None else self.own_states(state)
        for i, (network, own) in enumerate(zip(self.chain, before, strict=True)):
            if i:
                inputs = F.dropout(inputs, self.dropout, self.training)
            inputs, new = network(inputs, timespans, lengths, own)
            after += new
        return inputs, after

    def live_parameters(self) -> int:
        return sum(network.live_parameters() for network in self.chain)


class Transformer(Network):
    """Causal Transformer whose attention reaches back over the last ``context`` samples of each layer's inputs.

    The attention scores of each head fall with distance, in samples (as in ALiBi, arXiv 2108.12409) and in time, at
    learned rates. They also have a learned bias by elapsed time, so that a head can prefer a lag: one value per usual
    span for the first ``lags``, interpolated linearly, with the last one beyond (Shaw et al., arXiv 1803.02155, but
    over time). Positions are not counted, so that a recording can have any length. Layers are pre-norm (arXiv
    2002.04745).

    The state is what later samples can attend to: the last context - 1 inputs of each layer (B, L, context - 1, width),
    the spans before them (B, context - 1), and which of these places hold a sample.
    """

    state_parts = 3

    def __init__(
        self,
        input_size: int,
        width: int,
        hidden: int,
        layers: int = 2,
        heads: int = 2,
        context: int = 64,
        lags: int = 0,
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads or context < 1 or lags < 0:
            raise InputError(
                f"a transformer's width is a multiple of its heads, its context 1 or more and its lags 0 or more, not "
                f"{width}, {heads}, {context} and {lags}"
            )
        self.output_size = width
        self.context = context
        self.lags = lags
        self.embedding = nn.Linear(input_size + 1, width)
        self.layers = nn.ModuleList(TransformerLayer(width, hidden, heads, lags) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        batch, time = timespans.shape
        back = self.context - 1
        x = self.embedding(with_spans(inputs, timespans))
        if state is None:  # no earlier samples
            none = x.new_zeros(batch, 0)
            state = (x.new_zeros(batch, len(self.layers), 0, x.shape[2]), none, none)
        memory, past_spans, held = state
        before = past_spans.shape[1]
        spans = torch.cat([past_spans, timespans], 1)
        held = torch.cat([held, torch.ones_like(timespans)], 1)

        # Query i is at place before + i. It attends to this place and the ``back`` places before it.
        here = torch.arange(time, device=x.device).unsqueeze(1) + before
        lag = here - torch.arange(before + time, device=x.device)
        visible = (lag >= 0) & (lag <= back) & (held > 0).unsqueeze(1)
        clock = spans.double().cumsum(1)  # in double precision, because a long gap would hide the short ones after it
        elapsed = (clock[:, before:, None] - clock[:, None, :]).clamp_min(0).to(x.dtype)
        distance = torch.stack([torch.log1p(lag.clamp_min(0)).expand_as(elapsed), torch.log1p(elapsed)], -1)

        keep: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            whole = torch.cat([memory[:, i], x], 1)
            keep.append(whole)
            x = layer(x, whole, distance, elapsed, visible)

        # The last context - 1 places up to each sequence's last sample.
        keep = [F.pad(whole, (0, 0, back - before, 0)) for whole in keep]
        spans, held = (F.pad(each, (back - before, 0)) for each in (spans, held))
        end = torch.full((batch,), time, device=x.device) if lengths is None else lengths
        last = end.unsqueeze(1) + torch.arange(back, device=x.device)
        rows = torch.arange(batch, device=x.device).unsqueeze(1)
        after = (torch.stack(keep, 1)[rows, :, last].transpose(1, 2), spans.gather(1, last), held.gather(1, last))
        return self.norm(x), after


class TransformerLayer(nn.Module):
    """Attention over earlier samples, then two linear maps."""

    def __init__(self, width: int, hidden: int, heads: int, lags: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.rates = nn.Parameter(torch.tensor([2.0**-h for h in range(heads)]).repeat(2, 1))
        self.bias = nn.Parameter(torch.zeros(lags, heads)) if lags else None
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, whole: Tensor, distance: Tensor, elapsed: Tensor, visible: Tensor) -> Tensor:
        """x (B, T, d) attends to whole (B, P, d) where visible (B, T, P), with distances (B, T, P, 2) and elapsed times
        (B, T, P)."""
        key, value = self.key_value(self.norm(whole)).unflatten(-1, (2, self.heads, -1)).unbind(-3)
        query = self.query(self.norm(x)).unflatten(-1, (self.heads, -1))
        scores = -(distance @ self.rates)
        if self.bias is not None:
            scores = scores + interpolated(self.bias, elapsed)
        scores = scores.masked_fill(~visible.unsqueeze(-1), -math.inf).movedim(-1, 1)
        query, key, value = (each.transpose(1, 2) for each in (query, key, value))
        found = F.scaled_dot_product_attention(query, key, value, scores)
        x = x + self.out(found.transpose(1, 2).flatten(-2))
        return x + self.feed(x)


def interpolated(table: Tensor, at: Tensor) -> Tensor:
    """(..., H) linear interpolation in a table (N, H) of values at 0 to N - 1, with the last one beyond."""
    shape = at.shape
    at = at.flatten().clamp(max=len(table) - 1)
    below = at.floor().clamp(max=max(len(table) - 2, 0))
    low, share = below.long().unsqueeze(1), (at - below).unsqueeze(1)
    # gather, because the backward pass of indexing is slow on the CPU
    first, second = (table.gather(0, i.expand(-1, table.shape[1])) for i in (low, (low + 1).clamp(max=len(table) - 1)))
    return (first + (second - first) * share).reshape(*shape, -1)


def with_spans(inputs: Tensor, timespans: Tensor) -> Tensor:
    """Inputs and the logarithm of each span, 0 at the usual one."""
    return torch.cat([inputs, (torch.log1p(timespans) - math.log(2)).unsqueeze(-1)], -1)
