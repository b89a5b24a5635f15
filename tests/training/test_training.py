"""Training: every kind learns what needs a memory and a clock, the same seed gives the same, and failure is clear."""

import numpy as np
import pytest
import torch

import torchliquid
from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.errors import InputError
from torchliquid.models import KINDS, build
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig, TrainingError, fit, train


def remembering(n=40, seed=0) -> Recording:
    """The label is the sign of the last pulse in channel 1, some samples ago; channel 2 is noise."""
    rng = np.random.default_rng(seed)
    values, targets, times = [], [], []
    for _ in range(n):
        x = np.stack([np.zeros(24), rng.normal(size=24)], 1)
        at = np.append(0, rng.choice(np.arange(4, 24), 2, replace=False))
        x[at, 0] = rng.choice([-3.0, 3.0], 3)
        last = np.maximum.accumulate(np.where(x[:, 0] != 0, np.arange(24), 0))
        values.append(x)
        targets.append((x[last, 0] > 0).astype(float))
        times.append(np.cumsum(rng.uniform(0.5, 1.5, 24)))
    return Recording.from_arrays(values, times, targets)


def fresh(kind, recording, parameters=700, seed=0, **task):
    torch.manual_seed(seed)
    fitted = Task.infer(recording, **task)
    return build(kind, fitted, Preprocessing.fit(recording), parameters)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "feedforward"])  # it has no memory
def test_every_kind_learns_to_remember(kind):
    recording, held = remembering(), remembering(20, seed=1)
    model = fresh(kind, recording)
    history = train(model, recording, held, TrainingConfig(lr=0.02, epochs=60, batch_size=8))
    assert history.validation[history.best]["accuracy"] > 0.9
    assert history.loss[-1] < history.loss[0]
    scores = model.task.metrics(model.outputs(held), held)
    assert scores == pytest.approx(history.validation[history.best])  # its best weights are those it has
    assert model.sample is not None


def test_values_are_learnt_in_their_unit():
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(400, 1)), 0)
    recording = Recording.from_arrays(x, targets=1e6 + 1e4 * x[:, 0])
    model = torchliquid.fit(recording, kind="cfc", parameters=500, config=TrainingConfig(epochs=25))
    scores = model.task.metrics(model.outputs(recording), recording)
    assert scores["r2"] > 0.9
    assert model.metadata["training"]["samples"] == 320


def test_the_same_seed_gives_the_same_and_stops_by_patience():
    recording, held = remembering(12), remembering(6, seed=1)
    runs = []
    for _ in range(2):
        model = fresh("cfc", recording)
        epochs: list[int] = []
        shares: list[float] = []
        history = train(
            model,
            recording,
            held,
            TrainingConfig(epochs=12, patience=2, lr=1e-5),
            progress=lambda share, note, shares=shares: shares.append(share),
            on_epoch=lambda model, history, epochs=epochs: epochs.append(len(history.loss)),
        )
        runs.append((history, {k: v.clone() for k, v in model.state_dict().items()}))
        assert epochs == list(range(1, len(history.loss) + 1))
        assert len(history.loss) == 12 or len(history.loss) == history.best + 3
        assert shares == pytest.approx([e / 12 for e in epochs])
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1].values(), runs[1][1].values(), strict=True))


def test_a_training_takes_its_updates_and_says_what_it_could_not_show():
    recording, held = remembering(12), remembering(6, seed=1)
    still = train(fresh("cfc", recording), recording, held, TrainingConfig(updates=33, lr=1e-7, patience=1))
    assert still.updates[-1] == 33  # patience waits on the naive answer
    assert still.doubt == "plateau"
    assert still.epochs[-1] == 33
    model = fresh("gru", remembering())
    whole = train(model, remembering(), held, TrainingConfig(lr=0.02))
    assert whole.doubt == ""
    assert whole.updates[whole.best] <= model.metadata["training"]["updates"] <= 2000
    with pytest.raises(InputError, match="updates must be greater than 0"):
        TrainingConfig(updates=0)


