"""What people hand in: masked arrays, names, typed times, classes that look like numbers."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

from torchliquid import Recording, TrainingConfig, fit
from torchliquid.data.arrays import as_targets
from torchliquid.errors import InputError
from torchliquid.tasks import Task

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
@pytest.mark.parametrize("listed", [False, True])
def test_what_is_masked_is_not_observed(dtype, listed):
    fill = -32767 if dtype == np.int16 else -99
    values = RNG.integers(0, 50, (40, 2)).astype(dtype)
    mask = RNG.random((40, 2)) < 0.2
    values[mask] = fill
    masked = np.ma.MaskedArray(values, mask, fill_value=fill)
    recording = Recording.from_arrays([masked, masked] if listed else masked)
    for series in recording.series:
        np.testing.assert_array_equal(np.isnan(series.values), mask)
        np.testing.assert_array_equal(series.values[~mask], values[~mask])


def test_what_is_masked_has_no_label():
    labels = np.ma.MaskedArray(np.arange(6) % 2, [False, True] * 3)
    np.testing.assert_array_equal(np.isnan(as_targets(labels)), labels.mask)
    words = np.ma.MaskedArray(np.array(["a", "b"] * 3), [True, False] * 3)
    assert as_targets(words).tolist() == [None, "b"] * 3
    three = np.ma.MaskedArray(np.ones((4, 5, 2)), False)
    three[1, 2, 0] = np.ma.masked
    assert np.isnan(Recording.from_arrays(three).series[1].values[2, 0])


@pytest.mark.parametrize(
    "names",
    [["1E2", "100"], ["007", "7"], ["1.0", "1"], [2**60 + 1, 2**60 + 2], [9223372036854775806, 9223372036854775807]],
)
def test_classes_that_look_like_numbers_are_told_apart(names):
    targets = names * 10
    recording = Recording.from_arrays(RNG.normal(size=(20, 1)), targets=np.array(targets))
    assert set(Task.infer(recording).labels) == {str(n) for n in names}
    assert set(Task.infer(Recording.from_arrays(RNG.normal(size=(20, 1)), targets=targets)).labels) == {
        str(n) for n in names
    }


UTC = dt.UTC
PLUS_TWO = dt.timezone(dt.timedelta(hours=2))
START = dt.datetime(2024, 5, 1, 12)
EPOCH = START.replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "times",
    [
        np.array([START + dt.timedelta(seconds=90 * i) for i in range(4)], dtype="datetime64[s]"),
        np.array([START + dt.timedelta(seconds=90 * i) for i in range(4)], dtype="datetime64[ns]"),
        [START + dt.timedelta(seconds=90 * i) for i in range(4)],
        [(START + dt.timedelta(seconds=90 * i)).isoformat() for i in range(4)],
        [(START + dt.timedelta(hours=2, seconds=90 * i)).replace(tzinfo=PLUS_TWO) for i in range(4)],
        [(START + dt.timedelta(hours=2, seconds=90 * i)).replace(tzinfo=PLUS_TWO).isoformat() for i in range(4)],
        [(START + dt.timedelta(seconds=90 * i)).isoformat() + "Z" for i in range(4)],
        pd.date_range(START, periods=4, freq="90s"),
        pd.date_range(START, periods=4, freq="90s", tz="UTC").tz_convert("Asia/Tokyo"),
        pd.Series(pd.date_range(START, periods=4, freq="90s", tz="UTC")),
        pl.Series([START + dt.timedelta(seconds=90 * i) for i in range(4)]),
        pl.Series([START + dt.timedelta(seconds=90 * i) for i in range(4)]).dt.replace_time_zone("UTC"),
    ],
    ids=range(12),
)
def test_dates_of_every_kind_are_seconds(times):
    recording = Recording.from_arrays(np.arange(4.0), times)
    assert (recording.time_unit, recording.dated) == ("s", True)
    np.testing.assert_array_equal(recording.series[0].times, EPOCH + 90.0 * np.arange(4))


@pytest.mark.parametrize("unit", ["ns", "us", "ms", "s", "m", "h", "D"])
def test_durations_are_seconds_whatever_their_unit(unit):
    seconds = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "D": 86400.0}[unit]
    recording = Recording.from_arrays(np.arange(5.0), np.arange(5).astype(f"timedelta64[{unit}]"))
    assert (recording.time_unit, recording.dated) == ("s", False)
    np.testing.assert_allclose(recording.series[0].times, np.arange(5) * seconds, rtol=1e-15)
    objects = [dt.timedelta(seconds=i * 30) for i in range(5)]
    np.testing.assert_array_equal(Recording.from_arrays(np.arange(5.0), objects).series[0].times, 30.0 * np.arange(5))


@pytest.mark.parametrize("never", ["9999-12-31", "2300-01-01", "0001-01-01", "1600-06-01"])
def test_dates_that_mean_never_are_refused_with_their_place(never):
    times = np.array(["2024-01-01", "2024-01-02", never], dtype="datetime64[s]")
    with pytest.raises(InputError, match=rf"sample 2 has the date {never}"):
        Recording.from_arrays(np.arange(3.0), times)
    with pytest.raises(InputError, match="sample 2 has the date"):
        Recording.from_arrays(np.arange(3.0), times.tolist())


def test_a_time_that_is_missing_is_said():
    with pytest.raises(InputError, match="time 1 is missing"):
        Recording.from_arrays(np.arange(3.0), np.array(["2024-01-01", "NaT", "2024-01-02"], dtype="datetime64[D]"))
    with pytest.raises(InputError, match="time 1 is missing"):
        Recording.from_arrays(np.arange(3.0), np.ma.MaskedArray([0.0, 1.0, 2.0], [False, True, False]))


def test_frames_keep_their_names_and_are_put_in_one_order():
    first = pd.DataFrame({"a": [1.0, 2, 3], "b": [10.0, 20, 30]})
    recording = Recording.from_arrays([first, first[["b", "a"]], pl.from_pandas(first)])
    assert recording.channels == ("a", "b")
    for series in recording.series:
        np.testing.assert_array_equal(series.values, first.to_numpy())
    assert Recording.from_arrays(first, channels=["b", "a"]).series[0].values[0].tolist() == [10, 1]
    with pytest.raises(InputError, match="series 1 has no 'b' and also 'c'"):
        Recording.from_arrays([first, first.rename(columns={"b": "c"})])
    dated = first.set_index(pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC"))
    recording = Recording.from_arrays(dated, targets=pd.Series([1, 2, 1], name="state"))
    assert np.diff(recording.series[0].times).tolist() == [3600, 3600]
    assert recording.target == "state"
    assert any("index" in note for note in recording.notes)
    nullable = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64")})
    assert np.isnan(Recording.from_arrays(nullable).series[0].values[1, 0])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.array([1 + 2j, 3, 4]), "complex"),
        (np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]"), "are times"),
        ([[1, 2j], [3, 4]], "complex"),
    ],
)
def test_what_is_no_reading_is_refused_in_one_line(values, says):
    with pytest.raises(InputError, match=says):
        Recording.from_arrays(values if isinstance(values, np.ndarray) else np.array(values))


def test_one_sample_and_silent_channels_are_enough_for_a_model():
    recording = Recording.from_arrays(np.array([[1.0, np.nan]]), for_model=True)
    assert recording.n_samples == 1


@pytest.mark.parametrize(
    "names",
    [["007", "012"], ["1E2", "100"], ["9007199254740993111", "9007199254740993112"], [f"{i:03d}" for i in range(30)]],
)
@pytest.mark.parametrize("way", ["csv", "text", "categories"])
def test_codes_in_a_table_stay_as_they_are_written_to_the_answer(names, way, tmp_path):
    labels = names * 12
    frame = pd.DataFrame({"x": RNG.normal(size=len(labels)), "code": labels})
    if way == "csv":
        frame.to_csv(tmp_path / "x.csv", index=False)
        recording = Recording.read(tmp_path / "x.csv", target="code")
    else:
        recording = Recording.from_frame(frame if way == "text" else frame.astype({"code": "category"}), target="code")
    assert set(Task.infer(recording).labels) == set(names)
    model = fit(recording, parameters=300, config=TrainingConfig(epochs=1))
    assert set(model.predict(frame)["prediction"]) <= set(names)
    assert all(f"probability_{name}" in model.predict(frame).columns for name in names)


@pytest.mark.parametrize("names", [[2**60 + 1, 2**60 + 2], [2**63 + 1, 2**63 + 2]])
def test_whole_numbers_of_many_digits_are_exact_names(names):
    frame = pl.DataFrame({"x": RNG.normal(size=20), "id": pl.Series(names * 10, dtype=pl.UInt64)})
    assert Task.infer(Recording.from_frame(frame, target="id")).labels == tuple(map(str, names))


def test_numbers_written_as_decimals_are_numbers(tmp_path):
    (tmp_path / "x.csv").write_text("x,y\n" + "".join(f"{i % 7},{i % 2}.0\n" for i in range(20)))
    assert Task.infer(Recording.read(tmp_path / "x.csv", target="y")).labels == ("0", "1")
    (tmp_path / "x.csv").write_text("x,y\n" + "".join(f"{i % 7},{i}e-3\n" for i in range(40)))
    assert Task.infer(Recording.read(tmp_path / "x.csv", target="y")).kind == "regression"


DAYS = [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 2), dt.datetime(9999, 12, 31), dt.datetime(2024, 1, 3)]


@pytest.mark.parametrize("far", ["9999-12-31", "0001-01-01", "2300-06-01"])
@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y"])
def test_a_date_that_means_never_is_refused_with_its_row_and_can_be_left_out(far, form, tmp_path):
    day = dt.datetime.fromisoformat(far)
    written = [d.strftime(form) for d in DAYS]
    written[2] = day.strftime(form.replace("%Y", f"{day.year:04d}"))
    (tmp_path / "x.csv").write_text("t,x\n" + "".join(f"{t},{i}\n" for i, t in enumerate(written)))
    with pytest.raises(InputError, match=rf"'{written[2]}' in row 4 .*1678.*--missing"):
        Recording.read(tmp_path / "x.csv", time="t")
    recording = Recording.read(tmp_path / "x.csv", time="t", missing=[written[2]])
    assert np.diff(recording.series[0].times).tolist() == [86400, 86400]
    assert recording.series[0].values[:, 0].tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    "times",
    [
        pl.Series(DAYS),
        pl.Series(DAYS).cast(pl.Date),
        pl.Series(DAYS).cast(pl.Datetime("ms")),
        pd.Series(np.array(DAYS, dtype="datetime64[s]")),
        pd.Series(DAYS, dtype=object),
    ],
    ids=range(5),
)
def test_so_is_one_in_a_column_of_dates(times):
    frame = (pl.DataFrame if isinstance(times, pl.Series) else pd.DataFrame)({"t": times, "x": [0.0, 1, 2, 3]})
    with pytest.raises(InputError, match="'9999-12-31' in row 3"):
        Recording.from_frame(frame, time="t")
    recording = Recording.from_frame(frame, time="t", missing=["9999-12-31"])
    assert np.diff(recording.series[0].times).tolist() == [86400, 86400]


def test_durations_of_centuries_are_exact():
    frame = pl.DataFrame({"t": [dt.timedelta(days=200_000 * i) for i in range(3)], "x": [1.0, 2, 3]})
    assert Recording.from_frame(frame, time="t").series[0].times.tolist() == [0, 200_000 * 86400, 400_000 * 86400]


def test_names_that_are_numbers_and_lists_of_one():
    frame = pd.DataFrame(RNG.normal(size=(6, 3)))
    assert Recording.from_frame(frame, target=2).channels == ("0", "1")
    assert Recording.from_frame(frame, target=2, channels=[1]).channels == ("1",)
    named = frame.set_axis(["a", "b", "y"], axis=1)
    assert Recording.from_frame(named, target=["y"]).target == "y"
    with pytest.raises(InputError, match="one column is needed for the target, not 2"):
        Recording.from_frame(named, target=["y", "a"])
    with pytest.raises(InputError, match="no column '7' for the target"):
        Recording.from_frame(frame, target=7)
    with pytest.raises(InputError, match="column 'z' holds complex numbers"):
        Recording.from_frame(named.assign(z=1j))
