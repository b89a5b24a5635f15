"""Models of every kind: their size, what they answer, and that pieces, batches and channel order change nothing."""

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.small import small_model, small_recording

from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.errors import InputError
from torchliquid.models import KINDS, build
from torchliquid.models import model as model_module
from torchliquid.tasks import Task


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "outputs", "parameters"), [(5, 2, 2500), (12, 9, 2500), (24, 1, 5000)])
def test_live_parameters_meet_the_budget_and_are_alive(kind, channels, outputs, parameters):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, channels))
    if kind == "grud":  # of nothing missing it has nothing to fade
        values[rng.random(values.shape) < 0.3] = np.nan
    recording = Recording.from_arrays(values, np.arange(30.0))
    task = Task("regression", "step", "y", mean=(0.0,) * outputs, std=(1.0,) * outputs)
    torch.manual_seed(0)
    scales = Preprocessing.fit(recording)
    model = build(kind, task, scales, parameters)
    for parameter in model.parameters() if kind in ("grud", "state_space") else ():
        parameter.data += (
            0.4  # off a frequency of 0, where half of what is read waits, and decays below 0, where all do
        )
    assert abs(model.live_parameters() / parameters - 1) < 0.15
    alive = [torch.zeros_like(p, dtype=torch.bool) for p in model.parameters()]
    time = 90 if kind == "transformer" else 6  # its bias reaches over lags of up to 64
    size, spread = (64, 3) if kind in ("lrcssm", "mixture") else (8, 1)  # few leave a ReLU still, an expert uncalled
    for _ in range(3):
        inputs = spread * torch.randn(size, time, scales.n_inputs)
        made, _ = model(inputs, torch.rand(size, time) + 0.5)
        model.zero_grad()
        (made * torch.randn_like(made)).sum().backward()
        for seen, p in zip(alive, model.parameters(), strict=True):
            seen |= p.grad != 0 if p.grad is not None else False
    assert sum(int(seen.sum()) for seen in alive) == model.live_parameters()


@pytest.mark.parametrize("per", ["step", "series"])
@pytest.mark.parametrize("kind", KINDS)
def test_neither_batch_nor_pieces_nor_windows_of_all_change_an_answer(kind, per, monkeypatch):
    model, recording = small_model(kind, per), small_recording(per=per)
    together = model.outputs(recording)
    for i, expected in enumerate(together):
        np.testing.assert_allclose(model.outputs(recording.select([i]))[0], expected, atol=2e-6)
        inputs, spans = model.preprocessing(recording.series[i])
        raw, _ = model(torch.from_numpy(inputs)[None], torch.from_numpy(spans)[None])
        np.testing.assert_allclose(model.task.decode(raw[0].detach().numpy()), expected, atol=2e-6)
    for whole, expected in zip(model.outputs(recording, Windows(40, 40)), together, strict=True):
        np.testing.assert_allclose(whole, expected, atol=2e-6)
    monkeypatch.setattr(model_module, "CHUNK", 6)
    monkeypatch.setattr(model_module, "SIDE_BY_SIDE", 2)
    for piecewise, expected in zip(model.outputs(recording), together, strict=True):
        np.testing.assert_allclose(piecewise, expected, atol=2e-6)


def test_windows_leave_no_sample_without_an_answer_and_start_fresh():
    model, recording = small_model("cfc"), small_recording((50,))
    windows = Windows(16, 16, 4)
    found = model.outputs(recording, windows)[0]
    assert np.isfinite(found).all()
    inputs, spans = (torch.from_numpy(a)[None] for a in model.preprocessing(recording.series[0]))
    raw, _ = model(inputs[:, 12:28], spans[:, 12:28])
    np.testing.assert_allclose(found[16:28], model.task.decode(raw[0].detach().numpy())[4:], atol=2e-6)


