"""What does a walking robot do next, with one step in ten unseen? (Hasani et al., arXiv 2106.13898)"""

from __future__ import annotations

import hashlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, find, folders, locate, not_published
from torchliquid.datasets.rollouts import next_observation
from torchliquid.tasks import Task

ROLLOUTS = [f"rollout_{i:03d}" for i in range(400)]
SOURCE = Source(
    name="walker",
    address="https://people.csail.mit.edu/mlechner/datasets/walker.zip",
    archive="https://people.csail.mit.edu/mlechner/datasets/walker.zip",
    files={f"walker/{name}.npy": () for name in ROLLOUTS},
)
VALUES = "86eeabcc676522a7136baf03eadf11f39d50cd493a754d316f6d82cbdc6692a0"
"""SHA-256 of all rollouts' values in single precision, one after the other."""


def load() -> Dataset:
    rollouts = _rollouts()
    names = list(rollouts)
    np.random.RandomState(125487).shuffle(names)
    test, validation = int(0.15 * len(names)), int((0.15 + 0.1) * len(names))
    rng = np.random.RandomState(891374)

    def keep(steps: int) -> np.ndarray:
        return rng.rand(steps) < 0.9

    # The draws cover the training, then the validation, then the test rollouts.
    train = next_observation(rollouts, names[validation:], keep)
    valid = next_observation(rollouts, names[test:validation], keep)
    tests = {"test": next_observation(rollouts, names[:test], keep)}
    return Dataset(
        name="walker",
        train=train,
        tests=tests,
        validation=valid,
        task=Task.infer(train, kind="regression", per="step"),
        notes=(
            "The split of the rollouts and the steps left out (one in ten) are the published ones.",
            "The target is the next observation, all seventeen values; published figures are its mean squared error.",
        ),
        source=SOURCE.address,
        licence="Apache-2.0",
    )


def _rollouts() -> dict[str, np.ndarray]:
    """All rollouts, from ``walker.npz`` or from the publisher's files, loose or in their folder ``walker``.

    Raises:
        InputError: they are missing and cannot be downloaded, or have other values than those published.
    """
    if packed := find(SOURCE, "walker.npz"):
        place = packed
        try:
            with np.load(packed, allow_pickle=False) as file:
                rollouts = {name: file[name].astype(np.float32) for name in sorted(file.files)}
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise not_published(SOURCE, packed, str(error)) from None
    else:
        loose = (folder for folder in folders(SOURCE.name) if (folder / f"{ROLLOUTS[0]}.npy").exists())
        place = next(loose, None) or locate(SOURCE, f"walker/{ROLLOUTS[0]}.npy").parent
        rollouts = {name: _rollout(place / f"{name}.npy") for name in ROLLOUTS}
    found = hashlib.sha256()
    for rollout in rollouts.values():
        found.update(rollout.tobytes())
    if found.hexdigest() != VALUES:
        raise not_published(SOURCE, place, "it holds other values")
    return rollouts


def _rollout(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError) as error:
        raise not_published(SOURCE, path, str(error)) from None
