"""Random numbers that leave the caller's generators unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int | None = None) -> Iterator[None]:
    """A context in which torch draws from this seed (None: from its current state). Afterwards, its global generators
    are as before.

    torch's own initialisations and dropout use only the global generator.
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        if seed is not None:
            torch.manual_seed(seed)
        yield
