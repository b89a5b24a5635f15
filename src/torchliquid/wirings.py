"""Who connects to whom: sensory neurons (inputs) to neurons, and neurons to each other.

The constructor arguments, the random graphs of each seed and the graph's properties are those that users of
``ncps.wirings`` know. Neurons are numbered motor first, then command, then inter.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from torchliquid.errors import InputError

if TYPE_CHECKING:
    import networkx as nx


class Wiring:
    """A wiring without any synapse, to be filled by :meth:`add_synapse` and :meth:`add_sensory_synapse`.

    Attributes:
        units: H, all neurons but the sensory ones.
        adjacency_matrix: (H, H) int, source by target: 1 excitatory, -1 inhibitory, 0 none.
        sensory_adjacency_matrix: (C, H) likewise from the inputs; None until :meth:`build` tells their number.
        input_dim, output_dim: inputs and motor neurons; None until known.
    """

    _given: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    _before: Wiring | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Wiring:
        self = super().__new__(cls)
        self._given = (args, kwargs)
        return self

    def __init__(self, units: int) -> None:
        if units < 1:
            raise InputError(f"a wiring has at least one unit, not {units}")
        self.units = int(units)
        self.adjacency_matrix = np.zeros((units, units), dtype=np.int32)
        self.sensory_adjacency_matrix: np.ndarray | None = None
        self.input_dim: int | None = None
        self.output_dim: int | None = None

    @property
    def num_layers(self) -> int:
        return 1

    def get_neurons_of_layer(self, layer_id: int) -> list[int]:
        """Neurons of a layer; layer 0 is the one the inputs reach."""
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
            InputError: the wiring was built for another number of inputs.
        """
        if self.input_dim is not None:
            if self.input_dim != input_dim:
                raise InputError(
                    f"this wiring was built for {self.input_dim} inputs and is asked for {input_dim}; "
                    "make a new wiring for each layer"
                )
            return
        self._before = copy.deepcopy(self)
        self.set_input_dim(input_dim)
        self._connect()

    def for_inputs(self, input_dim: int) -> Wiring:
        """A copy that is not built, or is for so many inputs: what each layer of a stack begins with.

        Raises:
            InputError: it was built for another number of inputs and not by :meth:`build` alone.
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
            f"this wiring is for {self.input_dim} inputs and was not made by build() alone, so that none can be drawn "
            f"for a layer of {input_dim}: stack single layers, each with a wiring of its own"
        )

    def _connect(self) -> None:
        """Draw what depends on the number of inputs."""

    def set_input_dim(self, input_dim: int) -> None:
        if input_dim < 1:
            raise InputError(f"a wiring has at least one input, not {input_dim}")
        self.input_dim = int(input_dim)
        self.sensory_adjacency_matrix = np.zeros((self.input_dim, self.units), dtype=np.int32)

    def set_output_dim(self, output_dim: int) -> None:
        if not 1 <= output_dim <= self.units:
            raise InputError(f"output_dim={output_dim} can't be wired: give 1 to {self.units}, the number of units")
        self.output_dim = int(output_dim)

    def get_type_of_neuron(self, neuron_id: int) -> str:
        """``"motor"``, ``"command"`` or ``"inter"``."""
        return "motor" if self.output_dim is not None and neuron_id < self.output_dim else "inter"

    def add_synapse(self, src: int, dest: int, polarity: int) -> None:
        """Connect two neurons.

        Raises:
            InputError: a neuron that is not there, or a polarity that is neither 1 nor -1.
        """
        self._check("neuron", src, self.units, dest, polarity)
        self.adjacency_matrix[src, dest] = polarity

    def add_sensory_synapse(self, src: int, dest: int, polarity: int) -> None:
        """Connect an input to a neuron.

        Raises:
            InputError: as :meth:`add_synapse`, or the number of inputs is not known yet.
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
        """Reversal potentials to start from: the polarities."""
        return self.adjacency_matrix.copy()

    def sensory_erev_initializer(self) -> np.ndarray:
        """The same for sensory synapses."""
        return self._sensory().copy()

    @property
    def synapse_count(self) -> int:
        """Synapses between neurons."""
        return int(np.count_nonzero(self.adjacency_matrix))

    @property
    def sensory_synapse_count(self) -> int:
        """Synapses from inputs to neurons."""
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
        """Inputs, under the name that ncps's layers have."""
        return self.input_dim

    @property
    def motor_size(self) -> int | None:
        """Motor neurons, under the name that ncps's layers have."""
        return self.output_dim

    def get_config(self) -> dict[str, Any]:
        """Plain data for JSON that :meth:`from_config` makes the same wiring of.

        A class of a user's own is saved by its name and by what its constructor was given.

        Raises:
            InputError: that is no plain data.
        """
        sensory = self.sensory_adjacency_matrix
        return {
            "class": type(self).__name__,
            **self._said(),
            "adjacency_matrix": self.adjacency_matrix.tolist(),
            "sensory_adjacency_matrix": None if sensory is None else sensory.tolist(),
            "output_dim": self.output_dim,
        }

    def _arguments(self) -> dict[str, Any]:
        return {"units": self.units}

    def _said(self) -> dict[str, Any]:
        """What the constructor takes: as the class with that constructor says, else what it was given."""
        kind, (args, kwargs) = type(self), self._given
        owner = [next(i for i, k in enumerate(kind.__mro__) if name in vars(k)) for name in ("__init__", "_arguments")]
        if owner[1] <= owner[0]:
            return self._arguments()
        refused = f"a {kind.__name__} can't be saved: its constructor was given"
        bound = inspect.signature(kind.__init__).bind(self, *args, **kwargs)
        given = dict(list(bound.arguments.items())[1:])
        for name, parameter in bound.signature.parameters.items():
            if (
                parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
                and name in given
            ):
                raise InputError(f"{refused} arguments without a name, {name}")
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given |= given.pop(name, {})
        try:
            return {"arguments": json.loads(json.dumps(given, default=lambda v: v.tolist()))}
        except (AttributeError, TypeError, ValueError):
            raise InputError(f"{refused} what is no plain data; take numbers, texts, lists and dicts") from None

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Wiring:
        """The reverse of :meth:`get_config`: the same graph in the same class, whichever wrote it.

        Raises:
            InputError: the config is not one of a wiring.
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
    """The classes that a user has made."""
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _polarities(rows: Any, sources: int, targets: int) -> np.ndarray:
    matrix = np.array(rows, dtype=np.int32)
    if matrix.shape != (sources, targets) or not np.isin(matrix, (-1, 0, 1)).all():
        raise InputError(f"a wiring's matrix of {sources} x {targets} polarities (1, -1, 0) is broken")
    return matrix


def _drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two in three 1, else -1: the numbers of n calls of ``rng.choice([-1, 1, 1])``, as ncps has them."""
    return np.array([-1, 1, 1])[rng.integers(0, 3, size=n)]


