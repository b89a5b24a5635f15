"""Tables in the forms that loggers, historians, spreadsheets and dashboards write, each with a known answer.

What is written in a form must come back, or be refused with the way out where the form can mean two things.
"""

from __future__ import annotations

import bz2
import datetime as dt
import json
import lzma
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.helpers.needed import NO_TABLES

from torchliquid.data import Recording
from torchliquid.errors import InputError

START = dt.datetime(2024, 10, 1, 8)
SECONDS = dt.datetime(2024, 10, 1, 8, tzinfo=dt.UTC).timestamp()
N = 40
CLOCK = [START + dt.timedelta(minutes=i) for i in range(N)]
TEMP = [round(20 + 4 * np.sin(i / 9) + 0.001 * (i % 7), 3) for i in range(N)]
HUM = [round(55 + 3 * np.cos(i / 5), 2) for i in range(N)]
STATE = ["idle" if i % 11 < 4 else "run" for i in range(N)]


def rows(
    when: Callable[[dt.datetime], object] = str,
    head: str = "when,temp,hum,state",
    sep: str = ",",
    temp: Callable[[float], str] = str,
    hum: Callable[[float], str] = str,
    clock: list[dt.datetime] = CLOCK,
) -> str:
    lines = [
        sep.join(map(str, (when(t), temp(a), hum(b), s))) for t, a, b, s in zip(clock, TEMP, HUM, STATE, strict=True)
    ]
    return "\n".join([head.replace(",", sep), *lines]) + "\n"


def read(tmp_path: Path, content: str | bytes, name: str = "table.csv", **options: Any) -> Recording:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Recording.read(path, **{"target": "state", "time": "when", **options})


def said(recording: Recording, *parts: str) -> None:
    for part in parts:
        assert any(part in note for note in recording.notes), (part, recording.notes)


def is_right(recording: Recording, step: float = 60.0, first: float | None = SECONDS, channels=("temp", "hum")) -> None:
    series = recording.series[0]
    assert recording.n_series == 1
    np.testing.assert_allclose(np.diff(series.times), step, atol=1e-6)
    if first is not None:
        assert series.times[0] == first
    assert recording.channels == channels
    np.testing.assert_array_equal(series.values, np.stack([TEMP, HUM], 1))
    assert series.targets is not None
    assert series.targets.tolist() == STATE


def attempt(read: Callable[[], Recording]) -> tuple[Recording | None, str]:
    """What was read, or why it was refused."""
    try:
        return read(), ""
    except InputError as error:
        return None, str(error)


def comma(value: float) -> str:
    return str(value).replace(".", ",")


TEXT = rows()
HOURS = [START + dt.timedelta(hours=i) for i in range(N)]


def numbered(name: str) -> str:
    return "\n".join(f"{i or name},{line}" for i, line in enumerate(TEXT.splitlines()))


def json_lines() -> str:
    samples = zip(map(str, CLOCK), TEMP, HUM, STATE, strict=True)
    return "".join(json.dumps(dict(zip(("when", "temp", "hum", "state"), one, strict=True))) + "\n" for one in samples)


