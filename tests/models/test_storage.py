"""Saved models: the same after loading, whole or not there, and nothing in a bad file is trusted."""

import contextlib
import copy
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.small import small_model, small_recording

from torchliquid import Model
from torchliquid.errors import InputError
from torchliquid.models import KINDS
from torchliquid.models.model import Sample
from torchliquid.models.storage import pack


def with_sample(model: Model) -> Model:
    n = model.preprocessing.n_inputs
    model.sample = Sample(torch.randn(3, 5, n), torch.rand(3, 5), torch.tensor([5, 1, 3]))
    return model


@pytest.mark.parametrize("per", ["step", "series"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_is_the_saved_one(kind, per, tmp_path):
    model = with_sample(small_model(kind, per))
    model.metadata["note"] = "über"
    model.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    for ours, theirs in zip(model.outputs(small_recording()), loaded.outputs(small_recording()), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.self_test() < 1e-6
    assert (loaded.task, loaded.config, loaded.metadata) == (model.task, model.config, model.metadata)
    assert loaded.live_parameters() == model.live_parameters()


@pytest.mark.parametrize("kind", ["transformer", "cfc", "cfc_ncp", "ltc", "ltc_ncp"])
def test_a_file_from_before_lags_and_mixed_memory_answers_as_it_did(kind):
    model = small_model(kind)
    older = copy.deepcopy(model)
    older.config = {name: value for name, value in model.config.items() if name not in ("lags", "mixed_memory")}
    assert older.config != model.config
    if kind == "transformer":  # the bias, all zeros before training, had no place in the file
        for layer in older.network.layers:
            layer.bias = None
    for ours, theirs in zip(model.outputs(small_recording()), reloaded(older).outputs(small_recording()), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def reloaded(model: Model) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        path.write_bytes(pack(model, with_sample=False))
        return Model.load(path)


def test_the_sample_can_stay_at_home(tmp_path):
    model = with_sample(small_model("cfc"))
    model.save(tmp_path / "m.safetensors", with_sample=False)
    assert not any(n.startswith("sample") for n in safetensors.torch.load_file(tmp_path / "m.safetensors"))
    assert (tmp_path / "m.safetensors").stat().st_size == model.n_bytes()
    with pytest.raises(InputError, match="holds no sample"):
        Model.load(tmp_path / "m.safetensors").self_test()


def test_the_self_test_finds_changed_weights(tmp_path):
    with_sample(small_model("cfc")).save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    with torch.no_grad():
        loaded.readout.weight.add_(0.1)
    with pytest.raises(InputError, match="outputs differ"):
        loaded.self_test()


def test_a_file_is_for_whom_its_owner_says(tmp_path):
    before = os.umask(0o027)
    try:
        small_model("gru").save(tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    small_model("cfc").save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match=r"cannot be written.*No space left"):
        small_model("gru").save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


FILE = pack(with_sample(small_model("ltc_ncp")), with_sample=True)


@settings(max_examples=60)
@given(st.data())
def test_broken_files_are_refused_in_one_line(tmp_path_factory, data):
    """Cut short, or with a byte changed: refused, or read as the same kind of thing; never another error."""
    path = tmp_path_factory.mktemp("broken") / "m.safetensors"
    if data.draw(st.booleans()):
        path.write_bytes(FILE[: data.draw(st.integers(0, len(FILE) - 1))])
        with pytest.raises(InputError) as caught:
            Model.load(path)
        assert str(path) in str(caught.value)
    else:
        changed = bytearray(FILE)
        header = 8 + int.from_bytes(FILE[:8], "little")
        changed[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(changed))
        with contextlib.suppress(InputError):
            Model.load(path)


def rewritten(path, change, tensors=None, version="1"):
    with safetensors.safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["model"])
        own = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(description)
    header = {"format": "torchliquid-model", "version": version, "model": json.dumps(description)}
    safetensors.torch.save_file({**own, **(tensors or {})}, path, header)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(kind="os.system"), "no kind of model 'os.system'"),
        (lambda d: d["config"].update(units=2_000_000_000), "cannot have units"),
        (lambda d: d["config"].update(units=4000), "the description asks for"),
        (lambda d: d["config"].update(units=-1), "cannot have units"),
        (lambda d: d["config"].update(units="4"), "must be an integer|cannot be made"),
        (lambda d: d["config"].update(units=5.5), "must be an integer|cannot be made"),
        (lambda d: d["config"].update(command="rm"), "has no 'command'"),
        (lambda d: d["config"].pop("units"), "cannot be made"),
        (lambda d: d["task"].update(labels=[]), "has 0 classes, but two or more are needed"),
        (lambda d: d["task"].update(labels=["0", "1", "2"]), "do not fit|asks for"),
        (lambda d: d["task"].update(kind="x"), "description is invalid"),
        (lambda d: d["task"].update(alarm="x"), "description is invalid"),
        (lambda d: d["task"].update(alarm=[]), "description is invalid"),
        (lambda d: d["preprocessing"].update(mean=[1.0]), "description is invalid"),
        (lambda d: d["preprocessing"].update(std=[float("nan")] * 3), "not finite|invalid"),
        (lambda d: d.pop("task"), "description is invalid"),
        (lambda d: d["config"].update(units=1e300), "must be an integer|cannot be made"),
        (lambda d: d["task"].update(horizon=10**400), "description is invalid"),
        (lambda d: d["task"].update(column=float("inf")), "description is invalid"),
        (lambda d: d["preprocessing"].update(mean=[10**400] * 3), "description is invalid"),
        (lambda d: d["preprocessing"].update(channels=["a", "\ud800", "c"]), "description is invalid"),
        (lambda d: d["metadata"].update(columns=5), "columns are invalid"),
        (lambda d: d["metadata"].update(columns={"parameter": "p"}), "columns are invalid"),
    ],
)
@pytest.mark.parametrize("kind", ["cfc", "ltc"])
def test_descriptions_that_make_no_sense(kind, change, words, tmp_path):
    path = tmp_path / "m.safetensors"
    small_model(kind).save(path)
    rewritten(path, change)
    with pytest.raises(InputError, match=words):
        Model.load(path)


