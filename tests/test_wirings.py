"""Wirings: the graphs of ncps, their properties, and what is refused."""

import json

import ncps.wirings
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchliquid import LTC, CfC, InputError, wirings
from torchliquid.wirings import NCP, AutoNCP, FullyConnected, Random, Wiring

seeds = st.integers(0, 2**31)


@st.composite
def both(draw):
    """The same wiring by ours and by ncps, not built, and a number of inputs."""
    kind = draw(st.sampled_from(["FullyConnected", "Random", "NCP", "AutoNCP"]))
    units = draw(st.integers(1, 12))
    if kind == "FullyConnected":
        args = (units, draw(st.integers(1, units)), draw(seeds), draw(st.booleans()))
    elif kind == "Random":
        args = (units, draw(st.integers(1, units)), draw(st.floats(0, 0.95)), draw(seeds))
    elif kind == "NCP":
        inter, command, motor = (draw(st.integers(1, 9)) for _ in range(3))
        fans = draw(st.integers(1, inter)), draw(st.integers(1, command)), draw(st.integers(0, 9))
        args = (inter, command, motor, *fans, draw(st.integers(1, command)), draw(seeds))
    else:
        outputs = draw(st.integers(1, 6))
        args = (outputs + draw(st.integers(3, 12)), outputs, draw(st.floats(0.1, 1.0)), draw(seeds))
    return getattr(wirings, kind)(*args), getattr(ncps.wirings, kind)(*args), draw(st.integers(1, 7))


@settings(max_examples=150)
@given(both())
def test_same_graph_as_ncps_for_the_same_seed(case):
    ours, theirs, inputs = case
    ours.build(inputs)
    theirs.build(inputs)
    np.testing.assert_array_equal(ours.adjacency_matrix, theirs.adjacency_matrix)
    np.testing.assert_array_equal(ours.sensory_adjacency_matrix, theirs.sensory_adjacency_matrix)
    assert ours.synapse_count == theirs.synapse_count
    assert ours.sensory_synapse_count == theirs.sensory_synapse_count
    assert (ours.units, ours.output_dim, ours.num_layers) == (theirs.units, theirs.output_dim, theirs.num_layers)
    for i in range(ours.num_layers):
        assert ours.get_neurons_of_layer(i) == theirs.get_neurons_of_layer(i)
    kinds = [ours.get_type_of_neuron(i) for i in range(ours.units)]
    assert kinds == [theirs.get_type_of_neuron(i) for i in range(ours.units)]
    graph, peer = ours.get_graph(), theirs.get_graph()
    assert dict(graph.nodes(data=True)) == dict(peer.nodes(data=True))
    assert {(a, b): d for a, b, d in graph.edges(data=True)} == {(a, b): d for a, b, d in peer.edges(data=True)}


@given(both(), st.booleans())
def test_plain_data_rebuilds_the_same_graph_in_the_same_class(case, built):
    wiring, _, inputs = case
    if built:
        wiring.build(inputs)
        wiring.add_synapse(0, wiring.units - 1, -1)
    again = Wiring.from_config(json.loads(json.dumps(wiring.get_config())))
    assert type(again) is type(wiring)
    assert again.is_built() == built
    wiring.build(inputs)
    again.build(inputs)
    np.testing.assert_array_equal(again.adjacency_matrix, wiring.adjacency_matrix)
    np.testing.assert_array_equal(again.sensory_adjacency_matrix, wiring.sensory_adjacency_matrix)
    assert again.get_config() == wiring.get_config()


def test_a_users_own_class_round_trips():
    class Ring(Wiring):
        def __init__(self, units):
            super().__init__(units)
            self.set_output_dim(1)
            for i in range(units):
                self.add_synapse(i, (i + 1) % units, 1)

    ring = Ring(4)
    ring.build(2)
    ring.add_sensory_synapse(1, 0, -1)
    again = Ring.from_config(ring.get_config())
    assert type(again) is Ring
    assert again.get_graph().edges == ring.get_graph().edges


