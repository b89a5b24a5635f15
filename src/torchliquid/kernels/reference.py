"""The recurrences in plain PyTorch: the truth that every other implementation is held against.

Each function runs one recurrence over a whole batch of sequences, in any floating dtype, on any device,
differentiable any number of times. They know nothing of layers: parameters arrive already positive,
masked and packed.

Shapes: B batch, T time, C channels, H units, S synapses, L layers of a wired cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from torchliquid.kernels.scan import is_written_down, scan
from torchliquid.solvers.fixed import FIXED

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "lecun_tanh": lambda x: 1.7159 * torch.tanh(0.666 * x),
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
}
"""Activations of a CfC's backbone, by the name a user gives."""

CFC_MODES = ("default", "no_gate", "pure")


def ltc(
    inputs: Float[Tensor, "B T C"],
    timespans: Float[Tensor, "B T"],
    state: Float[Tensor, "B H"],
    lengths: Int[Tensor, " B"] | None,
    leak: Sequence[Float[Tensor, " H"]],
    synapses: Sequence[Float[Tensor, " S"]],
    synapse_index: Int[Tensor, "2 S"],
    sensory: Sequence[Float[Tensor, " S_in"]],
    sensory_index: Int[Tensor, "2 S_in"],
    unfolds: int,
    epsilon: float,
    memory_drive: Float[Tensor, "B T 4*H"] | None = None,
    memory_weight: Float[Tensor, "4*H H"] | None = None,
    cell: Float[Tensor, "B H"] | None = None,
    reset: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """Liquid time-constant recurrence with the fused semi-implicit solver (arXiv 2006.04439, eq. 1 and 3).

    A synapse from a source with potential x carries the conductance g = w * sigmoid(sigma * (x - mu)) and
    pulls its target towards ``erev``. With g_j summed over the synapses into a neuron, each of the
    ``unfolds`` sub-steps of length d = timespan / unfolds is

        v <- (cm v + d (gleak vleak + sum g_j erev_j)) / (cm + d (gleak + sum g_j + epsilon)),

    written below as an increment, so that a span of zero leaves v exactly where it is.

    Args:
        inputs: values that reach the sensory synapses, after the input mapping.
        timespans: time since the sample before, finite and not negative.
        state: potentials before the first sample.
        lengths: samples of each sequence; later ones leave the state alone. None: all of them.
        leak: ``(gleak, vleak, cm)``, one value a neuron; gleak and cm positive.
        synapses: ``(w, mu, sigma, erev)``, one value a synapse between neurons; w positive.
        synapse_index: source and target neuron of each synapse, ordered by target.
        sensory: ``(w, mu, sigma, erev)`` of the synapses from inputs to neurons.
        sensory_index: source input and target neuron of each, ordered by target.
        unfolds: solver steps a sample.
        epsilon: keeps the denominator away from zero.
        memory_drive: for mixed memory, the input's share of the LSTM's gates (see :func:`lstm_step`).
        memory_weight: the LSTM's recurrent weight.
        cell: the LSTM's cell state before the first sample.
        reset: true where the state is zero before the sample, as at the start of an episode; None: nowhere.

    Returns:
        The potentials after each sample, and the LSTM's cell states (empty, (B, 0, H), without memory).
    """

    def step(
        _: Tensor, v: Tensor, span: Tensor, pull_in: Tensor, conductance_in: Tensor, cm: Tensor, *between: Tensor
    ) -> Tensor:
        d = (span / unfolds).unsqueeze(1)
        for _unfold in range(unfolds):
            pull, conductance = _synaptic(v, units, between[1:], between[0])
            pull, conductance = pull + pull_in, conductance + conductance_in
            v = v + d * (pull - conductance * v) / (cm + d * conductance)
        return v

    ready, units = _ltc_drives(inputs, leak, sensory, sensory_index, epsilon), leak[2].shape[0]
    weights = (leak[2], synapse_index, *synapses)
    return scan(step, inputs, timespans, state, lengths, memory_drive, memory_weight, cell, ready, weights, reset)


Solve = Callable[[Callable[..., Tensor], Tensor, Tensor, Sequence[Tensor], Sequence[Tensor]], Tensor]
"""From a field, a state (B, H) and spans (B, 1) to the state a span later; called as ``solve(field, state, span,
drives, weights)`` with a field that is called as ``field(state, *drives, *weights)``, drives one row a sample."""


def ltc_solved(
    inputs: Float[Tensor, "B T C"],
    timespans: Float[Tensor, "B T"],
    state: Float[Tensor, "B H"],
    lengths: Int[Tensor, " B"] | None,
    leak: Sequence[Float[Tensor, " H"]],
    synapses: Sequence[Float[Tensor, " S"]],
    synapse_index: Int[Tensor, "2 S"],
    sensory: Sequence[Float[Tensor, " S_in"]],
    sensory_index: Int[Tensor, "2 S_in"],
    solve: Solve,
    epsilon: float,
    memory_drive: Float[Tensor, "B T 4*H"] | None = None,
    memory_weight: Float[Tensor, "4*H H"] | None = None,
    cell: Float[Tensor, "B H"] | None = None,
    reset: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """The liquid time-constant recurrence with any solver: between samples v follows

        cm dv/dt = gleak vleak + sum g_j erev_j - (gleak + sum g_j + epsilon) v,

    the equation that :func:`ltc` solves by its own fused steps, the input constant within a span. All arguments and
    results as there, except ``solve``.
    """

    units = leak[2].shape[0]

    def step(_: Tensor, v: Tensor, span: Tensor, pull_in: Tensor, conductance_in: Tensor, *weights: Tensor) -> Tensor:
        index, *values = weights

        def field(v: Tensor, pull_in: Tensor, conductance_in: Tensor, cm: Tensor, *between: Tensor) -> Tensor:
            pull, conductance = _synaptic(v, units, between, index)
            return (pull + pull_in - (conductance + conductance_in) * v) / cm

        return solve(field, v, span.unsqueeze(1), (pull_in, conductance_in), values)

    ready = _ltc_drives(inputs, leak, sensory, sensory_index, epsilon)
    weights = (synapse_index, leak[2], *synapses)
    return scan(step, inputs, timespans, state, lengths, memory_drive, memory_weight, cell, ready, weights, reset)


def _ltc_drives(
    inputs: Float[Tensor, "B T C"],
    leak: Sequence[Float[Tensor, " H"]],
    sensory: Sequence[Float[Tensor, " S_in"]],
    sensory_index: Int[Tensor, "2 S_in"],
    epsilon: float,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """What leak and inputs bring to the neurons: it does not wait for the state, so it is ready for all samples."""
    gleak, vleak, _ = leak
    pull, conductance = _synaptic(inputs, gleak.shape[0], sensory, sensory_index)
    return pull + gleak * vleak, conductance + gleak + epsilon


def ltc_time_constants(
    inputs: Float[Tensor, "*B C"],
    state: Float[Tensor, "*B H"],
    leak: Sequence[Float[Tensor, " H"]],
    synapses: Sequence[Float[Tensor, " S"]],
    synapse_index: Int[Tensor, "2 S"],
    sensory: Sequence[Float[Tensor, " S_in"]],
    sensory_index: Int[Tensor, "2 S_in"],
) -> Float[Tensor, "*B H"]:
    """Effective time constants cm / (gleak + sum g) of neurons at these potentials and inputs (arXiv 2006.04439).

    They lie between cm / (gleak + sum w) and cm / gleak whatever the inputs are. Arguments as in :func:`ltc`.
    """
    gleak, _, cm = leak
    units = state.shape[-1]
    conductance = _synaptic(state, units, synapses, synapse_index)[1]
    return cm / (gleak + conductance + _synaptic(inputs, units, sensory, sensory_index)[1])


def _synaptic(
    source: Float[Tensor, "*B N"], units: int, synapses: Sequence[Float[Tensor, " S"]], index: Int[Tensor, "2 S"]
) -> tuple[Float[Tensor, "*B H"], Float[Tensor, "*B H"]]:
    """What the synapses from these sources bring to each neuron: sum of g erev, and sum of g."""
    w, mu, sigma, erev = synapses
    pre, post = index
    g = w * torch.sigmoid(sigma * (source.index_select(-1, pre) - mu))
    none = g.new_zeros(*source.shape[:-1], units)
    if is_written_down():  # for ONNX, which has no index_add of a free batch
        post = post.expand(g.shape)
        return none.scatter_add(-1, post, g * erev), none.scatter_add(-1, post, g)
    return none.index_add(-1, post, g * erev), none.index_add(-1, post, g)


def cfc(
    inputs: Float[Tensor, "B T C"],
    timespans: Float[Tensor, "B T"],
    state: Float[Tensor, "B H"],
    lengths: Int[Tensor, " B"] | None,
    backbone: Sequence[Tensor],
    heads: Sequence[Tensor],
    layer_sizes: Sequence[int],
    mode: str,
    activation: str,
    dropout_masks: Sequence[Float[Tensor, "B T U"]] = (),
    memory_drive: Float[Tensor, "B T 4*H"] | None = None,
    memory_weight: Float[Tensor, "4*H H"] | None = None,
    cell: Float[Tensor, "B H"] | None = None,
    reset: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """Closed-form continuous-time recurrence (arXiv 2106.13898, eq. 10), alone or as a stack of wired layers.

    With z the backbone's output on (x, h), or (x, h) itself without one, and t the timespan:

        default   h <- (1 - s) tanh(f) + s tanh(g),   s = sigmoid(a t + b)
        no_gate   h <- tanh(f) + s tanh(g)
        pure      h <- A - A exp(-t (|w_tau| + |f|)) f

    Args:
        inputs: what each sample feeds in.
        timespans: time since the sample before, finite and not negative.
        state: the layers' states before the first sample, side by side.
        lengths: samples of each sequence; later ones leave the state alone. None: all of them.
        backbone: ``(weight, bias)`` of each hidden layer in turn, weights (U, in) as in ``nn.Linear``;
            empty without a backbone. Only a cell of one layer has one.
        heads: for each layer of the stack ``(weight, bias)`` of the heads f, g, a, b stacked in this order,
            (4 * units, in) and (4 * units,); in mode ``pure`` ``(weight, bias, w_tau, A)`` with
            (units, in), (units,), (units,), (units,). A wiring's mask is already in the weights.
        layer_sizes: units of each layer; layer l reads the new state of layer l - 1.
        mode: one of :data:`CFC_MODES`.
        activation: the backbone's, one of :data:`ACTIVATIONS`.
        dropout_masks: one a backbone layer, 0 or 1 / (1 - p), multiplied after the activation; empty for none.
        memory_drive: for mixed memory, the input's share of the LSTM's gates (see :func:`lstm_step`).
        memory_weight: the LSTM's recurrent weight.
        cell: the LSTM's cell state before the first sample.
        reset: true where the state is zero before the sample, as at the start of an episode; None: nowhere.

    Returns:
        The states after each sample, and the LSTM's cell states (empty, (B, 0, H), without memory).
    """
    act, n_masks, n_backbone = ACTIVATIONS[activation], len(dropout_masks), len(backbone)

    def step(x: Tensor, h: Tensor, span: Tensor, *rest: Tensor) -> Tensor:
        masks, weights = rest[:n_masks], rest[n_masks:]
        shared, parts = weights[:n_backbone], []
        for part, head in zip(h.split(list(layer_sizes), 1), _by_layer(weights[n_backbone:], mode), strict=True):
            maps = F.linear(_shared(x, part, shared, act, masks), head[0], head[1])
            x = cfc_gate(maps.chunk(1 if mode == "pure" else 4, 1), span.unsqueeze(1), mode, *head[2:])
            parts.append(x)
        return torch.cat(parts, 1)

    weights = (*backbone, *heads)
    series = (timespans, state, lengths, memory_drive, memory_weight, cell)
    return scan(step, inputs, *series, dropout_masks, weights, reset)


def cfc_gate(maps: Sequence[Float[Tensor, "B H"]], span: Float[Tensor, "B 1"], mode: str, *own: Tensor) -> Tensor:
    """The new state of :func:`cfc` from what the heads say: f, g, a, b, or in mode ``pure`` f, with ``w_tau, A``."""
    if mode == "pure":
        (f,), (w_tau, amplitude) = maps, own
        return amplitude - amplitude * torch.exp(-span * (w_tau.abs() + f.abs())) * f
    f, g, a, b = maps
    s = torch.sigmoid(a * span + b)
    if mode == "no_gate":
        return torch.tanh(f) + s * torch.tanh(g)
    return (1 - s) * torch.tanh(f) + s * torch.tanh(g)


def cfc_rates(
    inputs: Float[Tensor, "*B C"],
    before: Float[Tensor, "*B H"],
    after: Float[Tensor, "*B H"],
    backbone: Sequence[Tensor],
    heads: Sequence[Tensor],
    layer_sizes: Sequence[int],
    mode: str,
    activation: str,
) -> Float[Tensor, "*B H"]:
    """How fast each neuron's gate moves with the timespan, per unit of it: ``a`` of sigmoid(a t + b), or in mode
    ``pure`` |w_tau| + |f| of its exponential.

    Args:
        before: states that a sample's step starts from, after the memory where there is one.
        after: states that it ends in; in a stack each layer reads those of the layer in front.
        inputs, backbone, heads, layer_sizes, mode, activation: as in :func:`cfc`.
    """
    sizes, rates, x = list(layer_sizes), [], inputs
    states = zip(before.split(sizes, -1), after.split(sizes, -1), _by_layer(heads, mode), strict=True)
    for h, new, head in states:
        drive = F.linear(_shared(x, h, backbone, ACTIVATIONS[activation]), head[0], head[1])
        rates.append(head[2].abs() + drive.abs() if mode == "pure" else drive.chunk(4, -1)[2])
        x = new
    return torch.cat(rates, -1)


def _by_layer(heads: Sequence[Tensor], mode: str) -> list[Sequence[Tensor]]:
    per_layer = 4 if mode == "pure" else 2
    return [heads[i : i + per_layer] for i in range(0, len(heads), per_layer)]


def _shared(
    x: Tensor, h: Tensor, backbone: Sequence[Tensor], act: Callable[[Tensor], Tensor], masks: Sequence[Tensor] = ()
) -> Tensor:
    """What the heads read."""
    z = torch.cat([x, h], -1)
    for i in range(0, len(backbone), 2):
        z = act(F.linear(z, backbone[i], backbone[i + 1]))
        if masks:
            z = z * masks[i // 2]
    return z


def ctrnn(
    inputs: Float[Tensor, "B T C"],
    timespans: Float[Tensor, "B T"],
    state: Float[Tensor, "B H"],
    lengths: Int[Tensor, " B"] | None,
    weight: Float[Tensor, "H C+H"],
    bias: Float[Tensor, " H"],
    rate: Float[Tensor, " H"] | None,
    solver: str,
    unfolds: int,
    memory_drive: Float[Tensor, "B T 4*H"] | None = None,
    memory_weight: Float[Tensor, "4*H H"] | None = None,
    cell: Float[Tensor, "B H"] | None = None,
    reset: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """Recurrence of dh/dt = -rate h + tanh(W x + U h + b), the input held (Funahashi and Nakamura, 1993).

    Without a rate it is the Neural ODE of the LTC paper's tables (arXiv 2006.04439).

    Args:
        inputs: what each sample feeds in; C may be 0.
        timespans: time since the sample before, finite and not negative.
        state: before the first sample.
        lengths: samples of each sequence; later ones leave the state alone. None: all of them.
        weight: W and U side by side.
        bias: b.
        rate: of the leak, one a unit; None: no leak.
        solver: one of :data:`torchliquid.solvers.FIXED`.
        unfolds: solver steps a sample.
        memory_drive: for mixed memory, the input's share of the LSTM's gates (see :func:`lstm_step`).
        memory_weight: the LSTM's recurrent weight.
        cell: the LSTM's cell state before the first sample.
        reset: true where the state is zero before the sample, as at the start of an episode; None: nowhere.

    Returns:
        The states after each sample, and the LSTM's cell states (empty, (B, 0, H), without memory).
    """
    recurrent = weight[:, inputs.shape[2] :]
    leak = () if rate is None else (rate,)

    def step(_: Tensor, h: Tensor, span: Tensor, held: Tensor, *weights: Tensor) -> Tensor:
        return FIXED[solver](lambda v: field(v, held, *weights), h, span.unsqueeze(1), unfolds)

    ready, weights = (drive_of(inputs, weight, bias),), (recurrent, *leak)
    return scan(step, inputs, timespans, state, lengths, memory_drive, memory_weight, cell, ready, weights, reset)


def drive_of(
    inputs: Float[Tensor, "B T C"], weight: Float[Tensor, "H C+H"], bias: Float[Tensor, " H"]
) -> Float[Tensor, "B T H"]:
    """W x + b of every sample, which does not wait for the state."""
    return F.linear(inputs, weight[:, : inputs.shape[2]], bias)


def field(
    h: Float[Tensor, "B H"],
    held: Float[Tensor, "B H"],
    recurrent: Float[Tensor, "H H"],
    rate: Float[Tensor, " H"] | None = None,
) -> Float[Tensor, "B H"]:
    """tanh(W x + b + U h) - rate h, with W x + b ``held``."""
    drive = torch.tanh(held + F.linear(h, recurrent))
    return drive if rate is None else drive - rate * h


def ode_rnn(
    inputs: Float[Tensor, "B T C"],
    timespans: Float[Tensor, "B T"],
    state: Float[Tensor, "B H"],
    lengths: Int[Tensor, " B"] | None,
    field: Sequence[Tensor],
    update: Sequence[Tensor],
    solver: str,
    unfolds: int,
    reset: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B 0 H"]]:
    """Recurrence of an ODE-RNN: dh/dt = V tanh(U h + b) + c during the span, then a GRU cell takes the sample in
    (arXiv 1907.03907, algorithm 1).

    Args:
        inputs: what each sample feeds in.
        timespans: time since the sample before, finite and not negative.
        state: before the first sample.
        lengths: samples of each sequence; later ones leave the state alone. None: all of them.
        field: ``(U, b, V, c)``, (H, H) and (H,) each.
        update: the GRU's weights for input and state and their biases, (3 H, C), (3 H, H), (3 H,) and (3 H,), as in
            ``nn.GRUCell``.
        solver: one of :data:`torchliquid.solvers.FIXED`.
        unfolds: solver steps a sample.
        reset: as in :func:`ltc`.

    Returns:
        The states after each sample, and nothing for the cell states of a memory, which there is not.
    """

    def step(x: Tensor, h: Tensor, span: Tensor, *weights: Tensor) -> Tensor:
        h = FIXED[solver](lambda v: ode_rnn_field(v, *weights[:4]), h, span.unsqueeze(1), unfolds)
        return gru_step(x, h, *weights[4:])

    return scan(step, inputs, timespans, state, lengths, None, None, None, (), (*field, *update), reset)


def gru_step(
    x: Float[Tensor, "B C"],
    h: Float[Tensor, "B H"],
    input_weight: Float[Tensor, "3*H C"],
    state_weight: Float[Tensor, "3*H H"],
    input_bias: Float[Tensor, " 3*H"],
    state_bias: Float[Tensor, " 3*H"],
) -> Float[Tensor, "B H"]:
    """One step of a GRU cell, with weights as ``nn.GRUCell`` has them."""
    if not is_written_down():
        return torch.gru_cell(x, h, input_weight, state_weight, input_bias, state_bias)
    # The same in operators that ONNX has.
    r, z, n = F.linear(x, input_weight, input_bias).chunk(3, 1)
    r_h, z_h, n_h = F.linear(h, state_weight, state_bias).chunk(3, 1)
    z = torch.sigmoid(z + z_h)
    return (1 - z) * torch.tanh(n + torch.sigmoid(r + r_h) * n_h) + z * h


def ode_rnn_field(
    h: Float[Tensor, "B H"],
    hidden: Float[Tensor, "H H"],
    hidden_bias: Float[Tensor, " H"],
    out: Float[Tensor, "H H"],
    out_bias: Float[Tensor, " H"],
) -> Float[Tensor, "B H"]:
    """V tanh(U h + b) + c, from ``(U, b, V, c)``."""
    return F.linear(torch.tanh(F.linear(h, hidden, hidden_bias)), out, out_bias)


def ctgru(
    inputs: Float[Tensor, "B T C"],
    timespans: Float[Tensor, "B T"],
    state: Float[Tensor, "B H*M"],
    lengths: Int[Tensor, " B"] | None,
    gates: Float[Tensor, "2*H C+H"],
    gates_bias: Float[Tensor, " 2*H"],
    signal: Float[Tensor, "H C+H"],
    signal_bias: Float[Tensor, " H"],
    scales: int,
    reset: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T H*M"], Float[Tensor, "B 0 H*M"]]:
    """Recurrence of a continuous-time GRU (arXiv 1710.04110): M traces a unit, tau_i = 10^(i / 2), i = 0 to M - 1.

    With traces e (H, M), faded by exp(-span / tau_i) during the span before the sample, and h their sum over i:

        r = softmax_i -(ln tau_R - ln tau_i)^2,   ln tau_R = W_R x + U_R h + b_R
        q = tanh(W_Q x + U_Q sum_i r_i e_i + b_Q)
        s = softmax_i -(ln tau_S - ln tau_i)^2,   ln tau_S = W_S x + U_S h + b_S
        e_i <- (1 - s_i) e_i + s_i q

    Args:
        inputs: what each sample feeds in.
        timespans: time since the sample before, finite and not negative.
        state: the traces before the first sample, those of one unit side by side.
        lengths: samples of each sequence; later ones leave the state alone. None: all of them.
        gates: W_R and U_R side by side, and below them those of S.
        gates_bias: b_R and b_S.
        signal: W_Q and U_Q side by side.
        signal_bias: b_Q.
        scales: M.
        reset: as in :func:`ltc`.

    Returns:
        The traces after each sample, and nothing for the cell states of a memory, which there is not.
    """
    width, units = inputs.shape[2], signal_bias.shape[0]
    from_input = F.linear(
        inputs, torch.cat([gates[:, :width], signal[:, :width]]), torch.cat([gates_bias, signal_bias])
    )
    to_gates, to_signal = gates[:, width:], signal[:, width:]

    def step(
        _: Tensor, state: Tensor, span: Tensor, ready: Tensor, lost: Tensor, to_gates: Tensor, to_signal: Tensor
    ) -> Tensor:
        traces = ctgru_faded(state, lost)
        r, s = ctgru_gates(ready[:, :-units] + F.linear(traces.sum(2), to_gates), scales)
        q = torch.tanh(ready[:, -units:] + F.linear((r * traces).sum(2), to_signal))
        return (traces + s * (q.unsqueeze(2) - traces)).flatten(1)

    ready = (from_input, ctgru_loss(timespans, scales))
    return scan(step, inputs, timespans, state, lengths, None, None, None, ready, (to_gates, to_signal), reset)


def ctgru_loss(timespans: Float[Tensor, "*B"], scales: int) -> Float[Tensor, "*B M"]:
    """What share of each scale's traces fades; as a factor just below 1 its rounding would add up over the steps."""
    share = timespans.unsqueeze(-1) / _log_tau(timespans, scales).exp()
    if is_written_down():  # ONNX has no expm1; this is the same
        return torch.tanh(share / 2) * (1 + torch.exp(-share))
    return -torch.expm1(-share)


def ctgru_faded(state: Float[Tensor, "B H*M"], lost: Float[Tensor, "B M"]) -> Float[Tensor, "B H M"]:
    """The traces, faded."""
    before = state.unflatten(1, (-1, lost.shape[-1]))
    return before - before * lost.unsqueeze(1)


def ctgru_gates(log_taus: Float[Tensor, "B 2*H"], scales: int) -> tuple[Tensor, Tensor]:
    """The gates r and s, (B, H, M) each, from ln tau_R and ln tau_S."""
    log_tau, beyond = _log_tau(log_taus, scales), 64.0  # where all weights but the nearest's are 0
    near = log_taus.clamp(-beyond, (scales - 1) * math.log(10) / 2 + beyond).unsqueeze(2) - log_tau
    r, s = torch.softmax(-near.square(), 2).chunk(2, 1)
    return r, s


def _log_tau(like: Tensor, scales: int) -> Float[Tensor, " M"]:
    return torch.arange(scales, dtype=like.dtype, device=like.device) * (math.log(10) / 2)


def state_space(
    fading: Float[Tensor, "K 2 N W"],
    which: Int[Tensor, " P"],
    gain: Float[Tensor, "2 N W"],
    inputs: Float[Tensor, "P W"],
    read: Float[Tensor, "2 N W"],
    state: Float[Tensor, "B 2 N W"],
    sizes: Int[Tensor, " T"],
) -> tuple[Float[Tensor, "P W"], Float[Tensor, "B 2 N W"]]:
    """Diagonal state-space recurrence (arXiv 2206.11893), N complex states of each of W channels.

    With u a sample's input, h <- fading[which] h + gain u, and the output is the real part of C h, summed over N.
    Complex numbers are pairs of their real and their imaginary part.

    Args:
        fading: K different factors.
        which: of these that of each sample.
        gain: what an input adds to each state.
        inputs: of P packed samples: the first of each sequence, the second of those that have one, and so on, the
            longest sequence first.
        read: real and minus imaginary part of C.
        state: before each sequence's first sample.
        sizes: how many sequences have a first sample, a second, ... a last.

    Returns:
        Outputs, and the state after each sequence's last sample.
    """
    fading, gain, read, h = (torch.complex(*x.unbind(-3)) for x in (fading, gain, read, state))
    counts = sizes.tolist()
    outputs, ended = [], []
    for rows, u in zip(which.split(counts), inputs.split(counts), strict=True):
        ended.append(h[len(u) :])
        h = fading[rows] * h[: len(u)] + gain * u[:, None]
        outputs.append((read.conj() * h).real.sum(1))
    last = torch.cat([h, *reversed(ended)])
    return torch.cat([inputs[:0], *outputs]), torch.stack([last.real, last.imag], 1)
