"""Tables as people have them: what is read must be what was written, whatever the form."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from torchliquid.data import Recording
from torchliquid.errors import InputError

numbers = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 6))


def only(recording: Recording):
    assert recording.n_series == 1
    return recording.series[0]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


WIDE = "time,a,b,label\n0,1.5,10,on\n2,,20,off\n3,2.5,30,on\n"


def test_a_wide_table(tmp_path):
    recording = Recording.read(written(tmp_path / "x.csv", WIDE), time="time", target="label", time_unit="ms")
    series = only(recording)
    assert recording.channels == ("a", "b")
    assert recording.time_unit == "ms"
    np.testing.assert_array_equal(series.times, [0, 2, 3])
    np.testing.assert_array_equal(series.values, [[1.5, 10], [np.nan, 20], [2.5, 30]])
    assert series.targets is not None
    assert series.targets.tolist() == ["on", "off", "on"]
    assert recording.median_gap() == 1.5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolon.csv", WIDE.replace(",", ";")),
        ("decimal comma.csv", WIDE.replace(",", ";").replace(".", ",")),
        ("tab.tsv", WIDE.replace(",", "\t")),
        ("bar.txt", WIDE.replace(",", "|")),
        ("crlf.csv", WIDE.replace("\n", "\r\n")),
        ("mark.csv", b"\xef\xbb\xbf" + WIDE.encode()),
        ("utf-16.csv", WIDE.encode("utf-16")),
        ("packed.csv.gz", gzip.compress(WIDE.encode(), mtime=0)),
        ("spaces.csv", WIDE.replace(",", " , ").replace("10", " 10 ")),
        ("quoted.csv", WIDE.replace("10", '"10"').replace("time", '"time"')),
        ("marks.csv", WIDE.replace("2,,20", "2,NA,20")),
        ("dash.csv", WIDE.replace("2,,20", "2,-,20")),
        ("query.csv", WIDE.replace("2,,20", "2,?,20")),
        ("blank lines.csv", WIDE.replace("2,,20", "\n2,,20") + "\n\n"),
        ("infinite.csv", WIDE.replace("2,,20", "2,-inf,20")),
        ("directive.csv", "sep=;\n" + WIDE.replace(",", ";")),
        ("directive and mark.csv", b"\xef\xbb\xbfsep=|\r\n" + WIDE.replace(",", "|").encode()),
        ("trailing delimiters.csv", WIDE.replace("\n", ",,\n")),
    ],
)
def test_other_forms_read_alike(tmp_path, name, content):
    read = {"time": "time", "target": "label"}
    expected = only(Recording.read(written(tmp_path / "x.csv", WIDE), **read))
    series = only(Recording.read(written(tmp_path / name, content), **read))
    np.testing.assert_array_equal(series.times, expected.times)
    np.testing.assert_array_equal(series.values, expected.values)
    assert series.targets is not None
    assert expected.targets is not None
    assert series.targets.tolist() == expected.targets.tolist()


def test_parquet_and_frames_read_alike(tmp_path):
    frame = pl.read_csv(WIDE.encode())
    frame.write_parquet(tmp_path / "x.parquet")
    pandas = pd.DataFrame(frame.to_dict(as_series=False))
    for recording in (
        Recording.read(tmp_path / "x.parquet", time="time", target="label"),
        Recording.from_frame(frame, time="time", target="label"),
        Recording.from_frame(pandas, time="time", target="label"),
        Recording.from_frame(pandas.set_index("time"), time="time", target="label"),
    ):
        np.testing.assert_array_equal(only(recording).values, [[1.5, 10], [np.nan, 20], [2.5, 30]])
        np.testing.assert_array_equal(only(recording).times, [0, 2, 3])


def test_rows_are_counted_past_a_directive_and_nameless_columns_are_noted(tmp_path):
    path = written(tmp_path / "x.csv", "sep=;\n" + WIDE.replace(",", ";").replace("\n", ";\n"))
    assert any(
        "1 columns without a name and without values" in note for note in Recording.read(path, time="time").notes
    )
    with pytest.raises(InputError, match="row 4 has 6 fields where the header has 5"):
        Recording.read(written(path, path.read_text().replace("20;off;", "20;off;;9")))
    with pytest.raises(InputError, match="'late' in row 4"):
        Recording.read(written(path, "sep=;\nt;x\n1;2\nlate;3\n4;5\n"), time="t", time_format="%H")


def test_a_quoted_header_means_what_it_quotes(tmp_path):
    path = written(tmp_path / "x.csv", '"time","state ""A""", "b"\n1,2,3\n2,3,4\n')
    assert Recording.read(path, time="time").channels == ('state "A"', "b")


