"""Human activity recognition of the LTC paper: what is the person doing, in each of 16 spans of 2.56 s?"""

from __future__ import annotations

import numpy as np

from torchliquid.datasets import load
from torchliquid.reproduce.protocol import Parts, Protocol, Split, cut
from torchliquid.reproduce.protocols import ltc_paper

LENGTH = 16


def parts(split: Split) -> Parts:
    train, test = ltc_paper.series(load("har"))
    (train_y, test_y), outputs = ltc_paper.classes([train, test])
    x, test_x = (s.values.astype(np.float32) for s in (train, test))
    whole, tests = cut([(x, train_y)], LENGTH, 1), cut([(test_x, test_y)], LENGTH, 8)
    return ltc_paper.beside_a_test(whole, tests, split, LENGTH, outputs)


PROTOCOL = Protocol(
    name="har",
    source=ltc_paper.SOURCE,
    metric="accuracy %",
    published={
        "LSTM": (95.85, 0.29),
        "CT-RNN": (95.73, 0.47),
        "Neural ODE": (97.26, 0.10),
        "CT-GRU": (96.16, 0.39),
        "LTC": (95.67, 0.575),
    },
    settings=ltc_paper.settings(ltc_lr=0.01),
    parts=parts,
    splits=("published", "time"),
    notes=(
        "The published split draws a tenth of overlapping windows for validation: it is trained on all but in name. "
        "Beside it the last tenth of the rows validates. The test part is other people in both.",
        ltc_paper.UNTRIED,
    ),
)
