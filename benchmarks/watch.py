"""Watches the pump of the Skoltech Anomaly Benchmark (SKAB 0.9) without labels, beside the published leaderboard.

``python -m benchmarks.watch`` writes ``docs/watch-figures.md`` in half a minute. It needs ``TORCHLIQUID_DATA``.

The protocol is that of the leaderboard: the first 400 samples of each of the 34 runs are learnt as good, the rest are
scored, and all runs are counted together. The settings are the defaults of the command.
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

Does it find faults? SKAB 0.9 has 34 runs of a water pump with 8 sensors, one sample per second. In each run a fault
begins, such as a valve that closes or a leak. As on the leaderboard of SKAB, the first 400 samples of each run are
learnt as good, the rest are scored, and all runs are counted together. The table gives the F1 of the unusual samples,
the share of good samples that are called unusual (false alarms), and the share of faulty samples that are missed. No
setting was chosen by these figures.

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
    """The figures of each way to call samples unusual, and the alarms.

    Attributes:
        rows: by way, F1, the share of false alarms and the share of missed samples.
        faults: number of faults.
        late: for each fault with an alarm, seconds from its start to the alarm.
        begun: number of runs in which an alarm was on when the fault began.
    """

    rows: dict[str, tuple[float, float, float]]
    faults: int
    late: list[float]
    begun: int

    @property
    def words(self) -> str:
        return (
            f"Of the {self.faults} faults, {len(self.late)} have an alarm while they last, half of them within "
            f"{np.median(self.late):.0f} s; in {self.begun} runs an alarm was already on when the fault began.\n\n"
            "Many samples are faulty, so even calling every sample unusual gives the F1 of the last row. Here F1 says "
            "little, and the false alarms say more. 400 samples, seven minutes, do not show everything that is usual "
            "for this pump. If you have a longer stretch, learn from it."
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