class FullyConnected(Wiring):
    """Every neuron to every neuron, every input to every neuron; two in three synapses are excitatory."""

    def __init__(
        self, units: int, output_dim: int | None = None, erev_init_seed: int = 1111, self_connections: bool = True
    ) -> None:
        super().__init__(units)
        self.set_output_dim(units if output_dim is None else output_dim)
        self.erev_init_seed = erev_init_seed
        self.self_connections = self_connections
        self._rng = np.random.default_rng(erev_init_seed)
        there = np.ones((units, units), bool) if self_connections else ~np.eye(units, dtype=bool)
        self.adjacency_matrix[there] = _drawn(self._rng, int(there.sum()))

    def _connect(self) -> None:
        sensory = self._sensory()
        sensory[:] = _drawn(self._rng, sensory.size).reshape(sensory.shape)

    def _arguments(self) -> dict[str, Any]:
        return {
            "units": self.units,
            "erev_init_seed": self.erev_init_seed,
            "self_connections": self.self_connections,
        }


class Random(Wiring):
    """Each possible synapse is there with probability 1 - sparsity_level."""

    def __init__(
        self, units: int, output_dim: int | None = None, sparsity_level: float = 0.0, random_seed: int = 1111
    ) -> None:
        super().__init__(units)
        if not 0 <= sparsity_level < 1:
            raise InputError(f"sparsity_level lies from 0 to below 1, not at {sparsity_level}")
        self.set_output_dim(units if output_dim is None else output_dim)
        self.sparsity_level = sparsity_level
        self.random_seed = random_seed
        self._rng = np.random.default_rng(random_seed)
        there = self._draw(units)
        self.adjacency_matrix[there] = _drawn(self._rng, len(there[0]))

    def _connect(self) -> None:
        sensory = self._sensory()
        there = self._draw(len(sensory))
        # ncps draws twice and keeps the second.
        sensory[there] = _drawn(self._rng, 2 * len(there[0]))[1::2]

    def _draw(self, sources: int) -> tuple[np.ndarray, np.ndarray]:
        """Sources and targets of the synapses there are."""
        possible = sources * self.units
        n = int(np.round(possible * (1 - self.sparsity_level)))
        return np.divmod(self._rng.choice(possible, size=n, replace=False), self.units)

    def _arguments(self) -> dict[str, Any]:
        return {"units": self.units, "sparsity_level": self.sparsity_level, "random_seed": self.random_seed}