FORMS: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "day first, dots": (rows("{:%d.%m.%Y %H:%M:%S}".format), {}, ""),
    "year first, two digits": (rows("{:%y/%m/%d %H:%M:%S}".format), {}, "read year first, as 2024-10-01"),
    "14 digits": (rows("{:%Y%m%d%H%M%S}".format), {}, "are all valid dates"),
    "12 digits, form given": (rows("{:%Y%m%d%H%M}".format), {"time_format": "%Y%m%d%H%M"}, ""),
    "month name": (rows("{:%d-%b-%Y %H:%M:%S}".format), {}, ""),
    "American": (rows('"{:%b %d, %Y %I:%M %p}"'.format), {}, ""),
    "German month": (rows(lambda t: f'"{t:%d}. Oktober {t:%Y, %H:%M} Uhr"'), {}, ""),
    "ctime": (rows("{:%a %b %d %H:%M:%S %Y}".format), {}, ""),
    "Apache": (rows("{:%d/%b/%Y:%H:%M:%S} +0000".format), {}, ""),
    "AM and PM": (rows("{:%m/%d/%Y %I:%M:%S %p}".format), {}, "read month first"),
    "time first": (rows("{:%H:%M:%S %d.%m.%Y}".format), {}, ""),
    "UTC behind": (rows("{} UTC".format), {}, ""),
    "zone by name": (rows(lambda t: f"{t + dt.timedelta(hours=2)} CEST"), {}, "CEST as +02:00"),
    "offset behind": (rows(lambda t: f"{t + dt.timedelta(hours=5.5):%d.%m.%Y %H:%M} +0530"), {}, ""),
    "ISO week": (rows("{:%G-W%V-%u %H:%M}".format), {"time_format": "%G-W%V-%u %H:%M"}, ""),
    "comma decimals": (rows(sep=";", temp=comma, hum=comma), {}, ""),
    "quoted comma decimals": (rows(temp=lambda v: f'"{comma(v)}"', hum=lambda v: f'"{comma(v)}"'), {}, ""),
    "exponents": (rows(sep="\t", temp=lambda v: comma(float(v)) + "E+00", hum=comma), {}, ""),
    "units": (rows(temp="{} °C".format, hum="{}%".format), {}, "as numbers in °C"),
    "dash for minus, and currency": (rows(hum="${}".format), {}, ""),
    "title": ("Plot Title: site A\n" + TEXT, {}, "1 line above the header in row 2"),
    "preamble as wide as the table": ("Logger,7,site A,x\n" + TEXT, {}, "1 line above the header in row 2"),
    "preamble": ("Serial,12345\nModel,X1\n\n" + TEXT, {}, "2 lines above the header in row 4"),
    "comments": ("# logger 7\n# UTC\n" + TEXT, {}, "2 comment lines"),
    "comment among rows": (
        TEXT.replace("\n2024-10-01 08:05", "\n# calibrated, twice\n2024-10-01 08:05"),
        {},
        "1 comment lines",
    ),
    "header in a comment": ("# made by me\n# " + TEXT, {}, "1 comment line above"),
    "other comments": ("! logger 7\n" + TEXT, {"comment": "!"}, "1 comment line above"),
    "skipped": ("when,temp,hum,state\n" + TEXT, {"skip": 1}, ""),
    "units below": (TEXT.replace("state\n", "state\nTS,Deg C,%,\n,Avg,Smp,\n"), {}, "2 rows below the header"),
    "header again": (
        TEXT.replace("\n2024-10-01 08:30", "\nwhen,temp,hum,state\n2024-10-01 08:30"),
        {},
        "repeat the header",
    ),
    "closing row": (TEXT + "END OF DATA,,,\n", {}, "1 row at the end contains no data"),
    "trailing delimiter": (TEXT.replace("run\n", "run,\n").replace("idle\n", "idle,\n"), {}, "end with a delimiter"),
    "TOA5": (
        '"TOA5","CR1000X","CR1000X","12345"\n"when","temp","hum","state"\n"TS","Deg C","%",""\n"","Avg","Smp","Smp"\n'
        + TEXT.split("\n", 1)[1],
        {},
        "2 rows below the header",
    ),
    "UTF-16 without its mark": (TEXT.encode("utf-16-le"), {}, ""),
    "UTF-32": (TEXT.encode("utf-32"), {}, ""),
    "old Macs": (TEXT.replace("\n", "\r"), {}, ""),
    "row number without a name": (numbered(""), {}, "count the rows"),
    "row number": (numbered("entry_id"), {}, "count the rows"),
    "a second clock": (
        "\n".join(f"{x},{1727769600000 + 60000 * i if i else 'sent'}" for i, x in enumerate(TEXT.split("\n")[:-1])),
        {},
        "'sent' is a clock",
    ),
    "two columns": (rows("{:%d.%m.%Y,%H:%M:%S}".format, head="Date,Time,temp,hum,state"), {"time": "Date,Time"}, ""),
    "two columns, Italian": (
        rows("{:%d/%m/%Y;%H.%M.%S}".format, "Date,Time,temp,hum,state", ";", comma, comma),
        {"time": "Date,Time"},
        "day first",
    ),
    "date and hour": (
        rows(lambda t: f"{t:%Y-%m-%d},{t.hour}", head="day,hour,temp,hum,state", clock=HOURS),
        {"time": "day,hour"},
        "'hour' was read as the hour of the day",
    ),
    "day in digits and hour and minute": (
        rows(lambda t: f"{t:%Y%m%d},{t.hour * 100 + t.minute}", head="day,clock,temp,hum,state"),
        {"time": "day,clock"},
        "'clock' was read as HHMM",
    ),
    "month first, as asked": (rows("{:%m/%d/%Y %H:%M}".format), {"date_order": "month first"}, ""),
    "day first, as another table": (rows("{:%d.%m.%y %H:%M}".format), {"like": {"date_order": "day first"}}, ""),
    "JavaScript": (
        rows(lambda t: f"{t + dt.timedelta(hours=2):%a %b %d %Y %H:%M:%S} GMT+0200 (Central European Summer Time)"),
        {},
        "",
    ),
    "bz2": (bz2.compress(TEXT.encode()), {}, ""),
    "xz": (lzma.compress(TEXT.encode()), {}, ""),
    "JSON lines": (json_lines(), {}, ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_was_written_in_a_form_comes_back(tmp_path, form):
    content, options, note = FORMS[form]
    recording = read(tmp_path, content, **options)
    is_right(recording, 3600 if form == "date and hour" else 60)
    if note:
        said(recording, note)
    else:
        assert recording.notes == ()


REFUSED: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "day or month": (rows("{:%d/%m/%Y %H:%M}".format), {}, r"day first or month first.*time_format=.*--time-format"),
    "second 60": (TEXT.replace("08:05:00", "08:04:60"), {}, "'2024-10-01 08:04:60' in row 7 of column 'when'"),
    "30 February": (
        rows("{:%d.%m.%Y %H:%M}".format).replace("01.10.2024 08:05", "30.02.2024 08:05"),
        {},
        "'30.02.2024 08:05' in row 7",
    ),
    "another form": (TEXT, {"time_format": "%d.%m.%Y"}, "'2024-10-01 08:00:00' in row 2 .* of the format '%d.%m.%Y'"),
    "ambiguous zone": (rows("{} CST".format), {}, "'CST', which is not the name of one zone"),
    "some with a zone": (TEXT.replace("08:05:00", "08:05:00Z"), {}, "'2024-10-01 08:00:00' in row 2 .* has no zone"),
    "a decimal comma or thousands": (
        rows(sep="\t", temp=lambda v: f"{v:.3f}".replace(".", ","), hum=lambda v: "5"),
        {},
        "with a decimal comma and .*--decimal",
    ),
    "two units": (
        TEXT.replace(",55.", ",55. m").replace(". m", ".") and rows(hum=lambda v: f"{v} mV" if v > 56 else f"{v} V"),
        {},
        "several units, .* in row",
    ),
    "a word": (
        TEXT.replace(f",{TEMP[5]},", ",I/O Timeout,"),
        {},
        "'I/O Timeout' in row 7 of column 'temp'.*--missing 'I/O Timeout'",
    ),
    "many words": (
        rows(temp=lambda v: "Bad" if v > 20.5 else str(v)),
        {},
        "'Bad' in row .* of column 'temp', which is otherwise numeric",
    ),
    "words in a target of numbers": (
        rows(temp=lambda v: "Bad" if v > 21.5 else str(v)),
        {"target": "temp"},
        "'Bad' in row .* of column 'temp'",
    ),
    "another header": (
        TEXT.replace("\n2024-10-01 08:30", "\ntemp,when,hum,state\n2024-10-01 08:30"),
        {},
        "row 32 is a header",
    ),
    "a zero in a label": (TEXT.replace("08:30:00", "08:30:0\0"), {}, "row 32 contains a zero byte"),
    "an unknown encoding": (TEXT, {"encoding": "utf-99"}, "there is no encoding 'utf-99'"),
    "not of this encoding": (
        TEXT.replace("run", "gå").encode("cp1252"),
        {"encoding": "utf-8"},
        "row 6 is not valid utf-8",
    ),
    "an unknown option": (TEXT, {"tim": "when"}, "no option 'tim'; did you mean 'time'"),
    "broken JSON": ('{"when": 1, "temp": 2}\n{"when"', {}, "the JSON cannot be read"),
    "dates of no order that was asked for": (
        rows("{:%d/%m/%Y %H:%M}".format).replace("01/10/2024 08:05", "13/10/2024 08:05"),
        {"date_order": "month first"},
        "'13/10/2024 08:05' in row 7 of column 'when' cannot be read as a date month first",
    ),
    "an unknown order": (
        TEXT,
        {"date_order": "dayfirst"},
        "'day first', 'month first' or 'year first', not 'dayfirst'",
    ),
    "points where commas were said": (TEXT, {"decimal": ","}, "'20.0' in row 2 of column 'temp' .* decimal mark ','"),
    "commas where points were said": (
        rows(sep=";", temp=comma, hum=comma),
        {"decimal": "."},
        "'20,0' in row 2 of column 'temp' .* decimal mark '.'",
    ),
    "a date to be kept": (
        TEXT.replace("state\n", "state\n", 1),
        {"time": None, "keep": ["when"]},
        "'when' contains dates",
    ),
    "a time to be kept": (TEXT, {"keep": ["when"]}, "'when' cannot be both time and channel"),
    "two tables in a zip": (b"", {}, "the zip archive contains 2 tables .a.csv, b.csv."),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_can_mean_two_things_is_refused_with_the_way_out(tmp_path, form):
    content, options, message = REFUSED[form]
    name = "table.csv"
    if form == "two tables in a zip":
        name = "table.zip"
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.csv", TEXT)
            archive.writestr("b.csv", TEXT)
        content = (tmp_path / name).read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content, name, **options)
    assert "\n" not in str(caught.value)


