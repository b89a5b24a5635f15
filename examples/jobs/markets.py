"""Markets: how much will the S&P 500 move tomorrow, and the NASDAQ? Walk-forward, beside HAR, GARCH and the VIX.

    pip install 'torchliquid[jobs]'
    python -m examples.jobs.markets

The package ``arch`` ships the prices. A day's variance is measured by its range, ln(high / low)² / (4 ln 2) (Parkinson,
1980). Every model is fitted again each January to all days before, and forecasts each day of the year. Networks are
trained only on the S&P 500; the NASDAQ is a shift. They are kept in ``build/jobs/markets``, so the same command resumes
a run that was stopped. The results are written to ``docs/jobs/markets.md``.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
from arch import arch_model
from benchmarks.studies import run_study
from examples.jobs import common

from torchliquid import Model, Recording, TrainingConfig, fit
from torchliquid.page import Table
from torchliquid.study.results import StudyResults
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
HAR, FALLS = "HAR", "HAR with falls"

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


def linear(regressors: Callable[[pd.DataFrame], np.ndarray]) -> Forecaster:
    """Least squares on regressors that are known before each day, without the days for which one is missing."""

    def forecast(days: pd.DataFrame, n: int, end: int) -> np.ndarray:
        x, y = regressors(days), days["log_variance"].to_numpy()
        learnt = np.isfinite(x[:n]).all(1)
        weights, *_ = np.linalg.lstsq(x[:n][learnt], y[:n][learnt], rcond=None)
        return x[n:end] @ weights

    return forecast


def lately(values: pd.Series) -> np.ndarray:
    """(T, 3) for each day, the value of the day before and the means of the 5 and 22 days up to then."""
    return np.column_stack([values.rolling(k).mean().shift(1) for k in (1, WEEK, MONTH)])


def of_har(days: pd.DataFrame) -> np.ndarray:
    """The regressors of HAR (Corsi, 2009)."""
    return np.column_stack([np.ones(len(days)), lately(days["log_variance"])])


def with_falls(days: pd.DataFrame) -> np.ndarray:
    """The regressors of HAR, and how far the market fell lately (Corsi and Renò, 2012): all that the networks see."""
    return np.column_stack([of_har(days), lately(days["return"].clip(upper=0))])


def with_vix(vix: pd.Series, days: pd.DataFrame) -> np.ndarray:
    """The regressors of HAR, and the logarithm of the last VIX: what option prices say about the next 30 days."""
    return np.column_stack([of_har(days), np.log(vix).reindex(days.index).ffill().shift(1)])


def garch(days: pd.DataFrame, n: int, end: int) -> np.ndarray:
    """GARCH(1, 1) of the returns with Student's t. A linear fit of the logarithms maps its variance to the range's."""
    returns = days["return"].iloc[:end]
    fitted = arch_model(returns, dist="t").fit(last_obs=n, disp="off")
    known = np.log(fitted.conditional_volatility.to_numpy()[:n] ** 2)
    ahead = fitted.forecast(horizon=1, start=n - 1, reindex=False).variance.to_numpy()[:-1, 0]
    weights = np.polyfit(known, days["log_variance"].to_numpy()[:n], 1)
    return np.polyval(weights, np.log(ahead))


def network(kind: str, seed: int, learnt: pd.DataFrame | None = None, **settings: Any) -> Forecaster:
    """A network that learns from the days before its first forecast: days of this market, or of ``learnt``."""

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
    """The forecasts of all days of these years. The forecaster is fitted again at the beginning of each year."""
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
    made: dict[str, list[Forecaster]] = {
        "Random walk": [random_walk],
        HAR: [linear(of_har)],
        FALLS: [linear(with_falls)],
        "GARCH(1, 1), t": [garch],
    }
    return made | {name: [network(kind, seed, learnt) for seed in range(SEEDS)] for name, kind in NETWORKS.items()}


class Losses(NamedTuple):
    """Squared errors of the log variance on each day, and QLIKE over all days; both are means over seeds."""

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
    """RMSE, QLIKE and the Diebold-Mariano tests of each model against both HARs, as text."""
    return [
        (index, name, f"{rmse(one):.4f}", f"{one.qlike:.4f}", *(p_value(one, found[other]) for other in (HAR, FALLS)))
        for name, one in found.items()
    ]


def rmse(found: Losses) -> float:
    return float(np.sqrt(found.squares.mean()))


def better(found: Mapping[str, Losses], one: str, other: str) -> str:
    """How one model's error compares with another's, in words."""
    less = 1 - rmse(found[one]) / rmse(found[other])
    p = p_value(found[one], found[other])
    return f"the RMSE of {one} is {abs(less):.1%} {'below' if less > 0 else 'above'} that of {other} (p {p})"


def p_value(one: Losses, other: Losses) -> str:
    if one is other:
        return "–"
    p = diebold_mariano(one.squares.to_numpy(), other.squares.to_numpy())
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"


def main() -> None:
    days = {name: days_of(importlib.import_module(f"arch.data.{MODULES[name]}").load()) for name in MODULES}
    own = days[LEARNT]
    made = forecasters(own)
    found = {index: losses(each, made, YEARS) for index, each in days.items()}
    vix = importlib.import_module("arch.data.vix").load()["vix"]
    late = losses(own, {**made, "HAR with the VIX": [linear(partial(with_vix, vix))]}, VIX_YEARS)
    by_year = [
        (index, str(year), *(f"{np.sqrt(s.squares[s.squares.index.year == year].mean()):.3f}" for s in each.values()))
        for index, each in found.items()
        for year in YEARS
    ]
    results, last = judged(own), f"{YEARS[-1]}-01-01"
    words = [f"On the {index}, {better(each, 'CfC', other)}" for index, each in found.items() for other in (HAR, FALLS)]
    words.append(f"From {VIX_YEARS[0]} on, {better(late, 'CfC', 'HAR with the VIX')}")
    model, unseen = trained("cfc", 0, own[own.index < last], {}), recording_of(own[own.index >= last])
    text = TEXT.format(
        **common.judgement(results),
        words=common.bullets([f"{sentence}." for sentence in words]),
        rmse=f"{rmse(found[LEARNT][HAR]):.2f}",
        factor=f"{np.exp(rmse(found[LEARNT][HAR])):.1f}",
        overall=Table(HEAD, tuple(row for index, each in found.items() for row in rows(index, each))).markdown(),
        vix=Table(HEAD, tuple(rows(LEARNT, late))).markdown(),
        years=Table(("index", "year", *made), tuple(by_year)).markdown(),
        device=common.bullets(
            common.on_device(f"CfC of the {LEARNT}", model, unseen, FOLDER / "device" / MODULES[LEARNT])
        ),
        learnt=LEARNT,
        shifted=SHIFTED,
        seeds=SEEDS,
        parameters=PARAMETERS,
        first=YEARS[0],
        last=YEARS[-1],
        vix_first=VIX_YEARS[0],
        conditions=common.conditions(results),
    )
    common.write(PAGE, text)


def judged(days: pd.DataFrame) -> StudyResults:
    """What ``assess`` says of the whole series, forward in time."""
    recording = recording_of(days)
    return run_study(
        recording,
        FOLDER / "studies" / MODULES[LEARNT],
        task=Task.infer(recording, "log_variance", horizon=1),
        contenders=common.CONTENDERS,
        parameters=PARAMETERS,
        seeds=SEEDS,
        tuning=2,
        title=LEARNT,
    )


HEAD = ("index", "model", "RMSE of the log variance", "QLIKE", "p against HAR", "p against HAR with falls")
TEXT = """# Markets: how much will they move tomorrow?

