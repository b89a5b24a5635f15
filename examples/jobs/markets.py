"""Markets: how much will the S&P 500 move tomorrow, and the NASDAQ? Walk-forward, beside HAR, GARCH and the VIX.

    pip install 'torchliquid[jobs]'
    python -m examples.jobs.markets

The prices are those that the package ``arch`` ships. A day's variance is measured by its range, ln(high / low)² /
(4 ln 2) (Parkinson, 1980). Every model is fitted again each January to all days before and forecasts each day of the
year. Networks are trained on the S&P 500 alone: the NASDAQ is the shift. They are kept in ``build/jobs/markets``; the
command goes on where it was stopped, and writes ``docs/jobs/markets.md``.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
from arch import arch_model
from examples.jobs import common

from torchliquid import Model, Recording, TrainingConfig, fit
from torchliquid.cli.progress import StudyProgress
from torchliquid.cli.terminal import Terminal
from torchliquid.jobs import cores
from torchliquid.page import Table, numbers
from torchliquid.study.assess import assess
from torchliquid.tasks import Task

FOLDER, PAGE = Path("build/jobs/markets"), Path("docs/jobs/markets.md")
LEARNT, SHIFTED = "S&P 500", "NASDAQ"
YEARS = range(2008, 2019)
MODULES = {LEARNT: "sp500", SHIFTED: "nasdaq"}
VIX_YEARS = range(2015, 2019)
"""``arch`` has the VIX from 2014 on."""

NETWORKS = {"CfC": "cfc", "LTC on NCP": "ltc_ncp"}
SEEDS = 3
PARAMETERS = 500
WEEK, MONTH = 5, 22

Forecaster = Callable[[pd.DataFrame, int, int], np.ndarray]
"""From days, of which the first n are known, to forecasts of the log variance of each day from n to the end given: that
of day t may use all days before t."""


def days_of(prices: pd.DataFrame) -> pd.DataFrame:
    """Log variance by range, and return in percent, of each day on which the price moved."""
    spread = np.log(prices["High"] / prices["Low"])
    change = 100 * np.log(prices["Close"]).diff()
    frame = pd.DataFrame({"log_variance": np.log(spread**2 / (4 * np.log(2))), "return": change})
    return frame[np.isfinite(frame).all(axis=1)]


def random_walk(days: pd.DataFrame, n: int, end: int) -> np.ndarray:
    return days["log_variance"].to_numpy()[n - 1 : end - 1]


def har(days: pd.DataFrame, n: int, end: int) -> np.ndarray:
    """Least squares on the last day, the mean of five and of 22 days (Corsi, 2009)."""
    x = regressors(days)
    weights, *_ = np.linalg.lstsq(x[MONTH:n], days["log_variance"].to_numpy()[MONTH:n], rcond=None)
    return x[n:end] @ weights


def regressors(days: pd.DataFrame) -> np.ndarray:
    """(T, 4) of HAR for each day, from those before it."""
    y = days["log_variance"]
    past = pd.DataFrame({"day": y, "week": y.rolling(WEEK).mean(), "month": y.rolling(MONTH).mean()}).shift(1)
    return np.column_stack([np.ones(len(y)), past.to_numpy()])


def with_vix(vix: pd.Series) -> Forecaster:
    """HAR, and the logarithm of the last day's VIX: what option prices say of the next 30 days."""

    def forecast(days: pd.DataFrame, n: int, end: int) -> np.ndarray:
        known = np.log(vix).reindex(days.index).ffill().shift(1).to_numpy()
        y, x = days["log_variance"].to_numpy(), np.column_stack([regressors(days), known])
        learnt = np.flatnonzero(np.isfinite(x[:n]).all(1))
        weights, *_ = np.linalg.lstsq(x[learnt], y[learnt], rcond=None)
        return x[n:end] @ weights

    return forecast


def garch(days: pd.DataFrame, n: int, end: int) -> np.ndarray:
    """GARCH(1, 1) of the returns with Student's t; least squares of the logs bring its variance to that by range."""
    returns = days["return"].iloc[:end]
    fitted = arch_model(returns, dist="t").fit(last_obs=n, disp="off")
    known = np.log(fitted.conditional_volatility.to_numpy()[:n] ** 2)
    ahead = fitted.forecast(horizon=1, start=n - 1, reindex=False).variance.to_numpy()[:-1, 0]
    weights = np.polyfit(known, days["log_variance"].to_numpy()[:n], 1)
    return np.polyval(weights, np.log(ahead))