# -- properties: any numbers and times, in any form

DATE_FORMS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y%m%d%H%M%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%d.%m.%Y %H:%M:%S",
    "%d-%b-%Y %H:%M:%S",
    "%b %d, %Y %I:%M:%S %p",
    "%d %B %Y %H:%M",
    "%A, %d %b %Y %H:%M:%S +0100",
    "%H:%M:%S %Y-%m-%d",
)


@settings(max_examples=60)
@given(
    form=st.sampled_from(DATE_FORMS),
    start=st.datetimes(dt.datetime(1975, 1, 1), dt.datetime(2060, 1, 1)),
    minutes=st.lists(st.integers(1, 5000), min_size=8, max_size=20),
    told=st.booleans(),
)
def test_dates_of_any_form_come_back(form, start, minutes, told):
    start = start.replace(second=0, microsecond=0)
    clock = [start + dt.timedelta(minutes=int(m)) for m in np.cumsum(minutes)]
    when = [t.strftime(form) for t in clock]
    if form.startswith("%b") and not told:
        when = [w.replace("AM", "a.m.").replace("PM", "p.m.") for w in when]
    frame = pl.DataFrame({"when": when, "x": np.sin(np.arange(len(clock)))})
    say = {"time_format": form.replace("+0100", "%z").replace("Z", "%z")} if told else {}
    recording = Recording.from_frame(frame, time="when", **say)
    off = 3600 if "+0100" in form else 0
    expected = [(t - dt.datetime(1970, 1, 1)).total_seconds() - off for t in clock]
    np.testing.assert_allclose(recording.series[0].times, expected, atol=1e-6)
    assert recording.zoned == ("+0100" in form or form.endswith("Z"))


