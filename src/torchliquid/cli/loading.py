"""Importing PyTorch takes over a second, so invalid input raises errors before that."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from torchliquid.signals import waiting


@contextmanager
def loading() -> Iterator[None]:
    """A context for imports that need PyTorch. Ctrl-C is delayed, because in the middle it would end the process
    without a message. Garbage collection is delayed too, because it would take a fifth of the time."""
    with waiting(signal.SIGINT, signal.SIGTERM):
        gc.disable()
        try:
            import torch  # noqa: F401

            yield
        finally:
            gc.freeze()
            gc.enable()
