"""Exports of trained models on real recordings: parity on every target, running free, and what a step costs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.exports import HOST, in_int8, needs_zig, samples_of
from tests.helpers.needed import needs

from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.data.recording import Series
from torchliquid.edge import artifact, emulator, parity
from torchliquid.edge.quantize import Widths
from torchliquid.edge.targets import TARGETS, Target
from torchliquid.explain.dynamics import largest_lyapunov_exponent
from torchliquid.models import Model, build
from torchliquid.training import TrainingConfig, train

CHAINS: dict[str, dict[str, Any]] = {
    "cfc of two layers": {"layers": 2, "dropout": 0.1},
    "cfc behind a dense layer": {"encoder": (16,)},
}
KINDS = ("cfc", "cfc_ncp", "ltc_ncp", "lstm", "gru", *CHAINS)
MACHINES = [t for t in TARGETS.values() if t.triple]
CORTEX = [t for t in MACHINES if t.bare]


def irregular(recording: Recording, seed: int = 0) -> Recording:
    """A third of the samples left out, and holes in what remains."""
    rng = np.random.default_rng(seed)
    series = []
    for one in recording.series:
        kept = np.sort(rng.choice(len(one), 2 * len(one) // 3, replace=False))
        values = one.values[kept].copy()
        values[rng.random(values.shape) < 0.05] = np.nan
        targets = one.targets if one.targets is None or not one.targets.ndim else one.targets[kept]
        series.append(Series(one.times[kept], values, targets, one.name))
    return Recording(tuple(series), recording.channels, recording.target, recording.time_unit, recording.notes)


@cache
def trained(kind: str) -> tuple[Model, Recording]:
    """On room occupancy, a few epochs; and the irregular recordings to run on, 13,000 samples."""
    from torchliquid.datasets import load

    found = load("occupancy")
    training = irregular(found.train)
    torch.manual_seed(0)
    scales = Preprocessing.fit(training, with_mask=True)
    model = build(kind.split()[0], found.task, scales, 1200, **CHAINS.get(kind, {}))
    train(model, training, training, TrainingConfig(epochs=3, seed=0), Windows.choose(training, found.task))
    tests = [irregular(r, i) for i, r in enumerate(found.tests.values())]
    every = tuple(s for r in (training, *tests) for s in r.series)
    return model, Recording(every, training.channels, training.target, training.time_unit, ())


def prepared(kind: str, target: Target, samples: int, int8: bool = False) -> artifact.Artifact:
    model, recording = trained(kind)
    return artifact.make(model, target, target.math, int8, samples_of(model, recording, samples))


def ready(target: Target) -> None:
    needs_zig()
    needs(*([target.emulator] if target.emulator else []))


@pytest.mark.parametrize("kind", ["cfc", "ltc_ncp", *CHAINS])
def test_a_thousand_steps_here(kind: str, data_dir: Path) -> None:
    made = prepared(kind, HOST, 1000)
    assert np.isnan(made.walked.inputs).any()
    assert parity.largest_difference(made.walked, made.run(None, same_state=True)) <= 1e-5
    assert parity.largest_difference(made.walked, made.run(None, same_state=False)) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [None, *MACHINES], ids=lambda t: t.name if t else "host")
def test_ten_thousand_steps_on_every_target(kind: str, target: Target | None, data_dir: Path) -> None:
    if target is not None:
        ready(target)
    made = prepared(kind, target or HOST, 10_000)
    assert len(made.walked) == 10_000
    assert np.ptp(made.walked.elapsed[~made.walked.reset]) > 60  # irregular indeed
    assert parity.largest_difference(made.walked, made.run(target, same_state=True)) <= 1e-5
    assert parity.largest_difference(made.walked, made.run(target, same_state=False)) <= 1e-4


@pytest.mark.parametrize("target", MACHINES, ids=lambda t: t.name)
def test_every_target_runs_and_int8_is_the_same_everywhere(target: Target, data_dir: Path) -> None:
    ready(target)
    made = prepared("cfc_ncp", target, 300)
    assert parity.largest_difference(made.walked, made.run(target, same_state=True)) <= 1e-5
    integers = in_int8(made.model, made.walked, Widths(8, 8, 16))
    here, there = integers.run(None, same_state=False).records, integers.run(target, same_state=False).records
    np.testing.assert_array_equal(here["state"]["hidden"], there["state"]["hidden"])


@pytest.mark.slow
def test_hospital_stays_full_of_holes_with_one_answer_each(data_dir: Path) -> None:
    from torchliquid.datasets import load

    found = load("physionet2012")
    training = found.train.select(range(200))
    torch.manual_seed(0)
    model = build("cfc", found.task, Preprocessing.fit(training), 2500)
    train(model, training, training, TrainingConfig(epochs=2, seed=0), Windows.choose(training, found.task))
    made = artifact.make(model, HOST, "libm", False, samples_of(model, training, 10_000))
    assert np.isnan(made.walked.inputs).mean() > 0.5
    assert parity.largest_difference(made.walked, made.run(None, same_state=True)) <= 1e-5
    assert parity.largest_difference(made.walked, made.run(None, same_state=False)) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_int8_costs_little(kind: str, data_dir: Path) -> None:
    """The metric of the task moves by less than a hundredth."""
    made = prepared(kind, HOST, 10_000, int8=True)
    assert made.errors[made.widths] <= 0.1  # type: ignore[index]
    labels = made.walked.outputs.argmax(1)
    assert (made.run(None, same_state=False).records["outputs"].argmax(1) == labels).mean() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cfc", "ltc_ncp"])
def test_no_drift_over_a_million_steps(kind: str, data_dir: Path) -> None:
    model, recording = trained(kind)
    assert largest_lyapunov_exponent(model, recording) < 0
    walked = parity.walk(model, *samples_of(model, recording, 100))
    made = artifact.make(model, HOST, "builtin", False, samples_of(model, recording, 100))
    inputs, elapsed, _ = samples_of(model, recording, 10_000)
    n = 1_000_000
    inputs, elapsed = np.resize(inputs, (n, inputs.shape[1])), np.resize(elapsed, n)
    given, found = emulator.record_types(inputs.shape[1], walked.outputs.shape[1], made.fields)
    records = np.zeros(n, dtype=given)
    records["inputs"], records["elapsed"] = inputs, elapsed
    times = np.cumsum(elapsed, dtype=np.float64)
    whole = Recording(
        (Series(times, inputs.astype(np.float64), None, ""),), recording.channels, None, recording.time_unit
    )
    expected = model.outputs(whole)[0]
    with TemporaryDirectory() as folder:
        ran = emulator.replay(None, made.compile(None, Path(folder)), records, found).records["outputs"]
    difference = np.abs(ran - expected) / expected.std(0)
    assert difference.max() <= 1e-4
    assert difference[-10_000:].max() <= 2 * difference[:10_000].max() + 1e-5


@pytest.mark.parametrize("target", CORTEX, ids=lambda t: t.name)
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_the_time_of_a_step_does_not_depend_on_the_data(target: Target, int8: bool, data_dir: Path) -> None:
    """Within 5 % with built-in math, and 1 % in integers, over real, random and extreme readings.

    Without a floating-point unit the readings' scaling and a softmax are software even in int8, and their share of a
    small CfC's step moves it by up to 2 %.
    """
    ready(target)
    for kind in ("ltc_ncp", "cfc"):
        model, recording = trained(kind)
        made = artifact.make(model, target, "builtin", False, samples_of(model, recording, 200))
        if int8:
            made = in_int8(model, made.walked, Widths(8, 8, 16))
        rng = np.random.default_rng(0)
        given, found = emulator.record_types(made.walked.inputs.shape[1], made.walked.outputs.shape[1], made.fields)
        records = np.zeros(160, dtype=given)
        records["inputs"], records["elapsed"] = made.walked.inputs[:160], made.walked.elapsed[:160]
        scales = model.preprocessing
        random = scales.mean + scales.std * rng.normal(size=(60, scales.n_channels)) * 10.0 ** rng.uniform(
            -3, 6, (60, 1)
        )
        records["inputs"][60:120] = random
        records["inputs"][120:] = rng.choice([np.nan, np.inf, 1e30, 0.0, -1e5], records["inputs"][120:].shape)
        records["elapsed"][60:] = rng.choice([0.0, np.nan, -1.0, 1e-30, 1.0, 6e5, 1e9, 1e30], 100)
        with TemporaryDirectory() as folder:
            ran = emulator.replay(target, made.compile(target, Path(folder)), records, found, count=True)
        assert ran.instructions is not None
        # The first step finds a state of zeros, which a software multiplication is quicker with.
        spread = ran.instructions[1:].max() / ran.instructions[1:].min() - 1
        print(target.name, kind, int8, ran.instructions.min(), ran.instructions.max(), f"{spread:.2%}")
        software = target.name == "cortex-m0" and kind == "cfc"
        assert spread <= ((0.02 if software else 0.01) if int8 else 0.05)
