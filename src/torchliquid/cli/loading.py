"""PyTorch and what builds on it take over a second to load: what can be refused is refused before."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from torchliquid.signals import waiting


@contextmanager
def loading() -> Iterator[None]:
    """Import what needs PyTorch. Ctrl-C waits, which would end the process without a word in the middle, and so does
    the collector of garbage, which would look through all that is loaded many times, a fifth of the whole."""
    with waiting(signal.SIGINT, signal.SIGTERM):
        gc.disable()
        try:
            import torch  # noqa: F401

            yield
        finally:
            gc.freeze()
            gc.enable()
