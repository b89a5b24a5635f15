"""Options for the deciding metric and for alarms, and how they change a task."""

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
        help="Metric that stops, tunes and decides: accuracy, balanced_accuracy, macro_f1, f1, roc_auc, "
        "average_precision, log_loss or brier; rmse, mae, r2 or pinball@0.9. Default: accuracy or RMSE, or average "
        "precision if "
        "more than four labels in five are of one class."
    ),
]
FalseAlarms = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="Maximum rate of false alarms on the validation part, e.g. 1/day or 0.05/series, that sets the threshold; "
        "default: the threshold with the best F1.",
    ),
]
AlarmLength = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Time above the threshold before an alarm begins, e.g. 30s."),
]
AlarmMerge = Annotated[
    str | None, typer.Option(metavar="TIME", help="Longest pause that does not end an alarm, e.g. 5min.")
]


@dataclass(frozen=True)
class Deciding:
    """The options as typed."""

    metric: str | None = None
    false_alarms: str | None = None
    alarm_length: str | None = None
    alarm_merge: str | None = None

    def check(self) -> None:
        """Check that the metric exists, before a table is read.

        Raises:
            InputError: it does not.
        """
        from torchliquid.metrics import find

        if self.metric is not None:
            find(self.metric)

    def change(self, task: Task, time_unit: str) -> Task:
        """The task with these options in place of its metric and alarms.

        Args:
            task: inferred from the recording.
            time_unit: of the recording.

        Raises:
            InputError: an option is not a metric, a time or a rate, or does not fit the task.
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
    """``30s`` in the recording's unit; a number without a unit is in it already.

    Raises:
        InputError: it is not a time, or the unit of the recording is unknown.
    """
    number, unit = times.amount(option, text, "a time with its unit, such as 30s")
    return number * times.in_units(option, text, unit or time_unit, time_unit)


def rate(text: str, time_unit: str, per: str) -> float:
    """``1/day`` per unit of time of the recording; ``0.05/series`` unchanged.

    Raises:
        InputError: it is not a rate, or does not fit the task.
    """
    wanted = "a number per series, such as 0.05/series" if per == "series" else "a number per time, such as 1/day"
    number, slash, unit = text.partition("/")
    count, rest = times.amount("--false-alarms", number, wanted)
    unit = unit.strip()
    if not slash or rest or not unit or (unit == "series") != (per == "series"):
        raise InputError(f"--false-alarms {text}: the task has one answer per {per}; give {wanted}")
    return count if unit == "series" else count / times.in_units("--false-alarms", text, unit, time_unit)