class NCP(Wiring):
    """Neural circuit policy: inputs to inter, inter to command, command to command and to motor neurons.

    Lechner et al., Nature Machine Intelligence 2, 642 (2020).

    Args:
        inter_neurons, command_neurons, motor_neurons: neurons of each layer; motor neurons are the outputs.
        sensory_fanout: synapses from each input to inter neurons.
        inter_fanout: synapses from each inter neuron to command neurons.
        recurrent_command_synapses: draws of a synapse among command neurons; one drawn twice counts once.
        motor_fanin: synapses into each motor neuron.
        seed: of the random graph; None draws a new one each time.

    Raises:
        InputError: a fan-in or fan-out that the layer it draws from cannot give, with the largest that works.
    """

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
                raise InputError(f"a neural circuit policy has at least one {name} neuron, not {n}")
        for name, n, layer, most in (
            ("motor_fanin", motor_fanin, "command", command_neurons),
            ("sensory_fanout", sensory_fanout, "inter", inter_neurons),
            ("inter_fanout", inter_fanout, "command", command_neurons),
        ):
            if not 1 <= n <= most:
                raise InputError(f"{name}={n} can't be wired: there are {most} {layer} neurons; give 1 to {most}")
        if recurrent_command_synapses < 0:
            raise InputError(f"recurrent_command_synapses is 0 or more, not {recurrent_command_synapses}")
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
        self._rng = np.random.RandomState(seed)  # the generator whose graphs the papers' seeds mean

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
        # The limit is ncps's: it decides the graph of a seed.
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
        """``fanout`` synapses from each source; targets that were missed get an average fan-in, up to a limit."""
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
        """``fanin`` synapses into each target; sources that were missed get an average fan-out."""
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

    def _arguments(self) -> dict[str, Any]:
        names = ("inter_neurons", "command_neurons", "motor_neurons", "sensory_fanout", "inter_fanout")
        more = ("recurrent_command_synapses", "motor_fanin", "seed")
        return {name: getattr(self, name) for name in (*names, *more)}


class AutoNCP(NCP):
    """A neural circuit policy of a given size: of the neurons that are not motor, 40 % are command, the rest inter.

    Args:
        units: all neurons.
        output_size: motor neurons; at most units - 3.
        sparsity_level: 0.1 (dense) to 0.9 (sparse): the share of possible synapses left out.
        seed: of the random graph.

    Raises:
        InputError: sizes that leave no neuron for a layer.
    """

    def __init__(self, units: int, output_size: int, sparsity_level: float = 0.5, seed: int = 22222) -> None:
        if not 1 <= output_size < units - 2:
            raise InputError(
                f"{units} units with {output_size} outputs leave too few for the other layers; "
                f"give at least {max(output_size, 1) + 3} units"
            )
        if not 0.1 <= sparsity_level <= 1.0:
            raise InputError(f"sparsity_level lies from 0.1 to 1.0, not at {sparsity_level}")
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

    def _arguments(self) -> dict[str, Any]:
        return {
            "units": self.units,
            "output_size": self.motor_neurons,
            "sparsity_level": self.sparsity_level,
            "seed": self.seed,
        }
