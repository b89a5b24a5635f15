"""Whole studies: the verdict says no when the answer is no."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from torchliquid import Model, Recording
from torchliquid.datasets import load
from torchliquid.errors import InputError
from torchliquid.study.assess import assess
from torchliquid.study.contenders import TRAINING, Contender
from torchliquid.study.plan import Plan
from torchliquid.study.results import POOLED, StudyResults
from torchliquid.study.run.store import Store
from torchliquid.study.shifts import DEFAULT_SHIFTS, SensorNoise
from torchliquid.tasks import Task

QUICK = {"contenders": ["cfc", "gru", "linear", "boosting", "naive"], "seeds": 3, "tuning": 1, "parameters": 400}


def test_on_pure_noise_nothing_was_learnt(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["yes", "no"])[rng.integers(0, 2, 1500)]
    recording = Recording.from_arrays(rng.normal(size=(1500, 3)), targets=labels)
    results = assess(recording, tmp_path / "study", epochs=6, shifts=(), **QUICK)
    assert results.verdict is not None
    assert results.verdict.tags == ("nothing_learnt",)
    assert results.verdict.answer == "not worth it"


def test_where_order_carries_nothing_there_is_no_advantage(tmp_path: Path) -> None:
    """Rows of a table that stand for themselves, in shuffled order; enough of them to show that two are equal."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(12_000, 3))
    labels = np.where(x[:, 0] * x[:, 1] + 0.5 * x[:, 2] + 0.3 * rng.normal(size=len(x)) > 0, "yes", "no")
    results = assess(Recording.from_arrays(x, targets=labels), tmp_path / "study", epochs=12, shifts=(), **QUICK)
    assert results.verdict is not None
    assert "no_memory" in results.verdict.tags
    assert results.verdict.answer == "not worth it"


def test_contenders_of_ones_own_have_names_of_their_own(tmp_path: Path) -> None:
    recording = Recording.from_arrays(np.zeros((100, 2)), targets=np.arange(100.0))
    own = Contender("ctrnn", "CT-RNN", "liquid", TRAINING)
    with pytest.raises(InputError, match=r"'ctrnn' needs a name from .* that no other contender has"):
        assess(recording, tmp_path / "study", contenders=["linear", own, own])
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seeds": 1.5}, "seeds must be an integer, not 1.5"),
        ({"tuning": "4"}, "tuning must be an integer, not '4'"),
        ({"jobs": 0}, "jobs must be at least 1, not 0"),
        ({"contenders": []}, "a study needs contenders"),
    ],
)
def test_a_study_of_nothing_is_refused_before_a_folder_is_made(given: dict, words: str, tmp_path: Path) -> None:
    recording = Recording.from_arrays(np.zeros((100, 2)), targets=np.arange(100.0))
    with pytest.raises(InputError, match=words):
        assess(recording, tmp_path / "study", **given)
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
def test_on_occupancy_one_sensor_is_as_good_as_published(data_dir: Path, tmp_path: Path) -> None:
    dataset = load("occupancy")
    results = assess(
        dataset.train,
        tmp_path / "study",
        task=dataset.task,
        tests=dataset.tests,
        contenders=["cfc", "linear", "naive"],
        seeds=2,
        tuning=1,
        epochs=15,
        shifts=(),
    )
    assert results.verdict is not None
    assert results.verdict.answer != "worth it"
    probe = results.contender("one_sensor")
    assert probe.detail == "Light"
    assert probe.test("accuracy")[0] == pytest.approx(0.989, abs=0.002)  # as published analyses of this table find


