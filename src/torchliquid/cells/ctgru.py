"""The continuous-time gated recurrent unit (Mozer, Kazakov and Lindsey, arXiv 1710.04110)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from torchliquid.cells.recurrence import Prepared
from torchliquid.tracing import is_written_down

Map = Callable[[Float[Tensor, "B H"]], Tensor]


class CTGRU(NamedTuple):
    """Recurrence of a continuous-time GRU (arXiv 1710.04110): M traces per unit, tau_i = 10^(i / 2), i = 0 to M - 1.

    With traces e (H, M), which decay by exp(-span / tau_i) during the span before the sample, and h their sum over i:

        r = softmax_i -(ln tau_R - ln tau_i)^2,   ln tau_R = W_R x + U_R h + b_R
        q = tanh(W_Q x + U_Q sum_i r_i e_i + b_Q)
        s = softmax_i -(ln tau_S - ln tau_i)^2,   ln tau_S = W_S x + U_S h + b_S
        e_i <- (1 - s_i) e_i + s_i q

    In the paper, the traces decay at the end of a step, for the time until the next event. Here a span is known only
    when the sample at its end arrives. The state is the traces, (B, H M), with those of one unit next to each other.

    Attributes:
        gates: [W_R, U_R], and below it [W_S, U_S].
        gates_bias: b_R and b_S.
        signal: [W_Q, U_Q].
        signal_bias: b_Q.
        scales: M.
    """

    gates: Float[Tensor, "H2 CH"]
    gates_bias: Float[Tensor, " H2"]
    signal: Float[Tensor, "H CH"]
    signal_bias: Float[Tensor, " H"]
    scales: int

    def prepare(self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]) -> Prepared:
        """The parts of gates and signal from the inputs, and the decay of the traces; U_R above U_S, and U_Q."""
        n = inputs.shape[2]
        from_input = F.linear(
            inputs,
            torch.cat([self.gates[:, :n], self.signal[:, :n]]),
            torch.cat([self.gates_bias, self.signal_bias]),
        )
        return (from_input, faded_share(timespans, self.scales)), (self.gates[:, n:], self.signal[:, n:])

    def step(
        self,
        x: Float[Tensor, "B C"],
        h: Float[Tensor, "B HM"],
        span: Float[Tensor, " B"],
        series: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> Float[Tensor, "B HM"]:
        (drive, lost), (to_gates, to_signal) = series, weights
        units = to_signal.shape[0]
        return advance(
            h,
            lost,
            lambda total: drive[:, :-units] + F.linear(total, to_gates),
            lambda read: drive[:, -units:] + F.linear(read, to_signal),
        )


def advance(state: Float[Tensor, "B HM"], lost: Float[Tensor, "B M"], gates: Map, signal: Map) -> Float[Tensor, "B HM"]:
    """One step, where ``gates`` maps to ln tau_R and ln tau_S, and ``signal`` to the argument of q's tanh."""
    before = state.unflatten(1, (-1, lost.shape[-1]))
    traces = before - before * lost.unsqueeze(1)
    r, s = _weights(gates(traces.sum(2)), lost.shape[-1])
    q = torch.tanh(signal((r * traces).sum(2)))
    return (traces + s * (q.unsqueeze(2) - traces)).flatten(1)


def faded_share(timespans: Float[Tensor, "*B"], scales: int) -> Float[Tensor, "*B M"]:
    """The share of each scale's traces that decays. A factor just below 1 would accumulate rounding errors instead."""
    share = timespans.unsqueeze(-1) / _log_tau(timespans, scales).exp()
    if is_written_down():  # ONNX has no expm1; this is the same
        return torch.tanh(share / 2) * (1 + torch.exp(-share))
    return -torch.expm1(-share)


def _weights(log_taus: Float[Tensor, "B H2"], scales: int) -> tuple[Tensor, Tensor]:
    """r and s, (B, H, M) each, from ln tau_R and ln tau_S."""
    log_tau, beyond = _log_tau(log_taus, scales), 64.0  # from here on all weights but the nearest are 0
    near = log_taus.clamp(-beyond, (scales - 1) * math.log(10) / 2 + beyond).unsqueeze(2) - log_tau
    r, s = torch.softmax(-near.square(), 2).chunk(2, 1)
    return r, s


def _log_tau(like: Tensor, scales: int) -> Float[Tensor, " M"]:
    return torch.arange(scales, dtype=like.dtype, device=like.device) * (math.log(10) / 2)