@pytest.mark.parametrize(
    ("make", "works"),
    [
        (lambda: NCP(4, 3, 2, 5, 2, 1, 2), "1 to 4"),
        (lambda: NCP(4, 3, 2, 2, 4, 1, 2), "1 to 3"),
        (lambda: NCP(4, 3, 2, 2, 2, 1, 4), "1 to 3"),
        (lambda: AutoNCP(8, 6), "at least 9 units"),
        (lambda: AutoNCP(20, 4, 0.0), "from 0.1"),
        (lambda: Random(4, sparsity_level=1.0), "less than 1"),
        (lambda: FullyConnected(4, 5), "1 to 4"),
        (lambda: Wiring(3).add_synapse(0, 3, 1), "there are 3"),
        (lambda: Wiring(3).add_synapse(0, 1, 2), "1 (excitatory) or -1"),
        (lambda: Wiring(3).add_sensory_synapse(0, 1, 1), "build()"),
        (lambda: Wiring(3).get_graph(), "build()"),
        (lambda: AutoNCP(8, 2).get_neurons_of_layer(3), "has 3"),
        (lambda: Wiring.from_config({"class": "os.system"}), "not the config"),
        (
            lambda: Wiring.from_config({**Wiring(2).get_config(), "adjacency_matrix": [[0, 7], [0, 0]]}),
            "invalid wiring",
        ),
    ],
)
def test_what_is_impossible_is_refused_with_what_would_work(make, works):
    with pytest.raises(InputError) as caught:
        make()
    assert works in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_numbers_that_errors_name_do_work():
    NCP(4, 3, 2, 4, 3, 1, 3).build(5)
    AutoNCP(9, 6).build(5)


@pytest.mark.parametrize("layer", [LTC, CfC])
def test_a_layer_keeps_its_own_copy_of_a_wiring(layer):
    import torch

    wiring = AutoNCP(10, 2)
    first = layer(3, wiring)
    x = torch.randn(2, 4, 3)
    before, synapses = first(x)[0], first.wiring.synapse_count
    assert wiring.synapse_count == synapses  # built in place, as people expect
    wiring.adjacency_matrix[:] = 0
    assert first.wiring.synapse_count == synapses
    assert torch.equal(first(x)[0], before)
    with pytest.raises(InputError, match="built for 3 inputs, not 5"):
        layer(5, wiring)
    with pytest.raises(InputError, match="outputs"):
        layer(3, Wiring(4))


class Grid(Wiring):
    def __init__(self, rows, columns, output_dim=1, *, weights=None):
        super().__init__(rows * columns)
        self.set_output_dim(output_dim)
        self.add_synapse(0, rows * columns - 1, 1)


class Twice(AutoNCP):
    def __init__(self, size):
        self.output_size = 2
        super().__init__(2 * size, self.output_size)


@pytest.mark.parametrize("make", [lambda: Grid(2, 3, output_dim=2, weights=np.ones(2)), lambda: Twice(8)])
def test_a_users_class_with_a_constructor_of_its_own_survives_saving(make):
    wiring = make()
    wiring.build(3)
    again = Wiring.from_config(json.loads(json.dumps(wiring.get_config())))
    assert type(again) is type(wiring)
    assert again.get_config() == wiring.get_config()
    with pytest.raises(InputError, match="can't be saved"):
        Grid(2, 3, weights=object()).get_config()


def _layered(layers, *synapses):
    class Layered(Wiring):
        num_layers = property(lambda _: len(layers))

        def get_neurons_of_layer(self, layer_id):
            return layers[layer_id]

    wiring = Layered(4)
    wiring.set_output_dim(1)
    wiring.build(2)
    for src, dest in synapses:
        wiring.add_synapse(src, dest, 1)
    return wiring


@pytest.mark.parametrize(
    ("wiring", "says"),
    [
        (lambda: _layered([[3], [2, 1], [0]], (3, 0)), "cannot have a synapse from layer 0 to layer 2"),
        (lambda: _layered([[3], [2, 1], [0]], (0, 3)), "cannot have a synapse from layer 2 to layer 0"),
        (lambda: _layered([[3, 2], [0]]), "each of the 4 neurons in one layer"),
        (lambda: _layered([[3, 2], [1, 0]]), "start with the motor neurons"),
    ],
)
def test_a_wired_cfc_refuses_at_once_what_it_would_read_wrongly(wiring, says):
    with pytest.raises(InputError, match=says):
        CfC(2, wiring())
    LTC(2, wiring())
