"""Real ``torchrun``, two processes: the gradients and the training of one process on the whole batch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tests.training import gradients

import torchliquid as tl

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed.py"


def torchrun(processes: int, script: str | Path, *words: str | Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run([*command, str(script), *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_gradients_of_two_processes_are_those_of_one_on_the_whole_batch(tmp_path: Path) -> None:
    torchrun(gradients.WORLD, gradients.__file__, tmp_path / "gradients.safetensors")
    found = load_file(tmp_path / "gradients.safetensors")
    for name, layer in gradients.layers().items():
        for padded in (False, True):
            for parameter, whole in gradients.gradients(layer, layer, slice(None), padded).items():
                shared = found.pop(f"{name}/{padded}/{parameter}")
                assert whole.abs().max() > 0 or "input_decay" in parameter  # no reading is missing
                torch.testing.assert_close(shared, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
    assert not found


@pytest.mark.slow
def test_the_example_trains_the_model_that_one_process_trains(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.exponential(1.0, 1500))
    x = np.sin(t / 5)
    labels = np.where(np.cos(t / 5) > 0, "up", "down")
    pl.DataFrame({"when": t, "x": x, "state": labels}).write_csv(tmp_path / "plant.csv")
    words = [tmp_path / "plant.csv", "--target", "state", "--time", "when"]
    words += ["--parameters", "2000", "--epochs", "8", "--out"]
    models = []
    for processes in (1, 2):
        torchrun(processes, EXAMPLE, *words, tmp_path / f"{processes}.safetensors")
        models.append(tl.Model.load(tmp_path / f"{processes}.safetensors"))
    one, two = models
    for (name, alone), shared in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(shared, alone, rtol=1e-2, atol=1e-3, msg=name)
    recording = tl.Recording.read(tmp_path / "plant.csv", target="state", time="when")
    (outputs,) = two.outputs(recording)
    assert two.task.metrics([outputs], recording)["accuracy"] > 0.8