@settings(max_examples=60)
@given(
    order=st.sampled_from(["%d/%m/%y", "%m/%d/%y", "%y/%m/%d", "%d/%m/%Y", "%m-%d-%Y", "%d.%m.%y"]),
    start=st.dates(dt.date(2012, 1, 1), dt.date(2025, 1, 1)),
    days=st.lists(st.integers(0, 40), min_size=2, max_size=60),
)
def test_numbers_of_a_date_are_told_apart_or_refused(order, start, days):
    dates = [start + dt.timedelta(days=int(d)) for d in np.cumsum(days)]
    frame = pl.DataFrame({"when": [d.strftime(order) for d in dates], "x": np.sin(np.arange(len(dates)))})
    recording, refusal = attempt(lambda: Recording.from_frame(frame, time="when"))
    if recording is None:
        assert "time_format" in refusal or "time stands still" in refusal
        return
    right = [(d - dt.date(1970, 1, 1)).days * 86400.0 for d in dates]
    if recording.series[0].times.tolist() != right:  # never without a word
        said(recording, "were read")


@settings(max_examples=60)
@given(
    values=st.lists(st.integers(-9_999_999, 9_999_999), min_size=5, max_size=30),
    decimals=st.integers(0, 4),
    trimmed=st.booleans(),
    mark=st.sampled_from(".,"),
    group=st.sampled_from(["", ".", ",", " ", "'", "\u202f"]),
    minus=st.sampled_from(["-", "\u2212"]),
    unit=st.sampled_from(["", " °C", "%", " kWh"]),
    sep=st.sampled_from(";\t"),
    say=st.booleans(),
)
@example(  # as many numbers between commas as between tabs
    values=[0] * 20, decimals=1, trimmed=False, mark=",", group="", minus="-", unit="", sep="\t", say=True
)
def test_numbers_of_any_form_come_back_or_are_refused(
    values, decimals, trimmed, mark, group, minus, unit, sep, say, tmp_path_factory
):
    if group == mark:
        return
    right = [v / 10**decimals for v in values]

    def written(value: float) -> str:
        text = f"{abs(value):,.{decimals}f}"
        if trimmed and "." in text:
            text = text.rstrip("0").rstrip(".")
        text = text.replace(",", "\0").replace(".", mark).replace("\0", group)
        return (minus if value < 0 else "") + text + unit

    when = [f"{i * 1.5:.1f}".replace(".", mark) for i in range(len(right))]
    lines = [f"{t}{sep}{written(v)}{sep}a" for t, v in zip(when, right, strict=True)]
    path = tmp_path_factory.mktemp("numbers") / "x.csv"
    path.write_text("\n".join([f"t{sep}x{sep}y", *lines]))
    options = {"decimal": mark} if say else {}
    recording, refusal = attempt(lambda: Recording.read(path, time="t", channels=["x"], **options))
    if recording is None:
        assert not say, refusal
        assert "decimal" in refusal
        return
    np.testing.assert_allclose(recording.series[0].values[:, 0], right, rtol=1e-12)


@settings(max_examples=40)
@given(
    words=st.lists(st.sampled_from(["café", "naïve", "Öl", "€uro", "run"]), min_size=4, max_size=30),
    wrong=st.lists(st.booleans(), min_size=30, max_size=30),
)
def test_letters_of_another_encoding_make_no_new_class(words, wrong, tmp_path_factory):
    path = tmp_path_factory.mktemp("letters") / "x.csv"
    lines = [
        f"{i},{i % 3},{word}\n".encode("cp1252" if odd else "utf-8")
        for i, (word, odd) in enumerate(zip(words, wrong, strict=False))
    ]
    path.write_bytes(b"t,x,y\n" + b"".join(lines))
    recording = Recording.read(path, time="t", target="y")
    assert recording.series[0].targets.tolist() == words


@settings(max_examples=40)
@given(
    gaps=st.lists(st.integers(1, 900), min_size=3, max_size=20),
    form=st.sampled_from(["ns", "decimals", "date", "typed"]),
)
def test_no_digit_of_a_clock_is_lost(gaps, form):
    whole = 1_727_769_600_000_000_000 + np.cumsum(gaps).astype(np.int64)
    column: Any = {
        "ns": lambda: pl.Series(whole),
        "decimals": lambda: [f"{w // 10**9}.{w % 10**9:09d}" for w in whole.tolist()],
        "date": lambda: [f"2024-10-01 08:00:00.{w % 10**9:09d}" for w in whole.tolist()],
        "typed": lambda: pl.Series(whole).cast(pl.Datetime("ns")),
    }[form]()
    recording = Recording.from_frame(pl.DataFrame({"t": column, "x": np.sin(whole % 97)}), time="t")
    unit = 1.0 if form == "ns" else 1e9
    np.testing.assert_allclose(np.diff(recording.series[0].times) * unit, gaps[1:], atol=1e-3)
    said(recording, "Times are relative to")


