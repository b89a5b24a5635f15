"""What the options on metrics and alarms ask for."""

import pytest

from torchliquid.alarms import Alarm
from torchliquid.cli.alarms import Deciding
from torchliquid.errors import InputError
from torchliquid.tasks import Task

STEP = Task("classification", "step", "state", ("ok", "fault"))
SERIES = Task("classification", "series", "died", ("0", "1"))
VALUES = Task("regression", "step", "level")


@pytest.mark.parametrize(
    ("deciding", "task", "unit", "primary", "alarm"),
    [
        (Deciding(), STEP, "s", "accuracy", None),
        (Deciding("roc_auc"), STEP, "s", "roc_auc", Alarm()),
        (Deciding("log_loss"), STEP, "s", "log_loss", None),
        (Deciding("pinball@0.9"), VALUES, "s", "pinball@0.9", None),
        (Deciding(None, "1/day"), STEP, "s", "accuracy", Alarm(limit=1 / 86400)),
        (Deciding(None, "2/h", "30s", "5min"), STEP, "min", "accuracy", Alarm(0.5, 5.0, 2 / 60)),
        (Deciding(None, "0.05/series"), SERIES, "s", "accuracy", Alarm(limit=0.05)),
        (Deciding(None, "3/cycles", "2"), STEP, "cycles", "accuracy", Alarm(2.0, limit=3.0)),
    ],
)
def test_options_become_a_metric_and_a_rule(deciding, task, unit, primary, alarm):
    changed = deciding.change(task, unit)
    assert (changed.primary, changed.alarm) == (primary, alarm)


@pytest.mark.parametrize(
    ("deciding", "task", "unit", "says"),
    [
        (Deciding("auc"), STEP, "s", "there is no metric 'auc'"),
        (Deciding("rmse"), STEP, "s", "classification has no metric 'rmse'"),
        (Deciding(None, "1"), STEP, "s", "a number per time, such as 1/day"),
        (Deciding(None, "1/series"), STEP, "s", "one answer per step"),
        (Deciding(None, "1/day"), SERIES, "s", "0.05/series"),
        (Deciding(None, "1/day"), STEP, "cycles", "the recording's times are in 'cycles'"),
        (Deciding(None, None, "soon"), STEP, "s", "--alarm-length soon"),
        (Deciding(None, "1/day"), VALUES, "s", "alarms need a classification"),
        (Deciding(None, "0/series", "3s"), SERIES, "s", "alarms have no duration"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(deciding, task, unit, says):
    with pytest.raises(InputError, match=says):
        deciding.change(task, unit)