def network(kind: str, seed: int, learnt: pd.DataFrame | None = None, **settings: Any) -> Forecaster:
    """A network that learns from the days before the first that it forecasts: from these, or from another market's."""

    def forecast(days: pd.DataFrame, n: int, end: int) -> np.ndarray:
        own = days if learnt is None else learnt
        model = trained(kind, seed, own[own.index < days.index[n]], settings)
        # The answer after day t is for the day behind it.
        return model.predict(recording_of(days.iloc[:end]))["prediction"].to_numpy()[n - 1 : end - 1]

    return forecast


def trained(kind: str, seed: int, days: pd.DataFrame, settings: dict[str, Any]) -> Model:
    """A network that was fitted to these days, from its file where there is one."""
    content = hashlib.sha256(days.to_numpy().tobytes()).hexdigest()[:12]
    file = FOLDER / f"{kind}-{seed}-{content}-{'-'.join(map(str, settings.values()))}.safetensors"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        config = TrainingConfig(seed=seed, **settings)
        fit(recording_of(days), "log_variance", kind, horizon=1, parameters=PARAMETERS, config=config).save(file)
    model = Model.load(file)
    assert isinstance(model, Model)
    return model


def recording_of(days: pd.DataFrame) -> Recording:
    """Days with their dates: a weekend is a gap of three days."""
    return Recording.from_frame(days.rename_axis("date").reset_index(), time="date")


def walk_forward(days: pd.DataFrame, forecaster: Forecaster, years: Sequence[int]) -> pd.Series:
    """The forecasts of all days of these years, the forecaster fitted again at the begin of each."""
    of_year = days.index.year
    parts = []
    for year in years:
        n, end = int((of_year < year).sum()), int((of_year <= year).sum())
        parts.append(pd.Series(forecaster(days, n, end), days.index[n:end]))
    return pd.concat(parts)


def diebold_mariano(loss: np.ndarray, other: np.ndarray) -> float:
    """Two-sided p of equal losses, with a variance that allows for a month of correlation (Diebold and Mariano, 1995;
    Newey and West, 1987)."""
    apart = sm.OLS(loss - other, np.ones(len(loss))).fit(cov_type="HAC", cov_kwds={"maxlags": MONTH})
    return float(apart.pvalues[0])


def qlike(truth: np.ndarray, forecast: np.ndarray) -> np.ndarray:
    """Loss of a variance (Patton, 2011), of forecasts brought to the mean of the truth."""
    ratio = np.exp(truth - forecast)
    ratio /= ratio.mean()
    return ratio - np.log(ratio) - 1


def forecasters(learnt: pd.DataFrame) -> dict[str, list[Forecaster]]:
    """By name, each with its seeds."""
    made: dict[str, list[Forecaster]] = {"Random walk": [random_walk], "HAR": [har], "GARCH(1, 1), t": [garch]}
    return made | {name: [network(kind, seed, learnt) for seed in range(SEEDS)] for name, kind in NETWORKS.items()}


class Losses(NamedTuple):
    """Of a model on each day, the mean over its seeds: squared error of the log variance, and QLIKE over all days."""

    squares: pd.Series
    qlike: float


def losses(days: pd.DataFrame, made: Mapping[str, Sequence[Forecaster]], years: Sequence[int]) -> dict[str, Losses]:
    found = {}
    for name, seeds in made.items():
        forecasts = [walk_forward(days, forecaster, years) for forecaster in seeds]
        truth = days["log_variance"].reindex(forecasts[0].index)
        mean = np.mean([qlike(truth.to_numpy(), f.to_numpy()).mean() for f in forecasts])
        found[name] = Losses(sum((f - truth) ** 2 for f in forecasts) / len(forecasts), float(mean))
    return found


