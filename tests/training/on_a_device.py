"""What must hold on a device other than the CPU; :mod:`tests.training.test_device` runs it in a process of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers import pretended
from tests.helpers.layers import CASES, MIXTURES, some
from tests.helpers.pretended import NAME
from tests.helpers.small import small_model, small_recording
from tests.reproduce.small_table import TABLE, parts

from torchliquid import CfC, InputError, assess, scan
from torchliquid.devices import device_of
from torchliquid.explain.explanation import explanation
from torchliquid.models import KINDS, Model
from torchliquid.reproduce.contenders import TableModel
from torchliquid.reproduce.trial import train
from torchliquid.sklearn import LiquidRegressor
from torchliquid.study.results import POOLED
from torchliquid.study.shifts import DEFAULT_SHIFTS
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig, fit

STACK = {"stack": lambda **o: CfC(3, 4, backbone_units=5, num_layers=2, bidirectional=True, dropout=0.1, **o)}


def step(layer: torch.nn.Module, *given: torch.Tensor) -> list[torch.Tensor]:
    x, spans, lengths, reset = given
    output = layer(x, timespans=spans, lengths=lengths, reset=reset)[0]
    parameters = [p for p in layer.parameters() if p.requires_grad]
    return [output, *torch.autograd.grad(output.square().mean(), parameters, materialize_grads=True)]


QUICK = (
    "ltc memory", "cfc ncp", "ctrnn", "neural ode", "ctgru", "grud", "lrcssm block", "mixture", "stack",
    "cfc", "lrcssm", "gru", "CfC", "LTC",
)  # fmt: skip


def all_of(names: Iterable[str]) -> list[Any]:
    """Most of them are slow tests."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", all_of([*CASES, *STACK]))
def test_a_layer_computes_there_what_it_does_here_and_the_host_waits_for_nothing(name: str) -> None:
    here = some({**CASES, **STACK}[name]).eval()
    there = copy.deepcopy(here).to(NAME)
    given = (torch.randn(3, 4, 3), torch.rand(3, 4), torch.tensor([4, 1, 2]), torch.rand(3, 4) < 0.2)
    moved = [each.to(NAME) for each in given]
    step(there, *moved)  # the first call looks for spans that are too long
    pretended.waited.clear()
    found = step(there, *moved)
    if name not in MIXTURES:  # which expert is called decides how much is computed
        assert not pretended.waited
    for one, other in zip(found, step(here, *given), strict=True):
        assert one.device.type == NAME
        torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-6)


def test_it_notices_what_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = CfC(3, 4).to(NAME)
    x, lengths = torch.randn(2, 5, 3).to(NAME), torch.tensor([5, 3]).to(NAME)
    with monkeypatch.context() as forgetting:
        forgetting.setattr(scan, "active_of", lambda over: torch.arange(5) < over.lengths.unsqueeze(1))
        with pytest.raises(RuntimeError, match="on the same device"):
            layer(x, lengths=lengths)
    pretended.waited.clear()
    assert float(layer(x)[0].max()) < 10
    assert pretended.waited == ["_local_scalar_dense"]
    with pytest.raises(RuntimeError, match="numpy"):
        x.numpy()


@pytest.mark.parametrize("kind", all_of(KINDS))
def test_a_model_trained_there_is_that_trained_here(kind: str, tmp_path: Path) -> None:
    recording = small_recording((30, 20, 25, 20, 25))
    classes = list(KINDS).index(kind) % 2 == 0
    task = Task("classification" if classes else "regression", "step", "target")
    config = TrainingConfig(epochs=2, class_weights=classes, int8=kind in ("cfc", "ltc_ncp", "lrcssm"))
    settings: dict[str, Any] = {"task": task, "kind": kind, "parameters": 900, "config": config, "seed": 3}
    if not classes:
        settings["interval"] = 0.6
    here, there = (fit(recording, **settings, device=device) for device in ("cpu", NAME))
    assert {p.device.type for p in there.parameters()} == {"cpu"}
    for one, other in zip(there.outputs(recording), here.outputs(recording), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)
    for name in ("validation", "naive"):
        assert there.metadata["training"][name] == pytest.approx(here.metadata["training"][name], abs=1e-3)
    there.to(NAME).save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    assert loaded.self_test() < 1e-5
    assert all(torch.equal(a, b.cpu()) for a, b in zip(loaded.parameters(), there.parameters(), strict=True))


