"""Each kind of bad input ends with one line that says what, where and what to do."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchliquid.data import Recording
from torchliquid.errors import InputError

ROWS = "".join(f"{i},{20 + i % 3},{i % 2}\n" for i in range(10))
GOOD = "time,Temperature,Occupancy\n" + ROWS


def parquet() -> bytes:
    buffer = io.BytesIO()
    pl.read_csv(GOOD.encode()).write_parquet(buffer)
    return buffer.getvalue()


CASES = {
    "wrong target": (GOOD, {"target": "Occupency"}, "no column 'Occupency' for the target; did you mean 'Occupancy'"),
    "wrong time": (GOOD, {"time": "Zeit"}, "no column 'Zeit' for the time; there are: time, Temperature, Occupancy"),
    "wrong series": (GOOD, {"series": "TEMPERATURE_"}, "did you mean 'Temperature'"),
    "wrong channel": (GOOD, {"channels": ["temperature"]}, "did you mean 'Temperature'"),
    "wrong ignore": (GOOD, {"ignore": ["tim"]}, "did you mean 'time'"),
    "one column twice": (GOOD, {"time": "time", "target": "time"}, "cannot be both"),
    "an answer as an input": (
        GOOD,
        {"target": "Occupancy", "channels": ["Occupancy"]},
        "both target and ch",
    ),
    "minutes and seconds": ("t,x\n00:15,1\n00:75,2\n", {"time": "t"}, "row 3 has '00:75' in column 't'.*0:mm:ss"),
    "text among numbers": (GOOD.replace("4,21,0", "4,error,0"), {}, "'error' in row 6 of column 'Temperature'"),
    "text in the target": (GOOD.replace("4,21,0", "4,21,x"), {"target": "Occupancy"}, "'x' in row 6 of column 'Occ"),
    "text among times": (GOOD.replace("4,21,0", "later,21,0"), {"time": "time"}, "'later' in row 6 of column 'time'"),
    "a text channel": (GOOD.replace(",2", ",a"), {"channels": ["Temperature"]}, "'Temperature' contains text"),
    "a broken date": ("d,x\n2015-01-01,1\n2015-13-01,2\n", {"time": "d"}, "'2015-13-01' in row 3 of column 'd'"),
    "no rows": ("time,x\n", {}, "no rows"),
    "one row": ("time,x\n1,2\n", {}, "one row"),
    "nothing": ("", {}, "empty"),
    "blank": ("\n\n\n", {}, "empty"),
    "time stands still": (
        "time,x\n7,1\n7,2\n7,3\n",
        {"time": "time"},
        "time stands still: all 3 samples have the time 7.* .one that contains date and time",
    ),
    "two ways": (
        't,power\n1,"1,926"\n2,"2,063"\n',
        {"time": "t"},
        "'1,926' in row 2 of column 'power' is 1.926 with a decimal comma and 1926 with a decimal point; say which",
    ),
    "one of thousands": (GOOD.replace("4,21,0", '4,"1,021",0'), {}, "'1,021' in row 6 .* is 1.021 with .*--decimal"),
    "empty column": ("time,x,y\n1,2,\n2,3,\n", {"time": "time"}, r"column 'y'.*ignore=\['y'\]"),
    "no channel": ("time,x\n1,2\n2,3\n", {"time": "time", "target": "x"}, "no numeric column"),
    "1e30": (GOOD.replace("4,21,0", "4,1e30,0"), {}, "1e.30 in column 'Temperature', row 6,.* not a plausible reading"),
    "huge": (GOOD.replace("4,21,0", "4,-4e12,0"), {}, "-4e.12 in column 'Temperature', row 6"),
    "wide row": (GOOD.replace("4,21,0", "4,21,0,9"), {}, "row 6 has 4 fields where the header has 3"),
    "series unnamed": (GOOD.replace("4,21,0", ",21,0"), {"series": "time"}, "row 6 has no value in the series column"),
    "half of a long table": (GOOD, {"time": "time", "parameter": "Temperature"}, "three columns"),
    "wrong long value": (GOOD, {"time": "time", "parameter": "Temperature", "value": "valu"}, "no column 'valu'"),
    "cut Parquet": (parquet()[:-30], {}, "damaged or truncated"),
    "half a Parquet": (parquet()[:100], {}, "damaged or truncated"),
    "binary": (bytes(range(256)) * 8, {}, "not a text table"),
    "unknown letters": (b"a,b\n\x81\x8d,1\n2,3\n", {}, "encoding of the file is unknown"),
    "a workbook": (b"PK\x03\x04" + bytes(50), {}, "save the table as CSV"),
    "cut gzip": (gzip.compress(GOOD.encode() * 50)[:60], {}, "cannot be read|broken"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_files_end_with_one_clear_line(tmp_path, case):
    content, meaning, message = CASES[case]
    path = tmp_path / "data file.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        Recording.read(path, **meaning)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_missing_files_folders_and_forbidden_ones(tmp_path):
    (tmp_path / "recording.csv").write_text(GOOD)
    with pytest.raises(InputError, match=r"no such file; did you mean 'recording.csv'\?"):
        Recording.read(tmp_path / "recordin.csv")
    with pytest.raises(InputError, match="no such file"):
        Recording.read(tmp_path / "nowhere" / "at all.parquet")
    assert Recording.read(tmp_path).n_series == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="this folder contains no tables"):
        Recording.read(tmp_path / "empty")
    (tmp_path / "other.csv").write_text(GOOD.replace("Occupancy", "People"))
    with pytest.raises(InputError, match=r"recording.csv has other columns than other.csv: 'Occupancy', 'People' are"):
        Recording.read(tmp_path)


def test_an_old_encoding_is_read_and_noted(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("Temp °C,x\n1,2\n3,4\n".encode("cp1252"))
    recording = Recording.read(path)
    assert recording.channels == ("Temp °C", "x")
    assert any("Windows-1252" in note for note in recording.notes)
    path.write_bytes(("x,y\n" + "1,2\n" * 50_000).encode() + b"3,4\n\xb0,5\n")  # far below the first rows
    with pytest.raises(InputError, match="'°' in row 50003 of column 'x'"):
        Recording.read(path)


def test_rows_are_counted_past_sorting_blank_lines_and_series(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("t,s,x\n9,a,1\n8,b,1\n\n7,a,2\n6,b,1e33\n5,a,3\n4,b,4\n")
    with pytest.raises(InputError, match="row 6 of series 'b'"):
        Recording.read(path, time="t", series="s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": np.zeros((1, 2))}, "one row"),
        ({"values": np.zeros((0, 2))}, "no rows"),
        ({"values": []}, "no series"),
        ({"values": np.zeros(0)}, "no rows"),
        ({"values": [np.ones((3, 2)), np.zeros((0, 2))]}, "series '1' has no samples"),
        ({"values": np.ones((3, 2)), "targets": [[0, 1], [1], [0, 1]]}, "targets: not an array"),
        ({"values": np.array([["a", "b"]])}, "not an array of numbers"),
        ({"values": np.ones((3, 2)), "times": np.zeros(3)}, "time stands still"),
        ({"values": np.ones((3, 2)), "times": [0, 1]}, r"times \(2,\)"),
        ({"values": np.ones((3, 2)), "times": [0, np.nan, 2]}, "time 1 is missing"),
        ({"values": np.ones((3, 2)), "targets": [0, 1]}, "2 targets for 3 samples"),
        ({"values": np.ones((3, 2)), "channels": ["a"]}, "2 channels, not 1"),
        ({"values": np.ones((3, 2)), "channels": ["a", "a"]}, "must be unique"),
        ({"values": [np.ones((3, 2)), np.ones((3, 1))]}, "1 channels, not 2"),
        ({"values": [np.ones((3, 2))], "targets": [0, 1]}, "2 targets were given for 1 series"),
        ({"values": np.array([[1, np.nan], [2, np.nan]])}, "'channel_2'"),
        ({"values": np.array([1, 2, 1e30])}, "sample 2"),
    ],
)
def test_bad_arrays(arguments, message):
    with pytest.raises(InputError, match=message):
        Recording.from_arrays(**arguments)


def read_or_refuse(path: Path, **meaning) -> Recording | None:
    """The recording, or None after an InputError of one line; anything else fails the test."""
    try:
        recording = Recording.read(path, **meaning)
    except InputError as error:
        message = str(error)
    else:
        assert recording.n_samples >= 2
        return recording
    assert "\n" not in message
    return None


anything = st.one_of(
    st.binary(max_size=300), st.text(alphabet='0123456789.,;\t\n" -ab', max_size=200).map(lambda text: text.encode())
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=anything)
def test_no_file_ends_in_anything_but_a_recording_or_an_input_error(tmp_path, content):
    path = tmp_path / "anything.csv"
    path.write_bytes(content)
    read_or_refuse(path)
    read_or_refuse(path, time="a")


def test_a_parquet_cut_anywhere_is_refused(tmp_path):
    content = parquet()
    path = tmp_path / "x.parquet"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert read_or_refuse(path) is None


@pytest.mark.parametrize("encoding", ["hex", "undefined", "no such"])
def test_a_codec_that_is_no_encoding_of_text_is_refused(tmp_path, encoding):
    path = tmp_path / "x.csv"
    path.write_text("t,x\n1,2\n2,3\n")
    with pytest.raises(InputError, match=f"there is no encoding '{encoding}'"):
        Recording.read(path, encoding=encoding)


def test_a_negative_number_of_lines_to_skip_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("t,x\n1,2\n2,3\n")
    with pytest.raises(InputError, match="skip must be 0 or more"):
        Recording.read(path, skip=-1)


def test_a_list_of_one_file_is_named_in_its_error():
    with pytest.raises(InputError, match=r"^nowhere\.csv: no such file"):
        Recording.read(["nowhere.csv"])


def test_a_single_channel_may_be_named_without_a_list():
    assert Recording.from_arrays(np.arange(5.0), channels="flow").channels == ("flow",)
    with pytest.raises(InputError, match="not 1"):
        Recording.from_arrays(np.arange(20.0).reshape(5, 4), channels="flow")
