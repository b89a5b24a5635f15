"""A training part with changed copies, for users who know what will change after training."""

from __future__ import annotations

from dataclasses import replace

from torchliquid.data import Recording
from torchliquid.study.shifts import GainOffsetDrift, LostSamples, Reference, Shift, shifted
from torchliquid.tasks import Task

COPIES: tuple[tuple[Shift, float], ...] = ((LostSamples(), 0.3), (GainOffsetDrift(), 0.3))
"""The changes, with their severities: one copy of the training part each."""

SEED = 1_000_003
"""Seed of the copies; the test part's shifts use the first integers."""


def augmented(task: Task, training: Recording, reference: Reference) -> Recording:
    """The training part followed by its changed copies. Targets are computed before, so that the truth of a forecast
    stays what was measured."""
    whole = task.with_targets(training)
    copies = [whole]
    for shift, severity in COPIES:
        changed = shifted(whole, shift, severity, reference, SEED)
        kept = (replace(s, name=f"{s.name}, {shift.name}") for s in changed.series if len(s))
        copies.append(replace(changed, series=tuple(kept)))
    return Recording.concat(copies)


def sentence() -> str:
    """What the report says of the conditions."""
    what = " and ".join(f"a copy with {shift.describe(severity)}" for shift, severity in COPIES)
    return (
        f"Augmentation: all contenders were trained on the training part, {what}. The validation and test parts are "
        "unchanged. The chosen settings were also trained without these copies; a table compares both."
    )
