import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from torchliquid.data import Recording, Series
from torchliquid.errors import InputError
from torchliquid.metrics import find, names
from torchliquid.study import words
from torchliquid.study.stats.intervals import FEWEST, Term, compare, correlation_time, estimate
from torchliquid.study.stats.scores import Cells, Scores, pack_scores, shift_mean
from torchliquid.tasks import Task


def mean(sums: np.ndarray) -> np.ndarray:
    return sums[..., 1] / sums[..., 0]


def counted(values: np.ndarray) -> np.ndarray:
    return np.stack([np.ones_like(values), values], -1)


def test_without_seeds_it_is_the_paired_t_interval():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 30))
    ours = compare(Term(counted(a), deterministic=True), Term(counted(b), deterministic=True), mean, True, True)
    paired = stats.ttest_rel(a[0], b[0]).confidence_interval()
    np.testing.assert_allclose([ours.low, ours.high], [paired.low, paired.high])
    lower = compare(Term(counted(a), deterministic=True), Term(counted(b), deterministic=True), mean, False, True)
    assert lower.value == pytest.approx(-ours.value)


def test_without_doubt_of_the_data_it_is_welchs_t_interval():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 1)), 2 * rng.normal(size=(3, 1))
    terms = (Term(counted(np.tile(a, 40))), Term(counted(np.tile(b, 40))))
    ours = compare(*terms, mean, True, True)
    welch = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).confidence_interval()
    np.testing.assert_allclose([ours.low, ours.high], [welch.low, welch.high])


def test_series_without_a_label_are_no_data():
    rng = np.random.default_rng(2)
    a, b = counted(rng.normal(size=(3, 6))), counted(rng.normal(size=(3, 6)))
    nothing = np.zeros((3, 34, 2))
    alone = compare(Term(a), Term(b), mean, True, True)
    among = compare(Term(np.concatenate([nothing, a], 1)), Term(np.concatenate([nothing, b], 1)), mean, True, True)
    assert among == alone


def test_one_seed_of_a_network_shows_nothing():
    sums = counted(np.random.default_rng(0).normal(size=(1, 50)))
    assert np.isinf(estimate([Term(sums)], mean, True).reach)
    assert np.isfinite(estimate([Term(sums, deterministic=True)], mean, True).reach)


def recordings(rng: np.random.Generator, memory: float, n: int, shape: tuple[int, ...]) -> np.ndarray:
    noise = rng.standard_normal((*shape, n))
    x = noise.copy()
    for t in range(1, n):
        x[..., t] = memory * x[..., t - 1] + np.sqrt(1 - memory**2) * noise[..., t]
    return x


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("n_seeds", [3, 5])
def test_intervals_cover_the_truth_on_one_long_recording(memory, n_seeds):
    """Neighbours of one recording tell of each other, and seeds are few: 95 % must stay near 95 %."""
    rng = np.random.default_rng(5)
    n_studies, cells = 200, 256
    covered = naive = 0
    for _ in range(n_studies):
        shared, own = recordings(rng, memory, cells, (1,)), recordings(rng, memory, cells, (2, n_seeds))
        a, b = shared * 2 + own + 0.1 * rng.normal(size=(2, n_seeds, 1))
        interval = compare(Term(counted(a)), Term(counted(b)), mean, True, False)
        covered += interval.low <= 0 <= interval.high
        difference = (a - b).mean(1)
        naive += abs(difference.mean()) <= 1.96 * difference.std() / np.sqrt(n_seeds)
    assert covered >= 0.90 * n_studies
    assert covered > naive


def hits(*right: list[int] | np.ndarray) -> list[Term]:
    return [Term(counted(np.asarray(r, dtype=float)[None]), deterministic=True) for r in right]


@pytest.mark.parametrize("n", [5, 20, 60])
def test_no_variance_is_no_proof(n):
    """Both right on every series: how rarely one errs is not known better than n series tell (about 4 / n)."""
    interval = compare(*hits(np.ones(n), np.ones(n)), mean, True, True, (0, 1))
    assert interval.value == 0
    if n < FEWEST:
        assert not interval.known
        assert interval.reason == "few"
    else:
        assert interval.low == -interval.high
        assert 3 / n < interval.high < 5 / n
    recording = compare(*hits(np.ones(n), np.ones(n)), mean, True, False, (0, 1))
    assert not recording.known  # of one recording, not even how long an event would last is known


