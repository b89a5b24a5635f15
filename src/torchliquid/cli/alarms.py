"""Options on what decides a study and how alarms are made, and how they turn into a task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from torchliquid.cli import times
from torchliquid.errors import InputError

if TYPE_CHECKING:
    from torchliquid.tasks import Task

Metric = Annotated[
    str | None,
    typer.Option(
        help="What stops, tunes and decides: accuracy, balanced_accuracy, macro_f1, f1, roc_auc, average_precision, "
        "log_loss or brier; rmse, mae, r2 or pinball@0.9. Without it accuracy or RMSE, or average precision where "
        "more than four labels in five are of one class."
    ),
]
FalseAlarms = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="The most false alarms that the threshold may give on the validation part, e.g. 1/day or 0.05/series; "
        "without it the threshold has the best F1.",
    ),
]
AlarmLength = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="How long samples must be over the threshold before an alarm begins, e.g. 30s."),
]
AlarmMerge = Annotated[
    str | None, typer.Option(metavar="TIME", help="The longest pause that does not end an alarm, e.g. 5min.")
]


@dataclass(frozen=True)
class Deciding:
    """What was asked for, as typed."""

    metric: str | None = None
    false_alarms: str | None = None
    alarm_length: str | None = None
    alarm_merge: str | None = None

    def check(self) -> None:
        """See that there is such a metric, before a table is read.

        Raises:
            InputError: there is none.
        """
        from torchliquid.metrics import find

        if self.metric is not None:
            find(self.metric)

    def change(self, task: Task, time_unit: str) -> Task:
        """A task with what was asked for in place of its own metric and alarms.

        Args:
            task: as the recording sets it.
            time_unit: of the recording.

        Raises:
            InputError: an option that is no metric, no time or no rate, or none of this task.
        """
        from torchliquid.alarms import Alarm

        if self.metric is not None:
            task = replace(task, primary=self.metric, reason="", alarm=None).with_alarm()
        if self.false_alarms is None and self.alarm_length is None and self.alarm_merge is None:
            return task
        length, merge = (
            0.0 if text is None else duration(option, text, time_unit)
            for option, text in (("--alarm-length", self.alarm_length), ("--alarm-merge", self.alarm_merge))
        )
        limit = None if self.false_alarms is None else rate(self.false_alarms, time_unit, task.per)
        return replace(task, alarm=Alarm(length, merge, limit))


def duration(option: str, text: str, time_unit: str) -> float:
    """``30s`` in the recording's unit; a number alone is in it already.

    Raises:
        InputError: no time, or in a unit that the recording's is not known to be made of.
    """
    number, unit = times.amount(option, text, "a time with its unit, like 30s")
    return number * times.in_units(option, text, unit or time_unit, time_unit)


def rate(text: str, time_unit: str, per: str) -> float:
    """``1/day`` for the recording's unit of time; ``0.05/series`` as it is.

    Raises:
        InputError: no rate, or for what the task is not about.
    """
    wanted = "a number for a series, like 0.05/series" if per == "series" else "a number for a time, like 1/day"
    number, slash, unit = text.partition("/")
    count, rest = times.amount("--false-alarms", number, wanted)
    unit = unit.strip()
    if not slash or rest or not unit or (unit == "series") != (per == "series"):
        raise InputError(f"--false-alarms {text}: the task has an answer a {per}; give {wanted}")
    return count if unit == "series" else count / times.in_units("--false-alarms", text, unit, time_unit)