def test_a_loss_without_end_breaks_off_with_the_best_weights():
    recording = remembering(12)
    model = fresh("gru", recording)

    def spoil(model, history):
        if len(history.loss) == 2:
            with torch.no_grad():
                model.readout.bias.fill_(float("nan"))

    with pytest.raises(TrainingError, match=r"gru broke off in epoch 3.*learning rate below 0\.01") as broke:
        train(model, recording, recording, TrainingConfig(epochs=5), on_epoch=spoil)
    assert broke.value.model is model
    assert 1 <= model.metadata["training"]["best_epoch"] <= 2
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_an_explicit_solver_too_coarse_for_the_network_is_said_before_and_after(caplog):
    recording = remembering(12)
    task = Task.infer(recording)
    made = [build("ltc", task, Preprocessing.fit(recording), 700, solver="euler", unfolds=n) for n in (1, 1000)]
    coarse, fine = made
    with torch.no_grad():
        coarse.network.layer.rnn_cell.cm.fill_(-8.0)
    with pytest.raises(TrainingError, match=r"ltc broke off in epoch 1.*([\d,]+) steps hold, and the solver fused"):
        train(coarse, recording, recording, TrainingConfig(epochs=2))
    assert "steps of the solver euler may be unstable" in caplog.text
    caplog.clear()
    train(fine, recording, recording, TrainingConfig(epochs=1))
    assert not caplog.text


def test_class_weights_find_the_rare():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 1))
    rare = (x[:, 0] + rng.normal(size=1500) > 2.5).astype(float)
    recording = Recording.from_arrays(x, targets=rare)
    found = []
    for weighted in (False, True):
        model = fresh("gru", recording, 200, primary="balanced_accuracy")
        train(
            model, recording, recording, TrainingConfig(epochs=6, batch_size=4, class_weights=weighted), Windows(50, 50)
        )
        found.append(np.mean(model.outputs(recording)[0].argmax(1)))
    assert found[1] > 2 * found[0]
    assert found[1] > rare.mean()


def test_forecasts_and_series_of_any_length_are_fitted():
    t = np.arange(600.0)
    recording = Recording.from_arrays(np.sin(t / 5)[:, None], t, channels=["wave"], time_unit="min")
    model = torchliquid.fit(
        recording, "wave", "lstm", horizon=8, horizon_unit="min", parameters=400, config=TrainingConfig(epochs=20)
    )
    truth = model.task.with_targets(recording)
    assert model.task.metrics(model.outputs(recording), truth)["r2"] > 0.8
    assert model.task.encode(truth.series[0])[1].sum() == 592


def test_what_cannot_be_fitted():
    few = Recording.from_arrays(
        [np.random.default_rng(i).normal(size=(5, 2)) for i in range(3)], targets=["a", "b", "a"]
    )
    with pytest.raises(InputError, match="too few to hold any out"):
        torchliquid.fit(few, task=Task("classification", "series", "target"))
    with pytest.raises(InputError, match="lr must be greater than 0"):
        TrainingConfig(lr=0)


