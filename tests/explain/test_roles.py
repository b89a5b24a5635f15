"""Roles: found where they are, and at most at the stated rate where they are not."""

import numpy as np
import pytest
from scipy.stats import binom, rankdata
from tests.helpers.liquid import CASES, model_of
from tests.helpers.small import small_model, small_recording

from torchliquid import InputError, Recording, explain
from torchliquid.explain.hold import hold
from torchliquid.explain.neurons import follow
from torchliquid.explain.surrogates import Surrogates, chances, news


def wandering(rng, n, columns, memory=0.9):
    """(n, columns) of a slow AR(1) process."""
    x = rng.normal(size=(n, columns))
    for t in range(1, n):
        x[t] += memory * x[t - 1]
    return x


def drifting(labels, seed=0, lengths=(3000,), slow=0.9):
    """A recording with the channels of small_recording, slowly moving, with given or random labels."""
    rng = np.random.default_rng(seed)
    values = [wandering(rng, n, 3, slow) * [0.5, 2, 40] + [1, -20, 300] for n in lengths]
    targets = [labels(x, rng) for x in values]
    return Recording.from_arrays(
        values, [np.arange(len(x)) * 2.0 for x in values], targets, ["a", "b", "c"], time_unit="ms"
    )


def of_a(x, rng):
    return (x[:, 0] > 1).astype(float)


def random_runs(x, rng):
    return (wandering(rng, len(x), 1)[:, 0] > 0).astype(float)


@pytest.mark.parametrize(("lengths", "permute"), [([400], False), ([150, 90, 200], False), ([12] * 30, True)])
def test_independent_data_give_roles_at_the_stated_rate(lengths, permute):
    """A second realisation of slow processes has no link with the first, whatever their correlation is."""
    rng = np.random.default_rng(3)
    studies, found = 60, 0
    for study in range(studies):
        x = [wandering(rng, n, 5) for n in lengths]
        y = [wandering(rng, n, 4) for n in lengths]
        draws = Surrogates.draw(lengths, permute, study, draws=99)
        real, drawn = draws.correlations(x, y, 3)
        found += chances(np.abs(real).max(2), drawn).min() <= 0.05
    assert found <= binom.ppf(0.999, studies, 0.05)


def trends(rng, n, columns):
    return np.arange(n)[:, None] / n * rng.normal(0, 5, columns) + wandering(rng, n, columns, 0.5)


def walks(rng, n, columns):
    return rng.normal(size=(n, columns)).cumsum(0)


