"""What options say, beside the commands that take them."""

from __future__ import annotations

import pytest

from torchliquid.cli.options import _horizon, windows
from torchliquid.errors import InputError


@pytest.mark.parametrize(
    ("text", "unit", "ahead"),
    [
        ("6", "s", (6, "samples")),
        ("30min", "s", (1800, "s")),
        ("5 ms", "us", (5000, "us")),
        ("2 hours", "seconds", (7200, "seconds")),
        ("1.5s", "ms", (1500, "ms")),
        ("3 cycle", "cycle", (3, "cycle")),
        ("1day", "h", (24, "h")),
    ],
)
def test_a_horizon_becomes_the_recordings_unit(text, unit, ahead):
    assert _horizon(text, unit) == ahead


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("3 weeks", "s", "'weeks' is not a unit of time; use us, ms, s, sec"),
        ("3 min", "cycle", "times are in 'cycle'; give the horizon in it"),
        ("3 min", "units", "name their unit with --time-unit: us, ms, s"),
        ("1.2.3", "s", "give a number of samples"),
    ],
)
def test_a_horizon_in_no_known_unit_is_one_line(text, unit, message):
    with pytest.raises(InputError, match=message):
        _horizon(text, unit)


@pytest.mark.parametrize("text", ["", "²", "9" * 5000, "64,,8", "64,16,8,4", "-1"])
def test_windows_of_another_form_are_one_line(text):
    with pytest.raises(InputError, match=r"--window .*: give LENGTH or LENGTH,STRIDE"):
        windows(text)
