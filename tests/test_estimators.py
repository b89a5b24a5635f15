"""Estimators of scikit-learn, aeon and sktime: their own checks, and every form of series."""

import logging
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from torchliquid.errors import InputError
from torchliquid.sklearn import LiquidClassifier, LiquidForecaster, LiquidRegressor

SMALL = {"parameters": 200, "updates": 40, "random_state": 0}


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level(logging.ERROR)


def waves(n: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2, 20) slow and quick waves."""
    rng = np.random.default_rng(seed)
    quick = np.arange(n) % 2
    phase = rng.uniform(0, 6, (n, 1, 1)) + np.arange(2)[:, None]
    x = np.sin(np.arange(20) * np.where(quick, 1.5, 0.4)[:, None, None] + phase) + 0.1 * rng.normal(size=(n, 2, 20))
    return x, np.where(quick, "quick", "slow")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "updates", "but"),
    [
        (LiquidClassifier, 150, {}),
        (LiquidRegressor, 20, {"check_regressors_train": "fits a table whose columns are not in the order of time"}),
    ],
)
def test_scikit_learns_checks(estimator, updates, but):
    """The check of other array libraries needs a setting of SciPy, without which it skips itself."""
    small = estimator(parameters=300, updates=updates, lr=0.02, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(small, expected_failed_checks=but, on_skip=None)
    assert {r["check_name"] for r in results if r["status"] != "passed"} <= {"check_array_api_input", *but}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_sktimes_checks():
    """All of them: those of objects, of estimators and of forecasters."""
    from sktime.utils.estimator_checks import check_estimator

    from torchliquid import sktime

    results = check_estimator(sktime.LiquidForecaster, raise_exceptions=True, verbose=False)
    assert len(results) > 500
    assert set(results.values()) == {"PASSED"}


@pytest.mark.filterwarnings("ignore")
def test_a_forecaster_of_sktime_is_that_of_a_path():
    """In its backtest and alone: it answers as the model of all steps does, and from new readings after an update."""
    from sktime.forecasting.model_evaluation import evaluate
    from sktime.split import ExpandingWindowSplitter
    from sktime.utils.estimator_checks import check_estimator

    from torchliquid import sktime

    months = pd.period_range("2000-01", periods=160, freq="M")
    rng = np.random.default_rng(0)
    y = pd.Series(np.sin(np.arange(160) / 6) + 0.05 * rng.normal(size=160), index=months, name="load")
    X = pd.DataFrame({"noise": rng.normal(size=160)}, index=months)
    small = sktime.LiquidForecaster(parameters=200, updates=60, random_state=0)
    forecaster = clone(small).fit(y[:120], X[:120], fh=[1, 2, 6])
    found = forecaster.predict(X=X[120:126])
    assert list(found.index) == [months[120], months[121], months[125]]
    assert found.name == "load"
    own = LiquidForecaster(horizon=[1, 2, 6], **SMALL | {"updates": 60}).fit(X[:120], y[:120])
    np.testing.assert_array_equal(found, own.predict(X[:120], y[:120])[-1])
    assert own.score(X[:120], y[:120]) > 0.5
    forecaster.update(y[120:130], X[120:130], update_params=False)
    np.testing.assert_array_equal(forecaster.predict(X=X[130:136]), own.predict(X[:130], y[:130])[-1])
    dated = clone(small).fit(y[:120], fh=pd.PeriodIndex(months[121:124]))
    dated.update(y[120:121], update_params=False)
    with pytest.raises(InputError, match=r"trained for the steps \[2, 3, 4\] .* asked for \[1, 2, 3\]"):
        dated.predict()
    backtest = evaluate(small, ExpandingWindowSplitter(fh=[1, 2], initial_window=120, step_length=20), y)
    assert len(backtest) == 2
    assert np.isfinite(backtest["test_MeanAbsolutePercentageError"]).all()
    quick = ["test_fit_predict", "test_update_predict_single", "test_constructor", "test_predict_time_index"]
    checked = check_estimator(small, tests_to_run=quick, raise_exceptions=True, verbose=False)
    assert len(checked) > 10
    with pytest.raises(NotImplementedError, match="in-sample"):
        clone(small).fit(y, fh=[-1, 1]).predict()


@pytest.mark.parametrize("name", ["LiquidClassifier", "LiquidRegressor"])
def test_aeons_checks(name):
    from aeon.testing.estimator_checking import check_estimator

    from torchliquid import aeon

    results = check_estimator(getattr(aeon, name), raise_exceptions=True)
    assert set(results.values()) == {"PASSED"}


def test_every_form_of_series_is_the_same():
    x, y = waves()
    times = np.cumsum(np.random.default_rng(1).exponential(size=20))
    model = LiquidClassifier(parameters=300, updates=200, random_state=0).fit(x, y, times=times)
    expected = model.predict_proba(x, times=times)
    assert model.score(x, y) < 1.01
    assert (model.predict(x, times=times) == y).mean() > 0.9
    nested = pd.DataFrame({c: [pd.Series(one[k], times) for one in x] for k, c in enumerate("ab")})
    index = pd.MultiIndex.from_product([range(len(x)), times])
    long = pd.DataFrame(x.transpose(0, 2, 1).reshape(-1, 2), index, columns=["a", "b"])
    for form, when in ((list(x), [times] * len(x)), (nested, None), (long, None)):
        np.testing.assert_allclose(model.predict_proba(form, times=when), expected, atol=1e-6)
        again = clone(model).fit(form, y, times=when)
        np.testing.assert_allclose(again.predict_proba(x, times=times), expected, atol=1e-6)
    assert np.abs(model.predict_proba(x) - expected).max() > 1e-3  # at other times it is another series


def test_holes_lengths_classes_and_pickles():
    x, y = waves()
    x[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    uneven = [one[:, : 8 + i % 12] for i, one in enumerate(x)]
    model = LiquidClassifier(**SMALL).fit(uneven, y)
    assert list(model.classes_) == ["quick", "slow"]
    probabilities = model.predict_proba(uneven)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-9)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(uneven), probabilities)
    np.testing.assert_array_equal(clone(model).fit(uneven, y).predict_proba(uneven), probabilities)
    many = LiquidClassifier(**SMALL).fit(x, np.arange(40) % 12)  # more than ten, and few of each
    assert many.predict_proba(x).shape == (40, 12)


def test_pipelines_grids_and_cross_validation():
    x, y = waves()
    scaled = make_pipeline(FunctionTransformer(lambda series: series / 2), LiquidClassifier(**SMALL))
    assert cross_val_score(scaled, x, y, cv=2).shape == (2,)
    grid = GridSearchCV(LiquidClassifier(**SMALL), {"kind": ["cfc", "ltc_ncp"], "lr": [0.02]}, cv=2).fit(x, y)
    assert grid.best_params_["kind"] in ("cfc", "ltc_ncp")
    values = x.mean((1, 2))
    assert (
        LiquidRegressor(kind="gru", parameters=300, updates=200, random_state=0).fit(x, values).score(x, values) > 0.5
    )


def test_forecasts_see_the_past_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = np.roll(x[:, 0], 2) + 0.05 * rng.normal(size=400)  # of two samples ago
    model = LiquidForecaster(horizon=1, parameters=300, updates=300, random_state=0).fit(x, y)
    said = model.predict(x, y)
    assert np.corrcoef(said[5:-1], y[6:])[0, 1] > 0.8
    assert model.score(x, y) > 0.6
    later = x.copy()
    later[200:] += 5
    np.testing.assert_allclose(
        model.predict(later, np.where(np.arange(400) < 200, y, 9.0))[:200], said[:200], atol=1e-6
    )


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (np.zeros((4, 1, 5)), ["a"] * 4, "only one class, 'a': two or more are needed"),
        (np.zeros((4, 1, 5)), ["a", "b", "a"], "inconsistent numbers of samples"),
        ([np.zeros((1, 5)), np.zeros((2, 5))], ["a", "b"], "the same number of channels"),
        (np.zeros((4, 1, 1)), ["a", "b"] * 2, "1 sample"),
        (np.zeros((2, 1, 5), complex), ["a", "b"], "Complex data not supported"),
    ],
)
def test_what_is_wrong_is_said(x, y, words):
    with pytest.raises(ValueError, match=words):
        LiquidClassifier(**SMALL).fit(x, y)


def test_another_number_of_channels_is_refused():
    x, y = waves()
    with pytest.raises(InputError, match="1 channels, but the training data had 2"):
        LiquidClassifier(**SMALL).fit(x, y).predict(x[:, :1])
    x = np.random.default_rng(0).normal(size=(60, 3))
    forecaster = LiquidForecaster(parameters=200, updates=5, random_state=0).fit(x[:, :2], x[:, 0])
    for wrong in (x, x[:, :1]):
        with pytest.raises(InputError, match="channels, but the training data had 2"):
            forecaster.predict(wrong, x[:, 0])


@pytest.mark.parametrize("share", [-0.2, 1.0, np.nan])
def test_no_share_to_validate_on_is_refused(share):
    with pytest.raises(InputError, match="validation must be a share"):
        LiquidClassifier(validation=share, **SMALL).fit(*waves(8))


def test_dates_with_a_zone_and_periods_are_times():
    x, y = waves(8)
    days = pd.date_range("2024-03-30", periods=20, freq="D")
    found = []
    for index in (days, days.tz_localize("UTC"), days.to_period("D")):
        frame = pd.concat({k: pd.DataFrame(one.T, index) for k, one in enumerate(x)})
        found.append(LiquidClassifier(parameters=200, updates=5, random_state=0).fit(frame, y).predict_proba(frame))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
