"""Every form of call gives the numbers of the plainest one: one sequence after another, one step after another."""

import logging
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.layers import CASES, INPUTS, every_layer, parts, some, state
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from torchliquid import GRUD, LTC, CfC, InputError, LTCCell, NeuralODE
from torchliquid.wirings import AutoNCP, Wiring

NEAR = {"rtol": 0.0, "atol": 2e-6}


def near(a, b):
    torch.testing.assert_close(a, b, **NEAR)


@every_layer
@settings(max_examples=4)
@given(batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_sample_of_a_batch_is_the_sample_alone(make, batch, seed):
    layer = some(make, seed)
    for size in (batch, layer.state_size):  # B = H is where ncps is silently wrong
        # Without a leak a state, and the rounding of it, grows with the time.
        longest = 1 if isinstance(layer, NeuralODE) else 5
        x, spans = torch.randn(size, 10, INPUTS), longest * torch.rand(size, 10)
        hx = state(layer, size)
        whole, last = layer(x, hx, spans)
        for i in range(size):
            alone, end = layer(x[i], hx[i] if layer.lstm is None else (hx[0][i], hx[1][i]), spans[i])
            near(whole[i], alone)
            for a, b in zip(parts(last), parts(end), strict=True):
                near(a[i], b)


@every_layer
def test_a_sequence_in_pieces_is_the_sequence_whole(make):
    layer = some(make).double()
    x, spans = torch.randn(3, 9, INPUTS).double(), 3 * torch.rand(3, 9).double()
    whole, last = layer(x, None, spans)
    hx, pieces = None, []
    for a, b in ((0, 4), (4, 5), (5, 9)):
        output, hx = layer(x[:, a:b], hx, spans[:, a:b])
        pieces.append(output)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(hx, last, rtol=0, atol=1e-14)


@every_layer
def test_the_forms_of_time_and_layout_agree(make):
    layer, turned, only_last = some(make), some(make, batch_first=False), some(make, return_sequences=False)
    x, spans = torch.randn(4, 6, INPUTS), torch.rand(4, 6)
    output, last = layer(x, None, spans)
    near(layer(x, None, spans.unsqueeze(2))[0], output)
    near(turned(x.transpose(0, 1), None, spans.T)[0].transpose(0, 1), output)
    near(turned(x.transpose(0, 1), None, spans.T.unsqueeze(2))[1], last)
    near(only_last(x, None, spans)[0], output[:, -1])
    near(turned(x[0], None, spans[0].unsqueeze(1))[0], output[0])
    near(only_last(x[0], None, spans[0])[0], output[0, -1])

    each = torch.rand(4)
    near(layer(x, None, each)[0], layer(x, None, each.unsqueeze(1).expand(4, 6))[0])
    near(layer(x)[0], layer(x, None, 1)[0])
    near(layer(x, timespans=torch.tensor(0.5))[0], layer(x, None, 0.5 * torch.ones(4, 6))[0])
    zeros = torch.zeros(4, layer.state_size)
    near(layer(x, zeros if layer.lstm is None else (zeros, zeros))[0], layer(x)[0])
    assert output.shape == (4, 6, layer.output_size)
    assert layer.double()(x.double(), None, spans)[0].dtype == torch.float64


@every_layer
def test_sequences_of_unequal_length(make):
    layer = some(make)
    lengths = torch.tensor([3, 6, 1, 3])
    x, spans = torch.randn(4, 6, INPUTS), torch.rand(4, 6)
    hx = state(layer, 4)
    padded = torch.arange(6) >= lengths.unsqueeze(1)
    x[padded], spans[padded] = torch.nan, -1.0
    x.requires_grad_()
    output, last = layer(x, hx, spans, lengths)
    assert output[padded].eq(0).all()
    assert torch.equal(layer(x, hx, spans, lengths.int())[0], output)  # to the last bit: the same code
    output.sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad[padded].eq(0).all()
    assert all(p.grad.isfinite().all() for p in layer.parameters() if p.grad is not None)
    for i, n in enumerate(lengths.tolist()):
        alone, end = layer(x[i, :n], tuple(h[i] for h in hx) if isinstance(hx, tuple) else hx[i], spans[i, :n])
        near(output[i, :n], alone)
        for a, b in zip(parts(last), parts(end), strict=True):
            near(a[i], b)

    only_last = some(make, return_sequences=False)
    near(only_last(x, hx, spans, lengths)[0], torch.stack([output[i, n - 1] for i, n in enumerate(lengths)]))

    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    packed_spans = pack_padded_sequence(spans, lengths, batch_first=True, enforce_sorted=False)
    for given_spans in (spans, packed_spans):
        result, packed_last = layer(packed, hx, given_spans)
        assert torch.equal(result.batch_sizes, packed.batch_sizes)
        near(pad_packed_sequence(result, batch_first=True)[0], output)
        near(packed_last, last)


@every_layer
def test_nan_in_an_input_stays_in_its_own_sequence(make):
    layer = some(make)
    x = torch.randn(5, 6, INPUTS)
    clean = layer(x)[0]
    x[2, 3, 1] = torch.nan
    output = layer(x)[0]
    others = [0, 1, 3, 4]
    near(output[others], clean[others])
    near(output[2, :3], clean[2, :3])
    assert output[2, 3:].isnan().any() != isinstance(layer, GRUD)  # to which it is a value that was not observed


@pytest.mark.parametrize("name", ["ltc ncp", "cfc deep", "cfc ncp"])
def test_a_cell_is_one_step_of_its_layer(name):
    layer = some(CASES[name])
    cell = layer.rnn_cell
    x, h, span = torch.randn(4, INPUTS), state(layer, 4), torch.rand(4)
    output, new = cell(x, h, span)
    near(cell(x, h, span.unsqueeze(1))[1], new)
    near(cell(x[0], h[0], span[:1])[0], output[0])
    near(layer(x.unsqueeze(1), h, span)[1], new)
    near(cell(x, h, 0.5)[0], cell(x, h, torch.full((4,), 0.5))[0])
    near(cell(x)[1], layer(x.unsqueeze(1))[1])


def test_half_precision_training_keeps_the_state_in_full():
    layer = some(CASES["cfc memory"])
    x = torch.randn(2, 4, INPUTS)
    with torch.autocast("cpu", torch.bfloat16):
        near(layer(x)[0], layer.float()(x)[0])
        assert layer(x.bfloat16())[0].dtype == torch.float32


X = torch.zeros(4, 6, INPUTS)
BAD_SPANS = torch.ones(4, 6).index_put((torch.tensor(2), torch.tensor(5)), torch.tensor(-0.5))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: m(X[..., :2]), "(4, 6, 2); this layer needs (time, 3)"),
        (lambda m: m(X[0, 0]), "(3,)"),
        (lambda m: m(X[:, :0]), "which is empty"),
        (lambda m: m(X.numpy()), "input must be a tensor, not ndarray"),
        (lambda m: m(X, X[0].numpy()), "hx must be a tensor, not ndarray"),
        (lambda m: m(X, lengths=[1, 1, 2, 3]), "lengths must be a tensor, not list"),
        (lambda m: m.rnn_cell(X[:, 0].tolist()), "input must be a tensor, not list"),
        (lambda m: m(X.double()), "input is float64 and the layer is float32"),
        (lambda m: m(X, torch.zeros(4, 5)), "hx has shape (4, 5); (4, 4) is needed"),
        (lambda m: m(X[0], torch.zeros(1, 4)), "hx has shape (1, 4); (4,) is needed"),
        (lambda m: m(X, (torch.zeros(4, 4), torch.zeros(4, 4))), "hx must be a tensor"),
        (lambda m: m(X, torch.zeros(4, 4).double()), "hx is float64"),
        (lambda m: m(X, None, torch.ones(6, 4)), "timespans have shape (6, 4); a number, per sequence (4,)"),
        (lambda m: m(X, None, torch.ones(6)), "timespans have shape (6,)"),
        (lambda m: m(X, None, BAD_SPANS), "timespans[2, 5] (sequence 2, sample 5) is -0.5"),
        (lambda m: m(X[0], None, BAD_SPANS[2]), "timespans[5] is -0.5"),
        (lambda m: m(X, None, float("nan")), "is nan"),
        (lambda m: m(X, None, float("inf")), "is inf"),
        (lambda m: m(X, lengths=torch.ones(4)), "lengths must be whole numbers, not torch.float32"),
        (lambda m: m(X, lengths=torch.tensor([1, 2, 3])), "lengths have shape (3,)"),
        (lambda m: m(X, lengths=torch.tensor([1, 2, 3, 7])), "1 to 7; they must be 1 to 6"),
        (
            lambda m: m(pack_padded_sequence(X, torch.full((4,), 6), True), lengths=torch.ones(4)),
            "contains its lengths",
        ),
        (lambda m: m.rnn_cell(X[:, 0], None, -1.0), "is -1"),
        (lambda m: m.rnn_cell(X), "(3,), or one more dimension"),
    ],
)
@pytest.mark.parametrize("name", ["ltc", "cfc"])
def test_a_wrong_call_says_in_one_line_what_would_be_right(name, call, says):
    with pytest.raises(InputError) as caught:
        call(some(CASES[name]))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_printed_layer_tells_its_sizes():
    assert "LTCCell(input_size=3, state_size=8, output_size=2, solver=rk4)" in str(LTC(3, AutoNCP(8, 2), solver="rk4"))
    assert "input_size=3, state_size=8, output_size=8, mode=pure" in str(CfC(3, 8, mode="pure"))
    assert "input_size=3, state_size=8, output_size=8, solver=euler" in str(NeuralODE(3, 8, solver="euler"))
    assert "GRUDCell(\n    input_size=3, state_size=14, output_size=8\n" in str(GRUD(3, 8))