def found_in(x, y, seed):
    """(H, F) which links the search finds at 2.5 %, as roles look for them in one recording."""
    lags = max(6, len(x) // 100)
    draws = Surrogates.draw([len(x)], False, seed, draws=199)
    real, drawn = draws.correlations(news([rankdata(x, axis=0)]), news([rankdata(y, axis=0)]), lags)
    return chances(np.arctanh(np.abs(real).max(2)), np.arctanh(drawn)) <= 0.025


@pytest.mark.parametrize("process", [wandering, trends, walks])
@pytest.mark.parametrize("n", [600, 1500])
def test_drift_makes_no_role(process, n):
    """Two signals that drift correlate; without a link, no more than one search in twenty may find one."""
    studies = 40
    found = 0
    for study in range(studies):
        x, y = (process(np.random.default_rng([study, i]), n, 6) for i in (0, 1))
        found += found_in(x, y, study).any()
    assert found <= binom.ppf(0.99, studies, 0.05)


@pytest.mark.parametrize(("n", "least"), [(600, 5), (1500, 7)])
def test_planted_roles_are_found_in_one_short_recording(n, least):
    right, wrong, recordings = 0, 0, 5
    for seed in range(recordings):
        rng = np.random.default_rng(seed)
        y = wandering(rng, n, 7)
        x = np.tanh(np.roll(y, 2, 0) / y.std(0)) + 0.5 * rng.normal(size=(n, 7))
        for t in range(1, n):  # neurons remember
            x[t] = 0.7 * x[t - 1] + 0.3 * x[t]
        found = found_in(x, y, seed)
        right += np.diag(found).sum()
        wrong += found.sum() - np.diag(found).sum()
    assert right >= least * recordings
    assert wrong <= 1


def test_a_close_follower_in_a_short_recording_is_no_neuron_without_a_role():
    """Sixty samples can't rule out chance, and a correlation of 0.9 is still what a reader wants to know."""
    model = small_model("cfc")
    found = explain.roles(model, drifting(of_a, lengths=(60,), slow=0.98))
    close = [role for role in found.roles if role.close]
    assert close
    assert all("too short to rule out chance" in role.sentence for role in close)
    assert not any(role.sentence.startswith("No clear role") for role in close)


@pytest.mark.parametrize(("lengths", "permute"), [([3000], False), ([1500, 900, 800], False), ([20] * 30, True)])
def test_a_link_is_found_at_its_lag(lengths, permute):
    rng = np.random.default_rng(4)
    y = [wandering(rng, n, 4) for n in lengths]
    x = [rng.normal(size=(n, 3)) for n in lengths]
    for a, b in zip(x, y, strict=True):
        a[3:, 1] -= b[:-3, 2]
    y[0][:4, 2] = np.nan
    draws = Surrogates.draw(lengths, permute, 0, draws=99)
    real, drawn = draws.correlations(x, y, 5)
    p = chances(np.abs(real).max(2), drawn)
    assert p[1, 2] <= 0.02
    assert np.abs(real[1, 2]).argmax() == 3
    assert real[1, 2, 3] < -0.5
    assert (p[0] > 0.05).all()


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_held_neuron_stays_and_the_rest_is_as_it_was(kind, options):
    model, recording = model_of(kind, **options), small_recording()
    path = follow(model, recording, 1000)
    for h in (0, 5):
        held = follow(hold(model, h, 0.37), recording, 1000)
        for states in held.states:
            np.testing.assert_allclose(states[:, h], 0.37, atol=1e-5)
    # Held at what it does anyway, it is not missed.
    twice = follow(hold(hold(model, 5, 0.37), 5, 0.37), recording, 1000)
    np.testing.assert_allclose(twice.states[0], held.states[0], atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(path.states, follow(model, recording, 1000).states, strict=True))


@pytest.mark.parametrize("kind", ["ltc_ncp", "cfc"])
def test_neurons_follow_what_drives_them_and_a_dead_one_has_no_role(kind):
    model = hold(small_model(kind), 1, 0.2)
    found = explain.roles(model, drifting(of_a))
    assert sum(role.follows is not None for role in found.roles) > len(found.roles) / 2
    dead = found.roles[1]
    assert not dead.clear
    assert dead.follows is None
    assert dead.sentence.startswith("No clear role")
    assert dead.loss == 0
    assert found.control_found == 0
    for role in found.roles:
        assert role.clear or role.sentence.startswith("No clear role")
        assert role.clear == (role.follows is not None or role.loss_p <= 0.025)


def test_random_labels_are_not_followed_and_no_neuron_is_missed():
    model = small_model("cfc_ncp")
    wrong = 0
    for seed in range(10):
        found = explain.roles(model, drifting(random_runs, seed, (1000,)))
        target = found.features.index("target = 1")
        wrong += bool((found.p[:, target] <= 0.025).any() or min(role.loss_p for role in found.roles) <= 0.025)
    assert wrong <= binom.ppf(0.999, 10, 0.05)


@pytest.mark.parametrize(("per", "task"), [("series", "classification"), ("step", "regression")])
def test_many_series_and_other_tasks(per, task):
    recording = small_recording(lengths=(20,) * 30, per=per)
    found = explain.roles(small_model("ltc_ncp", per=per, task=task), recording)
    assert found.metric == ("accuracy" if task == "classification" else "rmse")
    assert np.isfinite(found.without).all()
    assert all(0 <= role.active <= 1 for role in found.roles)


def test_without_targets_only_losses_are_left_out():
    recording = small_recording(lengths=(3000,), labels=False)
    found = explain.roles(small_model("cfc"), recording)
    assert found.metric is None
    assert np.isnan(found.without).all()
    assert any(role.follows is not None for role in found.roles)


def test_too_little_is_said():
    with pytest.raises(InputError, match="3 samples are too short to distinguish a role from chance"):
        explain.roles(small_model("cfc"), small_recording(lengths=(3,)))
