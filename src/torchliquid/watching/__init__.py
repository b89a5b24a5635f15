"""Alarms without labels: a recording's usual course, learnt from a stretch that was good, and what departs from it."""

from torchliquid.watching.findings import Finding, Watched, watch

__all__ = ["Finding", "Watched", "watch"]
