"""The published recordings, as their loaders give them."""

from __future__ import annotations

import urllib.error

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from torchliquid.cli import app
from torchliquid.datasets import fetch, load, occupancy, traffic
from torchliquid.datasets.dataset import Dataset
from torchliquid.errors import InputError


@pytest.fixture(scope="module")
def loaded(data_dir) -> dict[str, Dataset]:
    return {name: load(name) for name in EXPECTED}


# name: kind, per, classes or values, channels, series and samples of training, then of each test part
EXPECTED = {
    "occupancy": ("classification", "step", 2, 5, (1, 8143), {"before": (1, 2665), "after": (1, 9752)}),
    "cmapss": ("regression", "step", 1, 17, (100, 20631), {"last cycle": (100, 13096)}),
    "traffic": ("regression", "step", 1, 7, (1, 40973), {"later": (1, 7231)}),
    "cheetah": ("regression", "step", 17, 17, (10, 9990), {"test": (10, 9990)}),
    "walker": ("regression", "step", 17, 17, (300, 171884), {"test": (60, 34368)}),
    "physionet2012": ("classification", "series", 2, 40, (3197, None), {"patients held out": (799, None)}),
    "skab": ("classification", "step", 2, 8, (16, 18160), {"valve2": (4, None), "other": (14, None)}),
    "japanese_vowels": ("classification", "series", 9, 12, (270, 4274), {"test": (370, 5687)}),
}


def test_scripts_with_the_former_name_go_on():
    from torchliquid.data.datasets import Dataset as former_class
    from torchliquid.data.datasets import load as former

    assert former is load
    assert former_class is Dataset


@pytest.mark.parametrize("name", EXPECTED)
def test_what_each_loader_gives(loaded, name):
    dataset = loaded[name]
    kind, per, outputs, channels, train, tests = EXPECTED[name]
    assert (dataset.task.kind, dataset.task.per, dataset.task.n_outputs) == (kind, per, outputs)
    assert len(dataset.train.channels) == channels
    assert list(dataset.tests) == list(tests)
    for part, (n_series, n_samples) in [(dataset.train, train), *((dataset.tests[k], v) for k, v in tests.items())]:
        assert part.n_series == n_series
        assert n_samples in (None, part.n_samples)
        assert part.channels == dataset.train.channels
        assert part.time_unit == dataset.train.time_unit
        dataset.task.check(part, name)
    assert dataset.notes
    assert dataset.licence
    assert dataset.source


def test_occupancy_tests_lie_before_and_after_the_training_period(loaded):
    dataset = loaded["occupancy"]
    times = dataset.train.series[0].times
    assert dataset.tests["before"].series[0].times[-1] < times[0]
    assert dataset.tests["after"].series[0].times[0] > times[-1]
    assert dataset.train.median_gap() == 60


def test_the_publishers_form_of_occupancy_gives_the_same(loaded, data_dir, tmp_path, monkeypatch):
    (tmp_path / "occupancy").mkdir()
    for file, first, quoted in (
        ("datatraining.txt", 1, True),
        ("datatest.txt", 140, True),
        ("datatest2.txt", 1, False),
    ):
        header, *rows = (data_dir / "occupancy" / file).read_text().splitlines()
        rows = [f'"{i}",{row if quoted else row.replace(chr(34), "")}' for i, row in enumerate(rows, first)]
        text = "\n".join([header.replace("Date", "date"), *rows, ""])
        (tmp_path / "occupancy" / file).write_text(text)
    monkeypatch.setenv("TORCHLIQUID_DATA", str(tmp_path))
    again = occupancy.load()  # and their SHA-256 are the publisher's
    np.testing.assert_array_equal(again.train.series[0].values, loaded["occupancy"].train.series[0].values)
    np.testing.assert_array_equal(
        again.tests["after"].series[0].times, loaded["occupancy"].tests["after"].series[0].times
    )


def test_cmapss_lives_are_capped_and_only_last_cycles_are_scored(loaded):
    dataset = loaded["cmapss"]
    for s in dataset.train.series:
        assert s.targets is not None
        assert s.targets[-1] == 0
        assert s.targets.max() == 125
        assert (np.diff(s.targets) >= -1).all()
    last = [s.targets for s in dataset.tests["last cycle"].series]
    assert all(t is not None and np.isnan(t[:-1]).all() for t in last)
    assert [t[-1] for t in last[:4] if t is not None] == [112, 98, 69, 82]


def test_rollouts_predict_the_next_observation(loaded, data_dir):
    rollout = np.load(data_dir / "cheetah" / "trace_0015.npy")
    series = loaded["cheetah"].train.series[0]
    np.testing.assert_array_equal(series.values, rollout[:-1])
    np.testing.assert_array_equal(series.targets, rollout[1:])
    walker = loaded["walker"]
    assert walker.validation is not None
    parts = [{s.name for s in part.series} for part in (walker.train, walker.validation, walker.tests["test"])]
    assert [len(p) for p in parts] == [300, 40, 60]
    assert len(set.union(*parts)) == 400
    gaps = walker.train.gaps()
    assert gaps.min() == 1
    assert (gaps == 1).mean() == pytest.approx(0.9, abs=0.005)