TRUTH = "t,pump,valve,door,state\n" + "".join(
    f"{i},{'on' if i % 2 else 'OFF'},{'No' if i % 2 else 'yes'},{'True' if i % 2 else 'FALSE'},{i % 2 > 0}\n"
    for i in range(8)
)


def test_words_of_truth_are_numbers_in_channels_and_stay_words_in_labels(tmp_path):
    recording = Recording.read(written(tmp_path / "x.csv", TRUTH), time="t", target="state")
    assert recording.channels == ("pump", "valve", "door")
    np.testing.assert_array_equal(only(recording).values[:2], [[0, 1, 0], [1, 0, 1]])
    assert set(only(recording).targets) == {"True", "False"}
    for content, labels in (
        (TRUTH.replace("True", "true").replace("False", "false"), {"true", "false"}),
        (TRUTH.replace("True", "yes").replace("False", "no"), {"yes", "no"}),
    ):
        assert set(only(Recording.read(written(tmp_path / "x.csv", content), target="state")).targets) == labels
    numbered = TRUTH.replace("True", "1").replace("False", "0")
    assert set(only(Recording.read(written(tmp_path / "x.csv", numbered), target="state")).targets) == {0.0, 1.0}
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0], "state": [True, False, None]})
    assert only(Recording.from_frame(frame, target="state")).targets.tolist() == ["True", "False", None]


def test_classes_that_differ_only_in_case_or_blanks_are_noted():
    frame = pl.DataFrame({"x": range(5), "state": ["hand open", "Hand  open", "rest", " rest ", None]})
    recording = Recording.from_frame(frame, target="state")
    notes = [note for note in recording.notes if "case or spaces" in note]
    assert len(notes) == 1
    assert "'Hand  open', 'hand open'" in notes[0]


def test_columns_are_typed_by_all_rows(tmp_path):
    rows = "".join(f"{i},{i % 7},true\n" for i in range(5000)) + "5000,0.25,False\n"
    series = only(Recording.read(written(tmp_path / "x.csv", "t,rain,wet\n" + rows), time="t"))
    assert series.values[-1].tolist() == [0.25, 0]
    assert series.values[0].tolist() == [0, 1]


def test_a_table_without_header_or_delimiter_signs(tmp_path):
    recording = Recording.read(written(tmp_path / "x.txt", "1 1  0.5 \n1 2  0.25 \n2 1  4 \n"), series="column_1")
    assert recording.channels == ("column_2", "column_3")
    assert [len(s) for s in recording.series] == [2, 1]
    assert any("no header" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [
        (["2015-02-04 17:51:00", "2015-02-04 17:51:59"], 59),
        (["2015-02-04T17:51:00Z", "2015-02-04T18:51:00.5+01:00"], 0.5),
        (["2015-02-04", "2015-02-05"], 86400),
        (["04.02.2015 10:00", "05.02.2015 11:00"], 90000),
        (["30/01/2015 10:00", "01/02/2015 10:00"], 2 * 86400),
        (["01/30/2015 10:00", "02/01/2015 10:00"], 2 * 86400),
        (["1/30/15 11:00 AM", "1/30/15 1:00:30.25 PM"], 7230.25),
        (["12/01/2015", "11/02/2015"], 30 * 86400),  # in order only with the day first
        (["00:07", "47:37"], 47.5 * 3600),
        (["0:00:01.5", "0:01:00"], 58.5),
    ],
)
def test_dates_and_clock_times_in_text(texts, seconds):
    recording = Recording.from_frame(pl.DataFrame({"when": texts, "x": [1.0, 2.0]}), time="when")
    assert recording.time_unit == "s"
    assert only(recording).times[1] - only(recording).times[0] == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("texts", "series", "seconds", "midnights"),
    [
        (["22:00", "23:30", "00:10", "23:59", "00:00"], "aaaaa", [79200, 84600, 87000, 172740, 172800], 2),
        (["23:00:00", "22:00:00", "00:00:01", "23:30:00"], "abab", [82800, 86401, 79200, 84600], 1),
        (["17:00", "06:00", "18:00"], "aaa", [21600, 61200, 64800], 0),  # eleven hours back: out of order
        (["30:00", "47:00", "00:10"], "aaa", [600, 108000, 169200], 0),  # durations pass no midnight
    ],
)
def test_clock_times_go_on_past_midnight(texts, series, seconds, midnights):
    frame = pl.DataFrame({"t": texts, "s": list(series), "x": range(len(texts))})
    long = frame.with_columns(p=pl.lit("x"))
    for recording in (
        Recording.from_frame(frame, time="t", series="s"),
        Recording.from_frame(long, time="t", series="s", parameter="p", value="x"),
    ):
        assert np.concatenate([s.times for s in recording.series]).tolist() == seconds
        assert any(f"passes midnight {midnights} times" in note for note in recording.notes) == (midnights > 0)
    if midnights:
        as_such = frame.with_columns(t=pl.Series([dt.time.fromisoformat(t) for t in texts]))
        recording = Recording.from_frame(as_such, time="t", series="s")
        assert np.concatenate([s.times for s in recording.series]).tolist() == seconds


