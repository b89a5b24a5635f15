"""Integers: what they are scaled by, what their error is measured on, and how wide they are."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.exports import HOST, in_int8, make_model, needs_zig, readings, samples_of, spread_out
from tests.helpers.needed import needs
from typer.testing import CliRunner

import torchliquid
from torchliquid.cli import app
from torchliquid.data import Recording
from torchliquid.edge import artifact, export, parity
from torchliquid.edge.calibrate import ranges
from torchliquid.edge.compilers import STRICT
from torchliquid.edge.network import describe
from torchliquid.edge.quantize import Widths, formats, weights
from torchliquid.edge.targets import TARGETS
from torchliquid.errors import InputError
from torchliquid.layers import LTC, CfC, LrcSSM, MixtureOfLiquid
from torchliquid.models import Model
from torchliquid.models.networks import Chain, Liquid
from torchliquid.training import TrainingConfig
from torchliquid.wirings import AutoNCP

CLIPPED = 64


def plant(samples: int, seed: int, glitches: int = 0, silences: int = 0, kind: str = "gru") -> Recording:
    """Two sensors and what comes of their past; a few readings of one are far off, a few gaps are an hour."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.normal(size=(samples, 2)), 0) * 0.1
    x -= np.linspace(0, 1, samples)[:, None] * x[-1]
    truth = np.sin(x[:, 0]) + 0.5 * np.tanh(np.convolve(x[:, 1], np.ones(5) / 5, "same"))
    elapsed = rng.uniform(0.5, 1.5, samples)
    if glitches:
        x[rng.choice(samples - 50, glitches, replace=False), 1] += 200 * x.std()
    if silences:
        elapsed[rng.choice(samples - 50, silences, replace=False)] = 3600.0
    return Recording.from_arrays(x, np.cumsum(elapsed), truth, ["level", "flow"], time_unit="s")


def trained(recording: Recording, kind: str) -> Model:
    torch.manual_seed(0)
    return torchliquid.fit(recording, kind=kind, parameters=500, config=TrainingConfig(epochs=6))


@pytest.mark.parametrize("kind", ["gru", "cfc"])
def test_glitches_in_one_channel_and_long_silences_cost_the_others_nothing(kind: str, tmp_path: Path) -> None:
    """12 of 3,000 readings are 200 deviations off, and three gaps are an hour."""
    model = trained(plant(3000, 0, glitches=12, silences=3), kind)
    unseen = plant(3000, 1, glitches=12, silences=3)
    report = export(model, HOST, tmp_path, unseen, int8=True, auto=True)
    assert report.plain["error"] <= 0.01
    assert report.plain["clipped"] <= 0.01
    assert not any("integers differ" in warning for warning in report.warnings)
    # With 8 bits throughout, what an hour does is still told of where it is clipped, and the state stays sane.
    samples = samples_of(model, unseen, 3000)
    walked = parity.walk(model, *samples)
    made = in_int8(model, walked, Widths(16, 16, 16))
    ran = made.run(None, same_state=False).records
    assert artifact.root_mean_square(walked, made.run(None, same_state=False)) <= 0.05
    far = walked.elapsed > 3000
    error = np.abs(ran["outputs"] - walked.outputs)[far & ~walked.reset] / walked.spread
    assert error.max() <= 0.3


def test_what_is_clipped_is_told_of_and_counted(tmp_path: Path) -> None:
    model = trained(plant(1500, 0), "gru")
    inputs, elapsed, reset = samples_of(model, plant(200, 1), 100)
    calm = artifact.make(model, HOST, "builtin", True, (inputs, elapsed, reset))
    assert not (calm.run(None, same_state=False).records["status"] & CLIPPED).any()
    inputs = inputs.copy()
    inputs[50, 0] += 1e4  # plausible to nobody, and beyond int16
    wild = replace(calm, walked=parity.walk(model, inputs, elapsed, reset))
    status = wild.run(None, same_state=False).records["status"]
    np.testing.assert_array_equal(np.flatnonzero(status & CLIPPED), [50])