@pytest.mark.parametrize(("a", "b", "n"), [(0.95, 0.8, 12), (0.995, 0.98, 60), (0.9, 0.9, 60)])
def test_rare_events_of_series_are_covered(a, b, n):
    covered = 0
    for i in range(300):
        rng = np.random.default_rng(i)
        interval = compare(*hits(rng.random(n) < a, rng.random(n) < b), mean, True, True, (0, 1))
        covered += interval.low <= a - b <= interval.high
    assert covered >= 0.92 * 300


def test_few_series_with_effects_of_their_own_are_the_blocks():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        effects = np.repeat(0.05 * rng.normal(size=8), 50)
        a, b = 0.1 * rng.normal(size=(2, 5, 400))
        series = np.repeat(np.arange(8), 50)
        interval = compare(Term(counted(a + effects)), Term(counted(b)), mean, True, series)
        assert interval.blocks == 8
        covered += interval.low <= 0 <= interval.high
    assert covered >= 0.92 * 200
    few = compare(Term(counted(a + effects)), Term(counted(b)), mean, True, series // 2)
    assert not few.known
    assert (few.reason, few.blocks) == ("few", 4)


def test_the_interaction_of_seed_and_data_counts_once():
    """Seeds that differ on each series, and nowhere else: the data's variance holds all there is."""
    widths, covered = [], 0
    for i in range(300):
        a, b = np.random.default_rng(i).normal(size=(2, 5, 60))
        interval = compare(Term(counted(a)), Term(counted(b)), mean, True, True)
        widths.append(interval.reach)
        covered += interval.low <= 0 <= interval.high
    assert covered >= 0.93 * 300
    assert np.mean(widths) < 1.2 * 1.96 * np.sqrt(2 / 300)  # twice it would be 1.41 times as wide


def test_draws_of_a_shift_are_in_the_interval():
    """Each draw moves all of one recording alike: only the spread between draws shows how far."""
    covered = blind = 0
    for i in range(200):
        rng = np.random.default_rng(i)
        moved = 0.3 * rng.normal(size=(1, 5, 1)) + 0.1 * rng.normal(size=(1, 5, 200))
        drawn = compare(
            Term(counted(moved), deterministic=True), Term(counted(0 * moved), deterministic=True), mean, True, False
        )
        one = compare(
            Term(counted(moved[:, 0]), deterministic=True),
            Term(counted(0 * moved[:, 0]), deterministic=True),
            mean,
            True,
            False,
        )
        covered += drawn.low <= 0 <= drawn.high
        blind += one.low <= 0 <= one.high
    assert covered >= 0.92 * 200
    assert blind < 0.3 * 200


def test_intervals_end_where_figures_do_and_too_wide_ones_say_so():
    alone = estimate(hits(np.r_[np.ones(29), 0]), mean, True, (0, 1))
    assert alone.high == 1
    wide = compare(*hits([1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]), mean, True, True, (0, 1))
    assert not wide.known
    assert words.unknown(wide).startswith("six test series can't tell")
    assert words.score_with("accuracy", wide, np.inf) == "0.0 % (too few to tell)"


def test_groups_are_the_blocks_and_stretches_of_one_time_line_are_one_recording():
    def series(n: int, start: float, group: str | None = None) -> Series:
        return Series(start + np.arange(n), np.zeros((n, 1)), np.arange(n) % 2.0, group=group)

    def recorded(*series: Series, dated: bool = False) -> Recording:
        return Recording(series, ("x",), "y", "s", dated=dated)

    task = Task.infer(recorded(series(50, 0)))
    persons = recorded(*(series(10, 0, f"person {i // 4}") for i in range(24)))
    cells = Cells.cut([persons], task.fit(persons))
    assert cells.unit == "groups"
    assert len(np.unique(cells.units)) == 6
    three = recorded(*(series(40, 0) for _ in range(3)))
    cells = Cells.cut([three], task.fit(three))
    assert (cells.unit, len(np.unique(cells.units))) == ("series", 3)
    before, after = recorded(series(40, 0), dated=True), recorded(series(40, 100), dated=True)
    assert Cells.cut([before, after], task.fit(before)).unit == "stretches"
    assert Cells.cut([before, before], task.fit(before)).unit == "series"


@pytest.mark.parametrize("tau", [0.0, 0.3, 1.0, 5.0, 20.0])
def test_correlation_time_is_found(tau):
    memory = tau / (1 + tau)  # the autocorrelations of an AR(1) sum to this tau
    x = recordings(np.random.default_rng(0), memory, 20_000, ())
    assert correlation_time(x) == pytest.approx(tau, rel=0.5, abs=0.3)


EXACT = ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", *names("regression"), "pinball@0.9"]


@given(
    seed=st.integers(0, 2**32),
    n_series=st.sampled_from([1, 3, 25]),
    per=st.sampled_from(["step", "series"]),
    primary=st.sampled_from(
        ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", *names("regression"), "pinball@0.9"]
    ),
)
def test_sums_over_cells_give_the_tasks_own_metrics(seed, n_series, per, primary):
    """Against scikit-learn's, by way of Task.metrics."""
    rng = np.random.default_rng(seed)
    classes = find(primary).kind == "classification"
    k = 3 if classes else 1
    sizes = rng.integers(12, 60, n_series)
    if per == "series":
        n_series = max(n_series, 6)
        sizes = np.full(n_series, 4)

    def target(n):
        truth = rng.integers(0, k, n).astype(float) if classes else rng.normal(5, 3, n)
        truth[:k] = np.arange(k)
        return np.where(rng.random(n) < 0.2, np.nan, truth) if len(truth) > 8 else truth

    targets = list(target(n_series)) if per == "series" else [target(n) for n in sizes]
    recording = Recording.from_arrays([rng.normal(size=(n, 2)) for n in sizes], targets=targets)
    kind = "classification" if classes else "regression"
    task = Task.infer(recording, kind=kind, per=per, primary=primary)
    said = [rng.normal(size=(n, task.n_outputs) if per == "step" else task.n_outputs) for n in sizes]
    outputs = [task.decode(o) for o in said]
    cells = Cells.cut([recording], task)
    sums = cells.sums(task, [recording], [outputs])
    labelled = sum(bool((np.atleast_1d(task.encode(s)[1]) > 0).any()) for s in recording.series)
    assert cells.independent == (labelled >= 20)
    assert sums.shape[0] == cells.n
    expected = task.metrics(outputs, recording)[primary]
    np.testing.assert_allclose(find(primary).value(sums.sum(0)), expected, atol=1e-9)


@pytest.mark.parametrize("primary", ["roc_auc", "average_precision"])
def test_metrics_that_rank_are_near_the_exact_ones(primary):
    rng = np.random.default_rng(0)
    truth = (rng.random(5000) < 0.14).astype(float)
    recording = Recording.from_arrays(rng.normal(size=(5000, 1)), targets=truth)
    task = Task.infer(recording, primary=primary)
    outputs = [task.decode(np.column_stack([np.zeros(5000), rng.normal(size=5000) + 1.5 * truth - 2]))]
    sums = Cells.cut([recording], task).sums(task, [recording], [outputs])
    assert find(primary).value(sums.sum(0)) == pytest.approx(task.metrics(outputs, recording)[primary], abs=0.003)


def test_scores_come_back_from_disk_and_shifts_count_the_same(tmp_path):
    rng = np.random.default_rng(0)
    cells = Cells(False, (np.arange(5.0),), 6)
    trials = [
        (counted(rng.random(6)), {"noise": counted(rng.random((3, 6))), "gap": counted(rng.random((1, 6)))})
        for _ in range(4)
    ]
    for i, (clean, shifts) in enumerate(trials):
        (tmp_path / f"{i}.npz").write_bytes(pack_scores(cells, clean, shifts))
    scores = Scores.load([tmp_path / f"{i}.npz" for i in range(4)])
    assert scores.clean.shape == (4, 6, 2)
    assert not scores.independent
    figure = shift_mean(find("accuracy"), scores)(scores.under_shifts().sum(1))
    by_hand = [(shifts["noise"][..., 1].mean(1).mean() + shifts["gap"][..., 1].mean()) / 2 for _, shifts in trials]
    np.testing.assert_allclose(figure, by_hand)
    (tmp_path / "0.npz").write_bytes((tmp_path / "0.npz").read_bytes()[:100])
    with pytest.raises(InputError, match="run the study again"):
        Scores.load([tmp_path / "0.npz"])
