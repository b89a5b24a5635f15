"""Live streams against whole recordings: one rule, sample by sample."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.small import small_model, small_recording

import torchliquid
from torchliquid.alarms import Alarm
from torchliquid.data import Recording
from torchliquid.errors import InputError
from torchliquid.layers import LTC, CfC
from torchliquid.models import KINDS

MODELS = {(kind, per): small_model(kind, per) for kind in KINDS for per in ("step", "series")}
MODELS |= {("context", "step"): small_model("transformer", context=5)}
MODELS |= {(solver, "step"): small_model("ltc_ncp", solver=solver) for solver in ("rk4", "tsit5")}
MODELS |= {(f"{kind} experts", "step"): small_model("mixture", expert=kind, top_k=2) for kind in ("ltc", "lrcssm")}
readings = st.one_of(st.just(np.nan), st.just(np.inf), st.just(-1e30), st.floats(-500, 500))


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(MODELS)),
    st.lists(
        st.tuples(readings, readings, readings, st.one_of(st.just(0.0), st.floats(0.01, 10.0))), min_size=2, max_size=20
    ),
    st.integers(1, 3),
)
def test_a_stream_says_what_the_model_says_of_the_whole(which, samples, n):
    model = MODELS[which]
    values, gaps = np.array(samples)[:, :3], np.array(samples)[:, 3]
    times = np.cumsum(np.append(0.0, gaps[1:]))
    whole = Recording((torchliquid.data.Series(times, values),), ("a", "b", "c"), None, "ms")
    expected = model.outputs(whole)[0]
    live = torchliquid.stream(model, n)
    for i, (sample, gap) in enumerate(zip(values, gaps, strict=True)):
        said = live.step(sample if n == 1 else np.tile(sample, (n, 1)), gap)
        assert said.shape == ((2,) if n == 1 else (n, 2))
        if which[1] == "step":
            np.testing.assert_allclose(said, np.broadcast_to(expected[i], said.shape), atol=5e-6)
    np.testing.assert_allclose(
        said, np.broadcast_to(expected[-1] if which[1] == "step" else expected, said.shape), atol=5e-6
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "feedforward"])  # it has none
def test_state_comes_and_goes(kind):
    live = torchliquid.stream(MODELS[kind, "step"], 3)
    values = np.stack([s.values[:7] for s in small_recording().series])
    first = [live.step(values[:, i], 2.0) for i in range(3)]
    kept = live.state
    later = [live.step(values[:, i], 2.0) for i in range(3, 7)]
    live.state = kept
    np.testing.assert_array_equal([live.step(values[:, i], 2.0) for i in range(3, 7)], later)
    live.reset([1])
    mixed = live.step(values[:, 0], 2.0)
    np.testing.assert_allclose(mixed[1], first[0][1], atol=1e-7)
    assert np.abs(mixed[[0, 2]] - first[0][[0, 2]]).max() > 1e-6
    live.reset()
    np.testing.assert_allclose([live.step(values[:, i], 2.0) for i in range(3)], first, atol=1e-7)
    assert set(live.label(mixed)) <= {"0", "1"}
    with pytest.raises(InputError, match="parts of shapes"):
        live.state = kept[:-1]


@pytest.mark.parametrize("elapsed", [None, np.nan, -1.0, np.inf, 1e300])
def test_an_unknown_gap_is_the_usual_one(elapsed):
    model = MODELS["ltc_ncp", "step"]
    values = small_recording().series[0].values
    ours, usual = torchliquid.stream(model), torchliquid.stream(model)
    hold = model.preprocessing.start()
    for row in values[:4]:
        np.testing.assert_array_equal(ours.step(row, elapsed), usual.step(row, model.preprocessing.time_scale))
        assert model.preprocessing.step(hold, row, elapsed)[1] == 1
    slow = torchliquid.stream(model)
    slow._core._stepper = None
    usual.reset()
    for row in values:
        np.testing.assert_allclose(slow.step(row, elapsed), usual.step(row, None), atol=5e-6)


def test_a_gap_may_be_any_number_and_stays_with_the_compiled_code():
    torch.manual_seed(0)
    live = torchliquid.stream(LTC(3, 6))
    x = np.array([0.1, -0.2, 0.3])
    first = live._core.fast(x, 2.0)
    for gap in (2, np.float32(2), np.int64(2), np.array(2), np.array([2]), [2]):
        live.reset()
        np.testing.assert_array_equal(live._core.fast(x, gap), first)
    for gap in (np.nan, -1):
        assert live._core.fast(x, gap) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: LTC(3, 6),
        lambda: CfC(3, 6, mixed_memory=True, backbone_units=8),
        lambda: LTC(3, torchliquid.wirings.AutoNCP(12, 3)),
        lambda: CfC(3, torchliquid.wirings.AutoNCP(12, 3), proj_size=2),
        lambda: torch.nn.LSTM(3, 6),
        lambda: torch.nn.GRU(3, 6, batch_first=True),
        lambda: LTC(3, 6, num_layers=2, dropout=0.5),
        lambda: CfC(3, 6, num_layers=3, mixed_memory=True, proj_size=2),
        lambda: CfC(3, torchliquid.wirings.AutoNCP(12, 3), num_layers=2),
        lambda: torchliquid.GRUD(3, 5, num_layers=2),
        lambda: torchliquid.ODELSTM(3, 5, num_layers=2),
        lambda: torch.nn.LSTM(3, 6, num_layers=3, dropout=0.5),
        lambda: torch.nn.LSTM(3, 6, num_layers=2, proj_size=2),
        lambda: torch.nn.GRU(3, 6, num_layers=2, batch_first=True, bias=False),
    ],
)
@pytest.mark.parametrize("n", [1, 4])
def test_bare_layers(make, n):
    torch.manual_seed(0)
    layer = make().eval()
    x, spans = torch.randn(n, 9, 3), torch.rand(n, 9) * 2
    with torch.no_grad():
        if isinstance(layer, torch.nn.RNNBase):
            whole = layer(x)[0] if layer.batch_first else layer(x.transpose(0, 1))[0].transpose(0, 1)
        else:
            whole = layer(x, timespans=spans)[0]
    live = torchliquid.stream(layer, n)
    rows = [live.step(x[:, i].numpy() if n > 1 else x[0, i].numpy(), spans[:, i].numpy()) for i in range(9)]
    found = np.stack(rows, 1) if n > 1 else np.stack(rows)[None]
    np.testing.assert_allclose(found, whole.numpy(), atol=2e-6)


@pytest.mark.parametrize("options", [{"batch_first": False}, {"return_sequences": False}, {"return_states": True}])
def test_a_layers_layout_does_not_matter(options):
    torch.manual_seed(0)
    layer, other = CfC(3, 6, num_layers=2), CfC(3, 6, num_layers=2, **options)
    other.load_state_dict(layer.state_dict())
    with torchliquid.backends.use("reference"):
        ours, theirs = torchliquid.stream(layer, 4), torchliquid.stream(other, 4)
    for x in np.random.default_rng(0).normal(size=(5, 4, 3)):
        np.testing.assert_array_equal(ours.step(x, np.arange(4.0)), theirs.step(x, np.arange(4.0)))


def test_a_nan_reaches_only_the_neurons_that_it_drives():
    """Against the layer itself, whose synapses are those that exist."""
    torch.manual_seed(0)
    layer = LTC(3, torchliquid.wirings.AutoNCP(20, 3))
    for bad in (np.nan, np.inf):
        live = torchliquid.stream(layer)
        x = np.array([bad, 0.3, -0.2], dtype=np.float32)
        live.step(x, 1.0)
        _, hx = layer(torch.from_numpy(x)[None, None])
        np.testing.assert_array_equal(np.isnan(live.state[0][0]), torch.isnan(hx[0]).numpy())
        assert np.isfinite(live.state[0]).any()


def test_samples_of_another_shape_and_states_that_do_not_fit_are_refused():
    live = torchliquid.stream(LTC(3, 6), 2)
    for shape in ((3, 2), (6,), (2, 3, 1)):
        with pytest.raises(InputError, match="a sample has shape"):
            live.step(np.ones(shape))
    with pytest.raises(InputError, match=r"elapsed has shape \(3,\)"):
        live.step(np.ones((2, 3)), np.ones(3))
    live = torchliquid.stream(MODELS["ltc_ncp", "step"], 2)
    live.step(np.ones((2, 3)), 1.0)
    before = live.state
    held, started, *network = before
    with pytest.raises(InputError, match="what is held has shapes"):
        live.state = (held[:1], started, *(part + 1 for part in network))
    live.reset([])
    for one, other in zip(live.state, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_streamed():
    with pytest.raises(InputError, match="not a Linear"):
        torchliquid.stream(torch.nn.Linear(2, 2))
    for layer in (torch.nn.LSTM(2, 2, bidirectional=True), LTC(2, 3, bidirectional=True)):
        with pytest.raises(InputError, match="a bidirectional layer cannot be streamed"):
            torchliquid.stream(layer)
    with pytest.raises(InputError, match="1 or more"):
        torchliquid.stream(LTC(3, 6), 0)
    with pytest.raises(InputError, match=r"shape \(2,\); \(3,\) is needed"):
        torchliquid.stream(LTC(3, 6)).step(np.ones(2))


@pytest.mark.parametrize("compiled", [True, False])
def test_a_long_series_is_counted_and_summed_on(compiled):
    """Single precision stops counting at 2^24, and adding long before: as if 20 million samples had been seen."""
    live = torchliquid.stream(small_model("cfc", "series", task="regression"))
    if not compiled:
        live._core._stepper = None
    seen, more = 20_000_001, 3_000
    readings = np.array([1.0, -20.0, 300.0])
    live.step(readings, 2.0)
    *state, _, _ = live.state
    features = np.float64(state[-1][0])
    total = features * seen
    live.state = (*state, total[None], np.array([[seen]]))
    for i in range(more):
        live.step(readings * (1 + i % 3), 2.0)
        total = total + live.state[-3][0]
    np.testing.assert_allclose(live.state[-2][0], total, rtol=1e-12)
    assert live.state[-1] == seen + more


def test_a_streams_alarms_are_those_of_predict_and_go_on_after_a_restart():
    """One sample each, with gaps, by a rule that needs and bridges time; and again from a saved state."""
    model, recording = small_model("cfc"), small_recording(lengths=(400,))
    (outputs,) = model.outputs(recording)
    middle = float(np.median(outputs[:, 1]))
    model.task = replace(model.task, alarm=Alarm(length=3.0, merge=4.0, threshold=middle))
    frame = model.predict(recording)
    expected = frame["alarm"].to_list()
    assert 20 < sum(expected) < 380
    (series,) = recording.series
    spans = np.diff(series.times, prepend=series.times[:1])
    first, labels, alarms = torchliquid.stream(model), [], []
    live = first
    for t, (values, span) in enumerate(zip(series.values, spans, strict=True)):
        if t == 200:
            live = torchliquid.stream(model)
            live.state = first.state
        labels.append(live.label(live.step(values, float(span))))
        alarms.append(live.alarm)
    near = np.abs(outputs[:, 1] - middle) < 1e-5  # rounding may move these over the threshold
    assert not near.any()
    assert labels == frame["prediction"].to_list()
    assert alarms == expected
    several = torchliquid.stream(model, 2)
    several.step(np.stack([series.values[0]] * 2))
    assert several.alarm.shape == (2,)
    several.reset([1])
    assert torchliquid.stream(small_model("cfc")).alarm is None
