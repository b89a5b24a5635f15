"""The export as a whole: what it writes, proves, measures and refuses."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.exports import (
    HOST,
    NAMES,
    every_network,
    make_model,
    needs_zig,
    readings,
    samples_of,
    small_recording,
)
from tests.helpers.needed import needs
from tests.helpers.small import small_model
from typer.testing import CliRunner

from torchliquid.alarms import Alarm
from torchliquid.cli import app
from torchliquid.cli.amounts import bytes_of, microseconds_of
from torchliquid.data import Preprocessing
from torchliquid.edge import TARGETS, Limits, artifact, export, footprint, onnx, parity
from torchliquid.edge.export import Report, _precision
from torchliquid.edge.footprint import Footprint
from torchliquid.edge.network import describe
from torchliquid.errors import InputError
from torchliquid.explain.dynamics import largest_lyapunov_exponent
from torchliquid.layers import LTC, CfC, MixtureOfLiquid
from torchliquid.models import Model, build
from torchliquid.models.model import Sample
from torchliquid.models.networks import Liquid
from torchliquid.study.results import ContenderResult, DataResult, Gaps, StudyResults, TaskResult, TrialResult
from torchliquid.study.run.trial import Spec
from torchliquid.tasks import Task
from torchliquid.wirings import NCP

M4 = TARGETS["cortex-m4"]


def with_sample(model: Model) -> Model:
    inputs, spans = model.preprocessing(readings(60).series[0])
    n = torch.tensor([len(spans)])
    model.sample = Sample(torch.from_numpy(inputs)[None], torch.from_numpy(spans)[None], n)
    return model


def emulated() -> None:
    needs_zig()
    needs("qemu-system-arm")


def test_without_pyelftools_nothing_is_measured_and_the_files_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "elftools", None)
    model = make_model("cfc")
    report = export(model, M4, tmp_path / "out")
    assert (tmp_path / "out" / "model.c").is_file()
    assert "not run here" in report.warnings[-1]
    assert "pip install 'torchliquid[edge]'" in report.warnings[-1]
    with pytest.raises(InputError, match=r"limits are measured .*pip install 'torchliquid\[edge\]'"):
        export(model, M4, tmp_path / "limited", limits=Limits(flash=1000))


def in_words(**options: str) -> list[str]:
    return [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]


@every_network
def test_onnx_agrees_step_by_step_and_as_a_sequence(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = make_model(name)
    assert onnx.write(model, tmp_path, samples_of(model, readings(120))) <= 1e-4


def test_onnx_calls_the_first_of_equal_experts(tmp_path: Path) -> None:
    model = make_model("mixture")
    with torch.no_grad():
        for parameter in model.network.layer.rnn_cell.gate.parameters():
            parameter.zero_()
    export(model, TARGETS["onnx"], tmp_path / "out", readings(60))


def test_onnx_runs_many_sequences_at_once(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = make_model("ltc memory")
    inputs, elapsed, _ = samples_of(model, readings(30))
    onnx.write(model, tmp_path, (inputs, elapsed, np.arange(len(elapsed)) == 0))
    session = runtime.InferenceSession(str(tmp_path / "sequence.onnx"))
    one = session.run(None, {"values": inputs[None], "elapsed": elapsed[None]})[0]
    many = session.run(None, {"values": np.stack([inputs] * 3), "elapsed": np.stack([elapsed] * 3)})[0]
    np.testing.assert_allclose(many, np.concatenate([one] * 3), atol=1e-6)


@pytest.mark.parametrize(("labels", "threshold"), [(("a", "b", "c"), None), (("a", "b"), None), (("b", "a"), 0.3)])
def test_onnx_answers_with_a_label(labels: tuple[str, ...], threshold: float | None, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    rule = Preprocessing(("a", "b"), np.zeros(2), np.ones(2), 1.0, readings(60).time_unit, False)
    torch.manual_seed(0)
    model = build("gru", Task("classification", "step", "state", labels=labels), rule, 300)
    inputs, elapsed, reset = samples_of(model, readings(60))
    torch.nn.init.normal_(model.readout.weight, std=9.0)
    middle = torch.from_numpy(parity.walk(model, inputs, elapsed, reset).hidden.mean(0))
    model.readout.bias.data = -model.readout.weight.data @ middle  # so that no class is always the likeliest
    outputs = parity.walk(model, inputs, elapsed, reset).outputs
    if threshold is not None:
        threshold = float(np.median(outputs[:, model.task.positive]))
        model.task = replace(model.task, alarm=Alarm(threshold=threshold))
    onnx.write(model, tmp_path, (inputs, elapsed, reset))
    session = runtime.InferenceSession(str(tmp_path / "sequence.onnx"))
    found, said = session.run(["outputs", "label"], {"values": inputs[None], "elapsed": elapsed[None]})
    np.testing.assert_array_equal(said[0], model.task.decide(found[0]))
    assert len(np.unique(said)) > 1
    step = runtime.InferenceSession(str(tmp_path / "step.onnx"))
    given = {"values": inputs[:1], "elapsed": elapsed[:1]}
    given |= {n: np.zeros((1, size), np.float32) for n, size in onnx.state_sizes(describe(model)).items()}
    assert step.run(["label"], given)[0] == said[0][0]


def test_onnx_says_what_goes_in_and_comes_out(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    rule = Preprocessing(("温度", "Druck"), np.zeros(2), np.ones(2), 300.0, "s", False)
    task = Task("classification", "step", "Zustand", labels=("läuft", "steht"))
    torch.manual_seed(0)
    export(build("cfc", task, rule, 300), TARGETS["onnx"], tmp_path)
    for name in ("step.onnx", "sequence.onnx"):
        said = runtime.InferenceSession(str(tmp_path / name)).get_modelmeta().custom_metadata_map
        assert json.loads(said["channels"]) == ["温度", "Druck"]
        assert json.loads(said["labels"]) == ["läuft", "steht"]
        assert (said["target"], said["elapsed_unit"], float(said["usual_gap"])) == ("Zustand", "s", 300.0)


def test_onnx_tells_the_metric_of_a_recording(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    report = export(with_sample(make_model("cfc ncp")), TARGETS["onnx"], tmp_path, small_recording(per="series"))
    metric = report.plain["metric"]
    assert metric["export"] == pytest.approx(metric["pytorch"], abs=1e-4)
    assert metric["name"] in (tmp_path / "README.md").read_text()


def test_an_export_proves_itself_anywhere(tmp_path: Path) -> None:
    model = with_sample(make_model("cfc ncp"))
    report = export(model, HOST, tmp_path, small_recording(per="series"))
    done = subprocess.run(["make", "check"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
    # A model that was tampered with fails the same test.
    source = (tmp_path / "model.c").read_text()
    (tmp_path / "model.c").write_text(source.replace("readout_bias[2] = {\n    ", "readout_bias[2] = {\n    1"))
    assert subprocess.run(["make", "check"], cwd=tmp_path, capture_output=True, check=False).returncode != 0
    (tmp_path / "model.c").write_text(source)
    # A proof is of the compiler that it is asked of.
    assert subprocess.run(["make", "check"], cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert subprocess.run(["make", "check", "CC=false"], cwd=tmp_path, capture_output=True, check=False).returncode != 0
    (tmp_path / ".left.part").mkdir()  # by an export that was killed
    (tmp_path / ".left.part" / "model.c").write_text("half")
    assert json.loads((tmp_path / "footprint.json").read_text())["difference_same_state"] < 1e-4
    metric = report.plain["metric"]
    assert metric["export"] == pytest.approx(metric["pytorch"], abs=1e-5)
    assert not report.costs
    (tmp_path / "libmodel.so").write_bytes(b"of the model before")
    export(model, HOST, tmp_path)  # over an earlier export
    assert {path.name for path in tmp_path.iterdir()} & {"libmodel.so", "selftest", ".left.part"} == set()
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="other files"):
        export(model, HOST, tmp_path)


@pytest.mark.parametrize("name", ["ltc euler", "ltc ncp rk4"])
def test_the_self_test_of_an_explicit_solver_passes(name: str, tmp_path: Path) -> None:
    export(with_sample(make_model(name)), HOST, tmp_path)
    done = subprocess.run(["make", "check"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_answers_that_are_all_but_certain_do_not_stop_an_export(tmp_path: Path) -> None:
    """Rounding of probabilities near 1 is no error, and neither is that of values far from 0."""
    for kind, bias in (("classification", 15.0), ("regression", 1e5)):
        model = with_sample(make_model(next(n for n in ("cfc", "ltc", "cfc ncp") if make_model(n).task.kind == kind)))
        with torch.no_grad():
            model.readout.bias[0] += bias
            if kind == "regression":
                model.readout.weight *= 3
        export(model, HOST, tmp_path / kind)


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    model = make_model("cfc")
    with pytest.raises(InputError, match="sample"):
        export(model, HOST, tmp_path / "a", int8=True)
    with pytest.raises(InputError, match="builtin"):
        export(model, M4, tmp_path / "a", math="libm")
    with pytest.raises(InputError, match="machine"):
        export(model, HOST, tmp_path / "a", limits=Limits(flash=1))
    with pytest.raises(InputError, match="--study compares costs on a machine"):
        export(model, HOST, tmp_path / "a", others={"gru": make_model("gru")})
    assert not (tmp_path / "a").exists()
    report = export(model, HOST, tmp_path / "a")
    assert any("synthetic" in warning for warning in report.warnings)


def test_sizes_and_times_in_words() -> None:
    assert [bytes_of(w, "") for w in ("512", "32k", "1.5 K", "2M", "64kB")] == [512, 32768, 1536, 2097152, 65536]
    assert [microseconds_of(w, "") for w in ("2ms", "500us", "1 s")] == [2000, 500, 1e6]
    for wrong in ("", "k", "-1", "1e3", "3 apples"):
        with pytest.raises(InputError, match="--x"):
            bytes_of(wrong, "--x")
    with pytest.raises(InputError, match="unit"):
        microseconds_of("2", "--x")
    over = Limits(flash=10, ram=10, step=10).exceeded(Footprint(12, 5, 6, 1, 1, 9.0))
    assert len(over) == 2
    assert "2 over" in over[0]
    assert "1 over" in over[1]


def study_of(folder: Path, models: dict[str, Model]) -> None:
    """A study's folder, as far as an export reads it."""
    contenders = []
    for i, (name, model) in enumerate(models.items()):
        trial = folder / "trials" / Spec(name, {}, 0).id
        trial.mkdir(parents=True)
        model.save(trial / "model.safetensors")
        found = TrialResult(0, {}, 0.9 - i / 10, {}, {}, 1, 1, 1.0, 1, 1.0, 1.0, 1.0)
        contenders.append(ContenderResult(name, name, "liquid", (found,)))
    task = TaskResult("classification", "step", "target", "accuracy", True)
    data = DataResult("x", (), Gaps((0.0, 1.0), (1,), 1.0, 1.0, "s"), ())
    (folder / "results.json").write_text(StudyResults("x", task, data, tuple(contenders)).to_json())


