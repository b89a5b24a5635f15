"""Pictures in front of a network: the same answers in C, in integers and in ONNX Runtime as in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tests.control.test_imitation import Finds, knows
from tests.helpers.exports import HOST, needs_zig
from tests.helpers.needed import needs

from torchliquid import control
from torchliquid.control.evaluation import Run, policy_of
from torchliquid.data import Preprocessing, Recording, Windows
from torchliquid.data.batch import batches
from torchliquid.edge import artifact, export, parity
from torchliquid.edge.network import describe
from torchliquid.edge.onnx import write
from torchliquid.edge.pipe import Piped
from torchliquid.edge.targets import TARGETS
from torchliquid.errors import InputError
from torchliquid.models import Model, build
from torchliquid.models.description import describe as described
from torchliquid.models.sample import covering
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig

PIXELS = 20 * 24 * 3


def seeing(kind: str, rest: int = 0, pictures: int = 1) -> Model:
    """A model that sees so many pictures beside other readings, its answers spread as a trained one's."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    n = rest + pictures * PIXELS
    targets = np.stack([np.linspace(-1, 1, 120), np.sin(np.arange(120))], 1)
    values = rng.integers(0, 256, (120, n)).astype(np.uint8)
    values[:, :PIXELS] = (values[:, :PIXELS] * np.linspace(0, 1, 120)[:, None]).astype(np.uint8)
    times = np.cumsum(rng.uniform(0.05, 0.15, 120))
    recording = Recording.from_arrays(values.astype(float), times, targets, time_unit="s")
    task = Task("regression", "step", "target").fit(recording)
    rule = Preprocessing(recording.channels, np.full(n, 127.5), np.full(n, 63.75), 0.1, "s", False)
    places = [[rest // 2 + i * PIXELS, 20, 24, 3] for i in range(pictures)]
    model = build(
        kind, task, rule, 20_000, pictures=places, **({"units": 14, "motors": 4} if "ncp" in kind else {"units": 9})
    )
    model.sample = covering(list(batches(recording, rule, task, Windows(40, 40), 8)))
    with torch.no_grad():
        features, _ = model.network(model.sample.inputs, model.sample.timespans)
        answers = model.readout(features).flatten(0, 1)
        model.readout.weight /= answers.std(0).unsqueeze(1)
        model.readout.bias.copy_(-(answers.mean(0) - model.readout.bias) / answers.std(0))
    return model.eval()


@pytest.mark.parametrize(("kind", "rest", "pictures"), [("ltc_ncp", 0, 1), ("cfc", 5, 1), ("gru", 0, 2)])
def test_the_c_computes_what_pytorch_does(kind: str, rest: int, pictures: int) -> None:
    model = seeing(kind, rest, pictures)
    made = artifact.make(model, HOST, "libm", False, parity.samples_of_model(model))
    assert parity.largest_difference(made.walked, made.run(None, same_state=True)) < 1e-4
    header = made.files["model.h"]
    assert header.count("MODEL_INPUT_") <= rest + pictures
    assert made.files["model.c"].count("0.0156862") < 10  # one scale for all pixels


class Camera(gym.ObservationWrapper):  # type: ignore[type-arg]
    """The picture alone."""

    def __init__(self) -> None:
        super().__init__(Finds())
        self.observation_space = self.env.observation_space["camera"]  # type: ignore[index]

    def observation(self, observation: Any) -> Any:
        return observation["camera"]


def test_integers_are_near(tmp_path: Path) -> None:
    shown = control.record(Camera, knows, 12, tmp_path / "shown")
    model = control.imitate(shown, "gru", parameters=800, config=TrainingConfig(updates=80))
    report = export(model, HOST, tmp_path / "int8", int8=True, auto=True)
    assert report.plain["error"] < 0.02
    with pytest.raises(InputError, match="a picture beside other readings cannot be exported in integers"):
        export(seeing("gru", rest=3), HOST, tmp_path / "beside", int8=True)


@pytest.mark.parametrize("name", ["", "raspberry-pi"])
def test_a_policy_as_c_steers_over_a_pipe(name: str, tmp_path: Path) -> None:
    """It ends an episode as PyTorch does, and each step is the same to 1e-4."""
    if name:
        needs_zig()
        needs(TARGETS[name].emulator)
    shown = control.record(Finds, knows, 4, tmp_path / "shown")
    model = control.imitate(shown, "ltc_ncp", parameters=900, config=TrainingConfig(epochs=1))
    ours: Any = policy_of(model)
    with Piped(model, TARGETS[name] if name else None) as device:
        for seed in (1, 2):
            ours.reset()
            device.reset()
            steered, followed = Run(Finds(), 100), []

            def both(observation: Any, elapsed: float, device: Piped = device, followed: list[float] = followed) -> Any:
                done = device(observation, elapsed)
                followed.append(float(np.abs(done - ours(observation, elapsed)).max()))
                return done

            steered.go(both, seed)
            ours.reset()
            alone = Run(Finds(), 100)
            alone.go(ours, seed)
            assert len(followed) == 30
            assert max(followed) < 1e-4
            assert (steered.steps, steered.success) == (alone.steps, alone.success)
    with pytest.raises(InputError, match="cortex-m7 cannot run programs with pipes"):
        Piped(model, TARGETS["cortex-m7"])


@pytest.mark.parametrize("rest", [0, 5])
def test_onnx_computes_what_pytorch_does(rest: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = seeing("cfc", rest)
    assert write(model, tmp_path, parity.samples_of_model(model)) < 1e-4


def test_a_network_without_memory_is_refused() -> None:
    with pytest.raises(InputError, match="has no memory and cannot be exported as C or ONNX"):
        describe(seeing("feedforward"))


def test_the_arrays_say_what_the_network_computes() -> None:
    from torchliquid.edge.cores.picture import PictureCore

    model = seeing("gru", rest=5)
    encoder = model.network.chain[0]
    core = PictureCore(described(model).parts[0].core, 5 + PIXELS, 5 + 32)
    x = np.random.default_rng(1).normal(size=(3, 5 + PIXELS))
    known, _ = encoder(torch.from_numpy(x[None]).float(), torch.ones(1, 3))
    np.testing.assert_allclose(core.map(x), known[0].detach().numpy(), atol=1e-5)
