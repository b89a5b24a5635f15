"""Occupancy of the LTC paper: is anyone in the room at each of 16 minutes?"""

from __future__ import annotations

import numpy as np
import torch

from torchliquid.data.datasets import load
from torchliquid.reproduce.protocol import Part, Parts, Protocol, Split, at_random, part, windows
from torchliquid.reproduce.protocols import ltc_paper

LENGTH = 16


def parts(split: Split) -> Parts:
    dataset = load("occupancy")
    rows = dataset.train.series[0].values
    mean, deviation = rows.mean(0), rows.std(0)

    def cut(recording: object, stride: int) -> Part:
        series = recording.series[0]  # type: ignore[attr-defined]
        x, y = windows([(series.values - mean) / deviation, series.targets.astype(np.int64)], LENGTH, stride)
        return part(x, y)

    whole = cut(dataset.train, 1)
    tests = [cut(test, 8) for test in dataset.tests.values()]
    test = part(*(np.concatenate([getattr(t, name).numpy() for t in tests]) for name in ("inputs", "targets")))
    if split == "published":
        validation, train = at_random(whole, 893429, [0.1])
    else:
        # The last tenth of the time validates, and no window reaches into it from before.
        start = len(whole) * 9 // 10
        index = np.arange(len(whole))
        train, validation = (
            whole.pick(torch.from_numpy(np.flatnonzero(m))) for m in (index <= start - LENGTH, index >= start)
        )
    return Parts(train, validation, test, outputs=2)


PROTOCOL = Protocol(
    name="occupancy",
    source=ltc_paper.SOURCE,
    metric="accuracy %",
    published={
        "LSTM": (93.18, 1.66),
        "CT-RNN": (94.54, 0.54),
        "Neural ODE": (90.15, 1.71),
        "CT-GRU": (91.44, 1.67),
        "LTC": (94.63, 0.17),
    },
    settings=ltc_paper.settings(ltc_lr=0.005),
    parts=parts,
    splits=("published", "time"),
    notes=(
        "The published split draws a tenth of overlapping windows for validation: it is trained on all but in name. "
        "Beside it the last tenth of the time validates. The test part is other days in both.",
    ),
)
