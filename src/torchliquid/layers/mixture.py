"""A mixture of liquid experts: a small liquid router chooses which of them are called at each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from torchliquid.cells import Sequences, States
from torchliquid.errors import InputError, check_size
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.parts import is_called
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import at_last
from torchliquid.scan import active_of
from torchliquid.tracing import is_for_onnx, values_are_hidden


class Routing(NamedTuple):
    """Which experts are called at each sample.

    Attributes:
        probabilities: of each expert, from the gate.
        chosen: the K experts that are called, the most probable first.
        weights: the weights of their outputs, which are their probabilities.
    """

    probabilities: Float[Tensor, "*B E"]
    chosen: Int[Tensor, "*B K"]
    weights: Float[Tensor, "*B K"]


class MixtureCell(RecurrentCell):
    """The router, its gate and the experts; see :class:`MixtureOfLiquid`."""

    def __init__(self, experts: Sequence[RecurrentLayer], router: RecurrentLayer, top_k: int) -> None:
        super().__init__()
        experts = list(experts)
        check_size(top_k=top_k)
        if top_k > len(experts):
            raise InputError(f"top_k is {top_k}, and there are {len(experts)} experts to choose from")
        if len({id(part) for part in (router, *experts)}) <= len(experts):
            raise InputError("a layer is among the experts and the router twice, and would share its weights: make two")
        for name, part in [("router", router), *((f"experts[{k}]", expert) for k, expert in enumerate(experts))]:
            if not isinstance(part, RecurrentLayer):
                raise InputError(f"{name} is a layer such as CfC or LTC, not a {type(part).__name__}")
            if part.others or part.lstm is not None:
                raise InputError(f"{name} is a single layer of one direction and without mixed memory")
            if part.input_size != router.input_size:
                raise InputError(
                    f"{name} takes {part.input_size} inputs, the router {router.input_size}; all take the same"
                )
            if part is not router and part.output_size != experts[0].output_size:
                raise InputError(
                    f"{name} has {part.output_size} outputs, experts[0] {experts[0].output_size}; "
                    "they are added, so give all as many, as with proj_size"
                )
        self.top_k = top_k
        self.router = router
        self.gate = nn.Linear(router.output_size, len(experts))
        self.experts = nn.ModuleList(experts)
        self.sizes = [router.state_size, *(expert.state_size for expert in experts), len(experts)]
        self.input_size, self.state_size, self.output_size = router.input_size, sum(self.sizes), sum(self.sizes)

    @property
    def parts(self) -> tuple[RecurrentLayer, ...]:
        """The router, then the experts."""
        return (self.router, *self.experts)

    @property
    def over_time(self) -> str:
        """That of the router and of all experts."""
        return self.router.over_time

    @over_time.setter
    def over_time(self, way: str) -> None:
        for part in self.parts:
            part.over_time = way

    def route(self, routed: Float[Tensor, "*B R"]) -> Routing:
        """The experts that the router's outputs choose."""
        logits = self.gate(routed)
        probabilities = torch.softmax(logits, -1)
        # Of equal ones the first, as on a device.
        chosen = logits.argsort(dim=-1, descending=True, stable=True)[..., : self.top_k]
        return Routing(probabilities, chosen, probabilities.gather(-1, chosen))

    def routing(self, inputs: Float[Tensor, "*B C"], states: Float[Tensor, "*B H"]) -> Routing:
        """The experts that were called at samples, from the inputs and the states after them."""
        own = states[..., : self.sizes[0]]
        return self.route(self.router.around(inputs, self.router.read(own)))

    def mix(self, inputs: Float[Tensor, "*B C"], states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """The outputs, from the inputs and from the states after each sample."""
        routing = self.routing(inputs, states)
        weights = torch.zeros_like(routing.probabilities).scatter(-1, routing.chosen, routing.weights)
        own = states.split(self.sizes, -1)[1:-1]
        outputs = [e.around(inputs, e.read(h)) for e, h in zip(self.parts[1:], own, strict=True)]
        return torch.stack([w.unsqueeze(-1) * y for w, y in zip(weights.unbind(-1), outputs, strict=True)]).sum(0)

    def run(
        self,
        inputs: Float[Tensor, "B T C"],
        timespans: Float[Tensor, "B T"],
        state: Float[Tensor, "B H"],
        lengths: Int[Tensor, " B"] | None = None,
        reset: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T O"], Float[Tensor, "B T H"], Routing]:
        """Outputs, states and which experts were called, over whole sequences."""
        if not torch.compiler.is_dynamo_compiling() and is_for_onnx():
            raise InputError("torch.onnx can't write a mixture, whose experts run over samples that the inputs choose")
        if any(is_called(part) for part in self.parts):
            raise InputError("a hook on the router or an expert would not be called: put it on its rnn_cell")
        over = Sequences(inputs, timespans, state, lengths, reset=reset)
        h, *experts, waited = state.split(self.sizes, 1)
        routed, routers, _ = self.router._run(over._replace(state=h))
        routing = self.route(routed)
        called = torch.zeros_like(routing.probabilities).scatter(2, routing.chosen, 1.0) > 0
        weights = torch.zeros_like(routing.probabilities).scatter(2, routing.chosen, routing.weights)
        if (valid := active_of(over)) is not None:
            called = called & valid.unsqueeze(2)
            reset = None if reset is None else reset & valid
        calls = Calls.of(called, timespans, waited, reset)
        output: Tensor = inputs.new_zeros(*timespans.shape, self.parts[1].output_size)
        states = [routers]
        for k, h in enumerate(experts):
            output, new = self._call(k, inputs, calls, h, weights[..., k], output)
            states.append(new)
        return output, torch.cat([*states, calls.waited.to(waited.dtype)], 2), routing

    def _call(
        self,
        k: int,
        inputs: Float[Tensor, "B T C"],
        calls: Calls,
        h: Float[Tensor, "B H"],
        weights: Float[Tensor, "B T"],
        output: Float[Tensor, "B T O"],
    ) -> tuple[Float[Tensor, "B T O"], Float[Tensor, "B T H"]]:
        """Add the outputs of one expert, which runs only over the samples at which it is called."""
        expert, called = self.parts[1 + k], calls.called[..., k]
        batch, time = called.shape
        counts = called.sum(1)
        rows, most = torch.arange(batch, device=h.device), time
        if not values_are_hidden(inputs):
            rows = counts.nonzero()[:, 0]
            most = int(counts.max()) if len(rows) else 0
        held = h.unsqueeze(1).expand(batch, time, -1)
        if most:
            # The samples at which it is called, in their order, then others, which are padding.
            places = called[rows].to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
            at = rows.unsqueeze(1), places
            spans, restart = calls.spans[(*at, k)].to(inputs.dtype), calls.restarts[(*at, k)]
            expert.rnn_cell.warn_of_long_steps(spans)
            own = counts[rows]
            reset = restart if calls.may_restart else None
            answers, after, _ = expert._run(Sequences(inputs[at], spans, h[rows], own, reset=reset))
            valid = torch.arange(most, device=h.device) < counts[rows].unsqueeze(1)
            added = torch.where(valid.unsqueeze(2), weights[at].unsqueeze(2) * answers, 0.0)
            output = output.index_put(at, added, accumulate=True)
            # Between its calls it keeps the state of the last one.
            table = torch.cat([h[rows].unsqueeze(1), after], 1)
            last = called[rows].cumsum(1).unsqueeze(2).expand(-1, -1, table.shape[2])
            held = held.index_put((rows,), table.gather(1, last))
        if calls.may_restart:
            held = torch.where(calls.cleared[..., k, None], 0.0, held)
        return output, held

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
        _, states, _ = self.run(inputs, timespans, state, lengths, reset)
        return states, states[:, :0]

    def step(self, x: Float[Tensor, "B C"], h: Float[Tensor, "B H"], span: Float[Tensor, " B"]) -> Float[Tensor, "B H"]:
        return self.recur(x.unsqueeze(1), span.unsqueeze(1), h)[0][:, 0]

    def read_weights(self) -> None:
        for part in (*self.parts, self.gate):
            if is_called(part):
                raise InputError(f"a {type(part).__name__} of a mixture has hooks: weights alone do not define it")
        for part in self.parts:
            part.read_weights()

    def instability(self, span: float) -> str | None:
        return next((advice for part in self.parts if (advice := part.rnn_cell.instability(span))), None)

    def live_parameters(self, with_memory: bool = False) -> int:
        return sum(part.live_parameters() for part in self.parts) + sum(p.numel() for p in self.gate.parameters())


class Calls(NamedTuple):
    """When experts are called, and the times between their calls.

    Attributes:
        called: whether a sample calls an expert.
        spans: time since the previous call, or since a reset after it, in double precision.
        restarts: whether there was a reset since the previous call.
        cleared: whether there was a reset since the last call, which may be at this sample.
        waited: time since the last call, after each sample.
        may_restart: whether there are resets at all.
    """

    called: Bool[Tensor, "B T E"]
    spans: Float[Tensor, "B T E"]
    restarts: Bool[Tensor, "B T E"]
    cleared: Bool[Tensor, "B T E"]
    waited: Float[Tensor, "B T E"]
    may_restart: bool

    @classmethod
    def of(
        cls,
        called: Bool[Tensor, "B T E"],
        timespans: Float[Tensor, "B T"],
        waited: Float[Tensor, "B E"],
        reset: Bool[Tensor, "B T"] | None,
    ) -> Calls:
        batch, time, experts = called.shape
        wide = torch.float32 if timespans.device.type == "mps" else torch.float64
        # In single precision a long sequence would hide short spans.
        clock = timespans.to(wide).cumsum(1).unsqueeze(2).expand(batch, time, experts)
        now = torch.arange(time, device=called.device).view(1, time, 1)
        last = torch.where(called, now, -1).cummax(1).values  # call up to each sample; -1: there was none
        before = torch.cat([torch.full_like(last[:, :1], -1), last[:, :-1]], 1)
        none = torch.full((1, time, 1), -1, device=called.device)
        begun = none if reset is None else torch.where(reset.unsqueeze(2), now, none).cummax(1).values
        begun = begun.expand(batch, time, experts)
        calls = torch.cat([-waited.to(wide).unsqueeze(1), clock], 1)
        starts = torch.cat([torch.zeros_like(clock[:, :1]), clock], 1).gather(1, begun.clamp_min(0))

        def since(call: Tensor) -> Tensor:
            # If a span is zero, the difference of two times may round to a negative number.
            return (clock - torch.where(call >= begun, calls.gather(1, call + 1), starts)).clamp_min(0)

        return cls(called, since(before), begun > before, begun > last, since(last), reset is not None)


class MixtureOfLiquid(RecurrentLayer):
    """Liquid experts, of which a small liquid router calls a few at each sample.

    The router is a recurrent layer over the inputs. A softmax over its gated outputs gives each expert a probability,
    and the ``top_k`` most probable ones are called. The layer's output is the sum of their outputs, weighted by their
    probabilities, as in Switch Transformers (Fedus et al., arXiv 2101.03961), so that the router learns through the
    weights. An expert that is not called keeps its state and costs nothing: it runs over its own samples only, as a
    shorter sequence in which each span is the time since its last call. Continuous-time cells can be called rarely,
    because their state depends on the span.

    The state (B, H) consists of the router's, each expert's, and each expert's time since its last call.

    Under ``torch.compile``, ``torch.export`` and ``torch.func``, Python cannot branch on values. There, each expert
    runs over sequences of full length, with its own samples first. Results are the same, but no time is saved.

    Attributes:
        load: (E,) share of the last call's samples at which each expert was called; they add up to ``top_k``. None
            before the first call.

    Args:
        experts: E single layers, such as ``CfC``, ``LTC`` or ``LrcSSM``, with the same numbers of inputs and outputs.
        router: another single layer with the same inputs; a small one is enough.
        top_k: number of experts that are called at each sample.
        return_sequences: whether to return the outputs of all samples, or of the last one only.
        batch_first: whether inputs are (B, T, C) instead of (T, B, C).
        balance: weight of :meth:`balance_loss`.
        return_states: as in :class:`RecurrentLayer`.

    Raises:
        InputError: ``top_k`` is not from 1 to E; a layer is given twice, is stacked or bidirectional or has mixed
            memory; the numbers of inputs or outputs differ; or ``balance`` is negative.
    """

    rnn_cell: MixtureCell
    load: Tensor | None = None
    _balance: Tensor | None = None

    def __init__(
        self,
        experts: Sequence[RecurrentLayer],
        router: RecurrentLayer,
        top_k: int = 1,
        return_sequences: bool = True,
        batch_first: bool = True,
        balance: float = 0.01,
        return_states: bool = False,
    ) -> None:
        if not balance >= 0:
            raise InputError(f"balance is 0 or more, not {balance}")
        super().__init__(MixtureCell(experts, router, top_k), return_sequences, batch_first, False, return_states)
        self.balance = balance
        self.output_size = self.rnn_cell.parts[1].output_size

    @property
    def router(self) -> RecurrentLayer:
        return self.rnn_cell.router

    @property
    def experts(self) -> tuple[RecurrentLayer, ...]:
        return self.rnn_cell.parts[1:]

    def around(self, inputs: Float[Tensor, "*B C"], outputs: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """The outputs, from the inputs and from the states after each sample."""
        return self.rnn_cell.mix(inputs, outputs)

    def _run(self, over: Sequences, whole: bool = True) -> tuple[Tensor, Float[Tensor, "B T H"], tuple[Tensor, ...]]:
        if is_called(self.rnn_cell):
            return super()._run(over, whole)
        output, states, routing = self.rnn_cell.run(over.inputs, over.timespans, over.state, over.lengths, over.reset)
        if not values_are_hidden(over.inputs) or torch.compiler.is_dynamo_compiling():
            self._count(routing, active_of(over))
        return output if whole else at_last(output, over.lengths), states, (states.select(1, -1).clone(),)

    def _count(self, routing: Routing, valid: Bool[Tensor, "B T"] | None) -> None:
        """Store the load, and in training the loss of an uneven load."""
        probabilities = routing.probabilities
        counted = torch.ones_like(probabilities[..., :1])
        if valid is not None:
            counted = valid.unsqueeze(2).to(counted.dtype)
        called = torch.zeros_like(probabilities).scatter(2, routing.chosen, 1.0)
        samples = counted.sum().clamp_min(1)  # of an empty batch there are none
        self.load = ((called * counted).sum((0, 1)) / samples).detach()
        mean = torch.where(counted > 0, probabilities, 0.0).sum((0, 1)) / samples
        learns = self.training and torch.is_grad_enabled()
        self._balance = len(mean) / self.rnn_cell.top_k * (self.load * mean).sum() if learns else None

    def balance_loss(self) -> Tensor:
        """A term of the training loss, so that all experts are called about equally often; :func:`torchliquid.fit`
        adds it.

        It is ``balance`` times E sum_e load_e p_e / K, with the mean probability p_e of each expert (arXiv 2101.03961,
        eq. 4), of the last call in training. After it was read once, it is zero until the next call.
        """
        found, self._balance = self._balance, None
        return next(self.parameters()).new_zeros(()) if found is None else self.balance * found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_balance"}  # so that copies hold no graph
