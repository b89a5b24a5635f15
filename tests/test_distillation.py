"""A small network that answers as a teacher does: a function, a network or a linear model, with labels or without."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import torchliquid as tl
from tests.helpers.exports import needs_zig
from tests.helpers.needed import needs
from torchliquid.cli import app
from torchliquid.data import Recording
from torchliquid.distillation import largest_that_fits
from torchliquid.edge import Limits, export
from torchliquid.edge.targets import TARGETS
from torchliquid.models import KINDS, Model
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig, fit

QUICK = TrainingConfig(updates=300, seed=0)


def recording(n: int = 1500, seed: int = 0) -> Recording:
    """Two channels, uneven in time; whether a leaky mean of the first is above zero."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.5, 1.5, n))
    values = rng.normal(size=(n, 2))
    targets = np.where(np.concatenate(leaky([values], [times])) > 0, "high", "low").astype(object)
    return Recording.from_arrays(values, times, targets, ["a", "b"], target="state", time_unit="s")


def leaky(values: list[np.ndarray], times: list[np.ndarray]) -> list[np.ndarray]:
    """Of the first channel, with a time constant of four."""
    means = []
    for x, t in zip(values, times, strict=True):
        mean, found = 0.0, []
        for kept, value in zip(np.exp(-np.diff(t, prepend=t[:1] - 1) / 4), np.nan_to_num(x[:, 0]), strict=True):
            mean = kept * mean + (1 - kept) * value
            found.append(mean)
        means.append(np.array(found))
    return means


def oracle(given: Recording) -> list[np.ndarray]:
    """A teacher that is no network: (T, 2) probabilities."""
    means = leaky([s.values for s in given.series], [s.times for s in given.series])
    return [np.stack([p := 1 / (1 + np.exp(-12 * m)), 1 - p], 1) for m in means]


def test_a_network_learns_a_function_and_answers_as_it_does_under_shifts():
    asked: list[Recording] = []

    def teacher(given: Recording) -> list[np.ndarray]:
        asked.append(given)
        return oracle(given)

    found = tl.distil(teacher, recording(), "cfc", parameters=200, config=QUICK)
    assert len(set(asked)) == len(asked)  # once for each recording: a teacher may be slow
    assert abs(found.model.live_parameters() - 200) < 30
    assert found.model.task.labels == ("high", "low")
    assert found.distance < 0.15
    # With the sensor silent that counts the teacher is at a half, and either answer is as good.
    assert max(under.distance for under in found.shifts if under.shift != "silent sensor") < 0.3
    assert found.teacher > 0.95  # it begins anew in the part that is held out
    assert found.pupil > 0.85
    assert found.gain.value == pytest.approx(found.pupil - found.teacher)
    assert len({under.shift for under in found.shifts}) == 7


def test_labels_are_not_learnt_from():
    """The same pupil with labels, with wrong ones and with none."""
    labelled = recording(600)
    wrong = replace(labelled.series[0], targets=labelled.series[0].targets[::-1].copy())
    bare = replace(labelled.series[0], targets=None)
    task = Task.infer(labelled)
    answers = []
    for one in (labelled.series[0], wrong, bare):
        given = replace(labelled, series=(one,), target=None if one is bare else labelled.target)
        teacher = fit(recording(600), kind="cfc", parameters=150, config=TrainingConfig(updates=30))
        assert teacher.task.labels == task.fit(labelled).labels
        found = tl.distil(teacher, given, "cfc", parameters=100, copies=1, config=TrainingConfig(updates=20))
        assert (found.pupil is None) == (one is bare)
        answers.append(np.concatenate(found.model.outputs(labelled)))
    assert (answers[0] == answers[1]).all()
    # Without labels the parts are cut by time alone, and may differ.
    assert answers[2].shape == answers[0].shape


