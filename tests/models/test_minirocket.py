"""MiniRocket: its features against aeon's, its grid, and shapes that it tells apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.small import small_recording

from torchliquid import Model, Recording
from torchliquid.data import Preprocessing
from torchliquid.datasets import load
from torchliquid.errors import InputError
from torchliquid.models.minirocket import KERNELS, Kernels, MiniRocket, on_grid
from torchliquid.tasks import Task
from torchliquid.training.fit import hold_out


@pytest.mark.parametrize(("channels", "length"), [(1, 50), (4, 61), (12, 29), (3, 9)])
def test_features_are_those_of_aeon(channels, length):
    convolution = pytest.importorskip("aeon.transformations.collection.convolution_based")
    x = np.random.default_rng(0).normal(size=(10, channels, length)).astype(np.float32)
    theirs = convolution.MiniRocket(n_kernels=2000, random_state=0)
    expected = np.asarray(theirs.fit_transform(x))
    n_channels, which, dilation, biases, bias = theirs.parameters
    rows = np.zeros((len(n_channels), channels), dtype=np.uint8)
    for row, own in zip(rows, np.split(which, np.cumsum(n_channels)[:-1]), strict=True):
        row[own] = 1
    kernels = Kernels(dilation, biases, rows.reshape(-1, KERNELS, channels), bias)
    np.testing.assert_allclose([kernels(each) for each in x], expected, atol=1e-6)
    ours = Kernels.draw(list(x), 2000, seed=0)
    np.testing.assert_array_equal(ours.dilation, dilation)
    np.testing.assert_array_equal(ours.biases, biases)
    # Shares of a drawn series are its bias's quantile, so that all features together are spread evenly.
    assert abs(np.mean([ours(each) for each in x]) - 0.5) < 0.05


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2**16))
def test_a_grid_holds_the_last_sample_until_half_a_span_before_the_next(n, most, seed):
    rng = np.random.default_rng(seed)
    spans, x = rng.exponential(size=n).astype(np.float32), rng.normal(size=(n, 2)).astype(np.float32)
    times = np.concatenate([[0.0], np.cumsum(spans[1:], dtype=np.float64)])
    points = np.arange(np.floor(times[-1] + 0.5) + 1)
    expected = [x[np.flatnonzero(times < point + 0.5)[-1]] for point in points][-most:]
    np.testing.assert_array_equal(on_grid(x, spans, most), np.transpose(expected))
    np.testing.assert_array_equal(on_grid(x, np.ones(n, np.float32), n), x.T)


def test_live_answers_are_those_of_the_series_so_far_also_beyond_what_it_looks_back():
    training = small_recording((20, 14, 9, 17), "series")
    task = Task("classification", "series", "target").fit(training)
    model = MiniRocket.fit(task, Preprocessing.fit(training), training, training, features=168)
    (series,) = small_recording((60,), "series", seed=3).series  # longer than any in training
    live = model.live()
    gaps = np.diff(series.times, prepend=series.times[0])
    for i, (values, gap) in enumerate(zip(series.values, gaps, strict=True)):
        said = live.step(values, gap)
        if i in (0, 7, 30, 59):
            so_far = Recording.from_arrays(
                series.values[: i + 1], series.times[: i + 1], channels=["a", "b", "c"], time_unit="ms", for_model=True
            )
            np.testing.assert_allclose(said, model.outputs(so_far)[0], atol=1e-9)


def test_it_finds_a_shape_wherever_it_stands_in_series_of_any_length():
    """Statistics know nothing of it: each series has the same values, in another order."""
    rng = np.random.default_rng(0)

    def series(label: str) -> np.ndarray:
        n = int(rng.integers(40, 70))
        x = rng.permutation(np.linspace(-1, 1, n))
        at = rng.integers(0, n - 10)
        x[at : at + 10] = np.sort(x[at : at + 10])[:: 1 if label == "up" else -1]
        return x[:, None]

    labels = [("up", "down")[i % 2] for i in range(400)]
    whole = Recording.from_arrays([series(label) for label in labels], targets=labels)
    training, validation, test = (whole.select(range(*part)) for part in ((0, 250), (250, 300), (300, 400)))
    task = Task.infer(training).fit(training)
    model = MiniRocket.fit(task, Preprocessing.fit(training), training, validation)
    assert task.metrics(model.outputs(test), test)["accuracy"] > 0.9


def test_it_knows_the_speakers():
    data = load("japanese_vowels")
    training, validation = hold_out(data.train, data.task)
    task = data.task.fit(training)
    model = MiniRocket.fit(task, Preprocessing.fit(training), training, validation, features=2520)
    (test,) = data.tests.values()
    assert task.metrics(model.outputs(test), test)["accuracy"] > 0.97


def test_what_it_cannot_do_is_said():
    training = small_recording(per="step")
    task = Task("classification", "step", "target").fit(training)
    with pytest.raises(InputError, match="one answer a series"):
        MiniRocket.fit(task, Preprocessing.fit(training), training, training)
    training = small_recording(per="series")
    task = Task("classification", "series", "target").fit(training)
    for hyper, words in (({"feature": 84}, "did you mean 'features'"), ({"features": 83}, "from 84 to 100,000")):
        with pytest.raises(InputError, match=words):
            MiniRocket.fit(task, Preprocessing.fit(training), training, training, **hyper)


def test_an_older_version_would_say_what_to_do(tmp_path):
    training = small_recording((20, 14), "series")
    task = Task("regression", "series", "target").fit(training)
    MiniRocket.fit(task, Preprocessing.fit(training), training, training, features=84).save(tmp_path / "m.safetensors")
    assert b'"version":"4"' in (tmp_path / "m.safetensors").read_bytes()
    assert Model.load(tmp_path / "m.safetensors").kind == "minirocket"