def test_dates_as_such_agree_with_pandas_and_arrays():
    when = [dt.datetime(2020, 2, 28, 23, 59, 59, 250_000), dt.datetime(2020, 3, 1)]
    from_polars = Recording.from_frame(pl.DataFrame({"when": when, "x": [1, 2]}), time="when")
    zone = pd.to_datetime(when).tz_localize("UTC").tz_convert("Asia/Tokyo")
    from_pandas = Recording.from_frame(pd.DataFrame({"when": zone, "x": [1, 2]}), time="when")
    from_arrays = Recording.from_arrays(np.array([1.0, 2.0]), np.array(when, dtype="datetime64[us]"))
    for recording in (from_polars, from_pandas, from_arrays):
        assert recording.dated
        np.testing.assert_array_equal(only(recording).times, [1582934399.25, 1583020800])


def test_an_own_form_of_dates_and_ambiguous_ones():
    frame = pl.DataFrame({"when": ["03/04/2015", "04/05/2015"], "x": [1, 2]})
    with pytest.raises(InputError, match="day first or month first"):
        Recording.from_frame(frame, time="when")
    month_first = Recording.from_frame(frame, time="when", time_format="%m/%d/%Y")
    assert month_first.median_gap() == 32 * 86400
    offsets = pl.DataFrame({"when": ["27.10.2024 02:30 +0200", "27.10.2024 02:30 +0100"], "x": [1, 2]})
    assert Recording.from_frame(offsets, time="when").median_gap() == 3600
    assert Recording.from_frame(offsets, time="when", time_format="%d.%m.%Y %H:%M %z").median_gap() == 3600
    zones = offsets.with_columns(when=pl.lit("2024-10-27 02:30 CEST"))
    with pytest.raises(InputError, match=r"%Z, the name of a zone.* such as \+0200, and use %z"):
        Recording.from_frame(zones, time="when", time_format="%Y-%m-%d %H:%M %Z")
    frame = pl.DataFrame({"when": ["Feb 4 2015 10h", "Feb 5 2015 10h"], "x": [1, 2]})
    with pytest.raises(InputError, match="time_format"):
        Recording.from_frame(frame, time="when")
    assert Recording.from_frame(frame, time="when", time_format="%b %d %Y %Hh").median_gap() == 86400


def test_times_out_of_order_and_equal_are_noted_and_kept():
    frame = pl.DataFrame({"t": [3.0, 1.0, 2.0, 2.0], "x": [30.0, 10.0, 20.0, 21.0]})
    recording = Recording.from_frame(frame, time="t")
    np.testing.assert_array_equal(only(recording).times, [1, 2, 2, 3])
    np.testing.assert_array_equal(only(recording).values[:, 0], [10, 20, 21, 30])
    assert recording.median_gap() == 1  # of distinct times
    assert any(n.startswith("4 of 4 rows were moved") for n in recording.notes)
    assert any("span of zero" in n for n in recording.notes)


@pytest.mark.parametrize(("zone", "back", "said"), [("", 60, True), ("Z", 60, False), ("", 90, False)])
def test_a_clock_put_back_in_autumn_is_suspected(zone, back, said):
    clock = [dt.datetime(2024, 10, 27, 2, 0) + dt.timedelta(minutes=m) for m in (0, 30, 59, 59 - back, 70, 80)]
    frame = pl.DataFrame({"t": [f"{t:%Y-%m-%dT%H:%M:%S}{zone}" for t in clock], "x": range(6), "p": "a"})
    for recording in (
        Recording.from_frame(frame.drop("p"), time="t"),
        Recording.from_frame(frame, time="t", parameter="p", value="x"),
    ):
        notes = [n for n in recording.notes if "of 6 rows were moved" in n]
        assert ["end of daylight saving time" in n for n in notes] == [said]


