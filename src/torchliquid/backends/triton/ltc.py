"""Kernels for :class:`torchliquid.cells.LTC` with its fused solver.

The synapses from the inputs are computed for all samples at once. So are, in the backward pass, the states of the
sub-steps and the gradients of the synapses. Only the synapses between neurons run over time, as a matrix of all pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchliquid import cells as recurrences
from torchliquid.backends.triton.blocks import (
    arrive_back,
    begin,
    enter,
    enter_back,
    finish,
    finish_back,
    load4,
    piece,
    store4,
    tile4,
)
from torchliquid.backends.triton.launch import ON_CHIP, Chunk, padded, piece_of, programs, warps


@triton.jit
def arriving(w, mu, sigma, erev, v):
    """Pull and conductance of each target, for sources with potentials v."""
    g = w * tl.sigmoid(sigma * (v[None, :] - mu))
    return tl.sum(g * erev, 1), tl.sum(g, 1)


@triton.jit
def arriving_read(weights, v, H: tl.constexpr, HP: tl.constexpr, PIECE: tl.constexpr):
    pull = tl.zeros([HP], tl.float32)
    conductance = pull
    for i in range(0, H, PIECE):
        w, mu, sigma, erev = tile4(weights, 0, i, HP, PIECE, H, H)
        p, c = arriving(w, mu, sigma, erev, piece(v, i, PIECE))
        pull, conductance = pull + p, conductance + c
    return pull, conductance


@triton.jit
def arriving_back(w, mu, sigma, erev, v, to_pull, to_conductance):
    """The gradient of the sources."""
    s = tl.sigmoid(sigma * (v[None, :] - mu))
    to_g = to_pull[:, None] * erev + to_conductance[:, None]
    return tl.sum(to_g * w * sigma * s * (1 - s), 0)


@triton.jit
def arriving_back_read(weights, v, to_pull, to_conductance, H: tl.constexpr, HP: tl.constexpr, PIECE: tl.constexpr):
    to_v = tl.zeros([HP], tl.float32)
    for j in range(0, H, PIECE):
        w, mu, sigma, erev = tile4(weights, j, 0, PIECE, HP, H, H)
        to_v += arriving_back(w, mu, sigma, erev, v, piece(to_pull, j, PIECE), piece(to_conductance, j, PIECE))
    return to_v


@triton.jit
def ltc_forward(
    pull_in,
    conductance_in,
    span,
    before,
    lengths,
    reset,
    leak,
    weights,
    drive,
    memory,
    cell,
    states,
    cells,
    steps,
    pulls,
    conductances,
    gates,
    batch,
    time,
    unfolds,
    epsilon,
    H: tl.constexpr,
    HP: tl.constexpr,
    PIECE: tl.constexpr,
    MEMORY_PIECE: tl.constexpr,
):
    j = tl.arange(0, HP)
    own = j < H
    gleak, vleak = tl.load(leak + j, mask=own, other=0.0), tl.load(leak + H + j, mask=own, other=0.0)
    cm = tl.load(leak + 2 * H + j, mask=own, other=1.0)
    if PIECE == HP:
        w, mu, sigma, erev = tile4(weights, 0, 0, HP, HP, H, H)
    for b in range(tl.program_id(0), batch, tl.num_programs(0)):
        v, c, n = begin(before, cell, drive, lengths, b, j, time, H, own)
        for t in range(n):
            row = (b * time + t).to(tl.int64)
            v, c = enter(reset, drive, memory, gates, cells, row, v, c, H, HP, MEMORY_PIECE)
            d = tl.load(span + row) / unfolds
            p_in = tl.load(pull_in + row * H + j, mask=own, other=0.0) + gleak * vleak
            g_in = tl.load(conductance_in + row * H + j, mask=own, other=0.0) + gleak + epsilon
            for k in range(unfolds):
                if PIECE == HP:
                    p, g = arriving(w, mu, sigma, erev, v)
                else:
                    p, g = arriving_read(weights, v, H, HP, PIECE)
                p, g = p + p_in, g + g_in
                if steps is not None:
                    at = (row * unfolds + k) * H + j
                    tl.store(steps + at, v, mask=own)
                    tl.store(pulls + at, p, mask=own)
                    tl.store(conductances + at, g, mask=own)
                v += d * (p - g * v) / (cm + d * g)
            tl.store(states + row * H + j, v, mask=own)
        finish(states, cells, drive, lengths, b, v, c, n, j, time, H, own)


@triton.jit
def ltc_backward(
    steps,
    pulls,
    conductances,
    span,
    lengths,
    reset,
    leak,
    weights,
    memory,
    gates,
    cell_before,
    grad_states,
    grad_cells,
    to_state,
    to_cell,
    to_pulls,
    to_conductances,
    to_pull_in,
    to_conductance_in,
    to_span,
    to_cm,
    to_drive,
    batch,
    time,
    unfolds,
    H: tl.constexpr,
    HP: tl.constexpr,
    PIECE: tl.constexpr,
    MEMORY_PIECE: tl.constexpr,
):
    j = tl.arange(0, HP)
    own = j < H
    cm = tl.load(leak + 2 * H + j, mask=own, other=1.0)
    if PIECE == HP:
        w, mu, sigma, erev = tile4(weights, 0, 0, HP, HP, H, H)
    dcm = tl.zeros([HP], tl.float32)
    for b in range(tl.program_id(0), batch, tl.num_programs(0)):
        dv, dc, n = begin(to_state, to_cell, grad_cells, lengths, b, j, time, H, own)
        for back in range(time):
            t = time - 1 - back
            row = (b * time + t).to(tl.int64)
            dv, dc = arrive_back(grad_states, grad_cells, row, dv, dc, j, H, own)
            if t < n:
                d = tl.load(span + row) / unfolds
                dd = tl.zeros([HP], tl.float32)
                dp_in, dg_in = dd, dd
                for up in range(unfolds):
                    at = (row * unfolds + (unfolds - 1 - up)) * H + j
                    v = tl.load(steps + at, mask=own, other=0.0)
                    p = tl.load(pulls + at, mask=own, other=0.0)
                    g = tl.load(conductances + at, mask=own, other=0.0)
                    over = 1 / (cm + d * g)
                    slope = (p - g * v) * over
                    dp = dv * d * over
                    part = dv * d * slope * over  # minus the gradient of cm + d g
                    dg = -v * dp - d * part
                    tl.store(to_pulls + at, dp, mask=own)
                    tl.store(to_conductances + at, dg, mask=own)
                    dp_in, dg_in, dcm = dp_in + dp, dg_in + dg, dcm - part
                    dd += dv * slope - g * part
                    if PIECE == HP:
                        below = arriving_back(w, mu, sigma, erev, v, dp, dg)
                    else:
                        below = arriving_back_read(weights, v, dp, dg, H, HP, PIECE)
                    dv += below - g * dp
                tl.store(to_pull_in + row * H + j, dp_in, mask=own)
                tl.store(to_conductance_in + row * H + j, dg_in, mask=own)
                tl.store(to_span + row, tl.sum(dd, 0) / unfolds)
                dv, dc = enter_back(reset, gates, cell_before, memory, to_drive, row, dv, dc, H, HP, MEMORY_PIECE)
        finish_back(to_state, to_cell, grad_cells, b, dv, dc, j, H, own)
    tl.store(to_cm + tl.program_id(0) * H + j, dcm, mask=own)


@triton.jit
def synapses_forward(x, weights, pull, conductance, rows, sources, targets, ROWS: tl.constexpr, TARGETS: tl.constexpr):
    """Pull and conductance (rows, targets) for sources (rows, sources) and weights (4, sources, targets)."""
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    j = tl.program_id(1) * TARGETS + tl.arange(0, TARGETS)
    p = tl.zeros([ROWS, TARGETS], tl.float32)
    g = p
    for i in range(sources):
        v = tl.load(x + r * sources + i, mask=r < rows, other=0.0)
        w, mu, sigma, erev = load4(weights + i * targets, j, sources * targets, j < targets)
        one = w[None, :] * tl.sigmoid(sigma[None, :] * (v[:, None] - mu[None, :]))
        p, g = p + one * erev[None, :], g + one
    at, inside = r[:, None] * targets + j[None, :], (r[:, None] < rows) & (j[None, :] < targets)
    tl.store(pull + at, p, mask=inside)
    tl.store(conductance + at, g, mask=inside)


@triton.jit
def synapses_to_sources(
    x, weights, to_pull, to_conductance, to_x, rows, sources, targets, ROWS: tl.constexpr, SOURCES: tl.constexpr
):
    """The gradient of the sources (rows, sources); weights (4, targets, sources)."""
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    i = tl.program_id(1) * SOURCES + tl.arange(0, SOURCES)
    at_x, inside = r[:, None] * sources + i[None, :], (r[:, None] < rows) & (i[None, :] < sources)
    v = tl.load(x + at_x, mask=inside, other=0.0)
    total = tl.zeros([ROWS, SOURCES], tl.float32)
    for j in range(targets):
        dp = tl.load(to_pull + r * targets + j, mask=r < rows, other=0.0)
        dg = tl.load(to_conductance + r * targets + j, mask=r < rows, other=0.0)
        w, mu, sigma, erev = load4(weights + j * sources, i, sources * targets, i < sources)
        s = tl.sigmoid(sigma[None, :] * (v - mu[None, :]))
        to_g = dp[:, None] * erev[None, :] + dg[:, None]
        total += to_g * (w * sigma)[None, :] * s * (1 - s)
    tl.store(to_x + at_x, total, mask=inside)


@triton.jit
def synapses_to_weights(
    x,
    to_pull,
    to_conductance,
    index,
    values,
    to_values,
    rows,
    sources,
    targets,
    synapses,
    ROWS: tl.constexpr,
    SYNAPSES: tl.constexpr,
):
    """The gradients of a list of synapses, (parts, 4, synapses). Each part is the sum over some of the rows."""
    s = tl.program_id(1) * SYNAPSES + tl.arange(0, SYNAPSES)
    own = s < synapses
    pre = tl.load(index + s, mask=own, other=0)[None, :]
    post = tl.load(index + synapses + s, mask=own, other=0)[None, :]
    w, mu, sigma, erev = load4(values, s, synapses, own)
    w, mu, sigma, erev = w[None, :], mu[None, :], sigma[None, :], erev[None, :]
    dw = tl.zeros([ROWS, SYNAPSES], tl.float32)
    dmu, dsigma, derev = dw, dw, dw
    for first in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
        r = first + tl.arange(0, ROWS).to(tl.int64)[:, None]
        inside = (r < rows) & own[None, :]
        v = tl.load(x + r * sources + pre, mask=inside, other=0.0) - mu
        dp = tl.load(to_pull + r * targets + post, mask=inside, other=0.0)
        to_g = dp * erev + tl.load(to_conductance + r * targets + post, mask=inside, other=0.0)
        open_ = tl.sigmoid(sigma * v)
        dw += to_g * open_
        derev += dp * w * open_
        slope = to_g * w * open_ * (1 - open_)
        dsigma += slope * v
        dmu -= slope * sigma
    at = to_values + tl.program_id(0) * 4 * synapses
    store4(at, tl.sum(dw, 0), tl.sum(dmu, 0), tl.sum(dsigma, 0), tl.sum(derev, 0), s, synapses, own)


class Kept(NamedTuple):
    """What the backward pass reads for each sample: the state before each sub-step, the sums of pull and conductance,
    and the memory's gates."""

    steps: Tensor
    pulls: Tensor
    conductances: Tensor
    gates: Tensor | None