def test_an_estimator_trains_there_and_predicts_here() -> None:
    series = np.random.default_rng(0).normal(size=(12, 3, 9)).cumsum(2)
    ours = [LiquidRegressor(epochs=2, parameters=200, random_state=0, device=place) for place in ("cpu", NAME, "auto")]
    answers = [one.fit(series, series[:, 0].mean(1)).predict(series) for one in ours]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-4)
    assert np.array_equal(answers[1], answers[2])
    with pytest.raises(InputError, match="no device 'cuda'"):
        LiquidRegressor(device="cuda").fit(series, series[:, 0].mean(1))


def test_a_study_there_scores_the_same_and_is_continued_only_there(tmp_path: Path) -> None:
    recording = small_recording((90, 80, 70, 60, 85, 75))
    asked: dict[str, Any] = {"contenders": ["cfc", "linear"], "seeds": 1, "tuning": 1, "epochs": 1}
    asked |= {"parameters": 200, "shifts": DEFAULT_SHIFTS[:1]}
    here = assess(recording, tmp_path / "here", **asked)
    there = assess(recording, tmp_path / "there", **asked, device="auto")
    for one, other in zip(there.contenders, here.contenders, strict=True):
        for a, b in zip(one.trials, other.trials, strict=True):
            assert a.tests[POOLED] == pytest.approx(b.tests[POOLED], abs=1e-3)
            assert (a.bytes, a.parameters) == (b.bytes, b.parameters)
    assert any("scored on pretended" in sentence for sentence in there.conditions)
    assert not any("pretended" in sentence for sentence in here.conditions)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "there" / "trials").rglob("*")}
    assess(recording, tmp_path / "there", **asked, device=NAME)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "there" / "trials").rglob("*")} == made
    for folder, device in (("there", "cpu"), ("here", NAME)):
        with pytest.raises(InputError, match="differs in device"):
            assess(recording, tmp_path / folder, **asked, device=device)


@pytest.mark.parametrize("contender", all_of(TABLE.settings))
def test_a_table_there_is_that_here(contender: str) -> None:
    setup = TABLE.with_setup(contender, {"epochs": 2})
    here, there = (train(setup, parts("published"), contender, 0, lambda *_: None, place) for place in ("cpu", NAME))
    assert there.pop("device") == NAME
    assert there["test"] == pytest.approx(here["test"], rel=1e-4)


def test_the_masks_of_a_sparse_table_move_with_its_weights() -> None:
    from dataclasses import replace

    table = replace(TABLE, sparsity=0.5)
    model = TableModel(table, "GRU", 2, 1, False).to(NAME)
    model.mask()
    assert model.masks
    assert all(mask.device.type == NAME and bool(((p == 0) | (mask == 1)).all()) for p, mask in model.masks)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lrcssm", "cfc_ncp", "ltc"])
def test_a_model_there_is_explained_as_here(kind: str) -> None:
    recording, model = small_recording((60, 40, 50)), small_model(kind)
    here, there = explanation(model, recording), explanation(copy.deepcopy(model).to(NAME), recording)
    assert there.left_out == here.left_out
    for one, other in zip(there.time_constants.values, here.time_constants.values, strict=True):
        np.testing.assert_allclose(1 / one, 1 / other, rtol=1e-3, atol=1e-6)  # one may be all but infinite


def test_names_of_devices() -> None:
    assert device_of("auto").type == NAME
    assert [str(device_of(name)) for name in ("cpu", "cpu:0", NAME, f"{NAME}:0")] == ["cpu", "cpu", NAME, f"{NAME}:0"]
    absent = {f"{NAME}:{index}": "the last one" for index in (1, 128, 256)}  # PyTorch keeps 8 bits of it
    for name, said in {"cuda": "no device 'cuda'", "gpu": "is not a device", **absent}.items():
        with pytest.raises(InputError, match=said):
            device_of(name)
