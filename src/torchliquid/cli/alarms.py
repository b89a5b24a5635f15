"""Options for the deciding metric and for alarms, and how they change a task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from torchliquid.cli.amounts import duration, rate

if TYPE_CHECKING:
    from torchliquid.tasks import Task


@dataclass(frozen=True)
class Deciding:
    """The options as typed. :func:`torchliquid.cli.options.expanded` adds them to a command."""

    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric that stops, tunes and decides: accuracy, balanced_accuracy, macro_f1, f1, roc_auc, "
            "average_precision, log_loss or brier; rmse, mae, r2 or pinball@0.9. Default: accuracy or RMSE, or average "
            "precision if more than four labels in five are of one class."
        ),
    ] = None
    false_alarms: Annotated[
        str | None,
        typer.Option(
            help="Maximum rate of false alarms on the validation part, e.g. 1/day or 0.05/series, that sets the "
            "threshold; default: the threshold with the best F1."
        ),
    ] = None
    alarm_length: Annotated[
        str | None, typer.Option(help="Time above the threshold before an alarm begins, e.g. 30s.")
    ] = None
    alarm_merge: Annotated[str | None, typer.Option(help="Longest pause that does not end an alarm, e.g. 5min.")] = None

    def check(self) -> None:
        """Check that the metric exists, before a table is read."""
        from torchliquid.metrics import find

        if self.metric is not None:
            find(self.metric)

    def change(self, task: Task, time_unit: str) -> Task:
        """The task of a recording with this unit of time, with these options in place of its metric and alarms."""
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
