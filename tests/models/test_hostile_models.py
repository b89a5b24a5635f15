"""Model files from strangers: refused in one line or used like any other, in time and memory that follow their size."""

from __future__ import annotations

import contextlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from tests.helpers.hostile import deep, hostile_model, limited
from tests.helpers.small import small_model, small_recording
from typer.testing import CliRunner

import torchliquid
from torchliquid.cli import app
from torchliquid.data import Preprocessing, Recording
from torchliquid.errors import InputError
from torchliquid.models import KINDS, Model, build
from torchliquid.models.build import assemble
from torchliquid.models.model import Sample
from torchliquid.tasks import Task


def saved(kind: str, path: Path, per: str = "step", task: str = "classification") -> Path:
    model = small_model(kind, per, task=task, parameters=600)
    n = model.preprocessing.n_inputs
    model.sample = Sample(torch.randn(3, 5, n), torch.rand(3, 5), torch.tensor([5, 1, 3]))
    model.metadata = {"created": "today", "columns": {"time": "t", "missing": [-1.0]}, "training": {"epochs": 3}}
    model.save(path)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("good")
    tasks = [(per, task) for per in ("step", "series") for task in ("classification", "regression")]
    return [saved(kind, folder / f"{kind}.safetensors", *tasks[i % 4]) for i, kind in enumerate(KINDS)]


@pytest.mark.parametrize("seed", [*range(200), 707, 959])
def test_a_file_from_a_stranger_is_refused_or_used(seed, good, tmp_path):
    rng = np.random.default_rng(seed)
    path = tmp_path / "m.safetensors"
    path.write_bytes(hostile_model(good[seed % len(good)], rng))
    with limited(), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            model = Model.load(path)
        except InputError as error:
            refused = str(error)
        else:
            refused = ""
        assert refused.isprintable()
        assert len(refused) <= 2100
        if refused:
            return
        model.save(tmp_path / "again.safetensors")
        again = Model.load(tmp_path / "again.safetensors")
        recording = small_recording((20, 7), labels=False)
        with contextlib.suppress(InputError):  # of another unit or other channels
            for ours, theirs in zip(model.outputs(recording), again.outputs(recording), strict=True):
                np.testing.assert_array_equal(ours, theirs)
            live = torchliquid.stream(model)
            for sample in recording.series[0].values:
                live.step(sample, 2.0)
        done = CliRunner().invoke(app, ["inspect", str(path)])
        assert done.exit_code in (0, 2), done.output
        assert done.output.replace("\n", "").isprintable()


WRONG = {
    "mean": (lambda d: d["preprocessing"].update(mean=[1.0, float("nan"), 0.0]), "'mean' is nan"),
    "deviation": (lambda d: d["preprocessing"].update(std=[1.0, 0.0, 1.0]), "'b' has the standard"),
    "negative": (lambda d: d["preprocessing"].update(std=[1.0, 1.0, -1.0]), "'c' has the standard deviation -1"),
    "time": (lambda d: d["preprocessing"].update(time_scale=float("inf")), "'time_scale' is inf"),
    "target": (lambda d: d["task"].update(std=[0.0]), "target 'target' has the standard deviation 0"),
    "metadata": (lambda d: d["metadata"].update(score=float("nan")), "'score' is nan"),
    "twice": (lambda d: d["preprocessing"].update(channels=["a", "a", "c"]), "two names of a channel are the same"),
    "long": (lambda d: d["preprocessing"].update(channels=["a" * 1001, "b", "c"]), "1,001 characters"),
    "deep": (lambda d: d["metadata"].update(a=json.loads(deep(500))), "nested more than 32 deep"),
    "many": (lambda d: d["metadata"].update({str(i): i for i in range(300_000)}), "more than 20,000 values"),
    "layers": (lambda d: d.update(kind="transformer", config={"layers": 4096}), "4096; it must be from 0 to 64"),
    "unfolds": (lambda d: d["config"].update(unfolds=4096), "unfolds = 4096; it must be from 0 to 1024"),
    "wired": (
        lambda d: d.update(
            kind="ltc_ncp",
            config={"units": 4096, "motors": 8, "sparsity": 0.1, "wiring_seed": 1, "unfolds": 6},
        ),
        "asks for .* synapses, the file holds",
    ),
    "wide": (
        lambda d: d["preprocessing"].update(
            channels=[str(i) for i in range(90_000)], mean=[0.0] * 90_000, std=[1.0] * 90_000, low=None, high=None,
            ignored=None, told=None,
        ),
        "asks for",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name, tmp_path):
    change, words = WRONG[name]
    path = saved("ltc", tmp_path / "m.safetensors", task="regression")
    with safetensors.safe_open(path, "pt") as file:
        header, tensors = dict(file.metadata()), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    description = json.loads(header["model"])
    change(description)
    safetensors.torch.save_file(tensors, path, header | {"model": json.dumps(description)})
    with limited(), pytest.raises(InputError, match=words):
        Model.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_neither_saved_nor_loaded(value, tmp_path):
    path = saved("cfc", tmp_path / "m.safetensors")
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        header = file.metadata()
    tensors["model.readout.bias"][0] = value
    safetensors.torch.save_file(tensors, path, header)
    with pytest.raises(InputError, match=r"weight 'readout\.bias' holds numbers that are not finite"):
        Model.load(path)
    model = small_model("cfc")
    with torch.no_grad():
        model.readout.bias[0] = value
    with pytest.raises(InputError, match=r"'readout\.bias' holds numbers that are not finite"):
        model.save(tmp_path / "new.safetensors")
    assert not (tmp_path / "new.safetensors").exists()


def test_what_is_saved_can_be_loaded(tmp_path):
    """The longest names of 3,000 channels, in letters that JSON may write as six; and the longest name of a file."""
    channels = [f"{i:04d}" + "温" * 996 for i in range(3000)]
    recording = Recording.from_arrays(np.random.default_rng(0).normal(size=(20, 3000)), channels=channels)
    task = Task("regression", "step", "y", mean=(0.0,), std=(1.0,))
    model = assemble("gru", {"units": 1}, task, Preprocessing.fit(recording))
    path = tmp_path / ("n" * 243 + ".safetensors")
    model.save(path)
    assert Model.load(path).preprocessing.channels == tuple(channels)


def test_what_could_not_be_loaded_is_refused_before_it_is_trained():
    recording = small_recording()
    task = Task("classification", "step", "target").fit(recording)
    long_label = Task("classification", "step", "target", ("a", "b" * 200_000_000))
    long_name = Preprocessing.fit(Recording.from_arrays(np.eye(3), channels=["a", "b", "c" * 6000]))
    for rule, asked, words in (
        (Preprocessing.fit(recording), long_label, "200,0"),
        (long_name, task, "6,000 characters"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            build("cfc", asked, rule)
        assert len(str(caught.value)) < 300
