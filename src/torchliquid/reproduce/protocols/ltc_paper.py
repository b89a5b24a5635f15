"""What the tables of the LTC paper share (Hasani et al., arXiv 2006.04439): 32 units, Adam, batches of 16."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from torchliquid.data.recording import Series
from torchliquid.datasets.dataset import Dataset
from torchliquid.reproduce.protocol import Parts, Sequences, Setting, Split, at_random

SOURCE = "Hasani et al., Liquid time-constant networks, arXiv 2006.04439"


LEAKS = (
    "The published split draws overlapping windows at random for training and test, so the network is trained on the "
    "neighbours of every test window. Compare its figures only with the paper's. The second split cuts the same data "
    "in time."
)
"""Of a table whose windows overlap."""

OTHERWISE = (
    "Differences from the authors' code: the time constants of a CT-RNN are learnt, a CT-GRU is that of arXiv "
    "1710.04110, the state of a neural ODE is not clipped, and an LTC is initialised with the ranges of the later "
    "ncps. The polarities of an LTC and the graph of an NCP are drawn once for all seeds, so standard deviations do "
    "not include them."
)
"""What differs in every table of the paper."""


def settings(ltc_lr: float, motors: int = 8, **same: Any) -> dict[str, Setting]:
    """Of each contender: the paper's LTC has a learning rate of its own, all others, ours too, the common one.

    Each of the LTC's six solver steps lasts one unit in the authors' code, so that a sample lasts six; those of CT-RNN
    and neural ODE last a tenth.

    Args:
        ltc_lr: learning rate of LTCs.
        motors: motor neurons of an NCP, at least one for each output.
        same: fields that are the same for all.
    """
    plain, ltc, ode = Setting(), Setting(lr=ltc_lr, span=6.0), Setting(span=0.6)
    on_ncp = {"motors": motors}
    made = {
        "LTC": ltc,
        "CfC": plain,
        "CfC no gate": replace(plain, layer={"mode": "no_gate"}),
        "CfC-mm": plain,
        "LTC on NCP": replace(ltc, layer=on_ncp),
        "CfC on NCP": replace(plain, layer=on_ncp),
        "LSTM": plain,
        "GRU": plain,
        "CT-RNN": ode,
        "Neural ODE": ode,
        "CT-GRU": plain,
        "ODE-LSTM": plain,
        "State space": plain,
        "LrcSSM": plain,
        "Boosting": plain,
        "Linear": plain,
    }
    return {name: replace(setting, **same) for name, setting in made.items()}


def series(dataset: Dataset) -> list[Series]:
    """All of a data set, its parts behind each other."""
    return [s for recording in (dataset.train, *dataset.tests.values()) for s in recording.series]


def three_parts(whole: Sequences, split: Split, seed: int, apart: int, outputs: int) -> Parts:
    """A tenth of the windows validates and 15 % test: at random as published, or in time.

    In time three quarters train, then a tenth validates, then the rest tests.

    Args:
        whole: windows in order.
        seed: of the published permutation.
        apart: two windows whose places differ by so much share no sample; one more is left out.
        outputs: of a network.
    """
    if split == "published":
        validation, test, train = at_random(whole, seed, [0.1, 0.15])
        return Parts(train, validation, test, outputs)
    first, second, end = len(whole) * 75 // 100, len(whole) * 85 // 100, len(whole)
    bounds = ((0, first - apart), (first, second - apart), (second, end))
    train, validation, test = (_between(whole, *rows) for rows in bounds)
    return Parts(train, validation, test, outputs)


def beside_a_test(train: Sequences, test: Sequences, split: Split, apart: int, outputs: int) -> Parts:
    """A tenth of the training windows validates, at random as published, or the last in time; two windows whose
    places differ by ``apart`` share no sample."""
    if split == "published":
        validation, rest = at_random(train, 893429, [0.1])
        return Parts(rest, validation, test, outputs)
    start = len(train) * 9 // 10
    rest, validation = _between(train, 0, start - apart + 1), _between(train, start, len(train))
    return Parts(rest, validation, test, outputs)


def _between(whole: Sequences, start: int, stop: int) -> Sequences:
    """Windows in order; none where ``stop`` lies before ``start``."""
    return whole.pick(torch.arange(start, max(start, stop)))