def test_what_a_study_leaves(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    series = [np.cumsum(rng.normal(size=(int(n), 2)), 0) for n in rng.integers(10, 30, 40)]
    targets = [f"class {int(s[-1, 0] > s[0, 0])}" for s in series]
    recording = Recording.from_arrays(series, targets=targets, channels=["<script>alert(1)</script>", "b"])
    out = tmp_path / "study"
    results = assess(recording, out, epochs=5, **QUICK)

    page = (out / "report.html").read_text()
    assert len(page) < 6_000_000
    assert "<script>alert(1)" not in page
    assert StudyResults.from_json((out / "results.json").read_text()).to_json() == results.to_json()
    assert Model.load(out / "model.safetensors").self_test() < 1e-5
    best = results.best("liquid", "neural", "classical")
    assert best is not None
    assert Model.load(out / "best.safetensors").kind == best.name
    kept = {path.parent.name.split("-")[0] for path in out.glob("trials/*/model.safetensors")}
    assert kept == {contender.name for contender in results.competing}
    budget = [c for c in results.contenders if c.family in ("liquid", "neural")]
    assert all(abs(t.parameters - 400) <= 0.15 * 400 for c in budget for t in c.trials)
    for contender in results.competing:
        assert len(contender.trials) == (3 if contender.family in ("liquid", "neural") else 1)
        for trial in contender.trials:
            assert {"accuracy", "macro_f1", "roc_auc", "average_precision"} <= set(trial.tests[POOLED])
            assert trial.latency_us > 0
            assert trial.memory_mb >= 0
            assert set(trial.shifts) == {shift.name for shift in results.shifts}

    with pytest.raises(InputError, match="holds another study"):
        assess(recording, out, epochs=6, **QUICK)
    with pytest.raises(InputError, match="it differs in shifts"):
        assess(recording, out, epochs=5, shifts=(SensorNoise(severities=(0.2,)), *DEFAULT_SHIFTS[1:]), **QUICK)
    with (
        Store(out, json.loads((out / "study.json").read_text())),
        pytest.raises(InputError, match="another run is using"),
    ):
        assess(recording, out, epochs=5, **QUICK)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "report.html").write_text("mine")
    with pytest.raises(InputError, match="holds files that are not of a study"):
        assess(recording, theirs, epochs=5, **QUICK)
    assert [p.name for p in theirs.iterdir()] == ["report.html"]


def test_six_series_leave_one_to_test_on_and_a_whole_report(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    series = [rng.normal(size=(15, 2)) + i % 2 for i in range(6)]
    recording = Recording.from_arrays(series, targets=["odd" if i % 2 else "even" for i in range(6)])
    chosen = {"contenders": ["cfc", "linear"], "seeds": 1, "tuning": 1, "epochs": 1, "parameters": 300}
    results = assess(recording, tmp_path / "study", shifts=(), **chosen)
    assert results.verdict is not None
    assert results.verdict.answer == "not shown"
    assert (tmp_path / "study" / "report.html").exists()


def test_the_best_of_all_is_kept_whatever_its_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(500, 2))
    recording, test = (
        Recording.from_arrays(x[part], targets=x[part, 0] + 0.1 * rng.normal(size=len(x[part])))
        for part in (slice(400), slice(400, None))
    )
    chosen = {"contenders": ["linear", "naive"], "seeds": 1, "tuning": 3, "shifts": (), "interval": 0.9}
    results = assess(recording, tmp_path / "study", tests={"later": test}, **chosen)
    model = Model.load(tmp_path / "study" / "best.safetensors")
    assert model.kind == "linear"
    again = model.task.metrics(model.outputs(test), test)["rmse"]
    assert again == pytest.approx(results.contender("linear").test("rmse")[0])
    assert model.predict(test)["prediction"].to_list() == pytest.approx(model.outputs(test)[0][:, 0].tolist())
    assert model.metadata["training"]["samples"] < 400
    said = model.predict(test)
    truth = test.series[0].targets
    inside = np.mean((said["lower"].to_numpy() <= truth) & (truth <= said["upper"].to_numpy()))
    share, width = results.contender("linear").trials[0].coverage[POOLED]
    assert inside == pytest.approx(share)
    assert width == pytest.approx((said["upper"] - said["lower"]).mean())
    assert f"{100 * share:.1f} %" in (tmp_path / "study" / "report.html").read_text()


def test_a_test_on_what_was_learnt_is_refused() -> None:
    rng = np.random.default_rng(6)
    x, times = rng.normal(size=(600, 2)), 1e6 + np.arange(600.0)
    x[100:200] = x[100]  # a sensor at rest agrees with itself by chance

    def cut(start: int, stop: int) -> Recording:
        return Recording.from_arrays(x[start:stop], times[start:stop], x[start:stop, 0])

    recording = cut(0, 400)
    task = Task.infer(recording)
    with pytest.raises(InputError, match="again: 100% of its samples are also in the training data"):
        Plan.make(recording, task, {"later": cut(400, 600), "again": cut(100, 300)})
    told = Plan.make(recording, task, {"later": cut(380, 600)}).split
    assert any("9% of the samples of later are also in the training data" in sentence for sentence in told)
    assert not any("also in the training data" in s for s in Plan.make(recording, task, {"later": cut(400, 600)}).split)