def test_the_error_is_that_of_rows_that_were_not_scaled_by(tmp_path: Path) -> None:
    model = trained(plant(3000, 0), "lstm")
    sample = model.sample
    pieces, others = parity.split(model)
    assert others is not None
    both = [set(map(bytes, part.inputs.reshape(len(part.inputs), -1).numpy())) for part in (pieces, others)]
    assert not both[0] & both[1]
    assert len(pieces.lengths) + len(others.lengths) == len(sample.lengths)
    assert float(pieces.inputs.max()) == float(sample.inputs.max())
    assert float(pieces.timespans.max()) == float(sample.timespans.max())
    report = export(model, HOST, tmp_path / "a", int8=True)
    assert any("none of which set its scales" in line for line in report.measured)
    assert {"error", "worst", "error_calibrated"} <= set(report.plain)
    # By a recording that is far too narrow the error on another is larger than on itself, and it is said.
    whole = plant(3000, 2)
    narrow = Recording.from_arrays(
        whole.series[0].values[:200] * 0.01, whole.series[0].times[:200], whole.series[0].targets[:200] * 0.01,
        ["level", "flow"], time_unit="s",
    )  # fmt: skip
    forgetful = trained(plant(3000, 0), "lstm")
    forgetful.preprocessing = replace(forgetful.preprocessing, low=None, high=None, longest_gap=None)
    report = export(forgetful, HOST, tmp_path / "b", whole, int8=True, calibrate=narrow, error=0.001)
    assert report.plain["error"] > 0.001
    assert any("integers differ from PyTorch" in warning for warning in report.warnings)
    assert report.plain["metric"]["name"] == report.plain["metric_calibrated"]["name"]
    with pytest.raises(InputError, match="strict"):
        export(forgetful, HOST, tmp_path / "c", whole, int8=True, calibrate=narrow, error=0.001, strict=True)
    assert not (tmp_path / "c").exists()