def test_what_is_not_used_is_noted():
    frame = pl.DataFrame(
        {
            "Date": ["2015-01-01", "2015-01-02", None],
            "x": [1.0, np.inf, 3.0],
            "room": ["a", "b", "c"],
            "y": [1, None, 0],
        }
    )
    recording = Recording.from_frame(frame, target="y")
    notes = " ".join(recording.notes)
    for part in ("room", "'Date' contains dates", "1 infinite", "1 samples have no 'y'"):
        assert part in notes
    dated = Recording.from_frame(frame, time="Date", target="y")
    assert dated.n_samples == 2
    assert any("1 rows without a time" in n for n in dated.notes)


def test_missing_values_by_name():
    frame = pl.DataFrame({"x": [1.0, -999.0, 3.0], "y": ["1", "lost", "3"], "z": [1e30, 5.0, 6.0]})
    series = only(Recording.from_frame(frame, missing=["-999", "lost", 1e30]))
    np.testing.assert_array_equal(series.values, [[1, 1, np.nan], [np.nan, np.nan, 5], [3, 3, 6]])


@pytest.mark.parametrize("mark", ["-1", -1, -1.0])
def test_a_number_may_mark_what_is_missing_among_classes(mark):
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0], "state": ["walk", "-1", "run"]})
    assert only(Recording.from_frame(frame, target="state", missing=[mark])).targets.tolist() == ["walk", None, "run"]


def test_a_frame_of_nothing_is_one_line():
    with pytest.raises(InputError, match="no rows"):
        Recording.from_frame(pl.DataFrame())


def test_channels_asked_for_may_be_silent():
    frame = pl.DataFrame({"a": [1.0, 2.0], "b": [None, None], "c": [3.0, 4.0], "note": ["x", "y"]})
    recording = Recording.from_frame(frame, channels=["c", "b"])
    assert recording.channels == ("c", "b")
    np.testing.assert_array_equal(only(recording).values, [[3, np.nan], [4, np.nan]])
    assert any("b" in note for note in recording.notes)


def test_what_a_model_is_to_answer_on_may_be_one_row_and_hold_broken_readings():
    frame = pl.DataFrame({"t": range(20), "a": [1e30] + [1.0] * 19, "b": [2.0] * 19 + [-4e12]})
    recording = Recording.from_frame(frame, time="t", channels=["a", "b"])
    wrong = np.isnan(only(recording).values)
    assert wrong.sum() == 2
    assert wrong[0, 0]
    assert wrong[19, 1]
    assert sum("1 values of" in note and "not observed" in note for note in recording.notes) == 2
    one = Recording.from_frame(frame.head(1), time="t", channels=["a", "b"])
    assert (one.n_samples, one.median_gap()) == (1, 1)
    np.testing.assert_array_equal(only(one).values, [[np.nan, 2]])
    with pytest.raises(InputError, match="at least one sample"):
        Recording.from_frame(frame.head(0), time="t", channels=["a", "b"])


# -- long tables

LONG = """time,parameter,value,patient
00:00,Age,54,1
00:07,HR,73,1
00:07,Temp,35.1,1
00:07,HR,74,1
00:00,Age,60,2
01:00,Na,140,2
00:30,HR,-,2
"""


def test_a_long_table(tmp_path):
    recording = Recording.read(
        written(tmp_path / "x.csv", LONG), time="time", series="patient", parameter="parameter", value="value"
    )
    assert recording.channels == ("Age", "HR", "Temp", "Na")  # sodium is no missing mark
    one, two = recording.series
    nan = np.nan
    np.testing.assert_array_equal(one.times, [0, 420])
    np.testing.assert_array_equal(one.values, [[54, nan, nan, nan], [nan, 74, 35.1, nan]])
    np.testing.assert_array_equal(two.times, [0, 1800, 3600])
    np.testing.assert_array_equal(two.values, [[60, nan, nan, nan], [nan] * 4, [nan, nan, nan, 140]])
    assert any(note.startswith("1 readings differ") for note in recording.notes)
    assert any(note.startswith("2 of 7 rows were moved") for note in recording.notes)


