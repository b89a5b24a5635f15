"""What a network is told of holes: of channels that had some in training, wherever the model runs."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import torchliquid
from torchliquid.data import Preprocessing, Recording
from torchliquid.edge import TARGETS, artifact, onnx, parity
from torchliquid.errors import InputError
from torchliquid.models import build
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig

RNG = np.random.default_rng(0)


def recording(missing: float, n: int = 300) -> Recording:
    """Holes in the first channel, and so large a share of them in the second."""
    x = RNG.normal(size=(n, 2))
    truth = np.convolve(x[:, 0], np.ones(3), "same")
    x[RNG.random(n) < 0.1, 0] = np.nan
    x[1:][RNG.random(n - 1) < missing, 1] = np.nan
    return Recording.from_arrays(x, targets=truth, channels=["a", "b"])


@pytest.mark.parametrize(
    ("missing", "told"), [(0.0, [True, False]), (0.003, [True, False]), (0.2, [True, True])], ids=str
)
def test_the_mask_tells_of_channels_that_had_holes(missing, told):
    scales = Preprocessing.fit(recording(missing))
    assert scales.told.tolist() == told
    assert Preprocessing.from_dict(scales.to_dict()).told.tolist() == told
    older = {name: value for name, value in scales.to_dict().items() if name != "told"}
    assert Preprocessing.from_dict(older).mask(np.array([[False, False]])).tolist() == [[False, False]]
    assert not Preprocessing.fit(Recording.from_arrays(np.arange(200.0)[:, None])).with_mask


@pytest.mark.parametrize("kind", ["cfc", "ltc", "gru"])
def test_a_channel_that_drops_out_for_the_first_time_is_one_that_stands_still(kind, tmp_path, monkeypatch):
    trained = recording(0.0)
    scales = Preprocessing.fit(trained)
    torch.manual_seed(0)
    model = build(kind, Task("regression", "step", "target").fit(trained), scales, 400).eval()
    values = trained.series[0].values[:80].copy()
    still = values.copy()
    values[20:, 1], still[20:, 1] = np.nan, still[19, 1]
    said = model.predict(values)["prediction"].to_numpy()[:, None]
    assert said == pytest.approx(model.predict(still)["prediction"].to_numpy()[:, None], rel=1e-6)
    spread = said.std()
    many = model.live(9)
    streamed = [model.live().step(values), np.stack([many.step(np.tile(row, (9, 1)))[4] for row in values])]
    monkeypatch.setattr(sys.modules["torchliquid.runtime.stream"], "compiled", lambda *_: None)
    streamed.append(model.live().step(values))
    for one in streamed:
        assert np.abs(one - said).max() < 1e-4 * spread
    parts = [replace(trained.series[0], times=np.arange(80.0), values=v, targets=None) for v in (values, still)]
    samples, as_still = (parity.samples_of(model, replace(trained, series=(part,))) for part in parts)
    single, *small = (
        artifact.make(model, TARGETS["c99"], "builtin", int8, given).run(None, same_state=False).records["outputs"]
        for int8, given in ((False, samples), (True, samples), (True, as_still))
    )
    assert np.abs(single - said).max() < 1e-4 * spread
    assert np.array_equal(*small)
    pytest.importorskip("onnxruntime")
    assert onnx.write(model, tmp_path, samples) <= 1e-4


def test_where_a_constant_channel_is_missing_can_be_learnt_and_its_value_cannot_hurt():
    n = 1200
    there = RNG.random(n) < 0.5
    x = np.column_stack([RNG.normal(size=n), np.where(there, 5.0, np.nan)])
    truth = np.where(there, "there", "gone")
    model = torchliquid.fit(
        Recording.from_arrays(x, targets=truth), kind="ltc", parameters=200, config=TrainingConfig(updates=200)
    )
    x[:, 1] += 1000.0
    moved = model.predict(x)["prediction"].to_numpy()
    assert (moved == truth).mean() > 0.95


def test_a_grud_is_fed_what_was_observed_and_nothing_that_was_filled_in():
    """Against the equations of the paper, in NumPy, on scaled readings with their holes."""
    whole = recording(0.4, 60)
    scales = Preprocessing.fit(whole)
    torch.manual_seed(0)
    model = build("grud", Task("regression", "step", "target").fit(whole), scales, 400).double().eval()
    p = {name: value.detach().numpy() for name, value in model.network.layer.rnn_cell.named_parameters()}
    (series,) = whole.series
    x, hidden = scales.scaled(series.values), p["state_decay.bias"].shape[0]
    h, last, since = np.zeros(hidden), np.zeros(2), np.zeros(2)
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    answers = []
    for values, span in zip(x, scales.timespans(series), strict=True):
        seen, since = np.isfinite(values), since + span
        faded = np.exp(-np.maximum(p["input_decay"] * since + p["input_decay_bias"], 0)) * last
        h = np.exp(-np.maximum(p["state_decay.weight"] @ since + p["state_decay.bias"], 0)) * h
        inputs = np.append(np.where(seen, values, faded), seen)
        own = np.split(p["update.weight_ih"] @ inputs + p["update.bias_ih"], 3)
        recalled = np.split(p["update.weight_hh"] @ h + p["update.bias_hh"], 3)
        reset, update = (sigmoid(own[i] + recalled[i]) for i in (0, 1))
        h = (1 - update) * np.tanh(own[2] + reset * recalled[2]) + update * h
        last, since = np.where(seen, values, last), np.where(seen, 0, since)
        answers.append(model.readout.weight.detach().numpy() @ h + model.readout.bias.detach().numpy())
    inputs, spans = scales(series)
    raw, _ = model(torch.from_numpy(inputs).double()[None], torch.from_numpy(spans).double()[None])
    np.testing.assert_allclose(raw[0].detach(), answers, atol=1e-5)


def test_a_grud_without_holes_needs_no_mask_and_pictures_with_holes_are_refused():
    whole = recording(0.0)
    whole = replace(whole, series=(replace(whole.series[0], values=np.nan_to_num(whole.series[0].values)),))
    scales, task = Preprocessing.fit(whole), Task("regression", "step", "target").fit(whole)
    model = build("grud", task, scales, 400).eval()
    assert model.network.layer.input_size == 2
    assert np.isfinite(model.predict(whole)["prediction"].to_numpy()).all()
    with pytest.raises(InputError, match="pictures and missing values together"):
        build("grud", task, Preprocessing.fit(whole, with_mask=True), 400, pictures=[[0, 1, 2, 1]])
