"""Kernels for the ODEs that are stepped by Euler or Runge-Kutta: :class:`torchliquid.cells.CTRNN`,
dh/dt = tanh(held + U h) - rate h, and :class:`torchliquid.cells.ODERNN`, dh/dt = V tanh(b + U h) + c, then a GRU."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from torchliquid import cells as recurrences
from torchliquid.backends.triton.blocks import (
    apply1,
    arrive_back,
    begin,
    enter,
    enter_back,
    finish,
    finish_back,
    load4,
    read1,
    read_transposed1,
    store4,
    tanh,
    tile,
    transposed1,
)
from torchliquid.backends.triton.launch import ON_CHIP, Chunk, padded, piece_of, programs, warps


@triton.jit
def ode_forward(
    held,
    span,
    before,
    lengths,
    reset,
    weight,
    rate,
    out,
    out_bias,
    from_inputs,
    update,
    update_bias,
    drive,
    memory,
    cell,
    states,
    cells,
    points,
    bounded,
    ended,
    maps,
    gates,
    batch,
    time,
    unfolds,
    HELD: tl.constexpr,
    STAGES: tl.constexpr,
    ON_CHIP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    PIECE: tl.constexpr,
    MEMORY_PIECE: tl.constexpr,
):
    j = tl.arange(0, HP)
    own = j < H
    if ON_CHIP:
        w = tile(weight, 0, 0, HP, HP, H, H)
        if out is not None:
            w_out = tile(out, 0, 0, HP, HP, H, H)
    if rate is not None:
        leak = tl.load(rate + j, mask=own, other=0.0)
    if out is not None:
        shift = tl.load(out_bias + j, mask=own, other=0.0)
    for b in range(tl.program_id(0), batch, tl.num_programs(0)):
        h, c, n = begin(before, cell, drive, lengths, b, j, time, H, own)
        for t in range(n):
            row = (b * time + t).to(tl.int64)
            h, c = enter(reset, drive, memory, gates, cells, row, h, c, H, HP, MEMORY_PIECE)
            d = tl.load(span + row) / unfolds
            ready = tl.load(held + row * HELD + j, mask=own, other=0.0)
            for step in range(unfolds):
                y, total = h, tl.zeros([HP], tl.float32)
                for stage in tl.static_range(STAGES):
                    u = apply1(w, y) if ON_CHIP else read1(weight, y, H, H, HP, HP, PIECE)
                    u = tl.where(own, tanh(ready + u), 0.0)
                    if points is not None:
                        at = ((row * unfolds + step) * STAGES + stage) * H + j
                        tl.store(points + at, y, mask=own)
                        tl.store(bounded + at, u, mask=own)
                    k = u
                    if rate is not None:
                        k = u - leak * y
                    if out is not None:
                        k = apply1(w_out, u) + shift if ON_CHIP else read1(out, u, H, H, HP, HP, PIECE) + shift
                    if STAGES == 1:
                        total = k
                    elif stage == 0:
                        total, y = k / 6, h + d / 2 * k
                    elif stage == 1:
                        total, y = total + k / 3, h + d / 2 * k
                    elif stage == 2:
                        total, y = total + k / 3, h + d * k
                    else:
                        total += k / 6
                h += d * total
            if update is not None:
                if ended is not None:
                    tl.store(ended + row * H + j, h, mask=own)
                at = from_inputs + row * 3 * H + j
                r = read1(update, h, H, H, HP, HP, PIECE) + tl.load(update_bias + j, mask=own, other=0.0)
                z = read1(update + H * H, h, H, H, HP, HP, PIECE) + tl.load(update_bias + H + j, mask=own, other=0.0)
                m = read1(update + 2 * H * H, h, H, H, HP, HP, PIECE)
                m += tl.load(update_bias + 2 * H + j, mask=own, other=0.0)
                r = tl.sigmoid(r + tl.load(at, mask=own, other=0.0))
                z = tl.sigmoid(z + tl.load(at + H, mask=own, other=0.0))
                new = tanh(tl.load(at + 2 * H, mask=own, other=0.0) + r * m)
                if maps is not None:
                    store4(maps + row * 4 * H, r, z, new, m, j, H, own)
                h = tl.where(own, (1 - z) * new + z * h, 0.0)
            tl.store(states + row * H + j, h, mask=own)
        finish(states, cells, drive, lengths, b, h, c, n, j, time, H, own)


@triton.jit
def ode_backward(
    span,
    lengths,
    reset,
    weight,
    rate,
    out,
    out_bias,
    update,
    memory,
    gates,
    cell_before,
    points,
    bounded,
    ended,
    maps,
    grad_states,
    grad_cells,
    to_state,
    to_cell,
    to_sums,
    to_out,
    to_held,
    to_maps,
    to_span,
    to_rate,
    to_drive,
    batch,
    time,
    unfolds,
    STAGES: tl.constexpr,
    ON_CHIP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    PIECE: tl.constexpr,
    MEMORY_PIECE: tl.constexpr,
):
    j = tl.arange(0, HP)
    own = j < H
    if ON_CHIP:
        w = tile(weight, 0, 0, HP, HP, H, H)
        if out is not None:
            w_out = tile(out, 0, 0, HP, HP, H, H)
    if rate is not None:
        leak = tl.load(rate + j, mask=own, other=0.0)
        drate = tl.zeros([HP], tl.float32)
    if out is not None:
        shift = tl.load(out_bias + j, mask=own, other=0.0)
    for b in range(tl.program_id(0), batch, tl.num_programs(0)):
        dh, dc, n = begin(to_state, to_cell, grad_cells, lengths, b, j, time, H, own)
        for back in range(time):
            t = time - 1 - back
            row = (b * time + t).to(tl.int64)
            dh, dc = arrive_back(grad_states, grad_cells, row, dh, dc, j, H, own)
            if t < n:
                if update is not None:
                    r, z, new, m = load4(maps + row * 4 * H, j, H, own)
                    dnew = dh * (1 - z) * (1 - new * new)
                    dz = dh * (tl.load(ended + row * H + j, mask=own, other=0.0) - new) * z * (1 - z)
                    dr, dm = dnew * m * r * (1 - r), dnew * r
                    store4(to_maps + row * 4 * H, dr, dz, dnew, dm, j, H, own)
                    dh *= z
                    dh += read_transposed1(update, dr, H, H, HP, HP, PIECE)
                    dh += read_transposed1(update + H * H, dz, H, H, HP, HP, PIECE)
                    dh += read_transposed1(update + 2 * H * H, dm, H, H, HP, HP, PIECE)
                d = tl.load(span + row) / unfolds
                dd = tl.zeros([HP], tl.float32)
                to_ready = dd
                for up in range(unfolds):
                    g, above = dh, tl.zeros([HP], tl.float32)
                    for up_stage in tl.static_range(STAGES):
                        at = ((row * unfolds + unfolds - 1 - up) * STAGES + STAGES - 1 - up_stage) * H + j
                        y = tl.load(points + at, mask=own, other=0.0)
                        u = tl.load(bounded + at, mask=own, other=0.0)
                        # The gradient of k, divided by d: from the step, and from the next stage.
                        if STAGES == 1:
                            part = g
                        elif up_stage == 0:
                            part = g / 6
                        elif up_stage == 1:
                            part = g / 3 + above
                        elif up_stage == 2:
                            part = g / 3 + above / 2
                        else:
                            part = g / 6 + above / 2
                        k = u
                        du = d * part
                        if rate is not None:
                            k = u - leak * y
                            drate -= du * y
                        if out is not None:
                            tl.store(to_out + at, du, mask=own)
                            if ON_CHIP:
                                k = apply1(w_out, u) + shift
                                ds = transposed1(w_out, du)
                            else:
                                k = read1(out, u, H, H, HP, HP, PIECE) + shift
                                ds = read_transposed1(out, du, H, H, HP, HP, PIECE)
                        else:
                            ds = du
                        dd += part * k
                        ds *= 1 - u * u
                        tl.store(to_sums + at, ds, mask=own)
                        to_ready += ds
                        above = transposed1(w, ds) if ON_CHIP else read_transposed1(weight, ds, H, H, HP, HP, PIECE)
                        if rate is not None:
                            above -= leak * du
                        dh += above
                tl.store(to_span + row, tl.sum(dd, 0) / unfolds)
                tl.store(to_held + row * H + j, to_ready, mask=own)
                dh, dc = enter_back(reset, gates, cell_before, memory, to_drive, row, dh, dc, H, HP, MEMORY_PIECE)
        finish_back(to_state, to_cell, grad_cells, b, dh, dc, j, H, own)
    if rate is not None:
        tl.store(to_rate + tl.program_id(0) * H + j, drate, mask=own)


class Kept(NamedTuple):
    """What the backward pass reads for each sample: the argument and the tanh of each call of the field, the state
    after the span, the gates of the GRU and those of the memory."""

    points: Tensor
    bounded: Tensor
    ended: Tensor | None
    maps: Tensor | None
    gates: Tensor | None


class _Ode:
    """The common part of both cells, see :class:`torchliquid.backends.triton.launch.Kernel`."""

    def __init__(self, cell: Any, weight: Tensor, deep: bool) -> None:
        self.cell, self.weight, self.deep = cell, weight.contiguous(), deep
        self.units = units = weight.shape[0]
        self.unfolds, self.stages = cell.solver.unfolds, {"euler": 1, "rk4": 4}[cell.solver.name]
        self.calls = self.unfolds * self.stages
        self.kept = units * ((4 if deep else 3) * self.calls + 12)
        width = padded(units)
        numbers = (2 if deep else 1) * width * width
        self.num_warps = warps(numbers)
        self.options = {
            "STAGES": self.stages,
            "ON_CHIP": numbers <= ON_CHIP,
            "H": units,
            "HP": width,
            "PIECE": piece_of(width, width, 1),
            "MEMORY_PIECE": piece_of(width, width, 4),
        }
        self.rate: Tensor | None = None
        self.out: tuple[Tensor | None, Tensor | None] = (None, None)
        self.update: tuple[Tensor | None, Tensor | None] = (None, None)
        self.totals: list[Tensor] = []

    def ready(self, inputs: Tensor) -> tuple[Tensor, int, Tensor | None]:
        """What is added within the tanh; the length of its rows, 0 if all samples share one; and the inputs' part of
        the GRU's gates."""
        raise NotImplementedError

    def forward(self, chunk: Chunk, keep: bool = False) -> tuple[Tensor, Tensor | None, Kept | None]:
        batch, time, _ = chunk.inputs.shape
        n, units, new = batch * time, self.units, chunk.inputs.new_zeros
        held, row, from_inputs = self.ready(chunk.inputs)
        states = chunk.inputs.new_empty(batch, time, units)
        cells = None if chunk.drive is None else torch.empty_like(states)
        kept = None
        if keep:
            # Zeros, because the kernels do not write after the end of a sequence.
            points, bounded = new(2, n, self.calls, units)
            ended, maps = (new(n, units), new(n, 4 * units)) if self.deep else (None, None)
            kept = Kept(points, bounded, ended, maps, None if chunk.drive is None else new(n, 4 * units))
        ode_forward[(programs(batch, states),)](
            held,
            chunk.timespans,
            chunk.before,
            chunk.lengths,
            chunk.reset,
            self.weight,
            self.rate,
            *self.out,
            from_inputs,
            *self.update,
            chunk.drive,
            chunk.memory,
            chunk.cell,
            states,
            cells,
            *(kept or (None,) * 5),
            batch,
            time,
            self.unfolds,
            HELD=row,
            **self.options,
            num_warps=self.num_warps,
        )
        return states, cells, kept

    def backward(
        self,
        chunk: Chunk,
        rows: Chunk,
        kept: Kept,
        grads: tuple[Tensor, Tensor | None],
        to: tuple[Tensor, Tensor | None],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        batch, time, _ = chunk.inputs.shape
        n, units, new = batch * time, self.units, chunk.inputs.new_zeros
        to_sums, to_out = torch.zeros_like(kept.points), torch.zeros_like(kept.points) if self.deep else None
        to_held, to_maps = new(n, units), new(n, 4 * units) if self.deep else None
        to_spans, to_drive = new(batch, time), None if chunk.drive is None else new(batch, time, 4 * units)
        count = programs(batch, chunk.inputs)
        to_rate = None if self.rate is None else new(count, units)
        ode_backward[(count,)](
            chunk.timespans,
            chunk.lengths,
            chunk.reset,
            self.weight,
            self.rate,
            *self.out,
            self.update[0],
            chunk.memory,
            kept.gates,
            rows.cell,
            kept.points,
            kept.bounded,
            kept.ended,
            kept.maps,
            *grads,
            *to,
            to_sums,
            to_out,
            to_held,
            to_maps,
            to_spans,
            to_rate,
            to_drive,
            batch,
            time,
            self.unfolds,
            **self.options,
            num_warps=self.num_warps,
        )
        found = [to_sums.view(-1, units).T @ kept.points.view(-1, units)]
        inputs = chunk.inputs.flatten(0, 1)
        to_inputs, more = self.rest(inputs, kept, to_held, to_out, to_maps, to_rate)
        found += more
        self.totals = [a + b for a, b in zip(self.totals, found, strict=True)] if self.totals else found
        return to_inputs.view_as(chunk.inputs), to_spans, to_drive

    def rest(
        self,
        inputs: Tensor,
        kept: Kept,
        to_held: Tensor,
        to_out: Any,
        to_maps: Any,
        to_rate: Any,
    ) -> tuple[Tensor, list[Tensor]]:
        """The gradients of the inputs, and of all weights but U."""
        raise NotImplementedError


class CTRNN(_Ode):
    """See :class:`torchliquid.backends.triton.launch.Kernel`."""

    def __init__(self, cell: recurrences.CTRNN) -> None:
        units = cell.weight.shape[0]
        super().__init__(cell, cell.weight[:, -units:], False)
        self.from_inputs = cell.weight[:, :-units]
        self.rate = None if cell.rate is None else cell.rate.contiguous()

    def ready(self, inputs: Tensor) -> tuple[Tensor, int, None]:
        return F.linear(inputs, self.from_inputs, self.cell.bias), self.units, None

    def rest(
        self, inputs: Tensor, kept: Kept, to_held: Tensor, to_out: Any, to_maps: Any, to_rate: Any
    ) -> tuple[Tensor, list[Tensor]]:
        found = [to_held.T @ inputs, to_held.sum(0)]
        return to_held @ self.from_inputs, found if to_rate is None else [*found, to_rate.sum(0)]

    def gradients(self) -> list[Tensor | None]:
        recurrent, from_inputs, *others = self.totals
        return [torch.cat([from_inputs, recurrent], 1), *others]


class ODERNN(_Ode):
    """See :class:`torchliquid.backends.triton.launch.Kernel`."""

    def __init__(self, cell: recurrences.ODERNN) -> None:
        super().__init__(cell, cell.flow[0], True)
        self.out = cell.flow[2].contiguous(), cell.flow[3].contiguous()
        self.update = cell.update[1].contiguous(), cell.update[3].contiguous()

    def ready(self, inputs: Tensor) -> tuple[Tensor, int, Tensor]:
        return self.cell.flow[1].contiguous(), 0, F.linear(inputs, self.cell.update[0], self.cell.update[2])

    def rest(
        self, inputs: Tensor, kept: Kept, to_held: Tensor, to_out: Any, to_maps: Any, to_rate: Any
    ) -> tuple[Tensor, list[Tensor]]:
        units = self.units
        to_inputs, to_states = to_maps[:, : 3 * units], torch.cat([to_maps[:, : 2 * units], to_maps[:, 3 * units :]], 1)
        assert kept.ended is not None
        bounded, to_out = kept.bounded.view(-1, units), to_out.view(-1, units)
        found = [to_held.sum(0), to_out.T @ bounded, to_out.sum(0)]
        found += [to_inputs.T @ inputs, to_states.T @ kept.ended, to_inputs.sum(0), to_states.sum(0)]
        return to_inputs @ self.cell.update[0], found

    def gradients(self) -> list[Tensor | None]:
        return list(self.totals)
