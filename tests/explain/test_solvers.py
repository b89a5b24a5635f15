"""The command that compares solvers, on a small LTC."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.helpers.small import small_model, small_recording
from typer.testing import CliRunner

from torchliquid import Model
from torchliquid.cli import app
from torchliquid.edge.network import describe
from torchliquid.errors import InputError
from torchliquid.explain.solvers import Choice, Tradeoff, compare_solvers, with_solver


@pytest.mark.slow
def test_the_chosen_solver_is_the_cheapest_that_is_near_enough() -> None:
    model = small_model("ltc_ncp")
    found = compare_solvers(model, small_recording())
    assert found.now == ("fused", 6)
    assert found.samples == 70  # pieces of 64 at most, of three series
    for error in (0.1, 1e-3):
        chosen = found.cheapest(error)
        assert chosen.error <= error
        cheaper = [c for c in found.choices if (c.evaluations or 1e9) < chosen.evaluations and not found.too_short(c)]
        assert all(c.error > error for c in cheaper)
    errors = {c.unfolds: c.error for c in found.choices if c.solver == "fused"}
    assert errors[64] < errors[32] / 1.8 < errors[16] / 3.2
    assert {c.solver for c in found.choices} == {"fused", "euler", "rk4", "dopri5", "tsit5"}
    with pytest.raises(InputError, match="give a larger --error"):
        found.cheapest(1e-30)


def test_steps_that_are_too_few_for_the_longest_gap_are_not_chosen() -> None:
    euler = Choice("euler", 8, None, 1e-3, 0.9, 1.0, holds=5.0)
    fused = Choice("fused", 12, None, 1e-3, 0.9, 1.0, holds=None)
    found = Tradeoff((fused, euler), ("fused", 6), "accuracy", 0.9, 70, 70, 3, 4.0, "s")
    assert found.cheapest(0.01) is euler
    assert replace(found, longest=6.0).cheapest(0.01) is fused
    with pytest.raises(InputError, match="holds at the longest gap, 6 s"):
        replace(found, longest=6.0, choices=(euler,)).cheapest(0.01)


def test_what_to_deploy_is_what_answers_as_well_as_the_models_own_steps_and_costs_least() -> None:
    own = Choice("fused", 6, None, 0.2, 0.773, 1.0, None)
    exact = Choice("rk4", 16, None, 1e-6, 0.753, 1.0, None)
    cheap = Choice("fused", 2, None, 0.6, 0.61, 1.0, None)
    found = Tradeoff((cheap, own, exact), ("fused", 6), "accuracy", 0.753, 70, 70, 3, 4.0, "s")
    assert found.cheapest(0.01) is exact
    assert found.recommended() is own
    assert found.advice() == "Keep fused, 6 steps: accuracy 0.773; the reference solution has 0.753."
    as_good = replace(cheap, unfolds=4, metric=0.773)
    better = replace(found, choices=(as_good, *found.choices))
    assert better.recommended() is as_good
    assert better.advice().startswith("Use fused, 4 steps: accuracy 0.773 with 4 evaluations per sample; the model's")
    errors = replace(found, metric="rmse", tight=0.753)  # of which less is better
    assert errors.recommended() is cheap
    unjudged = replace(found, choices=tuple(replace(c, metric=float("nan")) for c in found.choices), tight=float("nan"))
    assert unjudged.advice().startswith("Keep fused, 6 steps: the model was trained with it.")
    short = replace(own, solver="euler", holds=1.0)  # the longest gap is 4
    moved = replace(found, choices=(short, exact), now=("euler", 6))
    assert moved.recommended() is exact
    assert "may be too few for the longest gap, 4 s" in moved.advice()


def test_an_answer_that_is_not_finite_is_empty_and_said(tmp_path: Path) -> None:
    model = small_model("ltc_ncp", solver="euler")
    model.metadata["columns"] = {"time": "time", "time_unit": "ms"}
    model.save(tmp_path / "m.safetensors")
    series = small_recording(holes=0.0).series[0]
    times = series.times + 1e10 * (np.arange(40) >= 30)
    table = pl.DataFrame({"time": times, **dict(zip("abc", series.values.T, strict=True))})
    table.write_csv(tmp_path / "gap.csv")
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "gap.csv")])
    assert done.exit_code == 0
    assert "warning: 10 of 40 answers are empty, the first is that of sample 31" in done.output
    empty = model.predict(table)["prediction"].is_null()
    assert empty.to_list() == [False] * 30 + [True] * 10
    live = model.live()
    for row, gap in zip(series.values, np.diff(times, prepend=times[0]), strict=True):
        label = live.label(live.step(row, gap))
    assert live.faults["restarts"] > 0  # a stream begins anew instead
    assert label is not None


@pytest.mark.parametrize("kind", ["ctrnn", "neural_ode"])
def test_its_relatives_have_the_explicit_ones(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchliquid.explain.solvers.STEPS", (8, 16))
    found = compare_solvers(small_model(kind), small_recording())
    errors = {(c.solver, c.unfolds): c.error for c in found.choices}
    assert errors["euler", 16] < errors["euler", 8] / 1.6
    assert errors["rk4", 16] < errors["euler", 16]


@pytest.mark.slow
def test_the_command_rewrites_the_model_and_says_what_it_found(tmp_path: Path) -> None:
    model, recording = small_model("ltc_ncp"), small_recording()
    model.metadata["columns"] = {"time": "time", "series": "series", "time_unit": "ms"}
    model.save(tmp_path / "m.safetensors")
    rows = [
        {"series": str(i), "time": t, **dict(zip("abc", v, strict=True)), "target": y}
        for i, s in enumerate(recording.series)
        for t, v, y in zip(s.times, s.values.tolist(), s.targets, strict=True)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "r.csv")
    given = ["solvers", str(tmp_path / "m.safetensors"), str(tmp_path / "r.csv"), "--error", "1e-4"]
    result = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "o"), "--write", str(tmp_path / "n.safetensors")])
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "o" / "solvers.json").read_text())
    assert "<h1>Which solver does m need?</h1>" in (tmp_path / "o" / "solvers.html").read_text("utf-8")
    after = Model.load(tmp_path / "n.safetensors")
    assert (after.config["solver"], after.config["unfolds"]) == (said["chosen"]["solver"], said["chosen"]["unfolds"])
    expected = with_solver(model, said["chosen"]["solver"], said["chosen"]["unfolds"]).outputs(recording)
    for ours, theirs in zip(after.outputs(recording), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    core = describe(after).stages[-1].core.data
    assert (core.solver, core.unfolds) == ("rk4", after.config["unfolds"])  # type: ignore[union-attr]
    with pytest.raises(InputError, match="adaptive solver tsit5 cannot be exported"):
        describe(with_solver(model, "tsit5"))

    pl.DataFrame(rows).drop("target").write_csv(tmp_path / "unlabelled.csv")
    result = CliRunner().invoke(app, [given[0], given[1], str(tmp_path / "unlabelled.csv"), *given[3:]])
    assert result.exit_code == 0, result.output

    small_model("cfc").save(tmp_path / "c.safetensors")
    for wrong, message in (
        ([str(tmp_path / "c.safetensors"), given[2]], "has no solver"),
        ([*given[1:3], "--error", "0"], "--error must be greater than 0"),
        ([*given[1:3], "--error", "1e-30"], "give a larger --error"),
    ):
        result = CliRunner().invoke(app, ["solvers", *wrong])
        assert result.exit_code == 2
        assert message in result.output.replace("\n", " ")


def test_one_step_is_not_one_steps():
    tradeoff = Tradeoff((), ("fused", 1), "accuracy", np.nan, 1, 1, 1, 1.0, "ms")
    assert tradeoff.own == "fused, 1 step"
    assert replace(tradeoff, now=("euler", 6)).own == "euler, 6 steps"
    assert replace(tradeoff, now=("dopri5", 0)).own == "dopri5"
