"""Rivals are no straw men, and liquid networks have their chance: processes whose best possible answer is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.processes import PROCESSES
from tests.helpers.small import small_recording

from torchliquid import Recording
from torchliquid.data import Preprocessing
from torchliquid.errors import InputError
from torchliquid.models import Tabular, build
from torchliquid.study.assess import assess
from torchliquid.study.contenders import BY_NAME, CONTENDERS
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig, train
from torchliquid.training.fit import hold_out

LINEAR_KNOWS = ("ar2", "seasonal", "delayed", "leaky")


@pytest.mark.parametrize(
    ("name", "kind"), [(n, "linear") for n in LINEAR_KNOWS] + [(n, "boosting") for n in (*LINEAR_KNOWS, "xor")]
)
def test_classical_models_come_within_a_twentieth_of_the_best_possible(name, kind):
    process = PROCESSES[name]
    recording = process.draw(np.random.default_rng(0), 5000)
    task = process.task(recording)
    rest, test = hold_out(recording, task)
    training, validation = hold_out(rest, task)
    task, scales = task.fit(training), Preprocessing.fit(training)
    windows = [Tabular.fit(kind, task, scales, training, validation, lookback=n) for n in (16, 32)]
    fitted = max(windows, key=lambda model: task.score(task.metrics(model.outputs(validation), validation)))
    score = task.metrics(fitted.outputs(test), test)[task.primary]
    reached = process.reached(test)
    assert reached == pytest.approx(process.best, rel=0.1)
    if task.kind == "classification":
        score, reached, best = 1 - score, 1 - reached, 1 - process.best
    else:
        best = process.best
    assert score < 1.05 * max(reached, best)  # chance makes one part easier or harder


def test_nothing_is_worth_it_where_a_linear_model_on_lags_is_best(tmp_path: Path):
    process = PROCESSES["seasonal"]
    recording = process.draw(np.random.default_rng(0), 3000)
    results = assess(
        recording,
        tmp_path / "study",
        task=process.task(recording),
        contenders=["cfc_ncp", "gru", "linear", "naive"],
        seeds=2,
        tuning=1,
        updates=400,
        shifts=(),
    )
    assert results.verdict is not None
    assert results.verdict.answer != "worth it"
    assert results.contender("linear").test("rmse")[0] < 1.05


def delayed(lag: int) -> tuple[Recording, Recording]:
    x = np.random.default_rng(0).standard_normal(5000)
    return hold_out(Recording.from_arrays(x[:, None], targets=np.roll(x, lag)), Task("regression", "step", "target"))


@pytest.mark.parametrize(
    ("kind", "lag", "hyper"), [("transformer", 20, {}), ("ltc", 5, {"unfolds": 1}), ("state_space", 3, {})]
)
def test_networks_that_need_a_memory_find_it(kind, lag, hyper):
    training, held = delayed(lag)
    task = Task.infer(training).fit(training)
    torch.manual_seed(0)
    model = build(kind, task, Preprocessing.fit(training), 2500, **hyper)
    history = train(model, training, held, TrainingConfig(updates=400))
    assert history.doubt != "plateau"
    assert history.validation[history.best]["rmse"] < 0.5


def test_a_grud_knows_how_long_a_reading_has_been_missing():
    """What was read last fades at a known rate; an input that holds it says nothing of that."""
    rng = np.random.default_rng(0)
    x = np.where(rng.random(5000) < 0.3, rng.standard_normal(5000), np.nan)
    last = np.maximum.accumulate(np.where(np.isfinite(x), np.arange(5000), 0))
    y = np.nan_to_num(x[last]) * np.exp(-(np.arange(5000) - last) / 4)
    whole = Recording.from_arrays(np.stack([x, rng.standard_normal(5000)], 1), targets=y)
    training, held = hold_out(whole, Task("regression", "step", "target"))
    task = Task.infer(training).fit(training)
    torch.manual_seed(0)
    history = train(build("grud", task, Preprocessing.fit(training), 600), training, held, TrainingConfig(updates=300))
    assert history.validation[history.best]["rmse"] < 0.15 * y.std()


def test_the_default_contenders_fit_the_task(tmp_path: Path):
    def competing(recording: Recording, **options) -> set[str]:
        results = assess(recording, tmp_path / "study", seeds=1, tuning=1, updates=2, shifts=(), **options)
        return {contender.name for contender in results.competing}

    everywhere = {c.name for c in CONTENDERS if not c.suits}
    assert competing(small_recording((30,) * 20, "series")) == everywhere | {"grud", "minirocket"}
    with pytest.raises(InputError, match="minirocket needs one label per series, but here each sample has one"):
        assess(small_recording((400,)), tmp_path / "no", contenders=["minirocket", "cfc"], updates=2)
    assert not (tmp_path / "no").exists()


def test_a_training_that_is_cut_short_says_so():
    training, held = delayed(5)
    task = Task.infer(training).fit(training)
    torch.manual_seed(0)
    model = build("cfc", task, Preprocessing.fit(training), 600)
    assert train(model, training, held, TrainingConfig(updates=80)).doubt == "falling"


def test_settings_are_distinct_counted_truly_and_even():
    for contender in CONTENDERS:
        for n in (1, 4, 40):
            found = contender.settings(n)
            assert found[0] == {}
            assert len(found) == min(n, contender.possible)
            defaults = {name: values[0] for name, values in contender.space.items()}
            assert len({tuple((defaults | hyper).items()) for hyper in found}) == len(found)
    ltc = [hyper.get("unfolds", 6) for hyper in BY_NAME["ltc_ncp"].settings(6)]
    assert sorted(ltc) == [1, 1, 3, 3, 6, 6]
    assert {hyper.get("mode") for hyper in BY_NAME["cfc"].settings(4)[1:]} >= {"pure", "no_gate"}
    rates = [[hyper.get("lr") for hyper in BY_NAME[name].settings(4)] for name in ("cfc", "lrcssm", "gru")]
    assert rates[0] == rates[1] == rates[2]
    for name, setting, value in (("ltc", "lr", 0.05), ("transformer", "lr", 0.001), ("state_space", "states", 16)):
        assert value in {hyper.get(setting) for hyper in BY_NAME[name].settings(5)}


def test_tuning_is_halved_and_more_seeds_train_only_what_is_new(tmp_path: Path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 1))
    recording = Recording.from_arrays(x, targets=np.roll(x[:, 0], 2))
    out = tmp_path / "study"

    def study(seeds: int):
        return assess(
            recording,
            out,
            contenders=["ltc_ncp", "linear", "naive"],
            seeds=seeds,
            tuning=5,
            updates=40,
            parameters=600,
            shifts=(),
        )

    def trained() -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("trials/*/trial.json")}

    results = study(1)
    first = trained()
    networks = [name for name in first if name.startswith("ltc_ncp")]
    assert sum(name.endswith("-0.25") for name in networks) == 5
    assert sum(name.endswith("-0.5") for name in networks) == 3
    assert len(networks) == 5 + 3 + 2
    assert results.contender("ltc_ncp").trials[0].updates == 40
    said = " ".join(results.conditions)
    assert "all settings had a quarter of the budget of 40 updates, the better half of them half of it" in said
    assert "211 of 216 of LTC on NCP" in said
    more = study(3)
    assert {name: when for name, when in trained().items() if name in first} == first
    assert len(trained()) == len(first) + 2
    assert [trial.seed for trial in more.contender("ltc_ncp").trials] == [0, 1, 2]
    assert [trial.tests for trial in more.contender("ltc_ncp").trials][:1] == [
        trial.tests for trial in results.contender("ltc_ncp").trials
    ]
    assert len(study(2).contender("ltc_ncp").trials) == 2
