"""Delayed signals."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def waiting(*signals: signal.Signals) -> Iterator[None]:
    """A context in which signals are delayed: they are handled at its end. Processes started inside never get them.

    On Windows, where signals cannot be delayed, they are handled at once.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
