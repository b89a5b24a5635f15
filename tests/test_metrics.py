"""Each metric against scikit-learn's, and what of it is said."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from torchliquid.data import Recording
from torchliquid.errors import InputError
from torchliquid.metrics import METRICS, Answers, find
from torchliquid.tasks import Task


def answers(seed, k, n=400, rare=0.1):
    rng = np.random.default_rng(seed)
    shares = np.r_[[rare] * (k - 1), 1 - rare * (k - 1)]
    truth = rng.choice(k, size=n, p=shares)
    truth[:k] = np.arange(k)
    raw = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[truth]
    outputs = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
    return Answers(outputs, truth, positive=0)


@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([2, 3, 5]))
def test_metrics_of_classes_are_scikit_learns(seed, k):
    given = answers(seed, k)
    one_hot, said = np.eye(k)[given.truth], given.outputs.argmax(1)
    looked_for = slice(0, 1) if k == 2 else slice(None)
    expected = {
        "accuracy": sk.accuracy_score(given.truth, said),
        "balanced_accuracy": sk.balanced_accuracy_score(given.truth, said),
        "macro_f1": sk.f1_score(given.truth, said, average="macro"),
        "log_loss": sk.log_loss(given.truth, given.outputs),
        "brier": ((given.outputs - one_hot) ** 2).sum(1).mean() / (2 if k == 2 else 1),
        "roc_auc": sk.roc_auc_score(one_hot[:, looked_for], given.outputs[:, looked_for], average="macro"),
        "average_precision": sk.average_precision_score(one_hot[:, looked_for], given.outputs[:, looked_for]),
    }
    if k == 2:
        expected["f1"] = sk.f1_score(given.truth, said, pos_label=0)
    for name, value in expected.items():
        assert find(name)(given) == pytest.approx(value, abs=1e-9), name


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["roc_auc", "average_precision"]))
def test_sums_of_a_metric_that_ranks_are_near_it(seed, name):
    for k in (2, 3):
        given = answers(seed, k, n=4000)
        metric = find(name)
        assert metric.value(metric.terms(given).sum(0)) == pytest.approx(metric(given), abs=0.006)


@given(seed=st.integers(0, 2**32 - 1), far=st.sampled_from([0.0, 3.2e7, 1e9]), q=st.floats(0.05, 0.95))
def test_metrics_of_values_hold_far_from_zero(seed, far, q):
    rng = np.random.default_rng(seed)
    near = rng.normal(size=(300, 1))
    error = 0.5 * rng.normal(size=(300, 1))
    given = Answers(near + error + far, near + far, centre=(far,))
    assert find("r2")(given) == pytest.approx(sk.r2_score(near, near + error), abs=1e-5)
    assert find("rmse")(given) == pytest.approx(math.sqrt((error**2).mean()), rel=1e-5)
    expected = sk.mean_pinball_loss(near, near + error, alpha=q)
    assert find(f"pinball@{q}")(given) == pytest.approx(expected, rel=1e-5)


def test_what_is_not_defined_is_no_number():
    constant = np.full((50, 1), 1e9)
    assert math.isnan(find("r2")(Answers(constant + 1, constant)))
    one_class = Answers(np.full((9, 2), 0.5), np.zeros(9, dtype=int))
    assert math.isnan(find("roc_auc")(one_class))
    assert math.isnan(find("average_precision")(one_class))


@pytest.mark.parametrize("name", ["AUC", "pinball@2", "pinball@x", "pinballs"])
def test_an_unknown_metric_is_refused_in_a_line(name):
    with pytest.raises(InputError, match="there is no metric"):
        find(name)


def test_rare_labels_are_judged_by_average_precision():
    rng = np.random.default_rng(0)
    fault = np.where(rng.random(1000) < 0.06, "fault", "well")
    task = Task.infer(Recording.from_arrays(rng.normal(size=(1000, 2)), targets=fault.astype(object)))
    assert task.primary == "average_precision"
    assert "are 'well'" in task.reason
    assert task.labels[task.positive] == "fault"
    assert Task.from_dict(task.to_dict()) == task
    chance = [np.tile(np.where(np.array(task.labels) == "fault", 0.06, 0.94), (1000, 1))]
    scores = task.metrics(chance, Recording.from_arrays(rng.normal(size=(1000, 2)), targets=fault.astype(object)))
    assert scores["average_precision"] == pytest.approx((fault == "fault").mean())
    asked = Task.infer(
        Recording.from_arrays(rng.normal(size=(1000, 2)), targets=fault.astype(object)), primary="accuracy"
    )
    assert asked.primary == "accuracy"


def test_every_metric_says_what_it_is():
    for metric in METRICS.values():
        assert metric.label
        assert metric.meaning.endswith(".")
        assert metric.higher_is_better == (metric.best == 1)


def test_several_targets_are_each_measured_in_their_own_deviations():
    rng = np.random.default_rng(0)
    truth = np.column_stack([np.sin(np.arange(400) / 9), 1e5 * rng.normal(size=400)])
    recording = Recording.from_arrays(rng.normal(size=(400, 2)), targets=truth)
    task = Task.infer(recording)
    right_first = np.column_stack([truth[:, 0], np.zeros(400)])
    right_second = np.column_stack([np.zeros(400), truth[:, 1]])
    first, second = (task.metrics([said], recording) for said in (right_first, right_second))
    assert first["rmse"] == pytest.approx(second["rmse"], rel=0.01) == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert first["r2"] == pytest.approx(0.5, abs=0.01)
    assert (first["rmse[1]"], first["r2[1]"]) == (0, 1)
    assert first["rmse[2]"] == pytest.approx(np.sqrt(np.mean(truth[:, 1] ** 2)))
    assert find("rmse[2]").label == "RMSE of target 2"


@pytest.mark.parametrize("far", [0.0, 3.2e7, 1e9, -1e9])
def test_what_lies_far_from_zero_has_the_same_r2(far):
    rng = np.random.default_rng(1)
    truth = np.round(rng.normal(size=3000) * 64) / 64
    said = truth + 0.25 * np.round(rng.normal(size=3000))
    recording = Recording.from_arrays(rng.normal(size=(3000, 1)), targets=truth + far)
    task = Task.infer(recording, kind="regression")
    scores = task.metrics([said[:, None] + far], recording)
    assert scores["r2"] == pytest.approx(1 - np.mean((said - truth) ** 2) / np.var(truth), abs=1e-4)
    naive = task.metrics([np.full((3000, 1), task.mean[0])], recording)
    assert abs(naive["r2"]) < 1e-4
    answers = task.answers(np.full((3000, 1), task.mean[0]), recording.series[0].targets[:, None])
    halves = find("r2").terms(answers).reshape(2, 1500, -1).sum(1)
    np.testing.assert_allclose(find("r2").value(halves), 0, atol=0.01)
    held = Recording.from_arrays(rng.normal(size=(50, 1)), targets=np.full(50, far + 2))
    assert np.isnan(task.metrics([np.full((50, 1), far)], held)["r2"])