def test_a_limit_names_what_is_over_and_who_would_fit(tmp_path: Path) -> None:
    emulated()
    task, rule = make_model("ltc").task, make_model("ltc").preprocessing
    torch.manual_seed(0)
    sizes = {"cfc": 2000, "gru": 1500, "lstm": 300}
    models = {kind: with_sample(build(kind, task, rule, n)) for kind, n in sizes.items()}
    study_of(tmp_path / "study", models)
    models["cfc"].save(tmp_path / "big.safetensors")
    asked = ["export", str(tmp_path / "big.safetensors"), *in_words(target="cortex-m4", out=str(tmp_path / "out"))]
    asked += in_words(study=str(tmp_path / "study"))
    refused = CliRunner().invoke(app, [*asked, *in_words(flash_limit="4k", step_limit="5us")])
    assert refused.exit_code == 2
    said = refused.output.replace("\n", "")
    assert "over the limit of 4,096" in said
    assert "over the limit of 5" in said
    assert not (tmp_path / "out").exists()
    refused = CliRunner().invoke(app, [*asked, *in_words(flash_limit="4k")])
    assert "lstm of the study would fit" in refused.output.replace("\n", "")
    done = CliRunner().invoke(app, [*asked, *in_words(flash_limit="64k", ram_limit="8k", step_limit="10ms")])
    assert done.exit_code == 0, done.output
    plain = json.loads((tmp_path / "out" / "footprint.json").read_text())
    assert set(plain["models"]) == {"cfc", "gru of the study", "lstm of the study"}  # not itself a second time
    assert plain["models"]["lstm of the study"]["flash"] < 4096