# -- one by one


def test_numbers_whose_last_zero_stands_are_thousands(tmp_path):
    for sep, group in ((";", "."), ("\t", ","), (";", " ")):
        flow = [str(v) if v < 1000 else f"{v // 1000}{group}{v % 1000:03d}" for v in range(990, 990 + 10 * N, 10)]
        lines = [f"{t}{sep}{v}{sep}{s}" for t, v, s in zip(CLOCK, flow, STATE, strict=True)]
        recording = read(tmp_path, "\n".join([f"when{sep}flow{sep}state", *lines]))
        assert recording.series[0].values[:, 0].tolist() == list(range(990, 990 + 10 * N, 10))
    said(recording, "have a thousands separator")


def test_the_whole_table_tells_decimals_from_thousands(tmp_path):
    """1.250 beside 2 and beside 990, with and without other columns that show the mark."""

    def column(*values: str, sep: str, other: str = "7", **options: Any) -> list[float] | str:
        text = "\n".join([f"n{sep}x{sep}y", *(f"{i}{sep}{v}{sep}{other}" for i, v in enumerate(values))])
        recording, refusal = attempt(lambda: read(tmp_path, text, target=None, time="n", **options))
        return refusal if recording is None else recording.series[0].values[:, 0].tolist()

    small, large = ("2", "1.250", "3.125"), ("990", "1.000", "1.010")
    assert column(*small, sep=",") == [2, 1.25, 3.125]
    assert column(*small, sep="\t", other="20.5") == [2, 1.25, 3.125]
    assert column(*small, sep=";", other="20,5", decimal=",") == [2, 1250, 3125]
    assert column(*large, sep=";", other="20,5") == column(*large, sep="\t") == [990, 1000, 1010]
    assert column(*(v.replace(".", ",") for v in small), sep=";") == [2, 1.25, 3.125]
    assert column("20.125", "21.250", sep=",", like={"decimal": ","}) == [20.125, 21.25]
    assert column("20,125", "21,250", sep="\t", like={"decimal": ","}) == [20.125, 21.25]
    for one in (
        column(*small, sep="\t"),
        column(*large, sep=","),
        column(*large, sep=";", other="20.5"),
        column("1,250", "3,125", sep=";", like={"decimal": "."}),
    ):
        assert "with a decimal comma and" in one
        assert "--decimal" in one


def test_what_holds_of_another_table_yields_to_what_this_one_shows(tmp_path):
    us, day = "{:%m/%d/%Y %H:%M}".format, "{:%d/%m/%Y %H:%M}".format
    late = [t + dt.timedelta(days=20) for t in CLOCK]
    like = {"date_order": "month first", "decimal": ",", "series": "machine", "group": "site", "time": "when"}
    recording = read(tmp_path, rows(us), time=None, like=like)
    is_right(recording)
    said(recording, "no column 'machine' for the series", "no column 'site' for the groups")
    assert recording.columns["date_order"] == "month first"
    other = read(tmp_path, rows(day, clock=late), like=like)
    is_right(other, first=SECONDS + 20 * 86400)
    assert other.columns["date_order"] == "day first"
    form = {"skip": 1, "comment": "!", "header": False, "encoding": "utf-16"}
    body = "x,y\n! no data\n" + TEXT.split("\n", 1)[1]
    first = read(tmp_path, body.encode("utf-16"), time="column_1", target="column_4", **form)
    again = read(tmp_path, body.encode("utf-16"), time=None, target="column_4", like=first.columns)
    is_right(again, channels=("column_2", "column_3"))
    is_right(read(tmp_path, TEXT, like={**first.columns, "time": "when"}, header=True, skip=0, encoding="utf-8"))
    pl.read_csv(TEXT.encode()).write_parquet(tmp_path / "x.parquet")
    is_right(Recording.read(tmp_path / "x.parquet", target="state", like={**form, "time": "when"}))


def test_months_are_times(tmp_path):
    months = [f"{y}-{m:02d}" for y in (2022, 2023) for m in range(1, 13)]
    right = (np.array(months, dtype="datetime64[M]").astype("datetime64[s]")).astype(float).tolist()
    for form in (
        "{0}{1}",
        "{0}-{1}",
        "{1}/{0}",
        "{2} {0}",
    ):
        when = [form.format(m[:4], m[5:], dt.date(2024, int(m[5:]), 1).strftime("%b")) for m in months]
        text = "when,x\n" + "".join(f"{w},{i % 7}\n" for i, w in enumerate(when))
        assert read(tmp_path, text, target=None).series[0].times.tolist() == right, form
    parts = read(tmp_path, rows(lambda t: f"{t},Pump 20{t.minute % 3}1", head="when,part,temp,hum,state"))
    assert "part=Pump 2001" in parts.channels


WORDS = ("leak", "blocked")