def test_mixed_memory_asks_for_both_states():
    with pytest.raises(InputError, match=r"hx must be a tuple \(h, c\)"):
        some(CASES["cfc memory"])(X, torch.zeros(4, 4))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CfC(3, AutoNCP(8, 2), backbone_units=8), "backbone_units=8"),
        (lambda: CfC(3, AutoNCP(8, 2), backbone_layers=0), "backbone_layers=0"),
        (lambda: CfC(3, AutoNCP(8, 2), backbone_dropout=0.0), "backbone_dropout=0.0"),
        (lambda: CfC(3, AutoNCP(8, 2), activation="relu"), "activation='relu'"),
        (lambda: CfC(3, 8, mode="fast"), "default, no_gate, pure"),
        (lambda: CfC(3, 8, activation="elu"), "lecun_tanh, tanh"),
        (lambda: CfC(3, 8, backbone_layers=0, backbone_dropout=0.5), "backbone_layers=0"),
        (lambda: CfC(0, 8), "input_size must be at least 1"),
        (lambda: CfC(3, 8, 0), "proj_size must be at least 1"),
        (lambda: LTC(3, 8, ode_unfolds=0), "ode_unfolds must be at least 1"),
        (lambda: LTC(3, 8, input_mapping="quadratic"), "input_mapping must be 'affine', 'linear' or None"),
        (lambda: LTC(3, 0), "units must be at least 1"),
        (lambda: LTC(3, 4.0), "units must be an integer, not 4.0"),
        (lambda: CfC(3, AutoNCP), "wirings come from torchliquid.wirings"),
        (lambda: LTCCell(AutoNCP(8, 2)), "does not know its inputs"),
        (lambda: LTC(3, Wiring(4)), "does not know its outputs"),
    ],
)
def test_a_wrong_layer_is_refused_by_the_name_of_what_is_wrong(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)