class LTC:
    """See :class:`torchliquid.backends.triton.launch.Kernel`."""

    def __init__(self, cell: recurrences.LTC) -> None:
        self.cell, self.units = cell, cell.leak[2].shape[0]
        self.kept = self.units * (5 * cell.unfolds + 8)
        self.leak = torch.stack(list(cell.leak)).contiguous()
        self.values, self.sensory = torch.stack(list(cell.synapses)), torch.stack(list(cell.sensory))
        pre, post = cell.synapse_index
        weights = self.leak.new_zeros(4, self.units, self.units)
        weights[:, post, pre] = self.values
        self.weights = weights
        width = padded(self.units)
        on_chip = 4 * width * width <= ON_CHIP
        self.shape = {"H": self.units, "HP": width, "PIECE": width if on_chip else piece_of(width, width, 8)}
        self.shape["MEMORY_PIECE"] = piece_of(width, width, 4)
        self.num_warps = warps(4 * width * width)
        self.totals: list[Tensor] = []

    def sensory_matrix(self, sources: int, by_target: bool) -> Tensor:
        pre, post = self.cell.sensory_index
        if by_target:
            matrix = self.leak.new_zeros(4, self.units, sources)
            matrix[:, post, pre] = self.sensory
        else:
            matrix = self.leak.new_zeros(4, sources, self.units)
            matrix[:, pre, post] = self.sensory
        return matrix

    def forward(self, chunk: Chunk, keep: bool = False) -> tuple[Tensor, Tensor | None, Kept | None]:
        batch, time, sources = chunk.inputs.shape
        n, units = batch * time, self.units
        pull, conductance = (chunk.inputs.new_empty(n, units) for _ in range(2))
        rows, targets = 16, min(32, padded(units))
        grid = (triton.cdiv(n, rows), triton.cdiv(units, targets))
        matrix = self.sensory_matrix(sources, by_target=False)
        synapses_forward[grid](chunk.inputs, matrix, pull, conductance, n, sources, units, rows, targets, num_warps=4)
        states = chunk.inputs.new_empty(batch, time, units)
        cells = None if chunk.drive is None else torch.empty_like(states)
        kept = None
        if keep:
            # Zeros, because the kernels do not write after the end of a sequence.
            steps, pulls, conductances = chunk.inputs.new_zeros(3, n, self.cell.unfolds, units)
            gates = None if chunk.drive is None else chunk.inputs.new_zeros(n, 4 * units)
            kept = Kept(steps, pulls, conductances, gates)
        ltc_forward[(programs(batch, states),)](
            pull,
            conductance,
            chunk.timespans,
            chunk.before,
            chunk.lengths,
            chunk.reset,
            self.leak,
            self.weights,
            chunk.drive,
            chunk.memory,
            chunk.cell,
            states,
            cells,
            *(kept or (None,) * 4),
            batch,
            time,
            self.cell.unfolds,
            self.cell.epsilon,
            **self.shape,
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
        batch, time, sources = chunk.inputs.shape
        n, units, new = batch * time, self.units, chunk.inputs.new_zeros
        to_pulls, to_conductances = torch.zeros_like(kept.steps), torch.zeros_like(kept.steps)
        to_pull, to_conductance = new(n, units), new(n, units)
        to_spans, to_drive = new(batch, time), None if chunk.drive is None else new(batch, time, 4 * units)
        count = programs(batch, chunk.inputs)
        to_cm = new(count, units)
        ltc_backward[(count,)](
            kept.steps,
            kept.pulls,
            kept.conductances,
            chunk.timespans,
            chunk.lengths,
            chunk.reset,
            self.leak,
            self.weights,
            chunk.memory,
            kept.gates,
            rows.cell,
            *grads,
            *to,
            to_pulls,
            to_conductances,
            to_pull,
            to_conductance,
            to_spans,
            to_cm,
            to_drive,
            batch,
            time,
            self.cell.unfolds,
            **self.shape,
            num_warps=self.num_warps,
        )
        to_inputs = torch.empty_like(chunk.inputs)
        size, width = 16, min(32, padded(sources))
        synapses_to_sources[(triton.cdiv(n, size), triton.cdiv(sources, width))](
            chunk.inputs,
            self.sensory_matrix(sources, by_target=True),
            to_pull,
            to_conductance,
            to_inputs,
            n,
            sources,
            units,
            size,
            width,
            num_warps=4,
        )
        gleak, vleak, _ = self.leak
        to_leak = torch.stack([to_pull.sum(0) * vleak + to_conductance.sum(0), to_pull.sum(0) * gleak, to_cm.sum(0)])
        steps, to_pulls, to_conductances = (x.view(-1, units) for x in (kept.steps, to_pulls, to_conductances))
        between = _to_weights(steps, to_pulls, to_conductances, self.cell.synapse_index, self.values)
        inputs = chunk.inputs.view(n, sources)
        sensory = _to_weights(inputs, to_pull, to_conductance, self.cell.sensory_index, self.sensory)
        found = [to_leak, between, sensory]
        self.totals = [a + b for a, b in zip(self.totals, found, strict=True)] if self.totals else found
        return to_inputs, to_spans, to_drive

    def gradients(self) -> list[Tensor | None]:
        leak, between, sensory = self.totals
        return [*leak, *between, None, *sensory, None]


def _to_weights(x: Tensor, to_pull: Tensor, to_conductance: Tensor, index: Tensor, values: Tensor) -> Tensor:
    rows, synapses = x.shape[0], values.shape[1]
    if not synapses:
        return torch.zeros_like(values)
    size, width = 4, min(128, padded(synapses))
    blocks = triton.cdiv(synapses, width)
    parts = max(1, min(triton.cdiv(rows, 8 * size), programs(2**20, x) // blocks))
    found = values.new_empty(parts, 4, synapses)
    index = index.int().contiguous()
    arguments = (x, to_pull, to_conductance, index, values, found, rows, x.shape[1], to_pull.shape[1], synapses)
    synapses_to_weights[(parts, blocks)](*arguments, size, width, num_warps=4)
    return found.sum(0)