def test_patients(loaded):
    dataset = loaded["physionet2012"]
    parts = (dataset.train, dataset.tests["patients held out"])
    died = [np.mean([s.targets for s in part.series]) for part in parts]
    assert died[0] == pytest.approx(554 / 4000, abs=0.002)
    assert died[1] == pytest.approx(died[0], abs=0.005)
    patients = {s.name: s for part in parts for s in part.series}
    assert len(patients) == 3996
    first = patients["132539"]
    column = dataset.train.channels.index
    assert first.values[0, column("Age")] == 54
    assert np.isnan(first.values[0, column("Height")])  # -1 there means unknown
    np.testing.assert_array_equal(first.times[:3], [0, 7 * 60, 37 * 60])
    assert first.values[1, column("HR")] == 73
    assert not all(np.isnan(s.values[:, column("Na")]).all() for s in patients.values())  # sodium


# -- files that are not there, or not right


@pytest.mark.parametrize("name", ["person", "har", "power", "gesture", "ozone"])
def test_a_set_that_was_dropped_is_refused_with_the_reason(name, tmp_path):
    for words in (
        ["assess", name, "--out", str(tmp_path / "out")],
        ["reproduce", name, "--out", str(tmp_path / "out")],
    ):
        found = CliRunner().invoke(app, words)
        assert found.exit_code == 2
        assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="no longer offered, because its loader and its table were never run") as told:
        load(name)
    assert "\n" not in str(told.value)


def test_an_unknown_name():
    with pytest.raises(InputError, match="no data set 'ocupancy'; did you mean 'occupancy'"):
        load("ocupancy")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """No files on this machine, and no network."""
    monkeypatch.setenv("TORCHLIQUID_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def no_network(*_args, **_kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(fetch.urllib.request, "urlopen", no_network)
    return tmp_path


@pytest.mark.parametrize("name", [n for n in EXPECTED if n != "japanese_vowels"])
def test_without_files_or_network_one_line_says_where_to_get_them(elsewhere, name):
    with pytest.raises(InputError, match=r"get it from https://.* and put it there") as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert str(elsewhere / "data" / name) in str(caught.value)
    assert not (elsewhere / "cache").exists()


def test_a_changed_file_is_refused(elsewhere, data_dir):
    folder = elsewhere / "data" / "cmapss"
    folder.mkdir(parents=True)
    (folder / "train_FD001.txt").write_bytes(b"1 2 3\n")
    with pytest.raises(InputError, match=r"not the published file \(6 bytes instead of 3,515,356\)"):
        load("cmapss")


def test_japanese_vowels_leaves_nothing_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    load("japanese_vowels")
    assert not list(tmp_path.iterdir())


def test_japanese_vowels_without_aeon_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aeon.datasets", None)
    with pytest.raises(InputError, match=r"pip install 'torchliquid\[demo\]'"):
        load("japanese_vowels")


def test_altered_japanese_vowels_are_refused(monkeypatch):
    import aeon.datasets

    read = aeon.datasets.load_from_ts_file

    def altered(path):
        values, speakers = read(path)
        values[7][3, 2] += 1e-6
        return values, speakers

    monkeypatch.setattr(aeon.datasets, "load_from_ts_file", altered)
    with pytest.raises(InputError, match="does not hold the published values"):
        load("japanese_vowels")


def test_altered_traffic_is_refused_and_another_edition_of_the_same_is_taken(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHLIQUID_DATA", str(tmp_path))
    (tmp_path / "traffic").mkdir()
    path = tmp_path / "traffic" / traffic.FILE
    table = pl.read_csv(data_dir / "traffic" / traffic.FILE, infer_schema_length=None)
    table.write_csv(path, separator=";", line_terminator="\r\n")
    assert load("traffic").train.n_samples == 40973
    for column, change in (("traffic_volume", pl.col("traffic_volume").shuffle(1)), ("temp", pl.col("temp") + 1e-9)):
        table.with_columns(change.alias(column)).write_csv(path)
        with pytest.raises(InputError, match=r"is not the published file \(it holds other values"):
            load("traffic")


def test_what_a_loader_says_is_printed_and_reported(data_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHLIQUID_DATA", str(data_dir))
    command = "assess occupancy --contender linear --contender naive --seeds 1 --tuning 1 --jobs 1 --out"
    done = CliRunner().invoke(app, [*command.split(), str(tmp_path / "study")])
    assert done.exit_code == 0, done.output
    note = "The test part 'before' (datatest.txt) is before the training period"
    assert note in done.output
    assert note in (tmp_path / "study/results.json").read_text(encoding="utf-8")
