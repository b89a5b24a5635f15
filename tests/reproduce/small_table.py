"""A table of seconds, on data that comes from nowhere; as a program, ``torchliquid reproduce`` that knows this one."""

from __future__ import annotations

import numpy as np

from torchliquid.reproduce import protocols
from torchliquid.reproduce.protocol import Parts, Protocol, Sequences, Setting, Split, part


def pieces(seed: int, sequences: int = 60) -> Sequences:
    """Sums so far of noise."""
    x = np.random.default_rng(seed).normal(size=(sequences, 8, 2))
    return part(x, x.cumsum(1)[..., :1])


def parts(split: Split) -> Parts:
    return Parts(pieces(0), pieces(1), pieces(2), outputs=1)


TABLE = Protocol(
    name="cheetah",
    source="nobody",
    metric="squared error",
    published={},
    settings={name: Setting(6, epochs=15) for name in ("CfC", "LTC", "GRU", "LSTM", "CT-RNN")},
    parts=parts,
)

if __name__ == "__main__":
    protocols.protocol = lambda name: TABLE
    from torchliquid.cli import main

    main()