def test_channels_are_found_by_name():
    model, recording = small_model("gru"), small_recording()
    expected = model.predict(recording)
    shuffled = Recording.from_arrays(
        [np.stack([s.values[:, 2], np.ones(len(s)), s.values[:, 0], s.values[:, 1]], 1) for s in recording.series],
        [s.times for s in recording.series],
        channels=["c", "more", "a", "b"],
        time_unit="ms",
    )
    assert model.predict(shuffled).equals(expected)
    lacking = Recording.from_arrays(np.ones((5, 2)), np.arange(5.0), channels=["a", "B "], time_unit="ms")
    with pytest.raises(InputError, match=r"needs the channel 'b'.*'B '"):
        model.predict(lacking)
    with pytest.raises(InputError, match=r"times in 'ms'.*'samples'"):
        model.predict(Recording.from_arrays(np.ones((5, 3)), channels=["a", "b", "c"]))


def test_predict_takes_a_frame_and_names_its_columns():
    model = small_model("lstm")
    model.metadata["columns"] = {"time": "t", "series": "unit", "time_unit": "ms"}
    frame = pl.DataFrame(
        {"unit": ["x", "x", "y", "y"], "t": [0.0, 1.5, 0.0, 2.0], "c": [300.0, None, 1, 2], "b": 1.0, "a": 2.0}
    )
    said = model.predict(frame)
    assert said.columns == ["series", "time", "prediction", "probability_0", "probability_1"]
    assert said["series"].to_list() == ["x", "x", "y", "y"]
    assert set(said["prediction"]) <= {"0", "1"}
    np.testing.assert_allclose(said["probability_0"] + said["probability_1"], 1)
    with pytest.raises(InputError, match="needs the column 'c'"):
        model.predict(frame.drop("c"))
    per_series = small_model("lstm", "series").predict(small_recording(labels=False))
    assert per_series.shape == (3, 4)


def test_kinds_and_budgets_that_cannot_be():
    with pytest.raises(InputError, match="no kind of model 'cfg'; did you mean 'cfc'"):
        small_model("cfg")
    with pytest.raises(InputError, match=r"needs at least \d+ parameters, not 20"):
        small_model("ltc_ncp", parameters=20)
    with pytest.raises(InputError, match="hidden_units"):
        small_model("cfc", hidden_units=3)
    with pytest.raises(InputError, match="multiple of its heads"):
        small_model("transformer", width=5, heads=2)
    with pytest.raises(InputError, match="1 head or more"):
        small_model("transformer", heads=0)
    assert small_model("cfc_ncp", units=20).config["units"] == 20  # a size that no budget can move
    assert small_model("cfc", mode="pure", units=7, backbone_units=5).config["units"] == 7


def test_forecasts_say_what_time_they_are_for():
    times = np.datetime64("2024-05-01") + np.r_[np.arange(40), 45].astype("timedelta64[h]")
    recording = Recording.from_arrays(np.sin(np.arange(41.0)), times, channels=["x"])
    for horizon, unit, last in ((2, "samples", 47), (3 * 3600.0, "s", 48)):
        task = Task.infer(recording, "x", horizon=horizon, horizon_unit=unit)
        frame = build("cfc", task, Preprocessing.fit(recording), 100).predict(recording)
        assert frame["time"].to_numpy().tolist() == times.astype("datetime64[us]").tolist()
        ahead = frame["time_for"].to_numpy()
        assert ahead[0] == times[0] + np.timedelta64(2 if unit == "samples" else 3, "h")
        assert ahead[-1] == np.datetime64("2024-05-01") + np.timedelta64(last, "h")
        assert (ahead > frame["time"].to_numpy()).all()


def test_arrays_are_answered_as_frames_are_one_sample_and_silent_channels_too():
    model = small_model("cfc")
    values = small_recording().series[0].values[:1]
    recording = Recording.from_arrays(values, [0.0], channels=["a", "b", "c"], time_unit="ms", for_model=True)
    assert model.predict(values)["prediction"].to_list() == model.predict(recording)["prediction"].to_list()
    silent = np.column_stack([np.arange(5.0), np.full(5, np.nan), np.arange(5.0)])
    assert model.predict(silent).height == 5
    assert model.predict(np.ma.MaskedArray(np.nan_to_num(silent), np.isnan(silent))).height == 5
    with pytest.raises(InputError):
        model.predict(values[:, :2])
