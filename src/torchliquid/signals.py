"""Signals that wait."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def waiting(*signals: signal.Signals) -> Iterator[None]:
    """Signals that come inside are answered at the end; processes started inside never see them.

    On Windows, where no signal can wait, they are answered at once.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