@every_layer
def test_no_sequences_and_one_grid_for_all(make):
    layer, x, grid = some(make), torch.randn(3, 6, INPUTS), torch.rand(6)
    output, hx = layer(torch.zeros(0, 6, INPUTS))
    assert output.shape == (0, 6, layer.output_size)
    assert {part.shape for part in parts(hx)} == {(0, layer.state_size)}
    (output.sum() + sum(part.sum() for part in parts(hx))).backward()
    assert not any(parameter.grad.any() for parameter in layer.parameters() if parameter.grad is not None)
    expected = layer(x, None, grid.expand(3, 6))[0]
    near(layer(x, None, grid.unsqueeze(0))[0], expected)
    near(layer(x, None, grid.reshape(1, 6, 1))[0], expected)
    near(layer(x[0], None, grid.unsqueeze(0))[0], expected[0])
    turned = some(make, batch_first=False)
    near(turned(x.transpose(0, 1), None, grid.unsqueeze(1))[0].transpose(0, 1), expected)


class Own(torch.Tensor):
    """A tensor of a user's class."""


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: m(X[:, :4], None, torch.ones(4)), "may be per sequence or per sample"),
        (lambda m: m(X, None, BAD_SPANS.as_subclass(Own)), "timespans[2, 5]"),
        (lambda m: m(X, lengths=torch.tensor([1, 2, 3, 7]).as_subclass(Own)), "they must be 1 to 6"),
        (
            lambda m: m(
                pack_padded_sequence(X, torch.tensor([6, 5, 4, 3]), True),
                timespans=pack_padded_sequence(X[..., 0], torch.tensor([6, 5, 4, 4]), True),
            ),
            "packed with different lengths",
        ),
    ],
)
def test_what_could_mean_two_things_or_hides_is_refused(call, says):
    with pytest.raises(InputError, match=re.escape(says)):
        call(some(CASES["cfc"]))


def test_an_explicit_solver_that_must_diverge_says_so_once(caplog):
    layer = LTC(INPUTS, 32, solver="rk4")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            layer(torch.randn(2, 3, INPUTS))
    assert caplog.text.count("steps of the solver rk4 may be unstable") == 1