def test_a_linear_teacher_and_one_answer_a_series():
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(int(n), 2)) + k % 2 for k, n in enumerate(rng.integers(8, 20, 60))]
    given = Recording.from_arrays(series, targets=[f"kind {k % 2}" for k in range(60)], target="kind")
    task = Task.infer(given).fit(given)
    means = [s.mean() for s in series]

    def teacher(asked: Recording) -> list[np.ndarray]:
        said = [1 / (1 + np.exp(-8 * (np.nanmean(s.values) - np.mean(means)))) for s in asked.series]
        return [np.array([1 - p, p]) for p in said]

    found = tl.distil(teacher, given, "gru", task=task, parameters=120, config=QUICK)
    assert found.model.task.per == "series"
    assert found.distance < 0.2


def test_values_are_learnt_in_deviations_of_the_target():
    base = recording(1200)
    means = leaky([base.series[0].values], [base.series[0].times])[0]
    given = replace(base, series=(replace(base.series[0], targets=1000 + 50 * means),), target="load")

    def teacher(asked: Recording) -> list[np.ndarray]:
        said = leaky([s.values for s in asked.series], [s.times for s in asked.series])
        return [1000 + 50 * mean[:, None] for mean in said]

    found = tl.distil(teacher, given, "cfc", parameters=200, config=QUICK)
    assert found.distance < 0.4
    assert found.pupil / 50 < 0.4 * np.std(means)


def test_bad_input_is_told_of():
    given = recording(300)
    with pytest.raises(tl.InputError, match=r"answers to series .* are \(\d+, 1\), not"):
        tl.distil(lambda r: [np.zeros((len(s), 1)) for s in r.series], given, test=given, config=QUICK)
    with pytest.raises(tl.InputError, match="copies"):
        tl.distil(oracle, given, copies=-1)
    with pytest.raises(tl.InputError, match="no finite answer"):
        tl.distil(lambda r: [np.full((len(s), 2), np.nan) for s in r.series], given, config=QUICK)


def test_the_command_finds_the_largest_that_fits(tmp_path: Path):
    needs_zig()
    needs("qemu-system-arm")
    given = recording(600)
    table = tmp_path / "plant.csv"
    s = given.series[0]
    pl.DataFrame({"t": s.times, "a": s.values[:, 0], "b": s.values[:, 1], "state": s.targets.tolist()}).write_csv(table)
    run = CliRunner()
    train = ["train", str(table), "--target", "state", "--time", "t", "--kind", "ltc", "--updates", "20"]
    assert run.invoke(app, [*train, "--time-unit", "s", "--out", str(tmp_path / "teacher.safetensors")]).exit_code == 0
    pupil = tmp_path / "pupil.safetensors"
    command = ["distil", str(tmp_path / "teacher.safetensors"), str(table), "--out", str(pupil), "--updates", "20"]
    done = run.invoke(app, [*command, "--until-fits", "cortex-m0", "--flash-limit", "8k"])
    assert done.exit_code == 0, done.output
    model = Model.load(pupil)
    assert model.kind == "cfc"
    report = export(model, TARGETS["cortex-m0"], tmp_path / "out", limits=Limits(flash=8192))
    assert report.costs["this model"].flash > 0.85 * 8192
    for wrong in (
        [*command, "--flash-limit", "8k"],
        [*command, "--until-fits", "cortex-m0"],
        [*command, "--until-fits", "cortex-m0", "--flash-limit", "1k"],
        [*command, "--until-fits", "c99", "--flash-limit", "8k"],
        [*command, "--kind", "nothing"],
    ):
        done = run.invoke(app, wrong)
        assert done.exit_code == 2
        assert len(done.output.strip().splitlines()) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ltc_ncp", "lstm"])
def test_what_fits_is_of_the_kind(kind):
    needs_zig()
    needs("qemu-system-arm")
    teacher = fit(recording(300), kind="cfc", parameters=100, config=TrainingConfig(updates=2))
    assert kind in KINDS
    parameters, cost = largest_that_fits(teacher, kind, TARGETS["cortex-m4"], Limits(flash=12_000))
    assert parameters > 100
    assert 0.85 * 12_000 < cost.flash <= 12_000