def test_marks_among_words_are_not_observed_and_doubtful_words_are_said(tmp_path):
    def labels(word: str, words: tuple[str, ...] = WORDS, **options: Any) -> tuple[set[Any], Recording]:
        states = [(word, *words)[i % (1 + len(words))] for i in range(N)]
        text = "when,temp,state\n" + "".join(f"{t},{a},{s}\n" for t, a, s in zip(CLOCK, TEMP, states, strict=True))
        recording = read(tmp_path, text, **options)
        inputs = read(tmp_path, text, target=None, **options)
        found = set() if recording.series[0].targets is None else set(recording.series[0].targets) - {None}
        assert {c.partition("=")[2] for c in inputs.channels[1:]} == found
        rows_without = np.isnan(inputs.series[0].values[:, 1]).tolist()
        assert rows_without == [t is None for t in recording.series[0].targets]
        return found, recording

    for mark in ("-", "--", "None", "NA", "N/A", "nan", "null", "<NA>", "#N/A"):
        found, recording = labels(mark)
        assert found == set(WORDS), mark
        said(recording, f"'{mark}' (14 times) counts as not observed")
    for word in ("none", "unknown", "NONE", "n.a."):
        found, recording = labels(word)
        assert found == {word, *WORDS}
        said(
            recording,
            f"'{word}' (14 times) counts as an ordinary word",
        )
        assert labels(word, missing=[word])[0] == set(WORDS)
    assert labels("-", ("+",))[0] == {"+", "-"}


def test_a_column_that_turns_to_decimals_late_is_read_whole(tmp_path):
    text = "when;temp\n" + "".join(
        f"{i};{0 if i < 400 else f'{20 + i / 8:.3f}'.replace('.', ',')}\n" for i in range(600)
    )
    values = read(tmp_path, text, target=None).series[0].values[:, 0]
    assert values[:400].tolist() == [0.0] * 400
    np.testing.assert_allclose(values[400:], [round(20 + i / 8, 3) for i in range(400, 600)])


def test_midnight_after_the_last_hour(tmp_path):
    clock = [dt.datetime(2024, 2, 28, 22) + dt.timedelta(hours=i) for i in range(N)]

    def late(t: dt.datetime) -> str:
        return f"{t - dt.timedelta(days=1):%d.%m.%Y} 24:00" if t.hour == 0 else f"{t:%d.%m.%Y %H:%M}"

    is_right(read(tmp_path, rows(late, clock=clock)), 3600, None)


def test_durations_of_pandas_are_times(tmp_path):
    frame = pd.DataFrame({"when": pd.to_timedelta(np.arange(N) * 3601.5, unit="s"), "temp": TEMP, "hum": HUM})
    recording = read(tmp_path, frame.assign(state=STATE).to_csv(index=False))
    is_right(recording, 3601.5, 0)


def test_a_clock_with_twelve_hours_is_said(tmp_path):
    clock = [START + dt.timedelta(minutes=10 * i) for i in range(N)]
    recording = read(tmp_path, rows("{:%I:%M:%S}".format, clock=clock))
    is_right(recording, 600, None)
    said(recording, "twelve-hour clock without AM or PM")
    is_right(read(tmp_path, rows("{:%I:%M:%S %p}".format, clock=clock)), 600, 8 * 3600)


def test_a_clock_that_begins_anew_is_said_and_may_be_split(tmp_path):
    uptime = [500 + 1000 * (i % 15) for i in range(N)]
    lines = [f"{u},{a},{s}" for u, a, s in zip(uptime, TEMP, STATE, strict=True)]
    text = "\n".join(["ms,temp,state", *lines])
    said(read(tmp_path, text, time="ms"), "time steps back 2 times, first at row 17 (from 14500 to 500)")
    split = read(tmp_path, text, time="ms", on_restart="split")
    assert [s.times.tolist() for s in split.series] == [uptime[:15], uptime[15:30], uptime[30:]]
    assert [s.name for s in split.series] == ["1", "2", "3"]
    assert split.columns["on_restart"] == "split"
    newest_first = read(tmp_path, "\n".join(["ms,temp,state", *reversed(lines[:15])]), time="ms")
    said(newest_first, "the newest rows came first")
    lost = [t if i < 20 or i > 25 else dt.datetime(1970, 1, 1, 0, i) for i, t in enumerate(CLOCK)]
    recording = read(tmp_path, rows(clock=lost))
    said(recording, "6 rows, the first row 22, are of 1970")
    assert read(tmp_path, rows(clock=lost), on_restart="split").n_series == 3


def test_words_are_inputs_and_kept_in_the_model(tmp_path):
    text = "when,temp,mode,door,state\n" + "".join(
        f"{t},{a},{('eco', 'boost', 'auto')[i % 3]},{'open' if i % 2 else 'closed'},{s}\n"
        for i, (t, a, s) in enumerate(zip(CLOCK, TEMP, STATE, strict=True))
    )
    recording = read(tmp_path, text)
    assert recording.channels == ("temp", "mode=auto", "mode=boost", "mode=eco", "door=closed", "door=open")
    assert recording.series[0].values[0, 1:].tolist() == [0, 0, 1, 1, 0]
    said(recording, "mode (auto, boost, eco); door (closed, open)")
    new = read(tmp_path, text.replace("auto", "turbo"), channels=recording.channels)
    np.testing.assert_array_equal(new.series[0].values[2], [TEMP[2], np.nan, np.nan, np.nan, 1, 0])
    with pytest.raises(InputError, match="no column 'mode' for the channel 'mode=auto'"):
        read(tmp_path, TEXT, channels=recording.channels)
    said(new, "13 rows have a word in column 'mode' that the model does not know, such as 'turbo'")


