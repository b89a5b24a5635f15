"""Kernels for :class:`torchliquid.cells.LrcSSM`.

Neurons do not act on each other, so a program runs some neurons of one sequence. The backward pass needs only the
stored states.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchliquid import cells as recurrences
from torchliquid.backends.triton.blocks import tanh
from torchliquid.backends.triton.launch import Chunk, padded

MOST = 128
"""Maximum number of units of a program."""


@triton.jit
def parameters(values, j, own, H: tl.constexpr, SYMMETRIC: tl.constexpr):
    w = tl.load(values + j, mask=own, other=0.0)
    k = tl.load(values + H + j, mask=own, other=0.0)
    mu = tl.load(values + 2 * H + j, mask=own, other=0.0)
    sigma = tl.load(values + 3 * H + j, mask=own, other=0.0)
    vleak = tl.load(values + 4 * H + j, mask=own, other=0.0)
    weight = tl.load(values + 5 * H + j, mask=own, other=0.0)
    bias = tl.load(values + 6 * H + j, mask=own, other=0.0)
    shift = bias
    if SYMMETRIC:
        shift = tl.load(values + 7 * H + j, mask=own, other=0.0)
    return w, k, mu, sigma, vleak, weight, bias, shift


@triton.jit
def terms(
    h,
    resistance,
    driven,
    span,
    w,
    k,
    mu,
    sigma,
    vleak,
    weight,
    bias,
    shift,
    SYMMETRIC: tl.constexpr,
    EXPONENTIAL: tl.constexpr,
):
    """The values of one step: synapse, rate, the drive's tanh, pull, both parts of the elastance, the length of the
    step, and its derivative by elastance and span."""
    y = tl.sigmoid(sigma * (h - mu))
    rate = tl.sigmoid(tl.maximum(resistance + w * y, -30.0))
    bounded = tanh(driven + k * y)
    high, low = tl.sigmoid(weight * h + bias), tl.zeros_like(h)
    if SYMMETRIC:
        high, low = tl.sigmoid(weight * h + bias + shift), tl.sigmoid(weight * h + bias - shift)
    length, left = (high - low) * span, tl.full(h.shape, 1.0, tl.float32)
    if EXPONENTIAL:
        u = length * rate
        left = tl.exp(-u)
        near = 1 - u / 2 * (1 - u / 3 * (1 - u / 4 * (1 - u / 5 * (1 - u / 6))))
        length *= tl.where(tl.abs(u) < 0.25, near, (1 - left) / u)
    return y, rate, bounded, vleak * bounded - rate * h, high, low, length, left


@triton.jit
def lrcssm_forward(
    inputs,
    span,
    before,
    lengths,
    reset,
    values,
    states,
    time,
    SYMMETRIC: tl.constexpr,
    EXPONENTIAL: tl.constexpr,
    H: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, j = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    own = j < H
    w, k, mu, sigma, vleak, weight, bias, shift = parameters(values, j, own, H, SYMMETRIC)
    h = tl.load(before + b * H + j, mask=own, other=0.0)
    n = time
    if lengths is not None:
        n = tl.load(lengths + b)
    for t in range(time):
        row = (b * time + t).to(tl.int64)
        if t < n:
            if reset is not None:
                h = tl.where(tl.load(reset + row) == 0, h, 0.0)
            f = tl.load(inputs + row * 2 * H + j, mask=own, other=0.0)
            g = tl.load(inputs + row * 2 * H + H + j, mask=own, other=0.0)
            _, _, _, pull, _, _, length, _ = terms(
                h, f, g, tl.load(span + row), w, k, mu, sigma, vleak, weight, bias, shift, SYMMETRIC, EXPONENTIAL
            )
            h += length * pull
        tl.store(states + row * H + j, h, mask=own)


@triton.jit
def lrcssm_backward(
    inputs,
    span,
    before,
    lengths,
    reset,
    values,
    grad_states,
    to_state,
    to_inputs,
    to_span,
    to_values,
    time,
    samples,
    SYMMETRIC: tl.constexpr,
    EXPONENTIAL: tl.constexpr,
    H: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, j = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    own = j < H
    w, k, mu, sigma, vleak, weight, bias, shift = parameters(values, j, own, H, SYMMETRIC)
    dh = tl.load(to_state + b * H + j, mask=own, other=0.0)
    dw = tl.zeros([BLOCK], tl.float32)
    dk, dmu, dsigma, dvleak, dweight, dbias, dshift = dw, dw, dw, dw, dw, dw, dw
    n = time
    if lengths is not None:
        n = tl.load(lengths + b)
    for back in range(time):
        t = time - 1 - back
        row = (b * time + t).to(tl.int64)
        dh += tl.load(grad_states + row * H + j, mask=own, other=0.0)
        if t < n:
            h = tl.load(before + row * H + j, mask=own, other=0.0)
            f = tl.load(inputs + row * 2 * H + j, mask=own, other=0.0)
            g = tl.load(inputs + row * 2 * H + H + j, mask=own, other=0.0)
            d = tl.load(span + row)
            y, rate, bounded, pull, high, low, length, left = terms(
                h, f, g, d, w, k, mu, sigma, vleak, weight, bias, shift, SYMMETRIC, EXPONENTIAL
            )
            dlength, dpull = dh * pull, dh * length
            drate, delastance = -dpull * h, dlength * left * d
            if EXPONENTIAL:
                drate += dlength * ((high - low) * d * left - length) / rate
            ds = dlength * left * (high - low)
            tl.store(to_span + tl.program_id(1) * samples + row, tl.sum(tl.where(own, ds, 0.0), 0))
            dhigh, dlow = delastance * high * (1 - high), delastance * low * (1 - low)
            dshift += dhigh + dlow
            dweight += (dhigh - dlow) * h
            dbias += dhigh - dlow
            df = drate * rate * (1 - rate)
            dg = dpull * vleak * (1 - bounded * bounded)
            dvleak += dpull * bounded
            tl.store(to_inputs + row * 2 * H + j, df, mask=own)
            tl.store(to_inputs + row * 2 * H + H + j, dg, mask=own)
            dw += df * y
            dk += dg * y
            dy = (df * w + dg * k) * y * (1 - y)
            dsigma += dy * (h - mu)
            dmu -= dy * sigma
            dh += dy * sigma - dpull * rate + (dhigh - dlow) * weight
            if reset is not None:
                dh = tl.where(tl.load(reset + row) == 0, dh, 0.0)
    tl.store(to_state + b * H + j, dh, mask=own)
    at = to_values + b * 8 * H + j
    tl.store(at, dw, mask=own)
    tl.store(at + H, dk, mask=own)
    tl.store(at + 2 * H, dmu, mask=own)
    tl.store(at + 3 * H, dsigma, mask=own)
    tl.store(at + 4 * H, dvleak, mask=own)
    tl.store(at + 5 * H, dweight, mask=own)
    tl.store(at + 6 * H, dbias, mask=own)
    if SYMMETRIC:
        tl.store(at + 7 * H, dshift, mask=own)


class LrcSSM:
    """See :class:`torchliquid.backends.triton.launch.Kernel`."""

    def __init__(self, cell: recurrences.LrcSSM) -> None:
        self.values = torch.stack([*cell.synapses, cell.vleak, *cell.elastance])
        self.units = units = self.values.shape[1]
        self.kept = 4 * units
        block = min(MOST, padded(units))
        self.blocks = triton.cdiv(units, block)
        self.options = {
            "SYMMETRIC": len(cell.elastance) == 3,
            "EXPONENTIAL": cell.exponential,
            "H": units,
            "BLOCK": block,
            "num_warps": max(1, block // 64),
        }
        self.total: Tensor | None = None

    def forward(self, chunk: Chunk, keep: bool = False) -> tuple[Tensor, None, None]:
        states = chunk.inputs.new_empty(chunk.batch, chunk.time, self.units)
        if not keep and states.numel():
            lrcssm_forward[(chunk.batch, self.blocks)](
                chunk.inputs,
                chunk.timespans,
                chunk.before,
                chunk.lengths,
                chunk.reset,
                self.values,
                states,
                chunk.time,
                **self.options,
            )
        return states, None, None

    def backward(
        self, chunk: Chunk, rows: Chunk, kept: None, grads: tuple[Tensor, Any], to: tuple[Tensor, Any]
    ) -> tuple[Tensor, Tensor, None]:
        new, samples = chunk.inputs.new_zeros, chunk.batch * chunk.time
        to_inputs, to_spans = torch.zeros_like(chunk.inputs), new(self.blocks, chunk.batch, chunk.time)
        to_values = new(chunk.batch, 8, self.units)
        lrcssm_backward[(chunk.batch, self.blocks)](
            chunk.inputs,
            chunk.timespans,
            rows.before,
            chunk.lengths,
            chunk.reset,
            self.values,
            grads[0],
            to[0],
            to_inputs,
            to_spans,
            to_values,
            chunk.time,
            samples,
            **self.options,
        )
        found = to_values.sum(0)
        self.total = found if self.total is None else self.total + found
        return to_inputs, to_spans.sum(0), None

    def gradients(self) -> list[Tensor | None]:
        assert self.total is not None
        return list(self.total[: len(self.values)])
