"""Wirings: which inputs (sensory neurons) and neurons are connected to which neurons.

Constructor arguments, properties, and the random graph of each seed are those of ``ncps.wirings``. Neurons are
numbered in the order motor, command, inter.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from torchliquid.errors import InputError

if TYPE_CHECKING:
    import networkx as nx


class Wiring:
    """A wiring without synapses; add them with :meth:`add_synapse` and :meth:`add_sensory_synapse`.

    Attributes:
        units: H, the number of neurons without the sensory ones.
        adjacency_matrix: (H, H) int, source by target: 1 excitatory, -1 inhibitory, 0 none.
        sensory_adjacency_matrix: (C, H) int, the same from inputs to neurons; None before :meth:`build`.
        input_dim, output_dim: number of inputs and of motor neurons; None if not known yet.
    """

    _saved: tuple[str, ...] = ("units",)  # arguments of the constructor that are attributes, for get_config
    _given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    _before: Wiring | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Wiring:
        self = super().__new__(cls)
        self._given = (args, kwargs)
        return self

    def __init__(self, units: int) -> None:
        if units < 1:
            raise InputError(f"a wiring needs at least one unit, not {units}")
        self.units = int(units)
        self.adjacency_matrix = np.zeros((units, units), dtype=np.int32)
        self.sensory_adjacency_matrix: np.ndarray | None = None
        self.input_dim: int | None = None
        self.output_dim: int | None = None

    @property
    def num_layers(self) -> int:
        return 1

    def get_neurons_of_layer(self, layer_id: int) -> list[int]:
        """Neurons of a layer. The inputs connect to layer 0."""
        self._check_layer(layer_id)
        return list(range(self.units))

    def _check_layer(self, layer_id: int) -> None:
        if not 0 <= layer_id < self.num_layers:
            raise InputError(f"there is no layer {layer_id}: this wiring has {self.num_layers}, numbered from 0")

    def is_built(self) -> bool:
        return self.input_dim is not None

    def build(self, input_dim: int) -> None:
        """Connect the inputs.

        Raises:
            InputError: the wiring is already built for a different number of inputs.
        """
        if self.input_dim is not None:
            if self.input_dim != input_dim:
                raise InputError(
                    f"this wiring is already built for {self.input_dim} inputs, not {input_dim}; "
                    "create a new wiring for each layer"
                )
            return
        self._before = copy.deepcopy(self)
        self.set_input_dim(input_dim)
        self._connect()

    def for_inputs(self, input_dim: int) -> Wiring:
        """A copy that is not built, or is built for ``input_dim`` inputs. Each layer of a stack starts from one.

        Raises:
            InputError: it was built for another number of inputs, and synapses were changed apart from :meth:`build`.
        """
        if self.input_dim is None or self.input_dim == input_dim:
            return copy.deepcopy(self)
        if self._before is not None:
            again = copy.deepcopy(self._before)
            again.build(self.input_dim)
            if np.array_equal(again.adjacency_matrix, self.adjacency_matrix) and np.array_equal(
                again._sensory(), self._sensory()
            ):
                return copy.deepcopy(self._before)
        raise InputError(
            f"this wiring is for {self.input_dim} inputs and was changed apart from build(), so it cannot be built for "
            f"a layer of {input_dim}; stack single layers, each with its own wiring"
        )

    def _connect(self) -> None:
        """Draw the synapses that depend on the number of inputs."""

    def set_input_dim(self, input_dim: int) -> None:
        if input_dim < 1:
            raise InputError(f"a wiring needs at least one input, not {input_dim}")
        self.input_dim = int(input_dim)
        self.sensory_adjacency_matrix = np.zeros((self.input_dim, self.units), dtype=np.int32)

    def set_output_dim(self, output_dim: int) -> None:
        if not 1 <= output_dim <= self.units:
            raise InputError(f"output_dim={output_dim} is invalid; give 1 to {self.units}, the number of units")
        self.output_dim = int(output_dim)

    def get_type_of_neuron(self, neuron_id: int) -> str:
        """``"motor"``, ``"command"`` or ``"inter"``."""
        return "motor" if self.output_dim is not None and neuron_id < self.output_dim else "inter"

    def add_synapse(self, src: int, dest: int, polarity: int) -> None:
        """Connect two neurons.

        Raises:
            InputError: a neuron does not exist, or the polarity is neither 1 nor -1.
        """
        self._check("neuron", src, self.units, dest, polarity)
        self.adjacency_matrix[src, dest] = polarity

    def add_sensory_synapse(self, src: int, dest: int, polarity: int) -> None:
        """Connect an input to a neuron.

        Raises:
            InputError: as for :meth:`add_synapse`, or the number of inputs is not known yet.
        """
        if self.sensory_adjacency_matrix is None or self.input_dim is None:
            raise InputError("the number of inputs is not known yet: call build() before adding sensory synapses")
        self._check("input", src, self.input_dim, dest, polarity)
        self.sensory_adjacency_matrix[src, dest] = polarity

    def _check(self, what: str, src: int, sources: int, dest: int, polarity: int) -> None:
        if not 0 <= src < sources:
            raise InputError(f"no synapse can start at {what} {src}: there are {sources}, numbered from 0")
        if not 0 <= dest < self.units:
            raise InputError(f"no synapse can end at neuron {dest}: there are {self.units}, numbered from 0")
        if polarity not in (-1, 1):
            raise InputError(f"a synapse's polarity is 1 (excitatory) or -1 (inhibitory), not {polarity}")

    def erev_initializer(self) -> np.ndarray:
        """(H, H) initial reversal potentials: the polarities."""
        return self.adjacency_matrix.copy()

    def sensory_erev_initializer(self) -> np.ndarray:
        """(C, H) initial reversal potentials of sensory synapses."""
        return self._sensory().copy()

    @property
    def synapse_count(self) -> int:
        """Number of synapses between neurons."""
        return int(np.count_nonzero(self.adjacency_matrix))

    @property
    def sensory_synapse_count(self) -> int:
        """Number of synapses from inputs to neurons."""
        return int(np.count_nonzero(self._sensory()))

    def get_graph(self, include_sensory_neurons: bool = True) -> nx.DiGraph:
        """The circuit as a networkx graph.

        Nodes ``neuron_i`` and ``sensory_i`` have a ``neuron_type``, edges a ``polarity``, "excitatory" or "inhibitory".
        """
        import networkx as nx

        graph = nx.DiGraph()
        for i in range(self.units):
            graph.add_node(f"neuron_{i}", neuron_type=self.get_type_of_neuron(i))
        matrices = {"neuron": self.adjacency_matrix}
        if include_sensory_neurons:
            matrices["sensory"] = self._sensory()
            for i in range(len(self._sensory())):
                graph.add_node(f"sensory_{i}", neuron_type="sensory")
        for kind, matrix in matrices.items():
            for src, dest in np.argwhere(matrix):
                polarity = "excitatory" if matrix[src, dest] > 0 else "inhibitory"
                graph.add_edge(f"{kind}_{src}", f"neuron_{dest}", polarity=polarity)
        return graph

    @property
    def sensory_size(self) -> int | None:
        """Number of inputs, under the name that layers of ncps use."""
        return self.input_dim

    @property
    def motor_size(self) -> int | None:
        """Number of motor neurons, under the name that layers of ncps use."""
        return self.output_dim

    def get_config(self) -> dict[str, Any]:
        """Plain data for JSON, from which :meth:`from_config` restores the wiring.

        A user-defined class is saved by its name and its constructor's arguments.

        Raises:
            InputError: the arguments are not plain data.
        """
        sensory = self.sensory_adjacency_matrix
        return {
            "class": type(self).__name__,
            **self._constructor_arguments(),
            "adjacency_matrix": self.adjacency_matrix.tolist(),
            "sensory_adjacency_matrix": None if sensory is None else sensory.tolist(),
            "output_dim": self.output_dim,
        }

    def _constructor_arguments(self) -> dict[str, Any]:
        """From ``_saved`` of the class that defines the constructor, else as they were passed."""
        kind, (args, kwargs) = type(self), self._given
        owner = [next(i for i, k in enumerate(kind.__mro__) if name in vars(k)) for name in ("__init__", "_saved")]
        if owner[1] <= owner[0]:
            return {name: getattr(self, name) for name in self._saved}
        refused = f"a {kind.__name__} can't be saved: its constructor was given"
        bound = inspect.signature(kind.__init__).bind(self, *args, **kwargs)
        given = dict(list(bound.arguments.items())[1:])
        for name, parameter in bound.signature.parameters.items():
            if (
                parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
                and name in given
            ):
                raise InputError(f"{refused} positional arguments without a name, {name}")
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given |= given.pop(name, {})
        try:
            return {"arguments": json.loads(json.dumps(given, default=lambda v: v.tolist()))}
        except (AttributeError, TypeError, ValueError):
            raise InputError(f"{refused} data that JSON lacks; use numbers, strings, lists and dicts") from None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Wiring:
        """Restore a wiring, with its class and its graph, from :meth:`get_config`.

        Raises:
            InputError: this is not the config of a wiring, or its class is not imported.
        """
        kinds = {
            kind.__name__: kind for kind in (*_descendants(Wiring), Wiring, FullyConnected, Random, NCP, AutoNCP, cls)
        }
        try:
            rest = dict(config)
            kind = kinds[rest.pop("class")]
            adjacency, sensory = rest.pop("adjacency_matrix"), rest.pop("sensory_adjacency_matrix")
            output_dim = rest.pop("output_dim")
            wiring = kind(**rest.pop("arguments", {}), **rest)
            wiring.adjacency_matrix = _polarities(adjacency, wiring.units, wiring.units)
            if output_dim is not None:
                wiring.set_output_dim(output_dim)
            if sensory is not None:
                wiring.set_input_dim(len(sensory))
                wiring.sensory_adjacency_matrix = _polarities(sensory, len(sensory), wiring.units)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"this is not the config of a wiring, or its class is not imported: {error!r}") from None
        return wiring

    def _sensory(self) -> np.ndarray:
        if self.sensory_adjacency_matrix is None:
            raise InputError("the number of inputs is not known yet: call build() first")
        return self.sensory_adjacency_matrix


def _descendants(kind: type[Wiring]) -> Iterator[type[Wiring]]:
    """All subclasses, including those defined by users."""
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _polarities(rows: Any, sources: int, targets: int) -> np.ndarray:
    matrix = np.array(rows, dtype=np.int32)
    if matrix.shape != (sources, targets) or not np.isin(matrix, (-1, 0, 1)).all():
        raise InputError(f"invalid wiring: a matrix is not {sources} x {targets} with polarities 1, -1 and 0")
    return matrix


def _drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    """n polarities, 1 with probability 2/3, else -1: those of n calls of ``rng.choice([-1, 1, 1])``, as in ncps."""
    return np.array([-1, 1, 1])[rng.integers(0, 3, size=n)]


class FullyConnected(Wiring):
    """All inputs and all neurons are connected to all neurons; two in three synapses are excitatory."""

    _saved = ("units", "erev_init_seed", "self_connections")

    def __init__(
        self, units: int, output_dim: int | None = None, erev_init_seed: int = 1111, self_connections: bool = True
    ) -> None:
        super().__init__(units)
        self.set_output_dim(units if output_dim is None else output_dim)
        self.erev_init_seed = erev_init_seed
        self.self_connections = self_connections
        self._rng = np.random.default_rng(erev_init_seed)
        exists = np.ones((units, units), bool) if self_connections else ~np.eye(units, dtype=bool)
        self.adjacency_matrix[exists] = _drawn(self._rng, int(exists.sum()))

    def _connect(self) -> None:
        sensory = self._sensory()
        sensory[:] = _drawn(self._rng, sensory.size).reshape(sensory.shape)


class Random(Wiring):
    """A random share, 1 - sparsity_level, of all possible synapses exists."""

    _saved = ("units", "sparsity_level", "random_seed")

    def __init__(
        self, units: int, output_dim: int | None = None, sparsity_level: float = 0.0, random_seed: int = 1111
    ) -> None:
        super().__init__(units)
        if not 0 <= sparsity_level < 1:
            raise InputError(f"sparsity_level must be at least 0 and less than 1, not {sparsity_level}")
        self.set_output_dim(units if output_dim is None else output_dim)
        self.sparsity_level = sparsity_level
        self.random_seed = random_seed
        self._rng = np.random.default_rng(random_seed)
        drawn = self._draw(units)
        self.adjacency_matrix[drawn] = _drawn(self._rng, len(drawn[0]))

    def _connect(self) -> None:
        sensory = self._sensory()
        drawn = self._draw(len(sensory))
        # ncps draws twice and keeps the second.
        sensory[drawn] = _drawn(self._rng, 2 * len(drawn[0]))[1::2]

    def _draw(self, sources: int) -> tuple[np.ndarray, np.ndarray]:
        """Sources and targets of the synapses that exist."""
        possible = sources * self.units
        n = int(np.round(possible * (1 - self.sparsity_level)))
        return np.divmod(self._rng.choice(possible, size=n, replace=False), self.units)


class NCP(Wiring):
    """Neural circuit policy: inputs connect to inter, inter to command, command to command and to motor neurons.

    Lechner et al., Nature Machine Intelligence 2, 642 (2020).

    Args:
        inter_neurons, command_neurons, motor_neurons: size of each layer; motor neurons are the outputs.
        sensory_fanout: synapses from each input to inter neurons.
        inter_fanout: synapses from each inter neuron to command neurons.
        recurrent_command_synapses: number of random draws of a synapse between command neurons; repeats count once.
        motor_fanin: synapses to each motor neuron.
        seed: of the random graph; None: a new graph each time.

    Raises:
        InputError: a fan-in or fan-out is larger than the layer it draws from; the message gives the largest one.
    """

    _saved: tuple[str, ...] = (
        *("inter_neurons", "command_neurons", "motor_neurons", "sensory_fanout", "inter_fanout"),
        *("recurrent_command_synapses", "motor_fanin", "seed"),
    )

    def __init__(
        self,
        inter_neurons: int,
        command_neurons: int,
        motor_neurons: int,
        sensory_fanout: int,
        inter_fanout: int,
        recurrent_command_synapses: int,
        motor_fanin: int,
        seed: int | None = 22222,
    ) -> None:
        for name, n in (("inter", inter_neurons), ("command", command_neurons), ("motor", motor_neurons)):
            if n < 1:
                raise InputError(f"a neural circuit policy needs at least one {name} neuron, not {n}")
        for name, n, layer, most in (
            ("motor_fanin", motor_fanin, "command", command_neurons),
            ("sensory_fanout", sensory_fanout, "inter", inter_neurons),
            ("inter_fanout", inter_fanout, "command", command_neurons),
        ):
            if not 1 <= n <= most:
                raise InputError(f"{name}={n} is invalid: there are {most} {layer} neurons; give 1 to {most}")
        if recurrent_command_synapses < 0:
            raise InputError(f"recurrent_command_synapses must be 0 or more, not {recurrent_command_synapses}")
        super().__init__(inter_neurons + command_neurons + motor_neurons)
        self.set_output_dim(motor_neurons)
        self.inter_neurons = inter_neurons
        self.command_neurons = command_neurons
        self.motor_neurons = motor_neurons
        self.sensory_fanout = sensory_fanout
        self.inter_fanout = inter_fanout
        self.recurrent_command_synapses = recurrent_command_synapses
        self.motor_fanin = motor_fanin
        self.seed = seed
        first_inter = motor_neurons + command_neurons
        self._motor = list(range(motor_neurons))
        self._command = list(range(motor_neurons, first_inter))
        self._inter = list(range(first_inter, self.units))
        self._rng = np.random.RandomState(seed)  # the generator that the papers' seeds refer to

    @property
    def num_layers(self) -> int:
        return 3

    def get_neurons_of_layer(self, layer_id: int) -> list[int]:
        self._check_layer(layer_id)
        return list((self._inter, self._command, self._motor)[layer_id])

    def get_type_of_neuron(self, neuron_id: int) -> str:
        if neuron_id < self.motor_neurons:
            return "motor"
        return "command" if neuron_id < self.motor_neurons + self.command_neurons else "inter"

    def _connect(self) -> None:
        assert self.input_dim is not None
        sensory = list(range(self.input_dim))
        self._fan_out(sensory, self._inter, self.sensory_fanout, len(sensory), self.add_sensory_synapse)
        # The limit is that of ncps: the graph of a seed depends on it.
        self._fan_out(self._inter, self._command, self.inter_fanout, self.command_neurons, self.add_synapse)
        for _ in range(self.recurrent_command_synapses):
            src, dest = self._rng.choice(self._command), self._rng.choice(self._command)
            self.add_synapse(src, dest, self._polarity())
        self._fan_in(self._command, self._motor, self.motor_fanin)

    def _polarity(self) -> int:
        return int(self._rng.choice([-1, 1]))

    def _fan_out(
        self,
        sources: Sequence[int],
        targets: Sequence[int],
        fanout: int,
        limit: int,
        add: Callable[[int, int, int], None],
    ) -> None:
        """``fanout`` synapses from each source; targets without a synapse get an average fan-in, up to ``limit``."""
        missed = list(targets)
        for src in sources:
            for dest in self._rng.choice(targets, size=fanout, replace=False):
                if dest in missed:
                    missed.remove(dest)
                add(src, dest, self._polarity())
        fanin = int(np.clip(len(sources) * fanout // len(targets), 1, limit))
        for dest in missed:
            for src in self._rng.choice(sources, size=fanin, replace=False):
                add(src, dest, self._polarity())

    def _fan_in(self, sources: Sequence[int], targets: Sequence[int], fanin: int) -> None:
        """``fanin`` synapses to each target; sources without a synapse get an average fan-out."""
        missed = list(sources)
        for dest in targets:
            for src in self._rng.choice(sources, size=fanin, replace=False):
                if src in missed:
                    missed.remove(src)
                self.add_synapse(src, dest, self._polarity())
        fanout = int(np.clip(len(targets) * fanin // len(sources), 1, len(targets)))
        for src in missed:
            for dest in self._rng.choice(targets, size=fanout, replace=False):
                self.add_synapse(src, dest, self._polarity())


class AutoNCP(NCP):
    """A neural circuit policy of a given size. 40 % of the neurons that are not motor are command, the others inter.

    Args:
        units: number of neurons.
        output_size: number of motor neurons; at most units - 3.
        sparsity_level: share of possible synapses that are left out, 0.1 (dense) to 0.9 (sparse).
        seed: of the random graph.

    Raises:
        InputError: the sizes leave no neuron for a layer.
    """

    _saved = ("units", "output_size", "sparsity_level", "seed")

    def __init__(self, units: int, output_size: int, sparsity_level: float = 0.5, seed: int = 22222) -> None:
        if not 1 <= output_size < units - 2:
            raise InputError(
                f"{units} units with {output_size} outputs are too few for the other layers; "
                f"give at least {max(output_size, 1) + 3} units"
            )
        if not 0.1 <= sparsity_level <= 1.0:
            raise InputError(f"sparsity_level must be from 0.1 to 1.0, not {sparsity_level}")
        density = 1.0 - sparsity_level
        command = max(int(0.4 * (units - output_size)), 1)
        inter = units - output_size - command
        super().__init__(
            inter,
            command,
            output_size,
            max(int(inter * density), 1),
            max(int(command * density), 1),
            max(int(command * density * 2), 1),
            max(int(command * density), 1),
            seed,
        )
        self.sparsity_level = sparsity_level

    @cached_property  # no property, so that a subclass may set an attribute of this name
    def output_size(self) -> int:
        """Number of motor neurons."""
        return self.motor_neurons