def test_a_long_table_of_numbers_and_words(tmp_path):
    lines = []
    for i, (t, a, b, s) in enumerate(zip(CLOCK, TEMP, HUM, STATE, strict=True)):
        lines += [f"temp,{a if i else 'unavailable'},{t}", f"hum,{b},{t}", f"pump,{s},{t}"]
    lines += ["$RT_OFF$,0,2024-10-01 08:39:00", "$RT_COUNT$,120,"]
    long = {"time": "when", "parameter": "what", "value": "state"}
    text = "\n".join(["what,state,when", *lines])
    recording = read(tmp_path, text, **{**long, "target": "pump"})
    assert recording.channels == ("temp", "hum")
    assert recording.series[0].targets.tolist() == STATE
    assert np.isnan(recording.series[0].values[0, 0])
    said(recording, "2 rows of the runtime")
    asked = read(tmp_path, text, **{**long, "target": "hum"})
    assert asked.channels == ("temp", "pump=idle", "pump=run")


def test_influx_writes_annotations(tmp_path):
    head = "#group,false,false,true,false\n#datatype,string,long,dateTime:RFC3339,double\n#default,_result,,,\n"
    lines = [f",,{k},{t.isoformat()}Z,{v},{name}" for k, (name, column) in enumerate((("temp", TEMP), ("hum", HUM)))
             for t, v in zip(CLOCK, column, strict=True)]  # fmt: skip
    text = head + "\n".join([",result,table,_time,_value,_field", *lines]) + "\n\n"
    recording = read(tmp_path, text, target=None, time="_time", parameter="_field", value="_value")
    np.testing.assert_array_equal(recording.series[0].values, np.stack([TEMP, HUM], 1))
    assert recording.zoned
    assert recording.median_gap() == 60
    blocks = text + "\n" + text.replace(",temp\n", ",flow\n").replace(",hum\n", ",level\n")
    several = read(tmp_path, blocks, target=None, time="_time", parameter="_field", value="_value")
    np.testing.assert_array_equal(several.series[0].values, np.stack([TEMP, HUM, TEMP, HUM], 1))


def test_a_mark_in_the_target_is_said(tmp_path):
    text = rows(hum=lambda v: "-9999" if v > 57.5 else str(v))
    said(read(tmp_path, text, target="hum", ignore=["state"]), "-9999 in column 'hum'")


def test_no_header(tmp_path):
    body = TEXT.split("\n", 1)[1]
    for recording in (
        read(tmp_path, body, time="column_1", target="column_4"),
        read(tmp_path, "a,b,c,d\n" + body, time="column_1", target="column_4", skip=1, header=False),
    ):
        is_right(recording, channels=("column_2", "column_3"))


def test_short_rows_and_dropped_ones_are_named(tmp_path):
    recording = read(tmp_path, TEXT.replace(f"{HUM[5]},{STATE[5]}", f"{HUM[5]}").replace("2024-10-01 08:09:00", ""))
    said(
        recording,
        "1 rows have fewer fields than the header, the first row 7",
        "1 rows without a time were left out: 11.",
    )
    assert recording.series[0].rows.tolist() == [r for r in range(2, N + 2) if r != 11]


def test_other_files(tmp_path):
    frame = pl.DataFrame({"when": CLOCK, "temp": TEMP, "hum": HUM, "state": STATE})
    frame.write_ipc(tmp_path / "a.feather")
    frame.write_ipc(tmp_path / "b.arrow", compression="lz4")
    frame.to_pandas().to_json(tmp_path / "c.json", orient="records", date_format="iso")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("inside/table.csv", TEXT)
    for name in ("a.feather", "b.arrow", "c.json", "d.zip"):
        is_right(Recording.read(tmp_path / name, time="when", target="state"))
    (tmp_path / "e.arff").write_text(
        "% made up\n@relation r\n@attribute when date 'yyyy-MM-dd HH:mm:ss'\n@attribute temp numeric\n"
        "@attribute hum real\n@attribute state {idle,run}\n@data\n"
        + "".join(f"'{t}',{a},{b},{s}\n" for t, a, b, s in zip(CLOCK, TEMP, HUM, STATE, strict=True))
    )
    is_right(Recording.read(tmp_path / "e.arff", time="when", target="state"))
    with pytest.raises(InputError, match="skip, header: only for text files"):
        Recording.read(tmp_path / "a.feather", skip=2, header=False)


def test_the_archives_series(tmp_path):
    path = tmp_path / "x.ts"
    path.write_text(
        "@problemName x\n@timeStamps false\n@missing false\n@univariate false\n@dimensions 2\n@equalLength true\n"
        "@seriesLength 3\n@classLabel true a b\n@data\n1,2,3:4,5,6:a\n7,8,9:1,0,2:b\n"
    )
    recording = Recording.read(path, target="class")
    assert [s.values.tolist() for s in recording.series] == [[[1, 4], [2, 5], [3, 6]], [[7, 1], [8, 0], [9, 2]]]
    assert [set(s.targets) for s in recording.series] == [{"a"}, {"b"}]


