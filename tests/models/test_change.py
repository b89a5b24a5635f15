"""Forecasts of the change from a channel's last value: where that is learnt, and that it is the same everywhere."""

import json
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

import torchliquid
from torchliquid.cli import app
from torchliquid.data import Preprocessing, Recording
from torchliquid.edge import TARGETS, artifact, export, onnx, parity
from torchliquid.explain import attribution
from torchliquid.models import Model, build
from torchliquid.models.naive import Naive
from torchliquid.models.tabular import Tabular
from torchliquid.study.plan import Plan
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig
from torchliquid.training.fit import hold_out

SHORT = TrainingConfig(updates=150, seed=0)


def rising(n: int = 1200, holes: float = 0.1, seed: int = 0) -> Recording:
    """A series that leaves its training part behind, with a channel that says nothing, and holes in both."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([0.05 * np.arange(n) + rng.normal(0, 0.3, n), rng.normal(5, 2, n)])
    x[rng.random(x.shape) < holes] = np.nan
    x[np.isnan(x).all(1), 1] = 5.0
    return Recording.from_arrays(x, channels=["level", "noise"])


def cut(recording: Recording, start: int, stop: int) -> Recording:
    part = slice(start, stop)
    return replace(
        recording, series=tuple(replace(s, times=s.times[part], values=s.values[part]) for s in recording.series)
    )


@pytest.fixture(scope="module")
def parts() -> tuple[Recording, Recording]:
    whole = rising()
    whole.series[0].values[900, 0] = 45.0  # else one answer without a last value weighs more than all others
    return cut(whole, 0, 900), cut(whole, 900, 1200)


@pytest.fixture(scope="module", params=["cfc", "ltc"])
def model(request: pytest.FixtureRequest, parts: tuple[Recording, Recording]) -> Model:
    return torchliquid.fit(parts[0], "level", request.param, horizon=3, parameters=500, config=SHORT)


def error(answering, task: Task, part: Recording) -> float:
    return task.metrics(answering.outputs(part), part)["rmse"]


def test_beyond_the_training_part_all_contenders_are_near_the_last_value(model, parts) -> None:
    learn, test = parts
    training, validation = hold_out(learn, Task.infer(learn, "level", horizon=3))
    task, scales = model.task, model.preprocessing
    assert task.change > 1
    last = error(Naive.fit(task, scales, training), task, test)
    assert error(model, task, test) < 1.2 * last
    for kind in ("linear", "boosting"):
        fitted = Tabular.fit(kind, task, scales, training, validation)
        assert error(fitted, task, test) < 1.2 * last
        late, live = rising(80, seed=3), fitted.live()
        late.series[0].values[:5, 0] = np.nan
        stepped = np.stack([live.step(row, 1.0) for row in late.series[0].values])
        assert stepped == pytest.approx(fitted.outputs(late)[0], rel=1e-5)
    plan = Plan.make(learn, Task.infer(learn, "level", horizon=3))
    assert plan.task.change
    assert any("the change from the last value of level" in words for words in plan.split)


def test_where_the_mean_is_the_better_start_the_value_is_learnt() -> None:
    noise = Recording.from_arrays(np.random.default_rng(0).normal(3, 1, (600, 1)), channels=["x"])
    training, validation = hold_out(noise, Task.infer(noise, "x", horizon=1))
    fitted = Task.infer(noise, "x", horizon=1).fit(training)
    assert fitted.from_last(training, validation, Preprocessing.fit(training)) == fitted


def test_targets_without_a_last_value_are_learnt_as_they_are() -> None:
    x = np.arange(300.0)
    beside = Recording.from_arrays(np.sin(x)[:, None], targets=x, target="y")
    assert not Plan.make(beside, Task.infer(beside)).task.change


@pytest.mark.parametrize("quantile", ["pinball@0.9", "pinball@0.1"])
def test_a_quantile_of_the_change(quantile: str, parts) -> None:
    learn, test = parts
    task = Task.infer(learn, "level", horizon=3, primary=quantile)
    training, validation = hold_out(learn, task)
    scales = Preprocessing.fit(training)
    fitted = task.fit(training).from_last(training, validation, scales)
    linear = Tabular.fit("linear", fitted, scales, training, validation)
    said, truth, _ = fitted.labelled(linear.outputs(test)[0], fitted.with_targets(test).series[0])
    assert fitted.change
    assert abs((truth <= said).mean() - float(quantile[-3:])) < 0.1


def test_before_a_first_reading_the_training_mean_stands_for_it(model) -> None:
    assert model.live().step([np.nan, np.nan]) == pytest.approx(
        model.predict(np.full((1, 2), np.nan))["prediction"].to_numpy(), rel=1e-4
    )
    late = rising()
    late.series[0].values[:300, 0] = np.nan  # and nothing is learnt from these
    early = torchliquid.fit(late, "level", "cfc", horizon=3, parameters=300, config=SHORT)
    naive = early.metadata["training"]["naive"]
    assert early.metadata["training"]["validation"]["rmse"] < 1.2 * naive["rmse"]


def test_a_stream_compiled_or_not_says_what_predict_says(model, parts, monkeypatch) -> None:
    values = parts[1].series[0].values
    said = model.outputs(parts[1])[0]
    spread = said.std()
    stepped = model.live().step(values)
    many = model.live(9)
    alike = np.stack([many.step(np.tile(row, (9, 1)), 1.0) for row in values])
    monkeypatch.setattr(sys.modules["torchliquid.runtime.stream"], "compiled", lambda *_: None)
    plain = model.live().step(values)
    by_name = pl.DataFrame(values[:, ::-1], schema=["noise", "level"]).fill_nan(None)
    framed = model.predict(by_name)["prediction"].to_numpy()[:, None]
    for other in (stepped, plain, alike[:, 0], alike[:, 8], framed):
        assert np.abs(other - said).max() < 1e-4 * spread


@pytest.mark.parametrize(("kind", "mask"), [("cfc", True), ("ltc", False), ("lstm", True), ("gru", False)])
def test_the_exports_say_what_predict_says(kind: str, mask: bool, tmp_path) -> None:
    recording = rising(150)
    task = Task.infer(recording, "level", horizon=3)
    training, validation = hold_out(recording, task)
    scales = Preprocessing.fit(training, with_mask=mask)
    task = task.fit(training).from_last(training, validation, scales)
    torch.manual_seed(0)
    made = build(kind, task, scales, 300).eval()
    said = made.outputs(recording)[0]
    samples = parity.samples_of(made, recording)
    for int8, allowed in ((False, 1e-5), (True, 0.02)) if kind != "lstm" else ((False, 1e-5),):
        one = artifact.make(made, TARGETS["c99"], "builtin", int8, samples)
        found = one.run(None, same_state=False).records["outputs"]
        assert np.abs(found - said).max() < allowed * said.std()
    pytest.importorskip("onnxruntime")
    assert onnx.write(made, tmp_path, samples) <= 1e-5


def test_a_saved_model_keeps_it_and_an_older_file_has_none(model, parts, tmp_path) -> None:
    model.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    assert loaded.task == model.task
    assert loaded.self_test() < 1e-5
    assert np.array_equal(loaded.outputs(parts[1])[0], model.outputs(parts[1])[0])
    older = {name: value for name, value in model.task.to_dict().items() if name != "change"}
    assert Task.from_dict(json.loads(json.dumps(older))).change == 0
    report = export(model, TARGETS["c99"], tmp_path / "c", parts[1])
    assert report.plain["metric"]["export"] == pytest.approx(error(model, model.task, parts[1]), rel=1e-3)


def test_what_is_explained_adds_up(model, parts) -> None:
    found = attribution(model, parts[1], lags=8, moments=8)
    assert found.completeness <= 0.05
    assert "the change from the last value of level" in found.explained
    assert found.share[0].sum() > found.share[1].sum()


def test_the_command_says_so(tmp_path) -> None:
    recording = rising(600, holes=0)
    frame = pl.DataFrame(recording.series[0].values, schema=["level", "noise"]).with_row_index("time")
    frame.write_csv(tmp_path / "rising.csv")
    out = str(tmp_path / "m.safetensors")
    asked = ["train", str(tmp_path / "rising.csv"), "--target", "level", "--horizon", "3", "--updates", "40"]
    said = CliRunner().invoke(app, [*asked, "--parameters", "200", "--out", out]).output
    words = " ".join(said.split())
    assert "It predicts the change from the last value of level" in words
    assert "The naive answer there: RMSE" in words
    shown = " ".join(CliRunner().invoke(app, ["inspect", out]).output.split())
    assert "3 samples ahead, as the change from the last value of level" in shown
