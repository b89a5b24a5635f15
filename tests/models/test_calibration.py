"""Calibrated probabilities: against a search over a grid, on data whose probabilities are known."""

import numpy as np
import pytest
import torch
from scipy import special

from torchliquid.alarms import Alarm
from torchliquid.data import Preprocessing, Recording
from torchliquid.models import build
from torchliquid.models.calibration import Calibration, Reliability, calibrate
from torchliquid.tasks import Task


def too_sure(rng, n=4000, heat=3.0, shift=1.0):
    """Probabilities of a known truth, and the same made surer and shifted."""
    logits = np.column_stack([np.zeros(n), rng.normal(-2, 1.5, n)])
    truth = (rng.random(n) < special.softmax(logits, 1)[:, 1]).astype(int)
    wrong = logits * heat
    wrong[:, 1] += shift
    return special.softmax(wrong, 1), truth


def test_temperature_and_shift_are_found():
    rng = np.random.default_rng(0)
    probabilities, truth = too_sure(rng)
    task = Task("classification", "step", "y", ("no", "yes"), alarm=Alarm())
    found = Calibration.fit(task, probabilities, truth)
    assert found.temperature == pytest.approx(3.0, rel=0.1)
    assert found.shift == pytest.approx(-1 / 3, abs=0.15)
    # without alarms the temperature alone, and no other one has a smaller log loss
    plain = Calibration.fit(Task("classification", "step", "y", ("no", "yes")), probabilities, truth)
    assert plain.shift == 0.0

    def loss(heat):
        p = Calibration(heat)(probabilities)
        return -np.log(p[np.arange(len(truth)), truth]).mean()

    assert loss(plain.temperature) <= min(loss(h) for h in np.geomspace(0.5, 10, 40)) + 1e-4


def test_few_samples_without_a_mistake_do_not_make_it_certain():
    truth = np.array([0, 1] * 6)
    task = Task("classification", "step", "y", ("no", "yes"))
    found = Calibration.fit(task, np.where(truth[:, None] == [0, 1], 0.9, 0.1), truth)
    assert 0.8 < found(np.array([[0.1, 0.9]]))[0, 1] < 0.99


def test_a_models_readout_holds_the_calibration_and_its_task_the_threshold():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    recording = Recording.from_arrays(x, targets=(x[:, 0] > 1.6).astype(float))
    task = Task.infer(recording)
    assert task.alarm == Alarm()
    torch.manual_seed(0)
    model = build("cfc", task, Preprocessing.fit(recording), 300)
    with torch.no_grad():
        model.readout.weight *= 20
    before = model.outputs(recording)[0]
    calibrate(model, recording)
    after = model.outputs(recording)[0]
    np.testing.assert_allclose(after, model.calibration(before, task.positive), atol=1e-4)
    np.testing.assert_allclose(model.calibration.undone(after, task.positive), before, atol=1e-4)
    truth = recording.series[0].targets.astype(int)
    assert Reliability.of(task, after, truth).log_loss < Reliability.of(task, before, truth).log_loss
    threshold = model.task.alarm.threshold
    frame = model.predict(recording)
    over = after[:, 1] >= threshold
    assert frame["prediction"].to_list() == ["1" if o else "0" for o in over]
    assert frame["alarm"].to_list() == over.tolist()


def test_the_curve_has_the_shares_of_its_samples():
    rng = np.random.default_rng(0)
    p = rng.random(5000)
    truth = (rng.random(5000) < p).astype(int)
    found = Reliability.of(Task("classification", "step", "y", ("no", "yes")), np.column_stack([1 - p, p]), truth)
    assert sum(found.n) == 5000
    np.testing.assert_allclose(found.said, found.true, atol=0.08)
    assert found.brier == pytest.approx(((p - truth) ** 2).mean())


def test_few_samples_of_many_classes_do_not_make_it_doubt_what_is_right():
    """Nine classes, six samples each, nearly all right and rightly sure: stays as it is, or nearly."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(9), 6)
    logits = rng.normal(size=(54, 9)) + 6.0 * np.eye(9)[truth]
    task = Task("classification", "series", "y", tuple("abcdefghi"))
    right = special.softmax(logits, axis=1)
    assert 0.7 < Calibration.fit(task, right, truth).temperature < 1.5
    sure = special.softmax(8 * logits, axis=1)
    wrong = np.where(np.arange(54) % 9 == 0, (truth + 1) % 9, truth)
    assert Calibration.fit(task, sure, wrong).temperature > 5


def test_what_is_rare_fills_most_bins_of_the_curve():
    rng = np.random.default_rng(0)
    p = rng.beta(0.05, 3, 20_000)  # one in sixty
    truth = (rng.random(20_000) < p).astype(int)
    found = Reliability.of(Task("classification", "step", "y", ("no", "yes")), np.column_stack([1 - p, p]), truth)
    assert sum(said > 0.05 for said in found.said) >= 7
    assert min(found.n) >= 30
    np.testing.assert_allclose(found.said, found.true, atol=0.15)