def test_a_workbook(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (["Site A"], [], ["when", "temp", "hum", "state"], ["", "°C", "%", ""]):
        sheet.append(row)
    for row in zip(CLOCK, TEMP, HUM, STATE, strict=True):
        sheet.append(list(row))
    book.save(tmp_path / "x.xlsx")
    recording = Recording.read(tmp_path / "x.xlsx", time="when", target="state")
    is_right(recording)
    assert recording.series[0].rows[0] == 5


def test_several_files_are_a_series_each(tmp_path):
    lines = TEXT.splitlines(keepends=True)
    (tmp_path / "a.csv").write_text("".join(lines[:21]))
    (tmp_path / "b.csv").write_text(lines[0] + "".join(lines[21:]))
    (tmp_path / "README.md").write_text("not a table")
    for path in (tmp_path, [tmp_path / "a.csv", tmp_path / "b.csv"]):
        recording = Recording.read(path, time="when", target="state")
        assert [(s.name, len(s)) for s in recording.series] == [("a", 20), ("b", 20)]
    (tmp_path / "b.csv").write_text(lines[0] + "".join(lines[21:]).replace("08:30:00", "08:30:61"))
    with pytest.raises(InputError, match=r"'2024-10-01 08:30:61' in row 12 of b\.csv"):
        Recording.read(tmp_path, time="when", target="state")


def test_series_of_one_name_in_several_files_stay_apart(tmp_path):
    lines = [f"{t},{a},{i % 2},{s}\n" for i, (t, a, s) in enumerate(zip(CLOCK, TEMP, STATE, strict=True))]
    head = "when,temp,machine,state\n"
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    paths[0].write_text(head + "".join(lines[:21]))
    paths[1].write_text(head + "".join(lines[21:]))
    recording = Recording.read(paths, time="when", target="state", series="machine")
    assert [(s.name, s.file, len(s)) for s in recording.series] == [
        ("a/0", "a", 11), ("a/1", "a", 10), ("b/1", "b", 10), ("b/0", "b", 9)
    ]  # fmt: skip
    said(recording, "distinguished by file and 'machine': 4 in all")
    assert recording.channels == ("temp",)
    grouped = Recording.read(paths, time="when", target="state", group="machine")
    assert [s.group for s in grouped.series] == ["0", "1", "1", "0"]
    twice = Recording.read([paths[0], paths[0]], time="when", target="state")
    assert [len(s) for s in twice.series] == [21, 21]
    for name in "ab":
        (tmp_path / f"{name}.ts").write_text(
            "@problemName x\n@timeStamps false\n@missing false\n@univariate true\n@equalLength true\n"
            "@seriesLength 3\n@classLabel true a b\n@data\n1,2,3:a\n7,8,9:b\n"
        )
    archive = Recording.read([tmp_path / "a.ts", tmp_path / "b.ts"], target="class")
    assert archive.n_series == 4
    assert archive.channels == ("dim_1",)


def test_the_standard_input_is_read():
    code = "from torchliquid import Recording; print(Recording.read('-', time='when', target='state').n_samples)"
    done = subprocess.run([sys.executable, "-c", code], input=TEXT.encode(), capture_output=True)
    assert done.stdout.strip() == str(N).encode(), done.stderr


def test_pandas_dates_in_the_index_are_the_time():
    frame = pd.DataFrame({"temp": TEMP, "hum": HUM, "state": STATE}, index=pd.DatetimeIndex(CLOCK))
    recording = Recording.from_frame(frame, target="state")
    is_right(recording)
    said(recording, "The frame's index contains the times")
    again = Recording.from_frame(frame, **recording.columns, channels=recording.channels, target="state")
    is_right(again)
    is_right(Recording.from_frame(frame.rename_axis("at"), target="state"))
    is_right(Recording.from_frame(frame.set_axis(frame.index.to_period("min")), target="state"))


# -- the shared tables, where they are


def shared() -> Path:
    folder = Path(os.environ.get("TORCHLIQUID_DATA", "/nowhere")).parent / "cases" / "tables"
    if not (folder / "spec.json").exists():
        pytest.skip(NO_TABLES)
    return folder


def test_the_shared_tables_give_what_is_expected():
    folder = shared()
    for name, case in json.loads((folder / "spec.json").read_text()).items():
        recording, refusal = attempt(lambda: Recording.read(folder / name, **case["read"]))  # noqa: B023
        if recording is None:
            assert "refused" in case["expect"], (name, refusal)
            continue
        check = case.get("check", {})
        first = recording.series[0]
        assert recording.n_samples == check.get("n", recording.n_samples), name
        if "step" in check:
            np.testing.assert_allclose(np.diff(first.times), check["step"], err_msg=name)
        assert first.times[0] == check.get("first_time", first.times[0]), name
        for channel, ends in check.get("chan", {}).items():
            column = first.values[:, recording.channels.index(channel)]
            assert column[[0, -1]].tolist() == ends, (name, channel)
