"""The cell of a recurrent layer: its parameters and wiring."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from torchliquid import backends, parallel
from torchliquid.cells import Recurrence, Sequences, States
from torchliquid.errors import InputError, check_size
from torchliquid.layers.forms import check_input, check_tensor, checked_spans, spans_of, state_of, under_autocast
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.parts import dtype_of, is_called, odd_parts, refresh, says_all
from torchliquid.parallel import Solved
from torchliquid.scan import unrolled
from torchliquid.solvers import LIMITS, Solver, instability
from torchliquid.tracing import values_are_hidden
from torchliquid.wirings import Wiring

log = logging.getLogger(__name__)

FAILURES = 3
"""Number of calls without convergence after which ``over_time="auto"`` stays sequential."""


class RecurrentCell(nn.Module):
    """The parameters of a recurrence.

    Attributes:
        input_size: C.
        state_size: H.
        output_size: O, the size of the output of :meth:`read`.
        wiring: the wiring; None without one.
        stepper: the solver of its ODE; None if the cell solves it itself, or has none.
        stable_solver: name of a solver that is stable at any span.
        plain_parts: classes of modules whose weights the recurrence reads.
        over_time: ``"sequential"`` (one sample after the other), ``"parallel"`` (all at once, see
            :mod:`torchliquid.parallel`) or ``"auto"``; under ``torch.compile``, ``torch.export`` and ``torch.func``
            sequential.
        from_last: whether a parallel call begins from the states of the last one of the same shape instead of zeros.
        solved: diagnostics of the last parallel call.
        fallbacks: number of parallel calls that did not converge.
        asked_span: the longest span for which :meth:`instability` was asked.
    """

    input_size: int
    state_size: int
    output_size: int
    wiring: Wiring | None = None
    stepper: Solver | None = None
    stable_solver = "dopri5"
    plain_parts: tuple[type[nn.Module], ...] = (nn.Linear, nn.GRUCell, nn.ModuleList)
    over_time = "sequential"
    from_last = False
    solved: Solved | None = None
    fallbacks = 0
    _guess: Tensor | None = None
    asked_span = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._fixed: dict[str, Tensor] = {}

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self)

    def recurrence(self, inputs: Float[Tensor, "B T C"] | None = None) -> Recurrence:
        """The recurrence with this cell's weights.

        Args:
            inputs: its inputs, if training draws random numbers for each sample.
        """
        raise NotImplementedError

    def map_inputs(self, inputs: Float[Tensor, "*B C"]) -> Tensor:
        """Map the inputs for the recurrence; by default they are unchanged."""
        return inputs

    def recur(
        self,
        inputs: Float[Tensor, "B T C"],
        timespans: Float[Tensor, "B T"],
        state: Float[Tensor, "B H"],
        lengths: Int[Tensor, " B"] | None = None,
        memory: nn.Module | None = None,
        cell: Float[Tensor, "B H"] | None = None,
        reset: Bool[Tensor, "B T"] | None = None,
    ) -> States:
        """States after each sample of whole sequences, and with a memory its cell states.

        The fastest backend runs the recurrence. If a part is more than the weights that the recurrence reads (another
        module, such as an adapter, or one with hooks), it is called at every sample instead.
        """
        if says_all(self, *self.plain_parts) and (memory is None or is_plain_memory(memory)):
            drive = weight = None
            if isinstance(memory, MemoryCell):
                drive, weight = memory.input_map(inputs), memory.recurrent_map.weight
            over = Sequences(self.map_inputs(inputs), timespans, state, lengths, drive, weight, cell, reset)
            recurrence = self.recurrence(inputs)
            if self._is_parallel(recurrence, over):
                states, self.solved = parallel.run(recurrence, over, self._guess)
                self._guess = None
                if states is not None:
                    if self.from_last:
                        self._guess = (states[0] if cell is None else torch.cat(states, 2)).detach()
                    return states
                self.fallbacks += 1
            return backends.run(recurrence, over)
        over = Sequences(inputs, timespans, state, lengths, inputs, None, cell, reset)
        return unrolled(self.step, over, remember(memory))

    def _is_parallel(self, recurrence: Recurrence, over: Sequences) -> bool:
        if self.over_time == "sequential" or values_are_hidden(over.inputs):
            return False
        if over.inputs.is_cuda and torch.cuda.is_current_stream_capturing():
            return False  # Newton's method reads the error, which a CUDA graph cannot
        if self.over_time == "parallel":
            return True
        chosen = backends.chosen(recurrence, backends.tensors_of_both(recurrence, over))
        if chosen is not backends.BACKENDS["reference"]:
            return False
        lately_failed = self.solved is not None and not self.solved.converged and self.fallbacks > FAILURES
        return parallel.pays(recurrence, over) and not lately_failed

    def step(self, x: Float[Tensor, "B C"], h: Float[Tensor, "B H"], span: Float[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """One sample, by calling the cell's parts."""
        over = Sequences(self.map_inputs(x.unsqueeze(1)), span.unsqueeze(1), h)
        return backends.run(self.recurrence(), over)[0][:, 0]

    def read_weights(self) -> None:
        """Check that the cell is defined by its weights, so that they can be used elsewhere.

        Raises:
            InputError: a part is not a plain module; the message names it.
        """
        refresh(self)
        for part in odd_parts(self, *self.plain_parts):
            raise InputError(
                f"{type(self).__name__} has another part than its own, {part}: weights alone do not define it"
            )

    @property
    def sensory_size(self) -> int:
        """Number of inputs, under the name that ncps uses."""
        return self.input_size

    @property
    def motor_size(self) -> int:
        """Number of outputs, under the name that ncps uses."""
        return self.output_size

    @property
    def synapse_count(self) -> int:
        """Number of synapses between neurons."""
        return self._wired().synapse_count

    @property
    def sensory_synapse_count(self) -> int:
        """Number of synapses from inputs to neurons."""
        return self._wired().sensory_synapse_count

    def _wired(self) -> Wiring:
        if self.wiring is None:
            raise AttributeError("this layer has no wiring, and so no synapses to count")
        return self.wiring

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """Outputs from states; by default the states."""
        return states

    def extra_repr(self) -> str:
        """Sizes, and the mode or solver, for ``print``."""
        solver = None if self.stepper is None else self.stepper.name
        shown = {
            **{name: getattr(self, name) for name in ("input_size", "state_size", "output_size")},
            "mode": getattr(self, "mode", None),
            "solver": getattr(self, "solver", solver),
        }
        return ", ".join(f"{name}={value}" for name, value in shown.items() if value is not None)

    def fastest_rate(self) -> float | None:
        """The fastest possible decay of the state, 1 / time, which limits explicit steps; None without a leak."""
        return None

    def instability(self, span: float) -> str | None:
        """One line about what to do if the solver's steps may be too long for a span; None if they are short enough."""
        self.asked_span = max(self.asked_span, span)
        if self.stepper is None or (rate := self.fastest_rate()) is None:
            return None
        return instability(self.stepper.name, self.stepper.unfolds, rate, span, self.stable_solver)

    def warn_of_long_steps(self, spans: Tensor) -> None:
        """Log :meth:`instability` if a span is longer than all before."""
        if self.stepper is None or self.stepper.name not in LIMITS or values_are_hidden(spans) or not spans.numel():
            return
        if self.asked_span and spans.device.type != "cpu":
            return  # reading values would make the CPU wait for the GPU
        longest = float(spans.detach().max())
        if longest > self.asked_span and (advice := self.instability(longest)):
            log.warning(advice)

    def structure(self) -> dict[str, np.ndarray]:
        """Masks of 0 and 1 that the wiring fixes, by their names in a ``state_dict``."""
        return {}

    def fixed(self) -> dict[str, Tensor]:
        """Tensors for the recurrence that the wiring fixes, by name. They move with the module, but are neither
        parameters nor buffers, which code outside may average or quantise."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "by" in state:  # the name of ``stepper`` in modules that were saved whole before
            state["stepper"] = state.pop("by")
        super().__setstate__(state)
        if "_fixed" not in self.__dict__:  # saved whole, with buffers
            self._fixed = self.fixed()
            for name in self._fixed:
                self._buffers.pop(name, None)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RecurrentCell:
        super()._apply(fn, recurse)
        for name, tensor in self._fixed.items():
            like = fn(tensor.new_empty(0))
            if not like.is_meta:
                self._fixed[name] = tensor.to(like)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        like = next(self.parameters(), torch.empty(0))
        for name, mask in self.structure().items():
            destination[prefix + name] = torch.from_numpy(mask).to(like.device, self.dtype)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Weights of another wiring often have the same shapes, but belong to other synapses. Rounded, because the masks
        # may be a mean of several state_dicts, or in half precision.
        *_, errors = args
        for name, mask in self.structure().items():
            given = state_dict.pop(prefix + name, None)
            own = torch.from_numpy(mask)
            if (
                given is not None
                and not values_are_hidden(given)
                and not (given.shape == own.shape and torch.equal(given.cpu().float().round().bool(), own))
            ):
                errors.append(f"{prefix}{name} is that of another wiring: load into a layer with the same one")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def live_parameters(self, with_memory: bool = False) -> int:
        """Number of parameters that can change the output, with or without a memory in front."""
        return sum(p.numel() for p in self.parameters())

    def forward(self, input: Tensor, hx: Tensor | None = None, ts: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            input: one sample per stream, (B, C) or (C,).
            hx: the previous state, (B, H) or (H,); None: zeros.
            ts: time since the previous sample: a number, (B,) or (B, 1).

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
        spans = checked_spans(spans_of(ts, x, batched), batched)
        h, _ = state_of(hx, x, self.state_size, False, batched)
        new = self.recur(x, spans, h)[0][:, 0]
        output, new = self.read(new), new.clone()  # so that changing the state in place leaves the output alone
        return (output, new) if batched else (output[0], new[0])


class SolvedCell(RecurrentCell):
    """A cell whose state follows an ODE.

    Args:
        input_size: number of inputs C.
        hidden_size: number of units H.
        solver: the solver of the ODE.
    """

    stepper: Solver

    def __init__(self, input_size: int, hidden_size: int, solver: Solver) -> None:
        super().__init__()
        check_size(input_size=input_size, units=hidden_size)
        self.input_size, self.state_size, self.output_size = input_size, hidden_size, hidden_size
        self.stepper = solver


class MappedCell(SolvedCell):
    """A cell with one map of inputs and state, or of the state alone, within the field of its ODE."""

    def __init__(self, input_size: int, hidden_size: int, solver: Solver, with_inputs: bool = True) -> None:
        super().__init__(input_size, hidden_size, solver)
        self.weight = nn.Parameter(torch.empty(hidden_size, hidden_size + (input_size if with_inputs else 0)))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the weights."""
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)


def is_plain_memory(memory: nn.Module) -> bool:
    """Whether a kernel may read a memory's weights."""
    return type(memory) is MemoryCell and not is_called(memory) and says_all(memory, nn.Linear)


def remember(memory: nn.Module | None) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    """A memory called for one sample: from (x, h, c) to the new (h, c)."""
    return None if memory is None else lambda x, h, c: memory(x, (h, c))


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
