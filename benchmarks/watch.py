"""Watching the pump of the Skoltech Anomaly Benchmark (SKAB 0.9) without labels, beside its published leaderboard.

``python -m benchmarks.watch`` writes ``docs/watch-figures.md``; half a minute. It needs ``TORCHLIQUID_DATA``.

The protocol is the leaderboard's: of each of the 34 runs the first 400 samples are learnt as good, the rest are scored;
all samples of all runs are counted together. Nothing is chosen on them: the settings are the command's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from torchliquid import watch
from torchliquid.datasets import load
from torchliquid.page import Table

PAGE = Path(__file__).parents[1] / "docs" / "watch-figures.md"
LEARNT = 400
PUBLISHED = (
    ("Conv-AE", 0.78),
    ("MSET", 0.78),
    ("T² with Q (PCA)", 0.76),
    ("LSTM-AE", 0.74),
    ("T²", 0.66),
    ("LSTM-VAE", 0.56),
    ("LSTM", 0.54),
    ("Autoencoder", 0.39),
    ("MSCRED", 0.36),
    ("Isolation forest", 0.29),
)
"""F1 on https://github.com/waico/SKAB, outlier detection."""

HEAD = """# Watching a pump: figures

Written by `python -m benchmarks.watch`. [Watching without labels](guides/watch.md) says how it works.

SKAB 0.9 has 34 runs of a water pump with 8 sensors, once a second; in each a fault begins, such as a valve that closes
or a leak. As on its leaderboard, the first 400 samples of each run are learnt as good and the rest are scored, all runs
together: F1 of the unusual samples, the share of good samples that are called unusual (false alarms), and the share of
faulty samples that are missed. No setting was chosen by these figures.

"""

ALL = "all samples called unusual"


def counted(called: list[np.ndarray], faulty: list[np.ndarray]) -> tuple[float, float, float]:
    """F1, false alarms and misses over all runs."""
    p, t = np.concatenate(called), np.concatenate(faulty)
    hit, false, missed = (p & t).sum(), (p & ~t).sum(), (~p & t).sum()
    return 2 * hit / (2 * hit + false + missed), false / (~t).sum(), missed / t.sum()


def smoothed(over: np.ndarray) -> np.ndarray:
    """The median of each sample and the two before it, as the leaderboard takes it."""
    padded = np.concatenate([[False, False], over]).astype(int)
    return padded[2:] + padded[1:-1] + padded[:-2] >= 2


class Watched(NamedTuple):
    """The leaderboard's figures for each way to call samples unusual and for calling all so, and how the alarms met the
    faults: how many there are, after how many seconds those caught had an alarm, and in how many runs one was on
    already."""

    rows: dict[str, tuple[float, float, float]]
    faults: int
    late: list[float]
    begun: int

    @property
    def words(self) -> str:
        return (
            f"Of the {self.faults} faults, {len(self.late)} have an alarm while they last, half of them within "
            f"{np.median(self.late):.0f} s; in {self.begun} runs an alarm was already on when the fault began.\n\n"
            "Calling every sample unusual already has that last F1, for many samples are faulty: F1 says little here, "
            "and the false alarms more. 400 samples, seven minutes, do not show all that is usual of this pump; learn "
            "from a longer stretch where there is one."
        )

    def table(self) -> str:
        rows = [(f"**{name}**", f"{f1:.2f}", f"{false:.1%}", f"{missed:.1%}")
                for name, (f1, false, missed) in self.rows.items() if name != ALL]  # fmt: skip
        rows += [(f"{name} (published)", f"{f1:.2f}", "", "") for name, f1 in PUBLISHED]
        rows.append((ALL, f"{self.rows[ALL][0]:.2f}", "100%", "0%"))
        return Table(("", "F1", "false alarms", "missed"), tuple(rows)).markdown()


def measured() -> Watched:
    """Every run of SKAB, its first samples learnt as good and the rest scored."""
    found = load("skab")
    runs = [s for part in (found.train, *found.tests.values()) for s in part.series]
    recording = found.train
    ways: dict[str, list[np.ndarray]] = {
        "score above 1, median of three samples": [],
        "alarms of `torchliquid watch`": [],
    }
    faulty, begun, late = [], 0, []
    for run in runs:
        one = type(recording)((run,), recording.channels, recording.target, recording.time_unit)
        watched = watch(one, good=(run.times[0], run.times[LEARNT - 1]))
        truth = np.array([label not in (None, "0", 0.0, "normal") for label in np.asarray(run.targets)], dtype=bool)
        faulty.append(truth[LEARNT:])
        ways["score above 1, median of three samples"].append(smoothed(watched.scores[0] > 1)[LEARNT:])
        ways["alarms of `torchliquid watch`"].append(watched.on[0][LEARNT:])
        start = int(np.flatnonzero(truth)[0])
        end = start + int(np.argmin(truth[start:])) if not truth[start:].all() else len(truth)
        on = np.flatnonzero(watched.on[0][start:end])
        begun += bool(watched.on[0][start - 1])
        late += [float(run.times[start + on[0]] - run.times[start])] if len(on) else []
    ways[ALL] = [np.ones_like(t) for t in faulty]
    return Watched({name: counted(called, faulty) for name, called in ways.items()}, len(runs), late, begun)


def main() -> None:
    found = measured()
    PAGE.write_text(f"{HEAD}{found.table()}\n\n{found.words}\n", encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