def test_the_sample_that_a_model_keeps_covers_its_training_part():
    """Readings' extremes and the longest gap stand once in 3,000 rows; the sample has them, and every part's share."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 3))
    x[700, 1], x[2100, 2] = 300.0, -50.0
    times = np.cumsum(1.0 + (np.arange(3000) == 1500) * 3600)
    recording = Recording.from_arrays(x, times, np.sin(times), ["a", "b", "c"], time_unit="s")
    model = fresh("cfc", recording)
    train(model, recording, recording, TrainingConfig(epochs=1), Windows(64, stride=50))
    sample, rule = model.sample, model.preprocessing
    valid = torch.arange(sample.inputs.shape[1]) < sample.lengths.unsqueeze(1)
    raw = sample.inputs[valid].numpy() * rule.std + rule.mean
    np.testing.assert_allclose(raw.max(0), x.max(0), rtol=1e-4)
    np.testing.assert_allclose(raw.min(0), x.min(0), rtol=1e-4)
    assert sample.timespans.max() == 3601
    np.testing.assert_array_equal([rule.low, rule.high], [x.min(0), x.max(0)])
    assert rule.longest_gap == 3601
    found = np.flatnonzero(np.isclose(x[:, 0][:, None], raw[:, 0], rtol=0, atol=1e-6).any(1))
    assert all(((found >= part) & (found < part + 300)).any() for part in range(0, 3000, 300))


@pytest.mark.parametrize(("before", "after"), [(101325.0, 101335.0), (20.0, 20.0001)])
def test_a_channel_that_was_constant_in_training_may_move_in_use(before, after, caplog):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1))
    labels = np.where(x[:, 0] + np.r_[0, x[:-1, 0]] > 0, "up", "down")
    still = before + 1e-10 * rng.uniform(-1, 1, (600, 1)) if before == 20 else np.full((600, 1), before)
    recording = Recording.from_arrays(np.hstack([x, still]), targets=labels, channels=["x", "pressure"])
    with caplog.at_level("WARNING"):
        model = fit(recording, parameters=300, config=TrainingConfig(epochs=4))
    assert "pressure" in caplog.text
    moved = Recording.from_arrays(np.hstack([x, np.full((600, 1), after)]), channels=["x", "pressure"])
    np.testing.assert_array_equal(model.outputs(moved)[0], model.outputs(recording)[0])
    live = model.live()
    answers = np.stack([live.step(row, 1.0) for row in moved.series[0].values[:50]])
    np.testing.assert_allclose(answers, model.outputs(recording)[0][:50], atol=1e-5)


def test_a_noisy_target_of_large_numbers_does_not_stop_the_training_of_another():
    rng = np.random.default_rng(0)
    t = np.arange(800)
    sine = np.sin(t / 15)
    both = np.column_stack([sine, 1e5 * rng.normal(size=800)])
    x = np.column_stack([np.sin(t / 15 - 0.3), np.cos(t / 15 - 0.3)])
    model = fit(Recording.from_arrays(x, targets=both), parameters=400, config=TrainingConfig(epochs=12, patience=6))
    scores = model.metadata["training"]["validation"]
    assert scores["r2[1]"] > 0.98
    assert scores["rmse[1]"] < 0.1
    assert scores["rmse[2]"] > 1e4


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    recording = Recording.from_arrays(np.random.default_rng(0).normal(size=(80, 2)), targets=["a", "b"] * 40)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = fit(recording, parameters=100, config=TrainingConfig(epochs=1), seed=1)
    model.save(tmp_path / "m.safetensors")
    torchliquid.Model.load(tmp_path / "m.safetensors").live().step(np.ones(2))
    torchliquid.assess(
        recording,
        tmp_path / "study",
        contenders=["cfc", "naive"],
        seeds=1,
        tuning=1,
        parameters=100,
        epochs=1,
        shifts=(),
    )
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_the_seed_that_is_given_is_used_and_recorded():
    recording = Recording.from_arrays(np.random.default_rng(0).normal(size=(80, 2)), targets=["a", "b"] * 40)
    config = TrainingConfig(epochs=1)
    models = [
        fit(recording, parameters=100, config=config, seed=3),
        fit(recording, parameters=100, config=TrainingConfig(epochs=1, seed=3)),
        fit(recording, parameters=100, config=config),
    ]
    assert [m.metadata["training"]["seed"] for m in models] == [3, 3, 0]
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in models]
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert not torch.equal(weights[0], weights[2])


def test_the_naive_figure_stands_beside_and_a_model_that_is_worse_is_told(caplog):
    rising = Recording.from_arrays(np.arange(300.0) + np.random.default_rng(0).normal(size=300), channels=["level"])
    with caplog.at_level("WARNING"):
        model = fit(rising, "level", horizon=1, parameters=200, config=TrainingConfig(epochs=3))
    figures = model.metadata["training"]
    assert figures["naive"]["rmse"] < 3
    assert (figures["naive"]["rmse"] <= figures["validation"]["rmse"]) == ("naive answer is as good" in caplog.text)
