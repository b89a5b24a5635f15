"""Traffic of the LTC paper: how many cars pass at each of 32 hours, from the weather and the calendar?"""

from __future__ import annotations

import numpy as np
import torch

from torchliquid.datasets import load
from torchliquid.reproduce.protocol import Parts, Protocol, Split, at_random, cut
from torchliquid.reproduce.protocols import ltc_paper

LENGTH, STRIDE = 32, 4


def parts(split: Split) -> Parts:
    dataset = load("traffic")
    pieces = [s for recording in (dataset.train, *dataset.tests.values()) for s in recording.series]
    x, y = (np.concatenate([getattr(s, name) for s in pieces]).astype(np.float64) for name in ("values", "targets"))
    temperature = dataset.train.channels.index("temperature")
    x[:, temperature] -= x[:, temperature].mean()
    y = (y - y.mean()) / y.std()
    whole = cut([(x, y[:, None])], LENGTH, STRIDE)
    if split == "published":
        validation, test, train = at_random(whole, 23489, [0.1, 0.15])
        return Parts(train, validation, test, outputs=1)
    # In time: three quarters, a tenth and the rest, without the windows that share samples with the next part.
    order, apart = torch.arange(len(whole)), LENGTH // STRIDE
    first, second = len(whole) * 75 // 100, len(whole) * 85 // 100
    train, validation = whole.pick(order[: first - apart]), whole.pick(order[first : second - apart])
    return Parts(train, validation, whole.pick(order[second:]), outputs=1)


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
        "The published split draws overlapping windows at random for training and test, so the network is trained on "
        "the neighbours of every test window. Compare its figures only with the paper's. The second split cuts the "
        "same data in time.",
        "The first version of the authors' script swapped two axes: its 32 sequences were every fourth hour of all "
        "years, with other hours of the same days for training and test. A later version cuts windows. It is not "
        "known which one gave the printed figures.",
        "*Holiday* is 1 in the first row of a holiday; an error in the authors' script makes it always 0. Rows are "
        "assumed to be one hour apart, as in the authors' code, even if hours are missing or repeated.",
        ltc_paper.OTHERWISE,
    ),
)
