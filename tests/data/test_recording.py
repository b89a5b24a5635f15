"""Recordings from arrays, and their parts."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import pytest
import torch

import torchliquid
from torchliquid.data import Recording, reading, tables
from torchliquid.data.text import Form
from torchliquid.errors import InputError


def test_read_has_the_options_of_its_readers(monkeypatch):
    """Names, types and defaults, and each reaches the reader."""
    texts, frames = inspect.signature(Form).parameters, inspect.signature(tables.from_table).parameters
    readers = {**frames, **{name: texts[name] for name in tables.OF_TEXT}}
    options = inspect.signature(torchliquid.read).parameters
    assert set(options) == set(readers) - {"read"} | {"path"}
    for name, option in options.items():
        if name != "path":
            assert option.kind is inspect.Parameter.KEYWORD_ONLY
            assert (option.default, option.annotation.removesuffix(" | None")) == (
                None,
                readers[name].annotation.removesuffix(" | None"),
            )
    given = {name: object() for name in options if name != "path"}
    given |= {"channels": ["a"], "ignore": ["b"], "keep": ["c"], "skip": 3, "like": {"sensor": "x"}}
    reached = {}
    monkeypatch.setattr(reading, "read_table", lambda path, form, named: reached.update(path=path, **vars(form)))
    monkeypatch.setattr(reading, "from_table", lambda table, **asked: reached.update(asked) or Recording((), ()))
    torchliquid.read("t.csv", **given)
    assert reached == {"path": "t.csv", "asked": tables.OF_TEXT, **given}
    reached.clear()
    torchliquid.read("t.csv")
    assert reached == {"path": "t.csv", **vars(Form())}


def test_aeon_collections_with_equal_and_different_lengths():
    rng = np.random.default_rng(0)
    ragged = [rng.normal(size=(3, n)) for n in (5, 2, 7)]
    recording = Recording.from_aeon(ragged, ["b", "a", "b"])
    assert recording.channels == ("channel_1", "channel_2", "channel_3")
    assert [len(s) for s in recording.series] == [5, 2, 7]
    np.testing.assert_array_equal(recording.series[2].values, ragged[2].T)
    assert [s.targets.item() for s in recording.series if s.targets is not None] == ["b", "a", "b"]
    assert recording.target == "class"
    assert recording.time_unit == "samples"
    equal = Recording.from_aeon(rng.normal(size=(4, 2, 6)), [0, 1, 0, 1])
    assert (equal.n_series, equal.n_samples, len(equal.channels)) == (4, 24, 2)
    assert equal.series[1].targets == 1.0


def test_one_array_is_one_series_and_a_list_is_many():
    one = Recording.from_arrays(np.arange(4.0), targets=["a", None, "b", "a"])
    assert one.n_series == 1
    assert one.series[0].targets is not None
    assert one.series[0].targets.tolist() == ["a", None, "b", "a"]
    many = Recording.from_arrays(
        [np.arange(4.0), np.arange(2.0)], targets=[np.arange(4), [1, np.nan]], names=["p", "q"]
    )
    assert [s.name for s in many.series] == ["p", "q"]
    assert all(s.per_step for s in many.series)


def test_what_is_known_of_a_recording():
    values = np.array([[1.0, np.nan], [np.inf, 2.0], [3.0, 2.0], [4.0, np.nan]])
    recording = Recording.from_arrays([values, values[:1]], [[0.0, 1, 1, 5], [3.0]], time_unit="h")
    np.testing.assert_array_equal(recording.gaps(), [1, 0, 4])
    assert recording.median_gap() == 2.5
    np.testing.assert_allclose(recording.missing_share(), [1 / 5, 3 / 5])
    assert recording.time_unit == "h"
    notes = " ".join(recording.notes)
    for part in ("1 infinite", "1 samples have the time", "40.0%"):
        assert part in notes
    assert Recording.from_arrays([np.zeros(1)] * 3).median_gap() == 1


@pytest.mark.parametrize(
    ("marks", "noted"),
    [
        ([4294967295], ["4294967295 in column 'x' (1 times)"]),
        ([-9999] * 3, ["-9999 in column 'x' (3 times)"]),
        ([65535] * 4 + [-9999] * 3, ["-9999 in", "65535 in column 'x' (4 times)"]),
        ([-9999] * 2, []),  # twice may be a pair of true peaks
        ([2000, 2100, 2200, 2200, 2200], []),  # a tail
        ([], []),
    ],
)
def test_readings_that_may_be_marks_are_noted(marks, noted):
    x = np.concatenate([np.random.default_rng(0).normal(100, 20, 200), np.geomspace(200, 2000, 50), marks])
    notes = [n for n in Recording.from_arrays(x, channels=["x"]).notes if "--missing" in n]
    assert len(notes) == len(noted)
    assert all(part in note for part, note in zip(noted, notes, strict=True))


@pytest.mark.parametrize(
    "sane",
    [
        np.arange(100) % 2,
        np.repeat([0.0, 7.5], [97, 3]),
        np.full(50, 5.0),
        np.random.default_rng(0).lognormal(0, 2, 1000).round(1),
        1.2e8 + np.random.default_rng(0).random(100),
        np.random.default_rng(0).poisson(0.3, 1000) ** 3,
    ],
)
def test_sane_readings_are_not_noted(sane):
    assert not Recording.from_arrays(sane).notes


def test_parts_and_sums_of_recordings():
    a = Recording.from_arrays([np.arange(3.0), np.arange(4.0)], names=["a", "b"])
    b = Recording.from_arrays([np.arange(5.0)], names=["c"])
    whole = Recording.concat([a, b])
    assert [s.name for s in whole.series] == ["a", "b", "c"]
    assert [s.name for s in whole.select([2, 0]).series] == ["c", "a"]
    cut = whole.series[1].cut(1, 3)
    assert cut.times.tolist() == [1, 2]
    with pytest.raises(InputError, match="time_unit: 'samples' and 's'"):
        Recording.concat([a, Recording.from_arrays(np.arange(3.0), np.arange(3.0), time_unit="s")])


def test_a_tensor_is_one_array_and_what_is_none_is_refused():
    tensor = torch.arange(10.0).reshape(5, 2)
    recording = Recording.from_arrays(tensor)
    assert (recording.n_series, recording.n_samples) == (1, 5)
    np.testing.assert_array_equal(recording.series[0].values, tensor.numpy())
    for values, more, says in (
        (3.0, {}, "an array or a list of arrays, not float"),
        (np.zeros((2, 3, 4, 5)), {}, r"shape \(3, 4, 5\)"),
        ([tensor, tensor], {"names": ["a"]}, "1 names were given for 2 series"),
    ):
        with pytest.raises(InputError, match=says):
            Recording.from_arrays(values, **more)


def test_pandas_frames_that_cannot_be_read_say_so_in_one_line():
    twice = pd.DataFrame(np.ones((3, 2)), columns=["a", "a"])
    mixed = pd.DataFrame({"a": [1, "x", 2], "b": 1.0})
    for frame in (twice, mixed, mixed["b"]):
        with pytest.raises(InputError, match=r"^[^\n]*pandas[^\n]*$"):
            Recording.from_frame(frame)


def test_no_recordings_cannot_be_joined():
    with pytest.raises(InputError, match="no recordings"):
        Recording.concat([])
