"""Gesture phases of the LTC paper: in which phase is a gesture, at each of 32 frames?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from torchliquid.datasets import load
from torchliquid.datasets.gesture import ROWS
from torchliquid.reproduce.protocol import Parts, Protocol, Split, cut
from torchliquid.reproduce.protocols import ltc_paper

LENGTH, STRIDE = 32, 16


def parts(split: Split) -> Parts:
    videos = sorted(ltc_paper.series(load("gesture")), key=lambda s: list(ROWS).index(s.name))
    targets, outputs = ltc_paper.classes(videos)
    # The authors cut whole windows first and put others half-way between them: none lies behind the last whole one.
    ends = [len(s) // LENGTH * LENGTH + 1 for s in videos]
    whole = cut(((s.values[:n], y[:n]) for s, y, n in zip(videos, targets, ends, strict=True)), LENGTH, STRIDE)
    mean, deviation = (torch.from_numpy(f(whole.inputs.numpy(), (0, 1))) for f in (np.mean, np.std))
    whole = replace(whole, inputs=(whole.inputs - mean) / deviation)
    return ltc_paper.three_parts(whole, split, 23489, LENGTH // STRIDE, outputs)


PROTOCOL = Protocol(
    name="gesture",
    source=ltc_paper.SOURCE,
    metric="accuracy %",
    published={
        "LSTM": (64.57, 0.59),
        "CT-RNN": (59.01, 1.22),
        "Neural ODE": (46.97, 3.03),
        "CT-GRU": (68.31, 1.78),
        "LTC": (69.55, 1.13),
    },
    settings=ltc_paper.settings(ltc_lr=0.01),
    parts=parts,
    splits=("published", "time"),
    notes=(
        ltc_paper.LEAKS,
        "In time the last videos test, in the order of the authors' list.",
        ltc_paper.UNTRIED,
    ),
)
