"""Stacks, both directions, states that start anew, states of all neurons: against single layers called by hand."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.layers import CASES, INPUTS, every_layer, every_stack, parts, some
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from torchliquid import LTC, CfC, InputError, backends
from torchliquid.cells import Sequences
from torchliquid.wirings import NCP, AutoNCP, FullyConnected, Wiring

NEAR = {"rtol": 0.0, "atol": 3e-6}
LENGTHS = torch.tensor([5, 2, 4])


def alone(layer, k):
    """One layer of a stack, called without the others."""
    return layer.others[k - 1] if k else lambda x, hx, spans: layer._run(Sequences(x, spans, hx))[:1]


def by_hand(layer, x, spans):
    """One sequence (1, T, C) through a bidirectional stack without a memory."""
    for number in range(layer.num_layers):
        outputs = []
        for k in (2 * number, 2 * number + 1):
            h = torch.zeros(1, (layer.others[k - 1] if k else layer).rnn_cell.state_size)
            if k % 2:
                turned = torch.cat([spans[:, :1], spans.flip(1)[:, :-1]], 1)
                outputs.append(alone(layer, k)(x.flip(1), h, turned)[0].flip(1))
            else:
                outputs.append(alone(layer, k)(x, h, spans)[0])
        x = torch.cat(outputs, 2)
    return x


@every_stack
def test_a_stack_both_ways_is_its_layers_one_after_the_other(name):
    torch.manual_seed(0)
    layer = CASES[name](num_layers=2, bidirectional=True, dropout=0.5).eval()
    x, spans = torch.randn(3, 5, INPUTS), torch.rand(3, 5)
    output, hx, states = layer(x, None, spans, LENGTHS, return_states=True)
    assert output.shape == (3, 5, layer.output_size)
    assert {part.shape for part in parts(hx)} == {(4, 3, layer.state_size)}
    assert states.shape == (4, 3, 5, layer.state_size)
    for i, n in enumerate(LENGTHS.tolist()):
        one, last, _ = layer(x[i, :n], None, spans[i, :n], return_states=True)
        torch.testing.assert_close(output[i, :n], one, **NEAR)
        for a, b in zip(parts(hx), parts(last), strict=True):
            torch.testing.assert_close(a[:, i], b, **NEAR)
        if layer.lstm is None:
            torch.testing.assert_close(one, by_hand(layer, x[i : i + 1, :n], spans[i : i + 1, :n])[0], **NEAR)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    packed_spans = pack_padded_sequence(spans, LENGTHS, batch_first=True, enforce_sorted=False)
    torch.testing.assert_close(pad_packed_sequence(layer(packed, None, packed_spans)[0], True)[0], output, **NEAR)
    (layer.train()(x, hx, spans)[0].sum() + sum(p.sum() for p in parts(hx))).backward()
    assert sum(p.numel() for p in layer.parameters()) >= layer.live_parameters() > 0


@every_layer
@settings(max_examples=2)
@given(seed=st.integers(0, 99))
def test_a_state_that_starts_anew_is_a_sequence_of_its_own(make, seed):
    layer = some(make, seed)
    x, spans, reset = torch.randn(3, 7, INPUTS), torch.rand(3, 7), torch.rand(3, 7) < 0.3
    hx = tuple(part.detach() for part in parts(layer(x)[1]))
    hx = hx if len(hx) > 1 else hx[0]
    results = []
    for code in (None, "reference"):
        with backends.use(code):
            layer.zero_grad()
            leaf = x.clone().requires_grad_()
            output, last, states = layer(leaf, hx, spans, reset=reset, return_states=True)
            output.square().sum().backward()
            gradients = [p.grad for p in layer.parameters() if p.grad is not None]
            results.append([output, *parts(last), states, leaf.grad, *(g.clone() for g in gradients)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)  # some states grow, and their rounding with them
    for i in range(3):
        starts = [0, *(t for t in range(1, 7) if reset[i, t]), 7]
        for start, end in pairwise(starts):
            first = None if start or reset[i, 0] else tuple(part[i] for part in parts(hx))
            first = first[0] if first is not None and len(first) == 1 else first
            piece, _ = layer(x[i, start:end], first, spans[i, start:end])
            torch.testing.assert_close(output[i, start:end], piece, **NEAR)


def test_backwards_a_state_starts_anew_at_the_same_border():
    torch.manual_seed(0)
    layer = CfC(INPUTS, 4, bidirectional=True)
    x, spans, reset = torch.randn(1, 6, INPUTS), torch.rand(1, 6), torch.zeros(1, 6, dtype=torch.bool)
    reset[0, 4] = True
    output = layer(x, None, spans, reset=reset)[0]
    torch.testing.assert_close(output[:, :4, :4], layer(x[:, :4], None, spans[:, :4])[0][..., :4], **NEAR)
    torch.testing.assert_close(output[:, 4:], layer(x[:, 4:], None, spans[:, 4:])[0], rtol=0, atol=1)
    # Backwards the second piece's last sample has the first span of all; its first one does not reach the first piece.
    changed = x.clone()
    changed[0, 5] += 1
    torch.testing.assert_close(layer(changed, None, spans, reset=reset)[0][:, :4], output[:, :4])


@every_layer
def test_states_are_those_that_the_outputs_are_read_from(make):
    layer, x = some(make), torch.randn(2, 4, INPUTS)
    output, hx, states = layer(x, return_states=True)
    torch.testing.assert_close(layer.around(x, layer.read(states)), output)
    torch.testing.assert_close(states[:, -1], parts(hx)[0])
    time_first = some(make, batch_first=False, return_states=True)
    torch.testing.assert_close(time_first(x.transpose(0, 1))[2], states.transpose(0, 1))
    assert some(make, return_sequences=False)(x, return_states=True)[2].shape == states.shape


def test_names_of_ncps():
    layer = LTC(INPUTS, AutoNCP(9, 2))
    assert (layer.sensory_size, layer.motor_size) == (INPUTS, 2)
    assert layer.synapse_count == layer.rnn_cell.synapse_count == layer.wiring.synapse_count
    assert layer.sensory_synapse_count == layer.wiring.sensory_synapse_count


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: CfC(3, 4, dropout=0.5), "num_layers is 1"),
        (lambda: CfC(3, 4, num_layers=2, dropout=1.5), "from 0 to 1"),
        (lambda: CfC(3, 4, num_layers=0), "num_layers must be at least 1"),
        (lambda: CfC(3, 4)(torch.ones(2, 5, 3), reset=torch.zeros(2, 5)), "reset is float32 (2, 5); bool (2, 5)"),
        (lambda: CfC(3, 4, num_layers=2)(torch.ones(2, 5, 3), torch.zeros(2, 4)), "(2, 2, 4) is needed"),
    ],
)
def test_a_wrong_stack_says_what_would_be_right(call, says):
    with pytest.raises(InputError) as caught:
        call()
    assert says in str(caught.value)


def test_weights_without_values_are_loaded_as_they_are():
    from torch._subclasses.fake_tensor import FakeTensorMode

    layer = CfC(3, AutoNCP(9, 2))
    layer.load_state_dict({name: value.to("meta") for name, value in layer.state_dict().items()}, assign=True)
    assert all(parameter.is_meta for parameter in layer.parameters())
    with FakeTensorMode():
        fake = LTC(3, 5)
        fake.load_state_dict(fake.state_dict())


def test_what_hangs_on_a_layer_that_is_read_is_refused():
    layer = CfC(3, 5, num_layers=2)
    layer.others[0].register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match=r"others\.0 is read and not called"):
        layer(torch.randn(2, 4, 3))


def test_a_bidirectional_layer_is_exported_with_free_time():
    layer, x = CfC(3, 5, bidirectional=True).eval(), torch.randn(2, 7, 3)
    free = {"input": {1: torch.export.Dim("t")}}
    program = torch.export.export(layer, (x,), dynamic_shapes=free, strict=False)
    longer = torch.randn(2, 12, 3)
    torch.testing.assert_close(program.module()(longer)[0], layer(longer)[0])


class LastOutputs(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, lengths):
        return self.layer(x, lengths=lengths)[0]


@pytest.mark.parametrize("written", ["traced", "exported"])
@pytest.mark.parametrize("both", [False, True])
def test_the_last_outputs_of_a_stack_are_written_down_for_any_batch(written, both):
    module = LastOutputs(CfC(3, 5, return_sequences=False, num_layers=2, bidirectional=both)).eval()
    given = torch.randn(3, 7, 3), torch.tensor([7, 2, 4])
    if written == "traced":
        program = torch.jit.trace(module, given, check_trace=False)
    else:
        batch = torch.export.Dim("batch")
        program = torch.export.export(module, given, dynamic_shapes=({0: batch}, {0: batch}), strict=False).module()
    more = torch.randn(5, 7, 3), torch.tensor([1, 7, 3, 2, 6])
    torch.testing.assert_close(program(*more), module(*more))


@pytest.mark.parametrize("kind", [LTC, CfC])
def test_a_wiring_that_another_layer_has_built_is_stacked(kind):
    for make in (lambda: AutoNCP(9, 2), lambda: NCP(4, 3, 2, 2, 2, 3, 2, seed=None), lambda: FullyConnected(4, 2)):
        wiring = make()
        first = copy.deepcopy(wiring)
        kind(INPUTS, wiring)
        stack = kind(INPUTS, wiring, num_layers=3, bidirectional=True)
        fresh = kind(INPUTS, first, num_layers=3, bidirectional=True)
        for a, b in zip([stack, *stack.others], [fresh, *fresh.others], strict=True):
            assert a.wiring.get_config() == b.wiring.get_config()
        assert len({id(layer.wiring) for layer in (stack, *stack.others)}) == 6
        assert stack(torch.randn(2, 4, INPUTS))[0].shape == (2, 4, 4)
    by_hand = FullyConnected(4, 2)
    by_hand.build(INPUTS)
    by_hand.adjacency_matrix[0, 1] = 0
    for refused in (by_hand, Wiring.from_config(by_hand.get_config())):
        with pytest.raises(InputError, match="each with its own wiring"):
            kind(INPUTS, refused, num_layers=2)
