"""Alarms without labels: learn the usual course of a recording from a good stretch, and find deviations from it."""

from torchliquid.watching.findings import Finding, Watched, watch

__all__ = ["Finding", "Watched", "watch"]
