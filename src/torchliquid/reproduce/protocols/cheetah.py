"""Half-Cheetah of the LTC paper: the next of 17 observations, with half of the weights set to zero."""

from __future__ import annotations

from torchliquid.data.recording import Recording
from torchliquid.datasets import load
from torchliquid.reproduce.protocol import Parts, Protocol, Sequences, Split, cut
from torchliquid.reproduce.protocols import ltc_paper

LENGTH, STRIDE = 32, 10


def parts(split: Split) -> Parts:
    dataset = load("cheetah")

    def windows(recording: Recording) -> Sequences:
        return cut(((s.values, s.targets) for s in recording.series if s.targets is not None), LENGTH, STRIDE)

    assert dataset.validation is not None
    return Parts(windows(dataset.train), windows(dataset.validation), windows(dataset.tests["test"]), outputs=17)


PROTOCOL = Protocol(
    name="cheetah",
    source=ltc_paper.SOURCE,
    metric="squared error",
    published={
        "LSTM": (2.500, 0.140),
        "CT-RNN": (2.838, 0.112),
        "Neural ODE": (3.805, 0.313),
        "CT-GRU": (3.014, 0.134),
        "LTC": (2.308, 0.015),
    },
    settings=ltc_paper.settings(ltc_lr=0.01, motors=17),
    parts=parts,
    sparsity=0.5,
    notes=(
        "The split is by rollout, so nothing leaks, and there is no second row.",
        "Half of the weights of all networks are zero, as in the paper; the authors' script sets none to zero by "
        "default. The rates and readouts of a state space, and models other than networks, are not sparse.",
        ltc_paper.OTHERWISE,
    ),
)
