"""Traffic of the LTC paper: how many cars pass at each of 32 hours, from the weather and the calendar?"""

from __future__ import annotations

import numpy as np
import torch

from torchliquid.data.datasets import load
from torchliquid.reproduce.protocol import Parts, Protocol, Split, at_random, part, windows
from torchliquid.reproduce.protocols import ltc_paper

LENGTH, STRIDE = 32, 4


def parts(split: Split) -> Parts:
    dataset = load("traffic")
    recordings = [dataset.train, *dataset.tests.values()]
    x, y = (
        np.concatenate([getattr(r.series[0], name) for r in recordings]).astype(np.float64)
        for name in ("values", "targets")
    )
    temperature = dataset.train.channels.index("temperature")
    x[:, temperature] -= x[:, temperature].mean()
    y = (y - y.mean()) / y.std()
    whole = part(*windows([x, y[:, None]], LENGTH, STRIDE))
    if split == "published":
        validation, test, train = at_random(whole, 23489, [0.1, 0.15])
        return Parts(train, validation, test, outputs=1)
    # In time: three quarters train, then a tenth validates, then the rest tests; no window lies in two parts.
    cuts = [len(whole) * 75 // 100, len(whole) * 85 // 100]
    apart = LENGTH // STRIDE
    index = np.arange(len(whole))
    masks = (index < cuts[0] - apart, (index >= cuts[0]) & (index < cuts[1] - apart), index >= cuts[1])
    train, validation, test = (whole.pick(torch.from_numpy(np.flatnonzero(m))) for m in masks)
    return Parts(train, validation, test, outputs=1)


PROTOCOL = Protocol(
    name="traffic",
    source=ltc_paper.SOURCE,
    metric="squared error",
    published={
        "LSTM": (0.169, 0.004),
        "CT-RNN": (0.224, 0.008),
        "Neural ODE": (1.512, 0.179),
        "CT-GRU": (0.389, 0.076),
        "LTC": (0.099, 0.0095),
    },
    settings=ltc_paper.settings(ltc_lr=0.01),
    parts=parts,
    splits=("published", "time"),
    notes=(
        "The published split cuts overlapping windows at random into training and test: the neighbours of a test "
        "window are trained on, and its figures compare with the paper's alone. Beside it the same data cut in time.",
    ),
)