def test_channels_that_are_told_may_be_numbers(tmp_path):
    path = tmp_path / "m.safetensors"
    small_model("cfc").save(path)
    rewritten(path, lambda d: d["preprocessing"].update(ignored=[0, 0, 1], told=[1, 0, 0]))
    scales = Model.load(path).preprocessing
    assert scales.ignored is not None
    assert scales.told is not None
    assert scales.ignored.dtype == scales.told.dtype == bool
    assert scales.mask(np.zeros((1, 3), bool)).tolist() == [[False, True, True]]


def test_files_that_are_not_ours(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(InputError, match="no model file"):
        Model.load(path)
    safetensors.torch.save_file({"w": torch.ones(2)}, path)
    with pytest.raises(InputError, match="not a torchliquid model"):
        Model.load(path)
    small_model("cfc").save(path)
    rewritten(path, lambda d: None, version="5")
    with pytest.raises(InputError, match="format 5, but this version of torchliquid reads up to 4: update"):
        Model.load(path)
    with_sample(small_model("cfc")).save(path)
    rewritten(path, lambda d: None, {"sample.lengths": torch.tensor([900, 1, 3])})
    with pytest.raises(InputError, match="sample does not fit"):
        Model.load(path)
    for text in ("[" * 100_000, '{"kind": ' + "9" * 5_000 + "}"):
        header = {"format": "torchliquid-model", "version": "1", "model": text}
        safetensors.torch.save_file({"w": torch.ones(2)}, path, header)
        with pytest.raises(InputError, match="description is invalid"):
            Model.load(path)
    with pytest.raises(InputError, match="cannot be written"):
        small_model("cfc").save(tmp_path / "nowhere" / "m.safetensors")