def test_widths_are_chosen_on_one_half_and_measured_on_the_other(tmp_path: Path) -> None:
    model = trained(plant(3000, 0), "ltc_ncp")
    for series in (1, 2, 7):
        inputs, elapsed, _ = samples_of(model, plant(700, 1), 700)
        reset = np.arange(700) % (700 // series) == 0
        chosen_on, measured = parity.halves((inputs, elapsed, reset))
        rows = [set(map(bytes, part[0])) for part in (chosen_on, measured)]
        assert not rows[0] & rows[1]
        assert rows[0] | rows[1] == set(map(bytes, inputs))
        assert 175 <= len(chosen_on[1]) <= 525
        assert chosen_on[2][0]
        assert measured[2][0]
    scaled_by = parity.samples_of_model(model)
    made = [
        artifact.make(model, HOST, "builtin", True, part, calibration=scaled_by, choice=chosen_on, auto=True)
        for part in (measured, (measured[0] * 3, measured[1], measured[2]))
    ]
    assert made[0].errors == made[1].errors
    assert made[0].error(made[0].walked) != made[1].error(made[1].walked)
    unseen = export(model, HOST, tmp_path / "a", plant(1000, 1), int8=True)
    assert any("none of which set its scales" in line and "(500 samples" in line for line in unseen.measured)
    seen = export(model, HOST, tmp_path / "b", plant(3000, 0), int8=True)
    assert not any("none of which" in line for line in seen.measured)
    assert any(
        "of the samples that set the integers' scales are also among those" in warning for warning in seen.warnings
    )


def test_a_study_s_contenders_are_made_as_the_model_is(tmp_path: Path) -> None:
    needs_zig()
    needs("qemu-system-arm")
    recording = plant(1500, 0)
    model, other = trained(recording, "gru"), trained(recording, "lstm")
    target, narrow = TARGETS["cortex-m4"], plant(300, 3)
    made = {"calibrate": narrow, "auto": True, "plausible": {"level": (-9.0, 9.0)}, "longest_gap": 60.0}
    report = export(model, target, tmp_path / "a", recording, {"twin": model}, True, error=1e-4, **made)
    assert report.costs["twin"] == report.costs["this model"]
    error = report.plain["error"]
    assert f"twin differs in integers from PyTorch by {error:.2%}, more than 0.01%" in report.warnings
    beside = export(model, target, tmp_path / "b", recording, {"lstm": other}, True, **made).costs["lstm"]
    assert beside == export(other, target, tmp_path / "c", recording, int8=True, **made).costs["this model"]


@pytest.mark.parametrize("name", ["ltc ncp", "cfc", "cfc ncp", "lrcssm block", "lstm", "gru"])
def test_wide_weights_come_near_and_narrow_ones_are_taken_where_they_do(name: str) -> None:
    model = make_model(name)
    samples = samples_of(model, readings())
    walked = parity.walk(model, *samples)
    every = frozenset(weights(describe(model)))
    backbone = 16 if name == "cfc" else 8
    wide = in_int8(model, walked, Widths(16, backbone, 16, every))
    assert wide.widths is not None
    assert artifact.root_mean_square(walked, wide.run(None, same_state=False)) <= 0.01
    made = artifact.make(model, HOST, "builtin", True, samples, auto=True, limit=0.03)
    assert made.widths is not None
    assert made.errors[made.widths] <= 0.03
    assert made.widths != wide.widths
    loose = artifact.make(model, HOST, "builtin", True, samples, auto=True, limit=100.0)
    assert loose.widths == replace(wide.widths, wide=frozenset())


EXPERTS = {
    "cfc": lambda n: CfC(n, 4, backbone_units=5),
    "cfc pure, projected": lambda n: CfC(n, 5, 4, mode="pure", backbone_layers=0),
    "cfc wired": lambda n: CfC(n, AutoNCP(9, 4), mode="no_gate"),
    "lrcssm": lambda n: LrcSSM(n, 4, solver="exponential"),
    "lrcssm block": lambda n: LrcSSM(n, 4, elastance="symmetric", solver="exponential", block=True),
    "ltc": lambda n: LTC(n, 4, output_mapping=None),
    "ltc wired": lambda n: LTC(n, AutoNCP(9, 4)),
}


@pytest.mark.parametrize(
    ("router", "experts", "top_k", "layers"),
    [
        ("cfc", ("cfc", "cfc pure, projected", "ltc"), 1, 1),
        ("ltc wired", ("ltc", "ltc", "cfc wired", "ltc wired"), 2, 1),
        ("cfc wired", ("ltc wired", "cfc"), 2, 1),
        ("cfc", ("lrcssm block", "lrcssm", "lrcssm block"), 1, 1),
        ("cfc", ("cfc", "ltc"), 1, 2),
    ],
)
def test_a_mixture_calls_the_experts_that_pytorch_calls_but_at_near_ties(router, experts, top_k, layers, tmp_path):
    """Samples are carried on; who is called is read from the times since the calls."""
    model = make_model("mixture")
    n = model.preprocessing.n_inputs
    parts = []
    for i in range(layers):
        torch.manual_seed(i)
        parts.append(
            Liquid(MixtureOfLiquid([EXPERTS[e](4 if i else n) for e in experts], EXPERTS[router](4 if i else n), top_k))
        )
        with torch.no_grad():
            cell = parts[-1].layer.rnn_cell  # so that the choice changes
            routed, _ = cell.router(torch.randn(1, 200, cell.input_size))
            cell.gate.weight *= 2 / (routed[0] @ cell.gate.weight.T).std(0).mean()
            cell.gate.bias.copy_(-cell.gate.weight @ routed[0].mean(0))
    model.network = parts[0] if layers == 1 else Chain(parts)
    model = spread_out(model)
    walked = parity.walk(model, *samples_of(model, readings()))
    network = describe(model)
    every = frozenset(weights(network))
    for widths, near, error in ((Widths(16, 16, 16, every), 0.02, 0.02), (Widths(16, 16, 16), 0.5, 0.3)):
        made = in_int8(model, walked, widths)
        ran = made.run(None, same_state=False)
        called, theirs = ran.records["state"]["waited"] == 0, walked.waited == 0
        for stage in network.stages[:1]:  # a later one is fed what the first, at a near-tie, said otherwise
            core, e = stage.core, stage.part.clocks
            ranked = np.sort(core._logits(None, walked.hidden[:, : core.units]), 1)
            clear = ranked[:, -top_k] - ranked[:, -top_k - 1] > near if top_k < e else np.ones(len(walked), bool)
            assert clear.mean() > 0.2
            np.testing.assert_array_equal(called[clear, :e], theirs[clear, :e])
        assert len(np.unique(theirs, axis=0)) > 1 or top_k == len(experts)
        if layers == 1:
            # At a near-tie another expert answers, which goes on from another state: the largest error is theirs.
            assert np.quantile(parity.differences(walked, ran), 0.9) <= error
            assert parity.agreement(walked, ran) >= clear.mean()
        made.write(tmp_path)
        subprocess.run(["cc", *STRICT, "-O1", "-c", "model.c", "-o", "model.o"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("name", ["ltc ncp", "cfc", "cfc ncp", "cfc pure", "lrcssm block"])
def test_integers_step_by_the_true_time_between_samples(name: str) -> None:
    """Not by a fixed step that was folded into the weights: answers follow PyTorch with the same gaps."""
    model = make_model(name)
    inputs, elapsed, reset = samples_of(model, readings(300))
    assert np.ptp(elapsed[~reset]) > 5 * model.preprocessing.time_scale
    walked = parity.walk(model, inputs, elapsed, reset)
    fixed = parity.walk(model, inputs, np.full_like(elapsed, model.preprocessing.time_scale), reset)
    made = in_int8(model, walked, Widths(16, 16, 16, frozenset(weights(describe(model)))))
    found = made.run(None, same_state=False)
    matters = np.sqrt(np.square(fixed.outputs - walked.outputs).mean(0) / walked.outputs.var(0)).max()
    assert artifact.root_mean_square(walked, found) < matters / 5


def test_from_the_command_line(tmp_path: Path) -> None:
    recording = plant(1500, 0)
    trained(recording, "ltc_ncp").save(tmp_path / "pump.safetensors")
    series = recording.series[0]
    rows = zip(series.times, *series.values.T, series.targets, strict=True)
    table = "t,level,flow,target\n" + "\n".join(",".join(f"{v:.6f}" for v in row) for row in rows)
    (tmp_path / "plant.csv").write_text(table)
    asked = ["export", str(tmp_path / "pump.safetensors"), "--quantize", "auto", "--error", "0.5%"]
    done = CliRunner().invoke(app, [*asked, "--out", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    plain = json.loads((tmp_path / "a" / "footprint.json").read_text())
    assert plain["error"] <= 0.005
    made = subprocess.run(["make", "check"], cwd=tmp_path / "a", capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    impossible = [*asked[:-1], "0.001%", "--out", str(tmp_path / "b")]
    warned = CliRunner().invoke(app, impossible)
    assert warned.exit_code == 0
    assert "more than 0.00%" in " ".join(warned.output.split())
    refused = CliRunner().invoke(app, [*impossible[:-1], str(tmp_path / "c"), "--strict"])
    assert refused.exit_code == 2
    assert "--strict" in refused.output
    assert not (tmp_path / "c").exists()
    for wrong in ("150%", "0", "much"):
        assert CliRunner().invoke(app, [*asked[:-1], wrong]).exit_code == 2
    assert CliRunner().invoke(app, [*asked[:2], "--calibrate", str(tmp_path / "plant.csv")]).exit_code == 2


@pytest.mark.parametrize(
    ("kind", "hyper"),
    [
        ("ltc_ncp", {}),
        ("ltc", {"mixed_memory": True}),
        ("cfc", {"mode": "pure"}),
        ("cfc", {"mixed_memory": True}),
        ("cfc_ncp", {}),
        ("lrcssm", {}),
        ("lstm", {}),
        ("gru", {}),
    ],
)
def test_weights_that_were_trained_on_the_grid_lose_nothing_in_int8(kind: str, hyper: dict[str, object]) -> None:
    def error(int8: bool) -> float:
        config = TrainingConfig(epochs=2, int8=int8)
        model = torchliquid.fit(plant(1500, 0), kind=kind, parameters=400, config=config, **hyper)
        walked = parity.walk(model, *samples_of(model, plant(600, 1)))
        return in_int8(model, walked, Widths(16, 16, 16)).error(walked)

    freely, on_the_grid = error(int8=False), error(int8=True)
    assert on_the_grid < min(0.002, freely / 2)


def test_a_saved_model_is_trained_further_for_int8(tmp_path: Path) -> None:
    recording = plant(1500, 0)
    model = trained(recording, "ltc_ncp")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    further = torchliquid.fit(recording, start=model, config=TrainingConfig(epochs=2, lr=0.002, int8=True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (further.kind, further.task.mean, further.preprocessing.unit.tolist()) == (
        (model.kind, model.task.mean, model.preprocessing.unit.tolist())
    )
    walked = parity.walk(further, *samples_of(further, plant(600, 1)))
    assert in_int8(further, walked, Widths(16, 16, 16)).error(walked) < 0.002
    with pytest.raises(InputError, match="keeps its kind"):
        torchliquid.fit(recording, start=model, horizon=3)

    saved, table = tmp_path / "model.safetensors", tmp_path / "plant.csv"
    model.save(saved)
    series = recording.series[0]
    rows = (f"{t},{a},{b},{y}" for t, (a, b), y in zip(series.times, series.values, series.targets, strict=True))
    table.write_text("\n".join(["time,level,flow,target", *rows]))
    out = tmp_path / "int8.safetensors"
    given = f"{table} --start {saved} --int8 --epochs 1 --lr 0.002 --time time --out {out}"
    command = ["train", *given.split()]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert Model.load(out).kind == "ltc_ncp"
    refused = CliRunner().invoke(app, [*command, "--kind", "cfc"])
    assert refused.exit_code == 2
    assert "--kind is only for a new model" in refused.output


def test_states_far_larger_than_what_a_block_normalises_are_refused() -> None:
    model = make_model("lrcssm block")
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if name.endswith("vleak")).mul_(1e6)
    walked = parity.walk(model, *samples_of(model, readings(60)))
    with pytest.raises(InputError, match="differ too much in size for int8"):
        in_int8(model, walked, Widths(16, 16, 16))


def test_a_negative_elastance_moves_a_state_to_its_limit_over_any_long_gap() -> None:
    model = make_model("lrcssm block")
    cell = model.network.layer.rnn_cell
    with torch.no_grad():
        cell.elastance_shift.fill_(-0.03)
        cell.elastance_weight.zero_()
        cell.elastance_bias.zero_()
    inputs, elapsed, first = samples_of(model, readings(60))
    walked = parity.walk(model, inputs, elapsed, first)
    made = in_int8(model, walked, Widths(16, 16, 16))
    gaps = model.preprocessing.time_scale * np.geomspace(1e5, 1e15, len(walked), dtype=np.float32)
    ran = replace(made, walked=replace(walked, elapsed=gaps)).run(None, same_state=False)
    assert (np.abs(ran.records["state"]["hidden"][~first]) == 32767).all()


def test_what_an_expert_says_beyond_all_that_was_seen_is_clipped_in_a_mixture() -> None:
    """An LrcSSM's states have room for where a long gap may move them, the answers of all experts less."""
    model = make_model("mixture")
    n = model.preprocessing.n_inputs
    torch.manual_seed(0)
    lrcssm = LrcSSM(n, 4, solver="exponential")
    layer = MixtureOfLiquid([lrcssm, CfC(n, 5, 4, mode="pure", backbone_layers=0)], CfC(n, 4))
    with torch.no_grad():
        lrcssm.rnn_cell.vleak.copy_(torch.tensor([40.0, -40.0, 40.0, -40.0]))
        lrcssm.rnn_cell.elastance_bias.fill_(-7.0)  # slow: only a long gap moves a state far
        layer.rnn_cell.gate.bias.copy_(torch.tensor([9.0, -9.0]))
    model.network = Liquid(layer)
    model = spread_out(model)
    inputs, elapsed, first = samples_of(model, readings(60))
    seen = parity.walk(model, inputs, elapsed, first)
    made = in_int8(model, seen, Widths(16, 16, 16))
    gaps = np.where(np.arange(len(elapsed)) % 2, 3000.0 * model.preprocessing.time_scale, elapsed).astype(np.float32)
    walked = parity.walk(model, inputs, gaps, first)
    ran = replace(made, walked=walked).run(None, same_state=False)
    said = torch.from_numpy(walked.hidden[:, 4:8]).float()
    network = describe(model)
    (chosen,) = formats(network, ranges(model, network, seen), Widths(16, 16, 16))
    most = 2.0 ** (15 - chosen.hidden[0])
    with torch.no_grad():
        expected = torch.softmax(model.readout(said.clamp(-most, most)), -1).numpy()
    np.testing.assert_allclose(ran.records["outputs"], expected, atol=0.05)