@given(
    readings=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from("abc"), numbers), min_size=2, max_size=30
    )
)
def test_long_tables_agree_with_a_dictionary(readings):
    readings = [*readings, (9, 0, "a", 1.0), (9, 1, "b", 1.0), (9, 1, "c", 1.0)]
    frame = pl.DataFrame(readings, schema=["s", "t", "p", "v"], orient="row")
    recording = Recording.from_frame(frame, time="t", series="s", parameter="p", value="v")
    expected = {(str(s), float(t), p): v for s, t, p, v in readings}  # the last row wins
    found = {
        (s.name, float(time), channel): float(value)
        for s in recording.series
        for time, row in zip(s.times, s.values, strict=True)
        for channel, value in zip(recording.channels, row, strict=True)
        if not np.isnan(value)
    }
    assert found == expected
    assert all((np.diff(s.times) > 0).all() for s in recording.series)


def test_a_long_table_with_a_target_column_or_parameter():
    frame = pl.DataFrame(
        {"t": [0, 0, 1, 1], "p": ["x", "y", "x", "y"], "v": [1.0, 2.0, 3.0, 4.0], "state": [None, "a", "b", "b"]}
    )
    by_column = Recording.from_frame(frame, time="t", parameter="p", value="v", target="state")
    assert by_column.channels == ("x", "y")
    assert only(by_column).targets is not None
    assert only(by_column).targets.tolist() == ["a", "b"]  # type: ignore[union-attr]
    by_parameter = Recording.from_frame(frame, time="t", parameter="p", value="v", target="y", ignore=[])
    assert by_parameter.channels == ("x",)
    np.testing.assert_array_equal(only(by_parameter).targets, [2, 4])


# -- properties

cells = hnp.arrays(np.float64, st.tuples(st.integers(2, 20), st.integers(1, 4)), elements=numbers)


@settings(max_examples=50)
@given(values=cells, data=st.data())
def test_wide_rows_come_out_by_series_and_time_and_nothing_else_changes(values, data, tmp_path_factory):
    n = len(values)
    times = data.draw(st.lists(st.integers(0, 30), min_size=n, max_size=n).filter(lambda t: len(set(t)) > n // 2))
    series = data.draw(st.lists(st.sampled_from(["u", "v", "w"]), min_size=n, max_size=n))
    series[:2], times[:2] = ["u", "u"], [0, 30]
    missing = data.draw(hnp.arrays(np.bool_, values.shape, elements=st.sampled_from([False, False, True])))
    missing[0] = False
    values = np.where(missing, np.nan, values)
    frame = pl.DataFrame({f"c{i}": values[:, i] for i in range(values.shape[1])}).with_columns(
        pl.Series("t", times), pl.Series("s", series), pl.Series("row", range(n))
    )
    path = tmp_path_factory.mktemp("wide") / "x.csv"
    frame.fill_nan(None).write_csv(path)
    recording = Recording.read(path, time="t", series="s", target="row")
    assert [s.name for s in recording.series] == list(dict.fromkeys(series))
    seen = []
    for s in recording.series:
        assert (np.diff(s.times) >= 0).all()
        assert s.targets is not None
        rows = s.targets.astype(int)
        seen += rows.tolist()
        assert all(series[r] == s.name for r in rows)
        np.testing.assert_array_equal(s.times, np.array(times)[rows])
        np.testing.assert_array_equal(s.values, values[rows])
        ties = np.diff(s.times) == 0
        assert (np.diff(rows)[ties] > 0).all()  # rows of equal time keep their order
    assert sorted(seen) == list(range(n))


@pytest.mark.parametrize(
    ("time", "form"), [("2500-001", "%Y-%j"), ("0001-001 +0500", "%Y-%j %z"), ("9999-365 -0500", "%Y-%j %z")]
)
def test_a_year_that_does_not_fit_nanoseconds_is_refused_in_a_form_that_python_reads(time, form):
    frame = pl.DataFrame({"t": [time, time], "x": [1.0, 2.0]})
    with pytest.raises(InputError, match="years must be from 1678 to 2261"):
        Recording.from_frame(frame, time="t", time_format=form)


def test_a_single_name_is_one_column_and_not_its_letters(tmp_path):
    path = written(tmp_path / "x.csv", "i,d,id\n" + "".join(f"{n % 3},{n % 5},{n * 7 % 11}\n" for n in range(30)))
    assert Recording.read(path, ignore="id").channels == ("i", "d")
    assert Recording.read(path, channels="id").channels == ("id",)
    assert Recording.from_frame(pl.read_csv(path), channels="id").channels == ("id",)
