"""The jobs of ``examples/jobs``: what could make their figures too good."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from examples.jobs import engines, markets


@pytest.fixture
def days(tmp_path, monkeypatch) -> pd.DataFrame:
    """Made-up days whose variance clusters, without weekends."""
    monkeypatch.setattr(markets, "FOLDER", tmp_path)
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2001-01-01", "2003-12-31")
    level = np.zeros(len(dates))
    for t in range(1, len(dates)):
        level[t] = 0.95 * level[t - 1] + 0.2 * rng.normal()
    noisy = level - 10 + 0.5 * rng.normal(size=len(dates))
    moves = 100 * np.exp(level / 2 - 5) * rng.normal(size=len(dates))
    return pd.DataFrame({"log_variance": noisy, "return": moves}, index=dates)


@pytest.mark.parametrize("name", ["walk", "har", "garch", "cfc"])
def test_no_forecast_knows_the_future(name: str, days: pd.DataFrame) -> None:
    forecasters = {"walk": markets.random_walk, "har": markets.har, "garch": markets.garch}
    forecaster = forecasters.get(name) or markets.network("cfc", 0, updates=20)
    whole = markets.walk_forward(days, forecaster, [2002, 2003])
    changed = days.copy()
    now = pd.Timestamp("2003-06-16")
    changed.loc[changed.index >= now] *= [0.5, -3]
    other = markets.walk_forward(changed, forecaster, [2002, 2003])
    upto = whole.index <= now
    np.testing.assert_array_equal(whole[upto], other[upto])
    assert (whole[~upto] != other[~upto]).mean() > 0.9
    truth = days["log_variance"].reindex(whole.index)
    assert ((whole - truth) ** 2).mean() < 1.2 * days["log_variance"].diff().var()


def test_nasas_score_punishes_late_more_than_early() -> None:
    assert engines.nasa_score(np.array([0.0])) == 0
    assert engines.nasa_score(np.array([13.0, -13.0])) == pytest.approx(np.exp(1.3) - 1 + np.e - 1)
