"""NumPy's warnings reach no one: what is hostile is refused in one line or answered quietly, in Python too."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from torchliquid import explain
from torchliquid.data import Recording
from torchliquid.errors import InputError
from torchliquid.study.assess import assess
from torchliquid.training import TrainingConfig, fit

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
N = 240
CHANNELS = ["a", "b", "c"]


def walk() -> np.ndarray:
    return np.cumsum(np.random.default_rng(0).normal(size=(N, 3)), 0) * 0.1


def readings() -> dict[str, np.ndarray]:
    """Each with one thing that some arithmetic can't take."""
    found = {name: walk() for name in ("plain", "constant", "tiny", "far", "empty end", "rare", "infinite", "once")}
    found["constant"][:, 0] = 5.0
    found["tiny"][:, 0] *= 1e-310
    found["far"][::7, 0] = 1e29
    found["empty end"][N // 2 :, 0] = np.nan
    found["rare"][np.arange(N) % 30 != 0] = np.nan
    found["infinite"][::50, 2] = np.inf
    found["once"][1:, 0] = np.nan
    return found


def times() -> dict[str, np.ndarray]:
    gaps = np.random.default_rng(1).exponential(1, N)
    return {
        "even": np.arange(N),
        "tiny": np.cumsum(gaps) * 1e-300,
        "bursts": np.cumsum(gaps**8),
        "far": 1.7e18 + 1e9 * np.arange(N),
        "a last one": np.where(np.arange(N) == N - 1, 1e308, np.arange(N)),
    }


def recording(values: np.ndarray, when: np.ndarray, targets: np.ndarray | None = None) -> Recording:
    given = {} if targets is None else {"targets": targets, "target": "y"}
    return Recording.from_arrays(values, when, channels=CHANNELS, time_unit="s", for_model=targets is None, **given)


@pytest.mark.parametrize("name", [*readings(), *times()])
def test_training_answers_streams_and_explanations_are_quiet(name: str) -> None:
    values, when = readings().get(name, walk()), times().get(name, np.arange(N))
    truth = np.sin(walk()[:, 1])
    truth = np.where(truth > 0, "up", "down") if name in ("rare", "far") else truth
    try:
        model = fit(recording(values, when, truth), kind="cfc", parameters=100, config=TrainingConfig(epochs=1))
    except InputError:
        return
    others = [*((v, np.arange(N)) for v in readings().values()), *((walk(), t) for t in times().values())]
    for other in [(values, when), *others]:
        with contextlib.suppress(InputError):
            answered = model.predict(recording(*other))
            assert len(answered)
    live = model.live()
    for sample in ([np.nan] * 3, [1e308] * 3, [np.inf, 0, 0], [0, 0, 0]):
        for span in (0, 1, 1e300, 1e-320):
            with contextlib.suppress(InputError):
                live.step(sample, span)
    for look in (explain.time_constants, explain.attribution, explain.dynamics):
        with contextlib.suppress(InputError):
            look(model, recording(values, when, truth))


def test_a_study_of_hostile_readings_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    values = walk()
    values[::7, 0], values[:, 1], values[N // 2 :, 2] = 1e29, 5.0, np.nan
    when = np.cumsum(np.random.default_rng(1).exponential(1, N) ** 6)
    study = recording(values, when, np.where(np.arange(N) % 20 == 5, "fault", "fine"))
    with contextlib.suppress(InputError):
        assess(
            study, tmp_path / "s", contenders=["cfc", "linear", "naive"], seeds=2, tuning=1, parameters=100, updates=9
        )
    assert "Warning" not in capfd.readouterr().err
