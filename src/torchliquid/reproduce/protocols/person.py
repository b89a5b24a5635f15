"""Person activity of the LTC paper, its first setting: what is the person doing, at each of 32 readings?"""

from __future__ import annotations

from torchliquid.datasets import load
from torchliquid.reproduce.protocol import Parts, Protocol, Split, cut
from torchliquid.reproduce.protocols import ltc_paper

LENGTH, STRIDE = 32, 16


def parts(split: Split) -> Parts:
    recordings = ltc_paper.series(load("person"))
    targets, outputs = ltc_paper.classes(recordings)
    # The authors' loop ends before it keeps the last recording.
    whole = cut(((s.values, y) for s, y in zip(recordings[:-1], targets[:-1], strict=True)), LENGTH, STRIDE)
    return ltc_paper.three_parts(whole, split, 27731, LENGTH // STRIDE, outputs)


PROTOCOL = Protocol(
    name="person",
    source=ltc_paper.SOURCE,
    metric="accuracy %",
    published={
        "LSTM": (83.59, 0.40),
        "CT-RNN": (81.54, 0.33),
        "Latent ODE": (76.48, 0.56),
        "CT-GRU": (85.27, 0.39),
        "LTC": (85.48, 0.40),
    },
    settings=ltc_paper.settings(ltc_lr=0.01, batch=64),
    parts=parts,
    splits=("published", "time"),
    notes=(
        ltc_paper.LEAKS,
        "The last of the 25 recordings is left out, as in the authors' script; in time the last person tests.",
        "In the place of the neural ODE the paper has a latent ODE (76.48 %), which is not run here.",
        ltc_paper.UNTRIED,
    ),
)