def rows(index: str, found: Mapping[str, Losses]) -> list[tuple[str, ...]]:
    """RMSE, QLIKE and the Diebold-Mariano test of each model against HAR, as text."""
    return [
        (
            index,
            name,
            f"{np.sqrt(one.squares.mean()):.4f}",
            f"{one.qlike:.4f}",
            "–" if name == "HAR" else p_value(diebold_mariano(one.squares.to_numpy(), found["HAR"].squares.to_numpy())),
        )
        for name, one in found.items()
    ]


def p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"


def main() -> None:
    days = {name: days_of(importlib.import_module(f"arch.data.{MODULES[name]}").load()) for name in MODULES}
    own = days[LEARNT]
    made = forecasters(own)
    found = {index: losses(each, made, YEARS) for index, each in days.items()}
    vix = importlib.import_module("arch.data.vix").load()["vix"]
    late = losses(own, {**made, "HAR with the VIX": [with_vix(vix)]}, VIX_YEARS)
    by_year = [
        (index, str(year), *(f"{np.sqrt(s.squares[s.squares.index.year == year].mean()):.3f}" for s in each.values()))
        for index, each in found.items()
        for year in YEARS
    ]
    verdict = judged(own)
    model = trained("cfc", 0, own[own.index < f"{YEARS[-1]}-01-01"], {})
    text = TEXT.format(
        verdict=verdict,
        overall=Table(HEAD, tuple(row for index, each in found.items() for row in rows(index, each))).markdown(),
        vix=Table(HEAD, tuple(rows(LEARNT, late))).markdown(),
        years=Table(("index", "year", *made), tuple(by_year)).markdown(),
        device=common.bullets(
            common.on_device(f"{LEARNT}, CfC", model, recording_of(own), FOLDER / "device" / MODULES[LEARNT])
        ),
        learnt=LEARNT,
        shifted=SHIFTED,
        seeds=SEEDS,
        parameters=PARAMETERS,
        first=YEARS[0],
        last=YEARS[-1],
        vix_first=VIX_YEARS[0],
    )
    common.write(PAGE, text)


def judged(days: pd.DataFrame) -> str:
    """What ``assess`` says of the whole series, forward in time."""
    recording = recording_of(days)
    with StudyProgress(Terminal()) as progress:
        results = assess(
            recording,
            FOLDER / "studies" / MODULES[LEARNT],
            task=Task.infer(recording, "log_variance", horizon=1),
            contenders=common.CONTENDERS,
            parameters=PARAMETERS,
            seeds=SEEDS,
            tuning=2,
            jobs=cores(),
            title=LEARNT,
            listener=progress,
        )
    verdict = results.verdict
    assert verdict is not None
    findings = common.bullets([*(finding.sentence for finding in verdict.findings), *verdict.evidence])
    return f"**{numbers.capital(verdict.answer)}.** {verdict.sentence}\n\n{findings}"


HEAD = ("index", "model", "RMSE of the log variance", "QLIKE", "p against HAR")
TEXT = """# Markets: how much will they move tomorrow?

Written by `python -m examples.jobs.markets`. The data are the daily prices of two indices, 1999 to 2018, and the VIX,
2014 to 2018, that the package `arch` ships. The models forecast the logarithm of the next day's variance, measured by
the day's range (Parkinson, 1980). They do not forecast whether a market rises or falls, and no strategy is shown. (Of
oil, WTI, `arch` has one price a day, without the range.)

## What liquid networks bring here

`assess` on the {learnt}, one split forward in time:

{verdict}

## Walk-forward, {first} to {last}

Each January every model is fitted again to all days before. It then forecasts each day of the year from the days
before it. Networks have {parameters} parameters, their default settings and {seeds} seeds; their squared errors are
means over seeds. They know the dates, so a weekend is a longer step. HAR and GARCH are what practitioners use. *p* is
that of the Diebold-Mariano test of equal squared errors: below 0.05 a model and HAR differ.

On the {shifted} the networks are those of the {learnt}, which never saw it; HAR and GARCH are fitted to the {shifted}
itself.

{overall}

A difference of 0.01 in RMSE is one percent of a day's variance, half a percent of its volatility, and small beside what
no model knows.

## What option prices know

From {vix_first} on there is enough of the VIX to fit HAR with it:

{vix}

## When the world shifts

RMSE by year. 2008 is the crisis, 2017 the calmest year:

{years}

## On a Cortex-M4

{device}
"""


if __name__ == "__main__":
    main()
