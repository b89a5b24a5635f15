"""Windows, batches and splits: nothing is lost, nothing is scored twice, and no part knows another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchliquid.data import Preprocessing, Recording, Windows, batches, forward_split, series_split
from torchliquid.errors import InputError
from torchliquid.tasks import Task
from torchliquid.training.fit import hold_out

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=6).filter(lambda ns: sum(ns) >= 2)


@st.composite
def plans(draw):
    length = draw(st.integers(1, 20))
    return Windows(length, draw(st.integers(1, length)), draw(st.integers(0, length - 1)))


def numbered(ns: list[int], labelled: float = 1.0, per: str = "step") -> Recording:
    """A recording whose one channel is the sample's number over all series, and its target too."""
    rng = np.random.default_rng(len(ns))
    starts = np.cumsum([0, *ns])
    values = [np.arange(starts[i], starts[i + 1], dtype=float) for i in range(len(ns))]
    times = [np.cumsum(rng.integers(1, 4, n)) for n in ns]
    targets = [np.where(rng.random(len(v)) <= labelled, v, np.nan) for v in values]
    if per == "series":
        targets = [np.array(float(i)) for i in range(len(ns))]
    return Recording.from_arrays(values, times, targets)


@given(ns=lengths, plan=plans())
def test_windows_stay_in_their_series_and_cover_every_sample(ns, plan):
    recording = numbered(ns)
    windows = plan.cut(recording)
    assert len(windows) == len(set(windows)) == sum(1 + max(-(-(n - plan.length) // plan.stride), 0) for n in ns)
    covered = [np.zeros(n, dtype=bool) for n in ns]
    for i, start, stop in windows:
        assert 0 <= start < stop <= ns[i]
        assert stop - start == min(plan.length, ns[i])
        covered[i][start:stop] = True
    assert all(c.all() for c in covered)


@settings(max_examples=60)
@given(
    ns=lengths,
    plan=plans(),
    size=st.integers(1, 7),
    seed=st.none() | st.integers(0, 9),
    labelled=st.sampled_from([1, 0.3]),
)
def test_a_batch_is_its_windows_and_scores_only_what_may_be_scored(ns, plan, size, seed, labelled):
    recording = numbered(ns, labelled)
    task = Task("regression", "step", "target", mean=(0.0,), std=(1.0,))
    preprocessing = Preprocessing.fit(recording, with_mask=True)
    rng = None if seed is None else np.random.default_rng(seed)
    seen = []
    for batch in batches(recording, preprocessing, task, plan, size, rng):
        assert (
            batch.inputs.dtype == batch.timespans.dtype == batch.targets.dtype == batch.weights.dtype == torch.float32
        )
        assert batch.lengths.dtype == torch.int64
        assert len(batch.where) <= size
        for row, (i, start, stop) in enumerate(batch.where):
            series, n = recording.series[i], stop - start
            inputs, spans = preprocessing(series)
            assert batch.lengths[row] == n
            np.testing.assert_array_equal(batch.inputs[row, :n], inputs[start:stop])
            np.testing.assert_array_equal(batch.timespans[row, :n], spans[start:stop])
            assert not batch.inputs[row, n:].any()
            assert series.targets is not None
            truth = series.targets[start:stop]
            scored = np.isfinite(truth) & (np.arange(n) >= (plan.burn_in if start else 0))
            np.testing.assert_array_equal(batch.weights[row, :n] > 0, scored)
            assert not batch.weights[row, n:].any()
            np.testing.assert_array_equal(batch.targets[row, :n].numpy()[scored], truth[scored].astype(np.float32))
        seen += batch.where
    cut = plan.cut(recording)
    if rng is None:
        assert seen == cut
    else:
        assert len(seen) == len(set(seen))
        assert {w for w in cut if w not in seen} == {w for w in cut if _unscored(recording, plan, w)}


def _unscored(recording: Recording, plan: Windows, window: tuple[int, int, int]) -> bool:
    i, start, stop = window
    targets = recording.series[i].targets
    assert targets is not None
    return not np.isfinite(targets[start + (plan.burn_in if start else 0) : stop]).any()


def test_one_target_a_series_and_several_a_step_make_batches():
    recording = numbered([5, 3, 4], per="series")
    task = Task.infer(recording, kind="classification", per="series")
    (batch,) = batches(recording, Preprocessing.fit(recording), task, Windows.choose(recording, task), 8)
    assert batch.targets.tolist() == [0, 1, 2]
    assert batch.targets.dtype == torch.int64
    assert batch.weights.tolist() == [1, 1, 1]
    assert batch.inputs.shape == (3, 5, 1)
    both = Recording.from_arrays(np.arange(12.0).reshape(6, 2), targets=np.arange(18.0).reshape(6, 3))
    task = Task.infer(both, kind="regression", per="step")
    (batch,) = batches(both, Preprocessing.fit(both), task, Windows(6, 6), 2)
    assert batch.targets.shape == (1, 6, 3)
    assert batch.weights.shape == (1, 6)
    assert batch.to("cpu").where == batch.where


def test_held_values_and_spans_reach_into_a_window_from_before_it():
    values = np.array([5.0, np.nan, np.nan, 7.0])
    recording = Recording.from_arrays(values, [0.0, 2, 3, 9], [0.0, 1, 2, 3])
    preprocessing = Preprocessing.fit(recording)
    task = Task("regression", "step", "target", mean=(0.0,), std=(1.0,))
    first, second = batches(recording, preprocessing, task, Windows(2, 2), 1)
    assert second.inputs[0, 0, 0] == first.inputs[0, 0, 0]  # held over the cut
    assert second.timespans.tolist() == [[1 / 2, 6 / 2]]
    assert first.timespans.tolist() == [[1, 2 / 2]]


def test_chosen_windows_fit_the_data():
    rng = np.random.default_rng(0)

    def chosen(ns: list[int], per: str = "step", horizon: float | None = None) -> Windows:
        recording = Recording.from_arrays([rng.normal(size=n) for n in ns])
        return Windows.choose(recording, Task("regression", per, "x", horizon=horizon))  # type: ignore[arg-type]

    assert chosen([29, 7, 12], "series") == Windows(29, 29)
    assert chosen([5000, 10], "series") == Windows(1024, 1024)
    assert chosen([100, 90]) == Windows(100, 100)
    assert chosen([8000]) == Windows(64, 16, 8)
    assert chosen([50_000]) == Windows(64, 32, 8)
    assert chosen([1_000_000]) == Windows(64, 56, 8)
    assert chosen([8000], horizon=40).length == 160
    assert chosen([300]).length == 16
    assert chosen([3]).length == 3


@pytest.mark.parametrize("plan", [(0, 1, 0), (4, 0, 0), (4, 1, 4), (4, 1, -1)])
def test_impossible_windows_are_refused(plan):
    with pytest.raises(InputError, match="windows of length"):
        Windows(*plan)


# -- splits


@given(ns=lengths, held_out=st.floats(0.05, 0.95), gap=st.integers(0, 5), plan=plans())
def test_no_window_of_the_later_part_overlaps_one_of_the_earlier(ns, held_out, gap, plan):
    recording = numbered(ns)
    try:
        earlier, later = forward_split(recording, held_out, gap)
    except InputError:
        # Refused only where no series can be cut and keep something on both sides.
        assert all(n - round(n * held_out) in (0, n) or n - round(n * held_out) <= gap for n in ns)
        return

    def samples(part: Recording) -> list[set[float]]:
        return [set(part.series[i].values[a:b, 0].tolist()) for i, a, b in plan.cut(part)]

    trained, tested = set.union(*samples(earlier)), set.union(*samples(later))
    assert not trained & tested
    ends = {s.name: s.times[-1] for s in earlier.series}
    for s in later.series:
        assert s.times[0] > ends[s.name]
    if gap == 0:
        assert len(trained | tested) == sum(ns)


def test_samples_of_one_time_stay_together():
    recording = Recording.from_arrays(np.arange(6.0), [0.0, 1, 2, 2, 2, 3])
    earlier, later = forward_split(recording, 0.5)
    assert earlier.series[0].times.tolist() == [0, 1, 2, 2, 2]
    assert later.series[0].times.tolist() == [3]


@given(
    labels=st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=40),
    held_out=st.floats(0.05, 0.6),
    seed=st.integers(0, 99),
)
@example(labels=list("aaaabc"), held_out=0.59375, seed=0)
def test_splits_by_series_share_labels_evenly_and_lose_nothing(labels, held_out, seed):
    recording = Recording.from_arrays([np.arange(3.0)] * len(labels), targets=labels)
    rest, out = series_split(recording, held_out, seed)
    names = [[int(s.name) for s in part.series] for part in (rest, out)]
    assert sorted(names[0] + names[1]) == list(range(len(labels)))
    assert names[0] == sorted(names[0])
    assert names[0]
    assert names[1]
    if 2 * len(set(labels)) <= len(labels):
        for label in set(labels):
            ours = sum(labels[i] == label for i in names[1])
            assert abs(ours - held_out * labels.count(label)) <= 2
            assert ours < labels.count(label)  # every label can be learnt from
    assert names == [[int(s.name) for s in part.series] for part in series_split(recording, held_out, seed)]


def test_scales_come_from_the_training_part_alone():
    recording = numbered([50])
    earlier, later = forward_split(recording, 0.2)
    before = Preprocessing.fit(earlier).to_dict()
    for s in later.series:
        s.values[:] = 1e9  # whatever the later part holds
    assert Preprocessing.fit(earlier).to_dict() == before
    np.testing.assert_allclose(before["mean"], [19.5])


def test_impossible_splits_are_refused():
    with pytest.raises(InputError, match="between 0 and 1"):
        forward_split(numbered([9]), 1.0)
    with pytest.raises(InputError, match="split by series"):
        forward_split(numbered([9, 9], per="series"), 0.5)
    with pytest.raises(InputError, match="split forward in time"):
        series_split(numbered([9]), 0.5)
    with pytest.raises(InputError, match="long enough"):
        forward_split(numbered([1, 1]), 0.5)
    times = np.append(np.zeros(2), np.ones(8))
    with pytest.raises(InputError, match="8 of 10 samples have the time of the previous one; check that the"):
        forward_split(Recording.from_arrays(np.arange(10.0), times), 0.2)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["idle"] * 9 + ["run"], "'idle', in the 8 samples of the training part; 'run' occurs only in the rest"),
        ([0] * 9 + [1], "'0', in the 8 samples of the training part; '1' occurs only in the rest"),
    ],
)
def test_a_class_that_comes_only_after_the_cut_is_named(targets, message):
    recording = Recording.from_arrays(np.arange(10.0), targets=targets)
    task = Task.infer(recording, kind="classification")
    with pytest.raises(InputError, match=message):
        task.fit(forward_split(recording, 0.2)[0])


def test_a_number_that_never_changes_is_named_as_such():
    with pytest.raises(InputError, match="'target' never changes: it has only one class, '5'"):
        Task.infer(Recording.from_arrays(np.arange(10.0), targets=np.full(10, 5)))


@pytest.mark.parametrize(("same_from", "held"), [(100, 20), (75, 30), (65, 40), (10, 20)])
def test_a_part_of_one_class_is_widened_where_that_helps(same_from, held):
    """A hundred samples of two classes, the last ones of one; where even two fifths hold but one, a fifth is."""
    labels = (np.arange(100) % 2).astype(str)
    labels[same_from:] = "1"
    recording = Recording.from_arrays(np.zeros((100, 1)), targets=labels)
    assert hold_out(recording, Task.infer(recording))[1].n_samples == held


def test_a_negative_gap_that_would_put_samples_into_both_parts_is_refused():
    with pytest.raises(InputError, match="gap must be 0 or more"):
        forward_split(Recording.from_arrays(np.arange(20.0)), 0.5, gap=-3)