def test_threads_of_the_caller_are_left_alone(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    rng = np.random.default_rng(3)
    recording = Recording.from_arrays(rng.normal(size=(300, 1)), targets=rng.normal(size=300))
    assess(recording, tmp_path / "s", contenders=["linear", "naive"], seeds=1, tuning=1, shifts=())
    assert torch.get_num_threads() == before


def test_a_trial_that_breaks_off_is_told_and_the_others_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchliquid.study.run import trial
    from torchliquid.training import TrainingError, train

    def sometimes(model, training, validation, config, *more):
        if (model.kind, config.seed) in (("cfc", 1), ("gru", 0), ("gru", 1), ("gru", 2)):
            raise TrainingError(f"training {model.kind} broke off in epoch 1: its numbers are no longer finite")
        return train(model, training, validation, config, *more)

    monkeypatch.setattr(trial, "train", sometimes)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(500, 2))
    recording = Recording.from_arrays(x, targets=np.where(x[:, 0] > 0, "up", "down"))
    chosen = {"contenders": ["cfc", "gru", "naive"], "seeds": 3, "tuning": 1, "parameters": 300, "epochs": 4}
    results = assess(recording, tmp_path / "study", shifts=(), **chosen)
    cfc, gru = results.contender("cfc"), results.contender("gru")
    assert [t.seed for t in cfc.trials] == [0, 2]
    assert [(f.seed, "no longer finite" in f.reason) for f in cfc.failed] == [(1, True)]
    assert np.isfinite(cfc.validation)
    assert not np.isfinite(gru.validation)
    assert len(gru.failed) == 3
    assert results.best("liquid") is cfc
    assert any("seed 1" in line and "no longer finite" in line for line in results.conditions)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "broke off" in page
    assert (
        StudyResults.from_json((tmp_path / "study" / "results.json").read_text()).contender("cfc").failed == cfc.failed
    )
    assert Model.load(tmp_path / "study" / "model.safetensors").kind == "cfc"


def test_a_setting_that_breaks_off_while_tuning_is_told_with_its_reason(tmp_path, monkeypatch) -> None:
    from torchliquid.study.run import trial
    from torchliquid.training import TrainingError, train

    def sometimes(model, training, validation, config, *more):
        if config.lr != 0.01:
            raise TrainingError(f"training {model.kind} broke off in epoch 1: lr {config.lr:g} is too much")
        return train(model, training, validation, config, *more)

    monkeypatch.setattr(trial, "train", sometimes)
    x = np.random.default_rng(3).normal(size=(300, 1))
    recording = Recording.from_arrays(x, targets=np.where(x[:, 0] > 0, "up", "down"))
    chosen = {"contenders": ["gru", "naive"], "seeds": 1, "tuning": 4, "parameters": 100, "epochs": 2}
    results = assess(recording, tmp_path / "study", shifts=(), **chosen)
    gru = results.contender("gru")
    assert gru.failed
    assert all(failed.tuning and f"lr {failed.hyper['lr']:g} is too much" in failed.reason for failed in gru.failed)
    assert np.isfinite(gru.validation)
    assert any("GRU, tried with lr" in line and "is too much" in line for line in results.conditions)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "broke off" in page
    assert "is too much" in page
    assert StudyResults.from_json((tmp_path / "study" / "results.json").read_text()).contender("gru") == gru


def test_a_dense_ltc_takes_part_where_it_is_named(tmp_path: Path) -> None:
    x = np.random.default_rng(7).normal(size=(400, 2))
    named = {"contenders": ["naive", "ltc", "linear"], "seeds": 1, "tuning": 1, "parameters": 300, "updates": 20}
    results = assess(Recording.from_arrays(x, targets=x[:, 0]), tmp_path / "study", shifts=(), **named)
    assert [c.name for c in results.competing] == ["ltc", "linear", "naive"]
    assert Model.load(tmp_path / "study" / "model.safetensors").kind == "ltc"
