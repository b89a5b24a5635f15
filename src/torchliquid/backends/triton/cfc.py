"""Kernels for :class:`torchliquid.cells.CfC` in all modes, with any backbone, as one layer or as wired layers.

The inputs' part of the first map is computed for all samples at once, and so are the gradients of all weights. Wired
layers run one after another over the whole stretch of time, because no layer affects the one before it. With a memory,
every layer affects all others at the next sample. Then the wired layers are one layer whose units are updated in turns.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from torchliquid import cells as recurrences
from torchliquid.backends.triton.blocks import (
    apply1,
    apply4,
    arrive_back,
    begin,
    enter,
    enter_back,
    finish,
    finish_back,
    load4,
    read1,
    read4,
    read_transposed1,
    read_transposed4,
    store4,
    tanh,
    tile,
    tile4,
    transposed1,
    transposed4,
)
from torchliquid.backends.triton.launch import FORWARD_ON_CHIP, ON_CHIP, Chunk, padded, piece_of, programs, warps
from torchliquid.cells.cfc import ACTIVATIONS


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "lecun_tanh":
        y = 1.7159 * tanh(0.666 * x)
    elif ACTIVATION == "tanh":
        y = tanh(x)
    elif ACTIVATION == "relu":
        y = tl.where(x < 0, 0.0, x)
    elif ACTIVATION == "silu":
        y = x * tl.sigmoid(x)
    else:
        y = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    return y


@triton.jit
def slope(x, ACTIVATION: tl.constexpr):
    if ACTIVATION == "lecun_tanh":
        y = tanh(0.666 * x)
        d = 1.7159 * 0.666 * (1 - y * y)
    elif ACTIVATION == "tanh":
        y = tanh(x)
        d = 1 - y * y
    elif ACTIVATION == "relu":
        d = tl.where(x > 0, 1.0, 0.0)
    elif ACTIVATION == "silu":
        s = tl.sigmoid(x)
        d = s + x * s * (1 - s)
    else:
        d = 0.5 * (1 + tl.erf(x * 0.7071067811865476)) + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
    return d


@triton.jit
def cfc_forward(
    first,
    span,
    before,
    lengths,
    reset,
    weight,
    deeper,
    biases,
    heads,
    heads_bias,
    own_rate,
    turns,
    masks,
    drive,
    memory,
    cell,
    states,
    cells,
    entered,
    hidden,
    maps,
    gates,
    batch,
    time,
    LAYERS: tl.constexpr,
    TURNS: tl.constexpr,
    PURE: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    WEIGHT_ON_CHIP: tl.constexpr,
    HEADS_ON_CHIP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    U: tl.constexpr,
    UP: tl.constexpr,
    K: tl.constexpr,
    KP: tl.constexpr,
    WEIGHT_PIECE: tl.constexpr,
    DEEPER_PIECE: tl.constexpr,
    HEADS_PIECE: tl.constexpr,
    MEMORY_PIECE: tl.constexpr,
):
    j, u = tl.arange(0, HP), tl.arange(0, UP)
    own, inside = j < H, u < U
    if WEIGHT_ON_CHIP:
        w = tile(weight, 0, 0, UP, HP, U, H)
    if HEADS_ON_CHIP:
        if PURE:
            wf = tile(heads, 0, 0, HP, KP, H, K)
        else:
            wf, wg, wa, wb = tile4(heads, 0, 0, HP, KP, H, K)
    if PURE:
        rate = tl.abs(tl.load(own_rate + j, mask=own, other=0.0))
        amplitude = tl.load(own_rate + H + j, mask=own, other=0.0)
    moving = own
    if TURNS > 1:
        turn_of = tl.load(turns + j, mask=own, other=-1)
    for b in range(tl.program_id(0), batch, tl.num_programs(0)):
        h, c, n = begin(before, cell, drive, lengths, b, j, time, H, own)
        for t in range(n):
            row = (b * time + t).to(tl.int64)
            h, c = enter(reset, drive, memory, gates, cells, row, h, c, H, HP, MEMORY_PIECE)
            if entered is not None:
                tl.store(entered + row * H + j, h, mask=own)
            z = h
            if LAYERS > 0:
                x = apply1(w, h) if WEIGHT_ON_CHIP else read1(weight, h, U, H, UP, HP, WEIGHT_PIECE)
                x += tl.load(first + row * U + u, mask=inside, other=0.0)
                for layer in tl.static_range(LAYERS):
                    if layer > 0:
                        x = read1(deeper + (layer - 1) * U * U, z, U, U, UP, UP, DEEPER_PIECE)
                        x += tl.load(biases + layer * U + u, mask=inside, other=0.0)
                    if hidden is not None:
                        tl.store(hidden + (row * LAYERS + layer) * U + u, x, mask=inside)
                    z = activated(x, ACTIVATION)
                    if masks is not None:
                        z *= tl.load(masks + (row * LAYERS + layer) * U + u, mask=inside, other=0.0)
            d = tl.load(span + row)
            for turn in tl.static_range(TURNS):
                if TURNS > 1:
                    moving = turn_of == turn
                if PURE:
                    f = apply1(wf, z) if HEADS_ON_CHIP else read1(heads, z, H, K, HP, KP, HEADS_PIECE)
                    if LAYERS > 0:
                        f += tl.load(heads_bias + j, mask=own, other=0.0)
                    else:
                        f += tl.load(first + row * H + j, mask=own, other=0.0)
                    if maps is not None:
                        tl.store(maps + row * H + j, f, mask=moving)
                    new = amplitude - amplitude * tl.exp(-d * (rate + tl.abs(f))) * f
                else:
                    if HEADS_ON_CHIP:
                        f, g, at, bt = apply4(wf, wg, wa, wb, z)
                    else:
                        f, g, at, bt = read4(heads, z, H, K, HP, KP, HEADS_PIECE)
                    if LAYERS > 0:
                        f1, g1, a1, b1 = load4(heads_bias, j, H, own)
                    else:
                        f1, g1, a1, b1 = load4(first + row * 4 * H, j, H, own)
                    f, g, at, bt = f + f1, g + g1, at + a1, bt + b1
                    if maps is not None:
                        store4(maps + row * 4 * H, f, g, at, bt, j, H, moving)
                    s = tl.sigmoid(at * d + bt)
                    new = (1 - s) * tanh(f) + s * tanh(g) if GATED else tanh(f) + s * tanh(g)
                h = tl.where(moving, new, h) if TURNS > 1 else new
                z = h
            tl.store(states + row * H + j, h, mask=own)
        finish(states, cells, drive, lengths, b, h, c, n, j, time, H, own)


@triton.jit
def cfc_backward(
    span,
    lengths,
    reset,
    weight,
    deeper,
    heads,
    own_rate,
    turns,
    masks,
    memory,
    gates,
    cell_before,
    hidden,
    maps,
    grad_states,
    grad_cells,
    to_state,
    to_cell,
    to_hidden,
    to_maps,
    to_span,
    to_rate,
    to_drive,
    batch,
    time,
    LAYERS: tl.constexpr,
    TURNS: tl.constexpr,
    PURE: tl.constexpr,
    GATED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    WEIGHT_ON_CHIP: tl.constexpr,
    HEADS_ON_CHIP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    U: tl.constexpr,
    UP: tl.constexpr,
    K: tl.constexpr,
    KP: tl.constexpr,
    WEIGHT_PIECE: tl.constexpr,
    DEEPER_PIECE: tl.constexpr,
    HEADS_PIECE: tl.constexpr,
    MEMORY_PIECE: tl.constexpr,
):
    j, u = tl.arange(0, HP), tl.arange(0, UP)
    own, inside = j < H, u < U
    if WEIGHT_ON_CHIP:
        w = tile(weight, 0, 0, UP, HP, U, H)
    if HEADS_ON_CHIP:
        if PURE:
            wf = tile(heads, 0, 0, HP, KP, H, K)
        else:
            wf, wg, wa, wb = tile4(heads, 0, 0, HP, KP, H, K)
    if PURE:
        rate = tl.load(own_rate + j, mask=own, other=0.0)
        sign = tl.where(rate > 0, 1.0, tl.where(rate < 0, -1.0, 0.0))
        rate = tl.abs(rate)
        amplitude = tl.load(own_rate + H + j, mask=own, other=0.0)
        drate = tl.zeros([HP], tl.float32)
        damplitude = drate
    moving = own
    if TURNS > 1:
        turn_of = tl.load(turns + j, mask=own, other=-1)
    for b in range(tl.program_id(0), batch, tl.num_programs(0)):
        dh, dc, n = begin(to_state, to_cell, grad_cells, lengths, b, j, time, H, own)
        for back in range(time):
            t = time - 1 - back
            row = (b * time + t).to(tl.int64)
            dh, dc = arrive_back(grad_states, grad_cells, row, dh, dc, j, H, own)
            if t < n:
                d = tl.load(span + row)
                dspan = 0.0
                for last in tl.static_range(TURNS):
                    dn = dh
                    if TURNS > 1:
                        moving = turn_of == TURNS - 1 - last
                        dn = tl.where(moving, dh, 0.0)
                    if PURE:
                        f = tl.load(maps + row * H + j, mask=own, other=0.0)
                        fade = tl.exp(-d * (rate + tl.abs(f)))
                        damplitude += dn * (1 - fade * f)
                        along = dn * amplitude * fade * f  # gradient of the exponent, divided by the span
                        drate += along * d * sign
                        dd = along * (rate + tl.abs(f))
                        df = -dn * amplitude * fade + along * d * tl.where(f > 0, 1.0, tl.where(f < 0, -1.0, 0.0))
                        tl.store(to_maps + row * H + j, df, mask=moving)
                        if HEADS_ON_CHIP:
                            dz = transposed1(wf, df)
                        else:
                            dz = read_transposed1(heads, df, H, K, HP, KP, HEADS_PIECE)
                    else:
                        f, g, at, bt = load4(maps + row * 4 * H, j, H, own)
                        f, g, s = tanh(f), tanh(g), tl.sigmoid(at * d + bt)
                        dg = dn * s * (1 - g * g)
                        if GATED:
                            df = dn * (1 - s) * (1 - f * f)
                            db = dn * (g - f) * s * (1 - s)
                        else:
                            df = dn * (1 - f * f)
                            db = dn * g * s * (1 - s)
                        da, dd = db * d, db * at
                        store4(to_maps + row * 4 * H, df, dg, da, db, j, H, moving)
                        if HEADS_ON_CHIP:
                            dz = transposed4(wf, wg, wa, wb, df, dg, da, db)
                        else:
                            dz = read_transposed4(heads, df, dg, da, db, H, K, HP, KP, HEADS_PIECE)
                    dspan += tl.sum(dd, 0)
                    if TURNS > 1:
                        dh = tl.where(moving, 0.0, dh) + dz
                tl.store(to_span + row, dspan)
                if LAYERS > 0:
                    for layer in tl.static_range(LAYERS - 1, -1, -1):
                        place = (row * LAYERS + layer) * U + u
                        dz *= slope(tl.load(hidden + place, mask=inside, other=0.0), ACTIVATION)
                        if masks is not None:
                            dz *= tl.load(masks + place, mask=inside, other=0.0)
                        tl.store(to_hidden + place, dz, mask=inside)
                        if layer > 0:
                            dz = read_transposed1(deeper + (layer - 1) * U * U, dz, U, U, UP, UP, DEEPER_PIECE)
                    if WEIGHT_ON_CHIP:
                        dh = transposed1(w, dz)
                    else:
                        dh = read_transposed1(weight, dz, U, H, UP, HP, WEIGHT_PIECE)
                elif TURNS == 1:
                    dh = dz
                dh, dc = enter_back(reset, gates, cell_before, memory, to_drive, row, dh, dc, H, HP, MEMORY_PIECE)
        finish_back(to_state, to_cell, grad_cells, b, dh, dc, j, H, own)
    if PURE:
        tl.store(to_rate + tl.program_id(0) * 2 * H + j, drate, mask=own)
        tl.store(to_rate + tl.program_id(0) * 2 * H + H + j, damplitude, mask=own)


class Kept(NamedTuple):
    """What the backward pass reads for each sample: the state before the step; backbone, heads and the memory's gates
    before their activations; and the new state."""

    entered: Tensor
    hidden: Tensor | None
    maps: Tensor
    gates: Tensor | None
    left: Tensor


class Layer:
    """One layer, see :class:`torchliquid.backends.triton.launch.Kernel`."""

    def __init__(self, cell: recurrences.CfC) -> None:
        self.cell = cell
        (self.units,) = cell.layer_sizes
        self.layers, units = len(cell.backbone) // 2, self.units
        weights = cell.backbone[::2]
        self.width = max((w.shape[0] for w in weights), default=1)
        self.weight: Tensor | None = None
        self.deeper: Tensor | None = None
        self.biases: Tensor | None = None
        self.pure = cell.mode == "pure"
        self.maps = units if self.pure else 4 * units
        self.kept = (2 * self.layers + 1) * self.width + 2 * self.maps + 10 * units
        sources = self.width if self.layers else units

        def fitted(x: Tensor, *shape: int) -> Tensor:
            missing = (size - n for size, n in zip(reversed(shape), reversed(x.shape), strict=True))
            return F.pad(x, [pad for n in missing for pad in (0, n)])

        # Narrower layers of the backbone are padded with zeros, which every activation maps to zero.
        if self.layers:
            self.first = fitted(weights[0], self.width, weights[0].shape[1])
            self.weight = self.first[:, -units:].contiguous()
            more = [fitted(w, self.width, self.width) for w in weights[1:]]
            self.deeper = torch.stack(more) if more else None
            self.biases = torch.stack([fitted(b, self.width) for b in cell.backbone[1::2]])
            self.heads = fitted(cell.heads[0], self.maps, sources).contiguous()
        else:
            self.heads = cell.heads[0][:, -units:].contiguous()
        self.rate = torch.stack(list(cell.heads[2:])) if self.pure else None
        masks = [fitted(m, *m.shape[:2], self.width) for m in cell.dropout_masks]
        self.masks = torch.stack(masks, 2) if masks else None
        hp, up, kp = padded(units), padded(self.width) if self.layers else 2, padded(sources)
        self.numbers = (up * hp if self.layers else 0), (1 if self.pure else 4) * hp * kp
        self.num_warps = warps(sum(self.numbers))
        self.options = {
            "LAYERS": self.layers,
            "TURNS": 1,
            "PURE": self.pure,
            "GATED": cell.mode == "default",
            "ACTIVATION": cell.activation,
            "H": units,
            "HP": hp,
            "U": self.width,
            "UP": up,
            "K": sources,
            "KP": kp,
            "WEIGHT_PIECE": piece_of(up, hp, 1),
            "DEEPER_PIECE": piece_of(up, up, 1),
            "HEADS_PIECE": piece_of(hp, kp, 1 if self.pure else 4),
            "MEMORY_PIECE": piece_of(hp, hp, 4),
        }
        self.turns: Tensor | None = None
        self.totals: list[Tensor] = []

    def forward(self, chunk: Chunk, keep: bool = False) -> tuple[Tensor, Tensor | None, Kept | None]:
        batch, time, sources = chunk.inputs.shape
        n, new = batch * time, chunk.inputs.new_zeros
        weight, bias = self.from_inputs(sources)
        first = F.linear(chunk.inputs, weight, bias)
        states = chunk.inputs.new_empty(batch, time, self.units)
        cells = None if chunk.drive is None else torch.empty_like(states)
        kept = None
        if keep:
            hidden = new(n, self.layers, self.width) if self.layers else None
            gates = None if chunk.drive is None else new(n, 4 * self.units)
            # Zeros, because the kernels do not write after the end of a sequence.
            kept = Kept(new(n, self.units), hidden, new(n, self.maps), gates, states)
        cfc_forward[(programs(batch, states),)](
            first,
            chunk.timespans,
            chunk.before,
            chunk.lengths,
            chunk.reset,
            self.weight,
            self.deeper,
            self.biases,
            self.heads,
            self.cell.heads[1],
            self.rate,
            self.turns,
            self.masks_of(chunk),
            chunk.drive,
            chunk.memory,
            chunk.cell,
            states,
            cells,
            *(kept[:-1] if kept else (None,) * 4),
            batch,
            time,
            **self.options,
            **self.on_chip(FORWARD_ON_CHIP if chunk.drive is None else ON_CHIP),
            num_warps=self.num_warps,
        )
        return states, cells, kept

    def on_chip(self, most: int) -> dict[str, bool]:
        weight, heads = self.numbers
        return {"HEADS_ON_CHIP": heads <= most, "WEIGHT_ON_CHIP": weight > 0 and weight + heads <= most}

    def from_inputs(self, sources: int) -> tuple[Tensor, Tensor]:
        """The inputs' part of the first map."""
        if self.biases is None:
            return self.cell.heads[0][:, :sources], self.cell.heads[1]
        return self.first[:, :sources], self.biases[0]

    def masks_of(self, chunk: Chunk) -> Tensor | None:
        return None if self.masks is None else self.masks[:, chunk.start : chunk.end].contiguous()

    def backward(
        self,
        chunk: Chunk,
        rows: Chunk,
        kept: Kept,
        grads: tuple[Tensor, Tensor | None],
        to: tuple[Tensor, Tensor | None],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        batch, time, sources = chunk.inputs.shape
        new = chunk.inputs.new_zeros
        to_hidden, to_maps = None if kept.hidden is None else torch.zeros_like(kept.hidden), torch.zeros_like(kept.maps)
        to_spans, to_drive = new(batch, time), None if chunk.drive is None else new(batch, time, 4 * self.units)
        count = programs(batch, chunk.inputs)
        to_rate = new(count, 2, self.units) if self.pure else None
        masks = self.masks_of(chunk)
        cfc_backward[(count,)](
            chunk.timespans,
            chunk.lengths,
            chunk.reset,
            self.weight,
            self.deeper,
            self.heads,
            self.rate,
            self.turns,
            masks,
            chunk.memory,
            kept.gates,
            rows.cell,
            kept.hidden,
            kept.maps,
            *grads,
            *to,
            to_hidden,
            to_maps,
            to_spans,
            to_rate,
            to_drive,
            batch,
            time,
            **self.options,
            **self.on_chip(ON_CHIP),
            num_warps=self.num_warps,
        )
        read = torch.cat([chunk.inputs.view(-1, sources), kept.entered], 1)
        found: list[Tensor] = []
        if kept.hidden is not None and to_hidden is not None:
            z = ACTIVATIONS[self.cell.activation](kept.hidden)
            if masks is not None:
                z = z * masks.view_as(z)
            for layer, weight in enumerate(self.cell.backbone[::2]):
                width, to_layer = weight.shape[0], to_hidden[:, layer]
                source = read if layer == 0 else z[:, layer - 1, : weight.shape[1]]
                found += [(to_layer.T @ source)[:width], to_layer.sum(0)[:width]]
            read = z[:, -1, : self.cell.heads[0].shape[1]]
        found += [self.to_heads(to_maps, read, kept), to_maps.sum(0)]
        if to_rate is not None:
            found += to_rate.sum(0).unbind()
        self.totals = [a + b for a, b in zip(self.totals, found, strict=True)] if self.totals else found
        to_first = to_maps if to_hidden is None else to_hidden[:, 0]
        to_inputs = (to_first @ self.from_inputs(sources)[0]).view_as(chunk.inputs)
        return to_inputs, to_spans, to_drive

    def to_heads(self, to_maps: Tensor, read: Tensor, kept: Kept) -> Tensor:
        return to_maps.T @ read

    def gradients(self) -> list[Tensor | None]:
        return [*self.totals, *(None for _ in self.cell.dropout_masks)]


class Turns(Layer):
    """Wired layers with a memory, as one layer whose units are updated layer by layer."""

    def __init__(self, cell: recurrences.CfC) -> None:
        sizes = list(cell.layer_sizes)
        heads, each = list(cell.heads), len(cell.heads) // len(sizes)
        self.sources = heads[0].shape[1] - sizes[0]
        self.of_each = 1 if cell.mode == "pure" else 4
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        self.places = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        weight = heads[0].new_zeros(self.of_each, ends[-1], self.sources + ends[-1])
        for i, place in enumerate(self.places):
            weight[:, place, self.columns(i)] = heads[i * each].view(self.of_each, sizes[i], -1)
        bias = torch.cat([b.view(self.of_each, -1) for b in heads[1::each]], 1).flatten()
        own = [torch.cat(heads[k::each]) for k in range(2, each)]
        super().__init__(cell._replace(heads=[weight.flatten(0, 1), bias, *own], layer_sizes=[ends[-1]]))
        self.turns = torch.cat([weight.new_full((n,), i, dtype=torch.int32) for i, n in enumerate(sizes)])
        self.options["TURNS"] = len(sizes)

    def columns(self, layer: int) -> slice:
        """The columns of (inputs, state) that a layer reads: the layer before it, or the inputs, and itself."""
        start = self.sources + self.places[layer - 1].start if layer else 0
        return slice(start, self.sources + self.places[layer].stop)

    def to_heads(self, to_maps: Tensor, read: Tensor, kept: Kept) -> Tensor:
        found = super().to_heads(to_maps, read, kept)
        by_unit, maps = found.view(self.of_each, self.units, -1), to_maps.view(-1, self.of_each, self.units)
        for front, place in pairwise(self.places):
            new = kept.left.view(-1, self.units)[:, front]
            columns = slice(self.sources + front.start, self.sources + front.stop)
            by_unit[:, place, columns] = torch.einsum("nku,nv->kuv", maps[:, :, place], new)
        return found

    def gradients(self) -> list[Tensor | None]:
        weight, bias, *own = self.totals
        weight, bias = weight.view(self.of_each, self.units, -1), bias.view(self.of_each, -1)
        found: list[Tensor | None] = []
        for i, place in enumerate(self.places):
            found += [weight[:, place, self.columns(i)].flatten(0, 1), bias[:, place].flatten()]
            found += [x[place] for x in own]
        return found


class Stack:
    """Wired layers without a memory, see :class:`torchliquid.backends.triton.launch.Kernel`."""

    def __init__(self, cell: recurrences.CfC) -> None:
        self.sizes = list(cell.layer_sizes)
        each = len(cell.heads) // len(self.sizes)
        heads = [cell.heads[i : i + each] for i in range(0, len(cell.heads), each)]
        layers = zip(heads, self.sizes, strict=True)
        self.layers = [Layer(cell._replace(heads=head, layer_sizes=[size])) for head, size in layers]
        self.kept = sum(layer.kept for layer in self.layers)

    def forward(self, chunk: Chunk, keep: bool = False) -> tuple[Tensor, None, list[tuple[Chunk, Kept | None]]]:
        states, kept, inputs = [], [], chunk.inputs
        for layer, before in zip(self.layers, chunk.before.split(self.sizes, 1), strict=True):
            part = chunk._replace(inputs=inputs, before=before.contiguous())
            inputs, _, found = layer.forward(part, keep)
            states.append(inputs)
            kept.append((part, found))
        return torch.cat(states, 2), None, kept

    def backward(
        self,
        chunk: Chunk,
        rows: Chunk,
        kept: list[tuple[Chunk, Kept]],
        grads: tuple[Tensor, Any],
        to: tuple[Tensor, Any],
    ) -> tuple[Tensor, Tensor, None]:
        to_spans = torch.zeros_like(chunk.timespans)
        to_inputs: Tensor | None = None
        parts = zip(self.layers, kept, grads[0].split(self.sizes, 2), to[0].split(self.sizes, 1), strict=True)
        for layer, (own, found), grad, to_state in reversed(list(parts)):
            grad = grad.contiguous() if to_inputs is None else grad + to_inputs
            part = chunk._replace(inputs=own.inputs.view(chunk.batch, chunk.time, -1))
            to_own = to_state.contiguous()
            to_inputs, spans, _ = layer.backward(part, own, found, (grad, None), (to_own, None))
            to_state.copy_(to_own)
            to_spans += spans
        assert to_inputs is not None
        return to_inputs, to_spans, None

    def gradients(self) -> list[Tensor | None]:
        return [x for layer in self.layers for x in layer.gradients()]


def kernel(cell: recurrences.CfC, memory: bool) -> Layer | Stack:
    if len(cell.layer_sizes) == 1:
        return Layer(cell)
    return Turns(cell) if memory else Stack(cell)