def test_without_an_emulator_it_is_exported_and_says_what_was_not_run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_zig()
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("cc", "as", "ld"):
        (bare / tool).symlink_to(shutil.which(tool))  # type: ignore[arg-type]
    monkeypatch.setenv("PATH", str(bare))
    model = tmp_path / "model.safetensors"
    other = make_model("ltc")
    with_sample(build("cfc", other.task, other.preprocessing, 500)).save(model)
    command = ["torchliquid", "export", str(model), *in_words(target="cortex-m4", out=str(tmp_path / "device"))]
    monkeypatch.setattr("sys.argv", [*command, *in_words(flash_limit="32k")])
    done = CliRunner().invoke(app, sys.argv[1:])
    assert done.exit_code == 0, done.output
    assert "on this machine a step differs" in done.output.replace("\n", " ")
    written = (tmp_path / "device" / "README.md").read_text()
    assert "not run here: the check on cortex-m4, and counting RAM and instructions" in written
    shown = html.unescape(written.replace("\\", ""))  # as Markdown shows it
    assert f"apt-get install qemu-user qemu-system-arm && {shlex.join(sys.argv)}" in shown
    found = json.loads((tmp_path / "device" / "footprint.json").read_text())
    assert found["models"] == {}
    assert 1000 < found["flash"] < 32768
    for limit, said in ({"flash_limit": "1k"}, "over the limit of 1,024"), ({"ram_limit": "9k"}, "apt-get install"):
        refused = CliRunner().invoke(app, [*command[1:-1], str(tmp_path / "no"), *in_words(**limit)])
        assert refused.exit_code == 2
        assert said in refused.output.replace("\n", " ")
        assert not (tmp_path / "no").exists()


