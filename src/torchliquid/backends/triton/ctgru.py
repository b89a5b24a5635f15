"""Kernels for :class:`torchliquid.cells.CTGRU`. The traces are a tile, units by scales."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from torchliquid import cells as recurrences
from torchliquid.backends.triton.blocks import apply1, read1, read_transposed1, tanh, tile, transposed1
from torchliquid.backends.triton.launch import ON_CHIP, Chunk, padded, piece_of, programs, warps

HALF_DECADE = math.log(10) / 2


@triton.jit
def nearness(log_tau, M: tl.constexpr, MP: tl.constexpr):
    """For each unit and scale the distance ln tau - ln tau_i, and the weight, a softmax of minus its square."""
    m = tl.arange(0, MP)
    far = tl.minimum(tl.maximum(log_tau, -64.0), (M - 1) * 1.151292546497023 + 64.0)[:, None]
    far -= (m * 1.151292546497023)[None, :]
    score = tl.where((m < M)[None, :], -far * far, float("-inf"))
    share = tl.exp(score - tl.max(score, 1)[:, None])
    return far, share / tl.sum(share, 1)[:, None]


@triton.jit
def nearness_back(log_tau, far, share, to_share, M: tl.constexpr):
    """The gradient of ln tau from that of the weights."""
    to_score = share * (to_share - tl.sum(share * to_share, 1)[:, None])
    to_log_tau = tl.sum(-2 * far * to_score, 1)
    return tl.where((log_tau >= -64.0) & (log_tau <= (M - 1) * 1.151292546497023 + 64.0), to_log_tau, 0.0)


@triton.jit
def ctgru_forward(
    ready,
    lost,
    before,
    lengths,
    reset,
    weights,
    states,
    sums,
    maps,
    batch,
    time,
    M: tl.constexpr,
    MP: tl.constexpr,
    ON_CHIP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    PIECE: tl.constexpr,
):
    j, m = tl.arange(0, HP), tl.arange(0, MP)
    own, scale = j < H, m < M
    inside, place = own[:, None] & scale[None, :], j[:, None] * M + m[None, :]
    if ON_CHIP:
        w_r, w_s = tile(weights, 0, 0, HP, HP, H, H), tile(weights + H * H, 0, 0, HP, HP, H, H)
        w_q = tile(weights + 2 * H * H, 0, 0, HP, HP, H, H)
    for b in range(tl.program_id(0), batch, tl.num_programs(0)):
        e = tl.load(before + b * H * M + place, mask=inside, other=0.0)
        n = time
        if lengths is not None:
            n = tl.load(lengths + b)
        for t in range(n):
            row = (b * time + t).to(tl.int64)
            if reset is not None:
                e = tl.where(tl.load(reset + row) == 0, e, 0.0)
            e -= e * tl.load(lost + row * M + m, mask=scale, other=0.0)[None, :]
            h = tl.sum(e, 1)
            at = ready + row * 3 * H + j
            r, s = tl.load(at, mask=own, other=0.0), tl.load(at + H, mask=own, other=0.0)
            q = tl.load(at + 2 * H, mask=own, other=0.0)
            if ON_CHIP:
                r, s = r + apply1(w_r, h), s + apply1(w_s, h)
            else:
                r += read1(weights, h, H, H, HP, HP, PIECE)
                s += read1(weights + H * H, h, H, H, HP, HP, PIECE)
            _, share = nearness(r, M, MP)
            read = tl.sum(share * e, 1)
            if ON_CHIP:
                q = tanh(q + apply1(w_q, read))
            else:
                q = tanh(q + read1(weights + 2 * H * H, read, H, H, HP, HP, PIECE))
            if maps is not None:
                at = row * 3 * H + j
                tl.store(maps + at, r, mask=own)
                tl.store(maps + at + H, s, mask=own)
                tl.store(maps + at + 2 * H, q, mask=own)
                tl.store(sums + row * 2 * H + j, h, mask=own)
                tl.store(sums + row * 2 * H + H + j, read, mask=own)
            _, share = nearness(s, M, MP)
            e += share * (q[:, None] - e)
            tl.store(states + row * H * M + place, e, mask=inside)
        if lengths is not None:
            for t in range(n, time):
                tl.store(states + (b * time + t).to(tl.int64) * H * M + place, e, mask=inside)


@triton.jit
def ctgru_backward(
    lost,
    before,
    lengths,
    reset,
    weights,
    maps,
    grad_states,
    to_state,
    to_maps,
    to_lost,
    batch,
    time,
    M: tl.constexpr,
    MP: tl.constexpr,
    ON_CHIP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    PIECE: tl.constexpr,
):
    j, m = tl.arange(0, HP), tl.arange(0, MP)
    own, scale = j < H, m < M
    inside, place = own[:, None] & scale[None, :], j[:, None] * M + m[None, :]
    if ON_CHIP:
        w_r, w_s = tile(weights, 0, 0, HP, HP, H, H), tile(weights + H * H, 0, 0, HP, HP, H, H)
        w_q = tile(weights + 2 * H * H, 0, 0, HP, HP, H, H)
    for b in range(tl.program_id(0), batch, tl.num_programs(0)):
        de = tl.load(to_state + b * H * M + place, mask=inside, other=0.0)
        n = time
        if lengths is not None:
            n = tl.load(lengths + b)
        for back in range(time):
            t = time - 1 - back
            row = (b * time + t).to(tl.int64)
            de += tl.load(grad_states + row * H * M + place, mask=inside, other=0.0)
            if t < n:
                old = tl.load(before + row * H * M + place, mask=inside, other=0.0)
                gone = tl.load(lost + row * M + m, mask=scale, other=0.0)[None, :]
                e = old - old * gone
                at = row * 3 * H + j
                r, s = tl.load(maps + at, mask=own, other=0.0), tl.load(maps + at + H, mask=own, other=0.0)
                q = tl.load(maps + at + 2 * H, mask=own, other=0.0)
                far, share = nearness(s, M, MP)
                ds = nearness_back(s, far, share, de * (q[:, None] - e), M)
                dq = tl.sum(de * share, 1) * (1 - q * q)
                de -= de * share
                if ON_CHIP:
                    dread = transposed1(w_q, dq)
                else:
                    dread = read_transposed1(weights + 2 * H * H, dq, H, H, HP, HP, PIECE)
                far, share = nearness(r, M, MP)
                dr = nearness_back(r, far, share, dread[:, None] * e, M)
                de += dread[:, None] * share
                if ON_CHIP:
                    dh = transposed1(w_r, dr) + transposed1(w_s, ds)
                else:
                    dh = read_transposed1(weights, dr, H, H, HP, HP, PIECE)
                    dh += read_transposed1(weights + H * H, ds, H, H, HP, HP, PIECE)
                de = tl.where(inside, de + dh[:, None], 0.0)
                tl.store(to_maps + at, dr, mask=own)
                tl.store(to_maps + at + H, ds, mask=own)
                tl.store(to_maps + at + 2 * H, dq, mask=own)
                tl.store(to_lost + row * M + m, -tl.sum(de * old, 0), mask=scale)
                de -= de * gone
                if reset is not None:
                    de = tl.where(tl.load(reset + row) == 0, de, 0.0)
        tl.store(to_state + b * H * M + place, de, mask=inside)


class Kept(NamedTuple):
    """What the backward pass reads for each sample: the sum of the decayed traces, the sum of those read, and ln tau_R,
    ln tau_S and q."""

    sums: Tensor
    maps: Tensor


class CTGRU:
    """See :class:`torchliquid.backends.triton.launch.Kernel`."""

    def __init__(self, cell: recurrences.CTGRU) -> None:
        self.cell, self.units, self.scales = cell, cell.signal_bias.shape[0], cell.scales
        both = torch.cat([cell.gates, cell.signal])
        self.from_inputs, self.weights = both[:, : -self.units], both[:, -self.units :].contiguous()
        self.bias = torch.cat([cell.gates_bias, cell.signal_bias])
        self.kept = self.units * (12 + 3 * self.scales)
        width = padded(self.units)
        self.options = {
            "M": self.scales,
            "MP": padded(self.scales),
            "ON_CHIP": 4 * width * width <= ON_CHIP,
            "H": self.units,
            "HP": width,
            "PIECE": piece_of(width, width, 1),
        }
        self.num_warps = warps(4 * width * width)
        self.taus = (torch.arange(self.scales, device=both.device, dtype=both.dtype) * HALF_DECADE).exp()
        self.totals: list[Tensor] = []

    def forward(self, chunk: Chunk, keep: bool = False) -> tuple[Tensor, None, Kept | None]:
        batch, time, _ = chunk.inputs.shape
        n, new = batch * time, chunk.inputs.new_zeros
        # Zeros, because the kernels do not write after the end of a sequence.
        kept = Kept(new(n, 2 * self.units), new(n, 3 * self.units)) if keep else None
        states = chunk.inputs.new_empty(batch, time, self.units * self.scales)
        ctgru_forward[(programs(batch, states),)](
            F.linear(chunk.inputs, self.from_inputs, self.bias),
            self.lost(chunk),
            chunk.before,
            chunk.lengths,
            chunk.reset,
            self.weights,
            states,
            *(kept or (None, None)),
            batch,
            time,
            **self.options,
            num_warps=self.num_warps,
        )
        return states, None, kept

    def lost(self, chunk: Chunk) -> Tensor:
        """The share of each scale's traces that decays before each sample."""
        return -torch.expm1(-chunk.timespans.unsqueeze(2) / self.taus)

    def backward(
        self, chunk: Chunk, rows: Chunk, kept: Kept, grads: tuple[Tensor, Any], to: tuple[Tensor, Any]
    ) -> tuple[Tensor, Tensor, None]:
        batch, time, _ = chunk.inputs.shape
        lost, to_maps = self.lost(chunk), torch.zeros_like(kept.maps)
        to_lost = torch.zeros_like(lost)
        ctgru_backward[(programs(batch, lost),)](
            lost,
            rows.before,
            chunk.lengths,
            chunk.reset,
            self.weights,
            kept.maps,
            grads[0],
            to[0],
            to_maps,
            to_lost,
            batch,
            time,
            **self.options,
            num_warps=self.num_warps,
        )
        inputs, (summed, read) = chunk.inputs.flatten(0, 1), kept.sums.split(self.units, 1)
        to_gates, to_signal = to_maps.split([2 * self.units, self.units], 1)
        gates = [to_gates.T @ torch.cat([inputs, summed], 1), to_gates.sum(0)]
        found = [*gates, to_signal.T @ torch.cat([inputs, read], 1), to_signal.sum(0)]
        self.totals = [a + b for a, b in zip(self.totals, found, strict=True)] if self.totals else found
        # Spans in the padding may be NaN.
        slope = torch.where(to_lost == 0, 0.0, to_lost * (1 - lost) / self.taus)
        return (to_maps @ self.from_inputs).view_as(chunk.inputs), slope.sum(2), None

    def gradients(self) -> list[Tensor | None]:
        return list(self.totals)
