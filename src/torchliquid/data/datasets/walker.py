"""What does a walking robot do next, with one step in ten unseen? (Hasani et al., arXiv 2106.13898)"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from torchliquid.data.datasets.dataset import Dataset
from torchliquid.data.datasets.fetch import Source, find, folders, locate
from torchliquid.data.datasets.rollouts import next_observation
from torchliquid.tasks import Task

SOURCE = Source(
    name="walker",
    address="https://people.csail.mit.edu/mlechner/datasets/walker.zip (unpacked, its rollout_*.npy)",
    files={"walker.npz": ("0f87a2c592afae084f1fbc4cc11d5d3cb97da359781d38ec002e1f0e19db136c",)},
)
ROLLOUTS = 400


def load() -> Dataset:
    notes = [
        "The split of the rollouts and the steps left out (one in ten) are the published ones.",
        "The target is the next observation, all seventeen values; published figures are its mean squared error.",
    ]
    published = _published_rollouts()
    if published:
        rollouts = {path.stem: np.load(path, allow_pickle=False) for path in published}
        notes.append("The rollouts are single files, of which no SHA-256 is known to compare with.")
    else:
        with np.load(locate(SOURCE, "walker.npz"), allow_pickle=False) as file:
            rollouts = {name: file[name] for name in sorted(file.files)}

    names = list(rollouts)
    np.random.RandomState(125487).shuffle(names)
    test, validation = int(0.15 * len(names)), int((0.15 + 0.1) * len(names))
    rng = np.random.RandomState(891374)

    def part(chosen: list[str]) -> dict[str, np.ndarray]:
        return {name: rollouts[name].astype(np.float32) for name in chosen}

    def keep(steps: int) -> np.ndarray:
        return rng.rand(steps) < 0.9

    # The draws go over the training, then the validation, then the test rollouts.
    train = next_observation(part(names[validation:]), keep)
    valid = next_observation(part(names[test:validation]), keep)
    tests = {"test": next_observation(part(names[:test]), keep)}
    return Dataset(
        name="walker",
        train=train,
        tests=tests,
        validation=valid,
        task=Task.infer(train, kind="regression", per="step"),
        notes=tuple(notes),
        source=SOURCE.address,
        licence="Apache-2.0",
    )


def _published_rollouts() -> list[Path]:
    """The publisher's single files, where they lie here and walker.npz does not."""
    if find(SOURCE, "walker.npz"):
        return []
    for folder in folders(SOURCE.name):
        files = sorted(folder.glob("rollout_*.npy"))
        if len(files) == ROLLOUTS:
            return files
    return []
