"""Layers on each other, and dense layers before them, through all that one layer goes through."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from tests.helpers.exports import HOST, in_int8, readings, samples_of
from tests.helpers.small import small_model, small_recording
from typer.testing import CliRunner

import torchliquid
from torchliquid import explain
from torchliquid.cli import app
from torchliquid.data import Recording
from torchliquid.edge import artifact, onnx, parity
from torchliquid.edge.network import describe
from torchliquid.edge.quantize import Widths, weights
from torchliquid.errors import InputError
from torchliquid.models import KINDS, Model
from torchliquid.models.networks import Chain
from torchliquid.study.run.cost import cost
from torchliquid.training import TrainingConfig

CHAINS = {
    "two CfC, dropout between": ("cfc", {"layers": 2, "dropout": 0.1}),
    "dense before a CfC": ("cfc", {"encoder": (16,)}),
    "two wired CfC, pure": ("cfc_ncp", {"layers": 2, "mode": "pure", "parameters": 2500}),
    "dense before an LTC": ("ltc", {"encoder": (8, 5)}),
    "two LTC with memory": ("ltc_ncp", {"layers": 2, "dropout": 0.1, "mixed_memory": True, "parameters": 2500}),
    "dense before two GRU": ("gru", {"encoder": (5,), "layers": 2}),
    "three LSTM": ("lstm", {"layers": 3}),
}
LIQUID = [name for name, (kind, _) in CHAINS.items() if kind not in ("gru", "lstm")]
every_chain = pytest.mark.parametrize("name", CHAINS)


def made(name: str) -> Model:
    """Untrained, with answers that move as much as trained ones."""
    kind, hyper = CHAINS[name]
    at = list(CHAINS).index(name)
    per, task = ("step", "series")[at % 2], ("classification", "regression")[at // 2 % 2]
    model = small_model(kind, per, task=task, **{"parameters": 1200, **hyper})
    inputs, spans = model.preprocessing(readings().series[0])
    with torch.no_grad():
        features, _ = model.network(torch.from_numpy(inputs)[None], torch.from_numpy(spans)[None])
        answers = model.readout(features)[0]
        model.readout.weight /= answers.std(0).unsqueeze(1)
        model.readout.bias.copy_(-(answers.mean(0) - model.readout.bias) / answers.std(0))
    return model


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.masked])
def test_every_kind_behind_pictures_goes_on_in_pieces(kind: str) -> None:
    network = small_model(kind, parameters=6000, pictures=[[0, 1, 2, 1]]).network
    x, spans = torch.randn(2, 9, small_model("gru").preprocessing.n_inputs), torch.rand(2, 9)
    whole, last = network(x, spans)
    assert len(last) == network.state_parts
    first, state = network(x[:, :4], spans[:, :4])
    rest, after = network(x[:, 4:], spans[:, 4:], None, state)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole, rtol=0, atol=1e-5)
    assert [part.shape for part in after] == [part.shape for part in last]


@every_chain
def test_one_after_the_other_by_hand_and_in_pieces(name: str) -> None:
    model = made(name)
    network = model.network
    assert isinstance(network, Chain)
    rng = torch.Generator().manual_seed(0)
    x, spans = torch.randn(3, 20, model.preprocessing.n_inputs, generator=rng), torch.rand(3, 20, generator=rng) * 3
    by_hand = x
    for one in network.networks:
        by_hand, _ = one(by_hand, spans)
    whole, last = network(x, spans)
    torch.testing.assert_close(whole, by_hand)
    first, state = network(x[:, :7], spans[:, :7])
    rest, after = network(x[:, 7:], spans[:, 7:], None, state)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole)
    for own, other in zip(after, last, strict=True):
        torch.testing.assert_close(own, other)
    assert len(last) == network.state_parts == sum(map(len, network.own_states(last)))
    assert network.live_parameters() <= sum(p.numel() for p in network.parameters())
    assert cost(model).operations > 2 * cost(model).state_bytes
    _, hyper = CHAINS[name]
    model.train()
    changed = not torch.equal(network(x, spans)[0], network(x, spans)[0])
    assert changed == ("dropout" in hyper)


@every_chain
def test_saved_as_format_2_and_loaded(name: str, tmp_path: Path) -> None:
    model = made(name)
    model.save(tmp_path / "m.safetensors")
    small_model("cfc").save(tmp_path / "one.safetensors")
    versions = []
    for path in ("m", "one"):
        with safetensors.safe_open(tmp_path / f"{path}.safetensors", "pt") as file:
            versions.append(file.metadata()["version"])
    assert versions == ["2", "1"]
    loaded = Model.load(tmp_path / "m.safetensors")
    recording = small_recording()
    for own, other in zip(model.outputs(recording), loaded.outputs(recording), strict=True):
        np.testing.assert_array_equal(own, other)


def test_an_int_or_a_list_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for hyper, words in (
        ({"layers": 0}, "layers must hold whole numbers from 1 to 64, not 0"),
        ({"layers": 2.5}, "layers must hold whole numbers"),
        ({"encoder": 16}, "must list the widths of its dense layers"),
        ({"encoder": (16, 0)}, "encoder must hold whole numbers from 1 to 4096, not 0"),
        ({"dropout": 0.5}, "acts between layers, but there is only one"),
        ({"layers": 2, "dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"encoder": (4000,)}, "needs at least"),
    ):
        with pytest.raises(InputError, match=words):
            small_model("cfc", **hyper)
    with pytest.raises(InputError, match="a transformer has no 'encoder'"):
        small_model("transformer", encoder=(8,))
    assert small_model("gru", layers=1, encoder=(), dropout=0.0).config == small_model("gru").config
    # A file that asks for more than its weights.
    path = tmp_path / "m.safetensors"
    small_model("ltc", layers=2).save(path)
    with safetensors.safe_open(path, "pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    description = json.loads(header["model"])
    for changed in ({"layers": 64}, {"layers": 10**9}, {"encoder": [4096] * 60}, {"encoder": "16"}, {"layers": True}):
        asked = description | {"config": description["config"] | changed}
        safetensors.torch.save_file(tensors, path, header | {"model": json.dumps(asked)})
        with pytest.raises(
            InputError, match=r"asks for|must hold whole numbers|cannot have layers|widths of|do not fit"
        ):
            Model.load(path)


@every_chain
def test_live_answers_are_those_of_pytorch(name: str) -> None:
    model = made(name)
    inputs, elapsed, _ = (part[:60] for part in samples_of(model, readings(60)))
    walked = parity.walk(model, inputs, elapsed, np.arange(60) == 0)
    one, many = model.live(), model.live(20)
    assert (one._core._stepper is None) == (torchliquid.backends.chosen() is not torchliquid.backends.native)
    for i in range(60):
        answer = one.step(inputs[i], float(elapsed[i]))
        assert np.abs(answer - walked.outputs[i]).max() <= 1e-4 * walked.spread.max()
        several = many.step(np.tile(inputs[i], (20, 1)), np.full(20, elapsed[i]))
        assert np.abs(several - answer).max() <= 1e-4 * walked.spread.max()
    other = model.live()
    other.state = one.state
    np.testing.assert_array_equal(other.step(inputs[0], 1.0), one.step(inputs[0], 1.0))


@every_chain
def test_c_in_single_precision_and_in_integers_and_onnx(name: str, tmp_path: Path) -> None:
    model = made(name)
    samples = samples_of(model, readings(150))
    single = artifact.make(model, HOST, "builtin", False, samples)
    found = single.run(None, same_state=True)
    assert np.abs(found.records["state"]["hidden"] - single.walked.hidden).max() <= 3e-6
    assert parity.largest_difference(single.walked, found) <= 1e-4
    assert parity.largest_difference(single.walked, single.run(None, same_state=False)) <= 1e-4
    every = frozenset(weights(describe(model)))
    for widths, error in ((Widths(16, 16, 16, every), 0.03), (Widths(16, 16, 16), 0.25), (Widths(8, 8, 16), 0.4)):
        integers = in_int8(model, single.walked, widths)
        assert artifact.root_mean_square(single.walked, integers.run(None, same_state=False)) <= error
    assert onnx.write(model, tmp_path, samples) <= 1e-4


@pytest.mark.parametrize("name", LIQUID)
def test_all_layers_are_explained(name: str) -> None:
    model = made(name)
    recording = readings(120)
    layers = model.config.get("layers", 1)
    path = explain.neurons.follow(model, recording, 200)
    x, spans = model.preprocessing(path.recording.series[0])
    _, state = model.network(torch.from_numpy(x)[None], torch.from_numpy(spans)[None])
    last = np.concatenate([own[0][0].detach().numpy() for own in model.network.own_states(state) if own])
    np.testing.assert_allclose(path.states[0][-1], last, atol=1e-5)
    taus = explain.time_constants(model, recording, 200)
    assert taus.values[0].shape == path.states[0].shape == (len(x), len(taus.neurons))
    assert len(set(taus.neurons)) == len(taus.neurons)
    assert all(n.startswith("layer ") for n in taus.neurons) == (layers > 1)
    circuit = explain.wiring(model, most=10_000)
    assert len(circuit.neurons) == model.preprocessing.n_inputs + len(taus.neurons)
    assert len({neuron.x for neuron in circuit.neurons}) >= 1 + layers
    place = {neuron.name: neuron.x for neuron in circuit.neurons}
    ways = [(place[circuit.neurons[s.source].name], place[circuit.neurons[s.target].name]) for s in circuit.synapses]
    assert all(start <= end or layers == 1 or model.kind.endswith("ncp") for start, end in ways)
    neuron = len(taus.neurons) - 1
    held = explain.hold.hold(model, neuron, 0.25)
    np.testing.assert_allclose(explain.neurons.follow(held, recording, 200).states[0][:, neuron], 0.25, atol=1e-4)
    dynamics = explain.dynamics(model, recording, 120)
    assert all(len(point.state) == len(taus.neurons) for point in dynamics.fixed_points)
    if dynamics.bounds is not None:
        assert (
            (dynamics.seen >= dynamics.bounds[:, :1] - 1e-4) & (dynamics.seen <= dynamics.bounds[:, 1:] + 1e-4)
        ).all()
    pytest.importorskip("captum")
    share = explain.attribution(model, recording, lags=4, moments=4, samples=120)
    assert share.share.sum() + share.older == pytest.approx(1.0)


@pytest.mark.parametrize(
    "hyper", [{"layers": 2, "dropout": 0.1}, {"encoder": (16,)}], ids=["two layers", "dense before"]
)
def test_fit_learns_and_a_study_takes_them(hyper: dict[str, object], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    truth = np.tanh(x[:, 0] + np.roll(x[:, 0], 1) * x[:, 1])
    truth[0] = 0.0
    recording = Recording.from_arrays(x, np.arange(600.0), truth, ["a", "b"], time_unit="s")
    model = torchliquid.fit(recording, parameters=800, config=TrainingConfig(updates=200), seed=0, **hyper)
    training = model.metadata["training"]
    assert training["validation"]["rmse"] < 0.9 * training["naive"]["rmse"]
    assert isinstance(model.network, Chain)
    model.save(tmp_path / "m.safetensors")
    assert Model.load(tmp_path / "m.safetensors").self_test() == 0.0


def test_from_the_command_line_and_as_a_contender(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    rows = "".join(f"{t},{a:.4f},{b:.4f},{a * b:.4f}\n" for t, (a, b) in enumerate(x))
    (tmp_path / "plant.csv").write_text(f"t,a,b,target\n{rows}")
    model = tmp_path / "m.safetensors"
    asked = ["train", str(tmp_path / "plant.csv"), "--target", "target", "--parameters", "800"]
    asked += ["--updates", "20", "--out", str(model)]
    done = CliRunner().invoke(app, [*asked, "--layers", "2", "--dropout", "0.1", "--encoder", "12,8"])
    assert done.exit_code == 0, done.output
    config = Model.load(model).config
    assert (config["layers"], config["dropout"], config["encoder"]) == (2, 0.1, [12, 8])
    shown = CliRunner().invoke(app, ["inspect", str(model)])
    assert "encoder [12, 8]" in " ".join(shown.output.split())
    for wrong in (["--encoder", "wide"], ["--dropout", "0.5"], ["--kind", "transformer", "--encoder", "8"]):
        refused = CliRunner().invoke(app, [*asked[:-1], str(tmp_path / "n.safetensors"), *wrong])
        assert refused.exit_code == 2, refused.output
        assert not (tmp_path / "n.safetensors").exists()
    mixture = ["--kind", "mixture", "--expert", "ltc", "--experts", "3", "--out", str(tmp_path / "x.safetensors")]
    refused = CliRunner().invoke(app, [*asked, *mixture, "--top-k", "4"])
    assert refused.exit_code == 2
    assert "top_k is 4, and there are 3 experts" in refused.output
    done = CliRunner().invoke(app, [*asked, *mixture, "--top-k", "2"])
    assert done.exit_code == 0, done.output
    config = Model.load(tmp_path / "x.safetensors").config
    assert (config["expert"], config["experts"], config["top_k"]) == ("ltc", 3, 2)
    refused = CliRunner().invoke(app, [*asked[:4], "--start", str(model), "--experts", "3"])
    assert "--experts is only for a new model" in refused.output.replace("\n", " ")
    exported = CliRunner().invoke(app, ["export", str(model), "--quantize", "int8", "--out", str(tmp_path / "c")])
    assert exported.exit_code == 0, exported.output
    checked = subprocess.run(["make", "check"], cwd=tmp_path / "c", capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    recording = Recording.read(tmp_path / "plant.csv", target="target", time="t", time_unit="s")
    of = {"cfc": {"layers": 2, "dropout": 0.1}, "gru": {"encoder": (8,)}}
    results = torchliquid.assess(
        recording, tmp_path / "study", contenders=["cfc", "gru", "naive"], settings=of, seeds=2, tuning=2,
        parameters=800, updates=10, shifts=(),
    )  # fmt: skip
    for trial in results.contender("cfc").trials:
        assert (trial.hyper["layers"], trial.hyper["dropout"]) == (2, 0.1)
    assert all(trial.hyper["encoder"] == [8] for trial in results.contender("gru").trials)
    best = Model.load(tmp_path / "study" / "model.safetensors")
    assert len(best.network.chain) == 2
    assert "layers 2" in (tmp_path / "study" / "report.html").read_text()
    with pytest.raises(InputError, match="is not a contender"):
        torchliquid.assess(recording, tmp_path / "b", contenders=["gru"], settings={"cfc": {"layers": 2}})
    with pytest.raises(InputError, match="a cfc has no 'depth'"):
        torchliquid.assess(recording, tmp_path / "b", contenders=["cfc"], settings={"cfc": {"depth": 2}})
    assert not (tmp_path / "b").exists()
