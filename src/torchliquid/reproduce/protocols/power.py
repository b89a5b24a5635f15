"""Household power of the LTC paper: how much power is taken, at each of 32 minutes, from the other meters?"""

from __future__ import annotations

import numpy as np

from torchliquid.data.preprocessing import last_observed
from torchliquid.datasets import load
from torchliquid.reproduce.protocol import Parts, Protocol, Split, cut
from torchliquid.reproduce.protocols import ltc_paper

LENGTH = STRIDE = 32


def parts(split: Split) -> Parts:
    minutes = ltc_paper.series(load("power"))
    rows = np.concatenate([np.column_stack([np.asarray(s.targets), s.values]) for s in minutes])
    rows = np.take_along_axis(rows, np.maximum(last_observed(~np.isnan(rows)) - 1, 0), 0)
    rows = (rows - rows.mean(0)) / rows.std(0)
    whole = cut([(rows[:, 1:], rows[:, :1])], LENGTH, STRIDE)
    return ltc_paper.three_parts(whole, split, 23489, LENGTH // STRIDE, outputs=1)


PROTOCOL = Protocol(
    name="power",
    source=ltc_paper.SOURCE,
    metric="squared error",
    published={
        "LSTM": (0.628, 0.003),
        "CT-RNN": (0.742, 0.005),
        "Neural ODE": (1.254, 0.149),
        "CT-GRU": (0.586, 0.003),
        "LTC": (0.642, 0.021),
    },
    settings=ltc_paper.settings(ltc_lr=0.01),
    parts=parts,
    splits=("published", "time"),
    notes=(
        "The published split draws windows, none of which overlap, at random: a test window lies between windows that "
        "are trained on. Beside it the same data cut in time.",
        "One input is the current, and voltage times current is nearly the target: errors far below the printed ones "
        "are no feat.",
        ltc_paper.UNTRIED,
    ),
)