Written by `python -m examples.jobs.markets`. How well can tomorrow's volatility be forecast? The data are the daily
prices of two indices, 1999 to 2018, and the VIX, 2014 to 2018, which the package `arch` ships. The models forecast the
logarithm of the next day's variance, measured by the day's range (Parkinson, 1980). They do not forecast whether a
market rises or falls, and no strategy is shown. (For oil, WTI, `arch` has one price a day, without the range.)

## What liquid networks bring here

`assess` on the {learnt}, one split forward in time:

**{answer}.** {sentence}

{findings}

Walk-forward, beside what practitioners use:

{words}

## Walk-forward, {first} to {last}

Each January every model is fitted again to all days before. It then forecasts each day of the year from the days before
it. A test checks this: it changes all later days, and no forecast changes. Networks have {parameters} parameters, their
default settings and {seeds} seeds; their errors are means over seeds. Their inputs are the returns and the dates, so a
weekend is a longer step. HAR uses only the variance of the last day, week and month. HAR with falls also uses how far
the market fell in each, which the networks see too. *p* is the p-value of the Diebold-Mariano test of equal squared
errors: below 0.05 two models differ. QLIKE is a loss for variances (Patton, 2011), after scaling each model's forecasts
to the mean of the truth.

The {shifted} is a shift: its forecasts come from the networks of the {learnt}, which never saw it. HAR and GARCH are
fitted to the {shifted} itself.

{overall}

An RMSE of {rmse} is a factor of {factor} in a day's variance. No model can avoid much of this error: the range measures
even a known variance with an error of 0.58 in its logarithm (Alizadeh, Brandt and Diebold, 2002).

## What option prices know

From {vix_first} on there are enough values of the VIX to fit HAR with it:

{vix}

## When the world shifts

RMSE by year. 2008 is the crisis, 2017 the calmest year:

{years}

## On a Cortex-M4

The C code of the network of {last} processed the days of {last} in QEMU:

{device}

## Conditions of `assess`

{conditions}
"""


if __name__ == "__main__":
    main()