def test_the_compiler_for_devices_works_without_a_home(tmp_path: Path) -> None:
    """zig fails without one, and never ends where it can't write there."""
    needs_zig()
    code = """from pathlib import Path; from torchliquid.edge import compilers, TARGETS
Path("a.c").write_text("int a(void) { return 1; }")
compilers.run([*compilers.zig(), *compilers.arguments(TARGETS["cortex-m4"]), "-c", "a.c", "-o", "a.o"])"""
    bare = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    for home in ({}, {"HOME": "/proc"}):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env={**bare, **home}, timeout=300, check=False
        )
        assert done.returncode == 0
        (tmp_path / "a.o").unlink()


def test_readings_that_single_precision_blurs_are_warned_of() -> None:
    model, report = make_model("cfc"), Report()
    _precision(model, report)
    assert report.warnings == []
    scales = model.preprocessing
    far = np.where(np.arange(scales.n_channels) == 1, 1e9, 0.0)
    model.preprocessing = replace(scales, mean=far, std=np.ones(scales.n_channels))
    _precision(model, report)
    (warning,) = report.warnings
    assert warning.startswith(repr(scales.channels[1]))
    assert "steps of 64 of its standard deviation" in warning


def lane_keeping() -> Model:
    """As large as the published lane-keeping network: 19 neurons, 32 inputs, 1 output, 252 synapses."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    rule = Preprocessing(tuple(f"c{i}" for i in range(32)), rng.normal(size=32), 1 + rng.random(32), 1.0, "s", False)
    layer = LTC(32, NCP(12, 6, 1, 6, 4, 6, 6, seed=1), output_mapping=None)
    return Model("ltc", {}, Liquid(layer), Task("regression", "step", "y", mean=(0.0,), std=(1.0,)), rule)


def small_cfc() -> Model:
    torch.manual_seed(0)
    rule = Preprocessing(tuple("abcdefgh"), np.zeros(8), np.ones(8), 1.0, "s", False)
    task = Task("regression", "step", "y", mean=(0.0,), std=(1.0,))
    return Model("cfc", {}, Liquid(CfC(8, 32, backbone_units=64)), task, rule)


def walk_of(model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    values = np.cumsum(rng.normal(size=(200, model.preprocessing.n_channels)) * 0.3, 0)
    return values.astype(np.float32), rng.exponential(1, 200).astype(np.float32), np.arange(200) == 0


@pytest.mark.parametrize("top_k", [1, 2])
def test_the_longest_step_of_a_mixture_calls_the_costliest_experts_though_no_sample_does(top_k: int) -> None:
    emulated()
    recording, costs = readings(60), []
    samples = samples_of(make_model("cfc"), recording)
    for called in ((1, 2), (0, 3)):  # of which no large one, and of which both
        model = make_model("cfc", with_mask=False)
        torch.manual_seed(0)
        experts = [CfC(3, 4, backbone_units=n) for n in (40, 2, 2, 30)]
        layer = MixtureOfLiquid(experts, CfC(3, 2, backbone_layers=0), top_k)
        with torch.no_grad():
            layer.rnn_cell.gate.bias.fill_(-50.0)[list(called)] = 50.0
        model.network = Liquid(layer)
        costs.append(footprint.measure(artifact.make(model, M4, "builtin", False, samples), M4))
    cheap, dear = costs
    assert cheap.instructions == pytest.approx(dear.instructions, rel=0.01)
    assert cheap.fewest < dear.instructions / 2


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m7"])
def test_the_published_circuit_is_as_small_as_promised(name: str) -> None:
    emulated()
    target = TARGETS[name]
    circuit = lane_keeping()
    costs = [
        footprint.measure(artifact.make(circuit, target, "builtin", int8, walk_of(circuit)), target)
        for int8 in (False, True)
    ]
    assert costs[0].flash <= 8192
    assert costs[1].flash <= 4096
    assert max(cost.ram for cost in costs) <= 512
    cfc = small_cfc()
    assert footprint.measure(artifact.make(cfc, target, "builtin", True, walk_of(cfc)), target).flash < 16384


def damped(factor: float) -> Model:
    """h <- factor * h near zero: its exponent is known."""
    rule = Preprocessing(("a",), np.zeros(1), np.ones(1), 1.0, "ms", False)
    layer = CfC(1, 3, mode="no_gate", backbone_layers=0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.rnn_cell.ff1.weight[:, 1:] = factor * torch.eye(3)
    return Model("cfc", {}, Liquid(layer), Task("regression", "step", "y", mean=(0.0,), std=(1.0,)), rule)


@pytest.mark.parametrize("factor", [0.5, 0.95, 1.2])
def test_the_largest_lyapunov_exponent_of_a_known_map(factor: float) -> None:
    from torchliquid.data import Recording

    still = Recording.from_arrays([np.zeros((300, 1))], [np.arange(300.0)], None, ["a"], time_unit="ms")
    assert largest_lyapunov_exponent(damped(factor), still) == pytest.approx(np.log(factor), abs=1e-3)


def test_a_model_whose_differences_grow_is_exported_with_a_warning(tmp_path: Path) -> None:
    from torchliquid.data import Recording

    still = Recording.from_arrays([np.zeros((300, 1))], [np.arange(300.0)], None, ["a"], time_unit="ms")
    report = export(damped(1.2), HOST, tmp_path / "a", still)
    assert any("drift apart" in warning for warning in report.warnings)
    assert "drift apart" in (tmp_path / "a" / "README.md").read_text()
    assert not any("drift apart" in warning for warning in export(damped(0.9), HOST, tmp_path / "b", still).warnings)


def test_an_export_has_the_name_of_its_model_and_knows_the_one_before(tmp_path: Path) -> None:
    model = with_sample(small_model("cfc"))
    model.save(tmp_path / "Pumpe 2 – größer.safetensors")
    out = tmp_path / "out"
    asked = ["export", str(tmp_path / "Pumpe 2 – größer.safetensors"), "--out", str(out)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    stem = "pumpe_2_grosser"
    assert {f"{stem}.c", f"{stem}.h", f"{stem}.py"} <= {path.name for path in out.iterdir()}
    done = CliRunner().invoke(app, [*asked, "--name", "pump"])  # over the one before, which leaves nothing
    assert done.exit_code == 0, done.output
    assert not any(stem in path.name for path in out.iterdir())
    done = subprocess.run(["make", "check", "libpump.so"], cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for wrong in ("class", "math", "3d", "a b", "x" * 32, "pump.c", "json"):
        refused = CliRunner().invoke(app, [*asked, "--name", wrong])
        assert refused.exit_code == 2
        assert "--name" in refused.output


def test_names_in_any_script_stay_readable(tmp_path: Path) -> None:
    names = ["温度", "Druck über Ventil", "влажность", "الضغط", "влажность!", "🌡"]
    task = Task("classification", "step", "Zustand", labels=("läuft", "останов"))
    n = len(names)
    rule = Preprocessing(tuple(names), np.zeros(n), np.ones(n), 1.0, "s", False)
    torch.manual_seed(0)
    export(build("cfc", task, rule, 300), HOST, tmp_path, c_name="pump")
    header, readme, module = ((tmp_path / f).read_text("utf-8") for f in ("pump.h", "README.md", "pump.py"))
    for words in ("PUMP_INPUT_WEN_DU = 0", "PUMP_INPUT_DRUCK_UBER_VENTIL = 1", "PUMP_INPUT_VLAZHNOST = 2"):
        assert words in header
        assert words.split()[0] in readme
    assert "PUMP_INPUT_VLAZHNOST_2 = 4" in header
    assert "PUMP_LABEL_LAUFT = 0" in header
    for name in names[:4]:
        assert name in readme
        assert name in module
        assert f'"{name}"' in (tmp_path / "pump.c").read_text("utf-8")
    (tmp_path / "use.c").write_text('#include "pump.h"\nint main(void) { return PUMP_INPUT_LDGHT != 3; }\n')
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", "use.c", "-o", "use"], cwd=tmp_path, check=True)
    assert subprocess.run(["./use"], cwd=tmp_path, check=False).returncode == 0


def test_the_self_test_can_do_without_recorded_samples(tmp_path: Path) -> None:
    model = with_sample(make_model("cfc ncp"))
    export(model, HOST, tmp_path / "with")
    export(model, HOST, tmp_path / "without", sample=False)
    recorded = [f"{v:.9g}"[:6] for v in samples_of(model, readings(60))[0][:20].ravel() if np.isfinite(v)]

    def share(folder: str) -> float:
        text = (tmp_path / folder / "selftest.c").read_text()
        return float(np.mean([one in text for one in recorded]))

    assert share("with") > 0.9
    assert share("without") < 0.2
    done = subprocess.run(["make", "check"], cwd=tmp_path / "without", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_saved_state_does_not_mind_other_wording() -> None:
    from torchliquid.edge.generate import sources
    from torchliquid.edge.network import describe

    def mark(model: Model, name: str = "model") -> str:
        return re.findall(
            r"fingerprint = (\w+);", sources(describe(model, None, name), "builtin", "rows")[f"{name}.c"]
        )[0]

    model, other = make_model("cfc ncp"), make_model("cfc ncp")
    other.preprocessing = replace(other.preprocessing, channels=("x", "y", "z"), low=None, high=None, time_unit="s")
    other.task = replace(other.task, target="else", labels=tuple(f"new {one}" for one in other.task.labels))
    assert mark(model) == mark(other, "pump")
    with torch.no_grad():
        other.readout.weight[0, 0] += 1e-3
    assert mark(model) != mark(other)


def test_limits_are_set_in_the_channels_units(tmp_path: Path) -> None:
    model = with_sample(small_model("cfc"))
    model.save(tmp_path / "model.safetensors")
    asked = ["export", str(tmp_path / "model.safetensors"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*asked, "--plausible", "a=-3:9.5", "--plausible", "c=0:900", "--longest-gap", "60"])
    assert done.exit_code == 0, done.output
    done = subprocess.run(["make", "check"], cwd=tmp_path / "out", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for wrong, word in (("a", "such as temperature=-20:60"), ("q=1:2", "no such channel"), ("a=2:1", "less than")):
        refused = CliRunner().invoke(app, [*asked, "--plausible", wrong])
        assert refused.exit_code == 2
        assert word in " ".join(refused.output.split())


def test_two_exports_into_one_folder_leave_one_whole(tmp_path: Path) -> None:
    """The one that comes second is told so, whenever it comes."""
    out, models = tmp_path / "device", [make_model("cfc", seed) for seed in range(3)]
    for model in models:
        model.sample = None
    alone = []
    for i, model in enumerate(models):
        export(model, HOST, tmp_path / str(i))
        alone.append({f.name: f.read_bytes() for f in (tmp_path / str(i)).iterdir()})
    busy: list[str] = []

    def write(model: Model) -> None:
        try:
            export(model, HOST, out)
        except InputError as error:
            busy.append(str(error))

    with ThreadPoolExecutor(3) as pool:
        for _ in range(4):
            list(pool.map(write, models))
            found = {f.name: f.read_bytes() for f in out.iterdir()}
            assert found in alone
    assert all("another export is writing" in line for line in busy)


def test_a_name_in_a_readme_is_neither_markup_nor_html(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)> [a](http://b) **c** \x1b[2J"
    model = make_model("cfc")
    rule = model.preprocessing
    model.preprocessing = replace(rule, channels=(evil, *rule.channels[1:]), mean=rule.mean + 1e9)
    export(model, HOST, tmp_path / "device")
    text = (tmp_path / "device" / "README.md").read_text(encoding="utf-8")
    assert "lies around" in text
    assert not [word for word in ("<img", "[a](", "**c**", "\x1b") if word in text]
    json.loads((tmp_path / "device" / "footprint.json").read_text(encoding="utf-8"))


def test_the_mean_of_a_long_series_moves_on_in_onnx(tmp_path: Path) -> None:
    """As in C: single precision stops counting at 2^24."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model = next(model for model in map(make_model, NAMES) if model.task.per == "series")
    onnx.write(model, tmp_path, samples_of(model, readings(30)))
    session = onnxruntime.InferenceSession(str(tmp_path / "step.onnx"))
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}
    states = {i.name: np.zeros((1, i.shape[1]), kinds[i.type]) for i in session.get_inputs()[2:]}
    seen = 20_000_001
    states["count"][:] = seen
    given = {"values": np.zeros((1, model.preprocessing.n_channels), np.float32), "elapsed": np.ones(1, np.float32)}
    names = ["mean_out", "count_out"]
    mean, count = session.run(names, given | states)
    assert count[0, 0] == seen + 1
    states["mean"], states["count"] = mean, count
    again, _ = session.run(names, given | states)
    assert (again != mean).all()
