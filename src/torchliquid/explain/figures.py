"""The charts of an explanation, one function each."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from torchliquid.alarms import runs
from torchliquid.explain.attribution import Attribution
from torchliquid.explain.dynamics import Dynamics
from torchliquid.explain.experts import Experts
from torchliquid.explain.explanation import Moments
from torchliquid.explain.roles import Roles
from torchliquid.explain.time_constants import TimeConstants
from torchliquid.files import to_plain
from torchliquid.page.charts import Figure, figure, log_ticks, plotly_text
from torchliquid.page.numbers import time_unit

SEQUENTIAL = [[0, "--heat-low"], [0.5, "--heat-middle"], [1, "--heat-high"]]
DIVERGING = [[0, "--rival"], [0.5, "--heat-low"], [1, "--liquid"]]

DIGITS = 4
"""Number of significant digits in charts."""

SINGLED_OUT = (("--liquid", "solid"), ("--rival", "dash"), ("--naive", "dot"))
"""Colour and dash of the neurons that change the most."""


MOST_NAMES = 40
"""Maximum number of rows or columns of a chart; the table behind it shows all."""

LONGEST_NAME = 20
"""Maximum length of a name on an axis."""

KEPT = 6
"""Number of characters kept on either side of the part in which long names differ."""


MOST_CALLS = 1000
"""Maximum number of samples of which a chart shows the experts."""


def expert_chart(found: Experts) -> Figure:
    """The experts that are called, over the beginning of the longest series."""
    i = int(np.argmax([len(times) for times in found.times]))
    times = (found.times[i] - found.times[i][0])[:MOST_CALLS]
    unit, factor = time_unit(float(times[-1]) / 4, found.unit)
    chosen, n = found.chosen[i][:MOST_CALLS], len(found.experts)
    names = [f"expert {k + 1}" for k in range(n)]
    traces = []
    for k in range(n):
        called = (chosen == k).any(1)
        x = to_plain(times[called] / factor, DIGITS)
        marker = {"color": "--liquid", "symbol": "line-ns-open", "size": 14}
        traces.append({"type": "scatter", "mode": "markers", "x": x, "y": [k] * int(called.sum()), "marker": marker})
    axis = {"tickvals": list(range(n)), "ticktext": names, "range": [n - 0.5, -0.5]}
    return figure(traces, f"Time ({unit})", "", 90 + 36 * n, yaxis=axis)


def tau_chart(taus: TimeConstants, moments: Moments, shaded_above: float | None) -> Figure:
    """The neurons' time constants over the recording: the middle half of them, and those that change the most. The
    background is shaded where the truth is above a value."""
    x = to_plain(moments.times, DIGITS)
    finite = np.where(np.isfinite(moments.taus) & (moments.taus > 0), moments.taus, np.nan)
    low, middle, high = to_plain(quantiles(finite, [0.25, 0.5, 0.75], axis=1), DIGITS)
    band: Figure = {"type": "scatter", "mode": "lines", "x": x, "hoverinfo": "skip", "line": {"width": 0}}
    traces = [
        {**band, "y": low, "showlegend": False},
        {**band, "y": high, "fill": "tonexty", "fillcolor": "--truth-fill", "name": "middle half of all"},
        {
            "type": "scatter",
            "mode": "lines",
            "name": "median of all",
            "x": x,
            "y": middle,
            "line": {"color": "--truth", "width": 2},
            "hoverinfo": "none",
        },
    ]
    for h, (color, dash) in zip(_liveliest(finite), SINGLED_OUT, strict=False):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": plotly_text(taus.neurons[h]),
                "x": x,
                "y": to_plain(finite[:, h], DIGITS),
                "line": {"color": color, "width": 2, "dash": dash},
                "hoverinfo": "none",
            }
        )
    made = figure(
        traces,
        f"time since the beginning ({moments.unit})",
        f"{taus.name} ({taus.unit}, log scale)",
        height=380,
        yaxis={"type": "log", "tickformat": "~g", **log_ticks(*_ends(trace["y"] for trace in traces))},
        hovermode="x",
        shapes=[
            {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": x[i], "x1": x[j], "layer": "below",
             "fillcolor": "--shade", "line": {"width": 0}}
            for i, j in zip(*runs(moments.truth > shaded_above), strict=True)
            for j in [min(j, len(x) - 1)]
        ] if shaded_above is not None else [],
    )  # fmt: skip
    return _with_legend(made)


def quantiles(values: np.ndarray, at: Sequence[float], axis: int) -> np.ndarray:
    """Of the finite values; NaN where there are none, as of an expert that is never called."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        found: np.ndarray = np.nanquantile(np.where(np.isfinite(values), values, np.nan), at, axis=axis)
    return found


def _ends(drawn: Iterable[list[float | None]]) -> tuple[float, float]:
    """The smallest and the largest value drawn; 1 and 1 if there is none."""
    values = [v for line in drawn for v in line if v is not None]
    return min(values, default=1.0), max(values, default=1.0)


def _liveliest(finite: np.ndarray) -> list[int]:
    low, high = quantiles(np.log(finite), [0.05, 0.95], axis=0)
    return [int(h) for h in np.argsort(-np.nan_to_num(high - low, nan=-1.0), kind="stable")]


def role_chart(roles: Roles) -> Figure:
    """How strongly each neuron follows each input and the target; if there are many, those that are followed most."""
    kept = np.sort(largest(np.abs(roles.correlations).max(0, initial=0)))
    return heat_map(
        [role.neuron for role in roles.roles],
        [roles.features[i] for i in kept],
        np.clip(roles.correlations[:, kept], -1, 1),
        f"what the neuron may follow (name{of_all(len(kept), len(roles.features))})",
        "neuron (name)",
        "rank correlation",
        DIVERGING,
        (-1.0, 1.0),
    )


def attribution_chart(found: Attribution, share: np.ndarray, most: float) -> Figure:
    """Which input changed the answer, and how long ago, with the most important input on top. ``most`` is the end of
    the colour scale."""
    kept = largest(share.sum(1))
    ages = [f"{lag:g}" for lag in found.lags]
    return heat_map(
        [found.channels[i] for i in kept],
        ages,
        100 * share[kept],
        "samples before the answer (number)",
        f"input (name{of_all(len(kept), len(found.channels))})",
        "% of all",
        SEQUENTIAL,
        (0.0, 100 * most),
        horizontal=True,
    )


def largest(sizes: np.ndarray) -> np.ndarray:
    """Indices of the largest values, in decreasing order, at most as many as a chart can name."""
    return np.argsort(-sizes, kind="stable")[:MOST_NAMES]


def of_all(shown: int, all_there_are: int) -> str:
    return "" if shown == all_there_are else f", the first {shown} of {all_there_are}"


def _alike(names: Sequence[str]) -> int:
    """The prefix that all names share."""
    columns = zip(*names, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda letters: len(set(letters)) == 1, columns))


def tick_labels(names: Sequence[str]) -> Figure:
    """Names on an axis. Long names, which would leave no room for the chart on a phone, lose their common prefix first,
    then their middle. The tooltip shows the whole name."""
    if all(len(name) <= LONGEST_NAME for name in names):
        return {}
    first = _alike(names)
    last = _alike([name[first:][::-1] for name in names])
    short = []
    for name in names:
        start, stop = max(first - KEPT, 0), len(name) - max(last - KEPT, 0)
        rest = name[start:stop] if len(name) > LONGEST_NAME else name
        half = LONGEST_NAME // 2
        rest = rest if len(rest) <= LONGEST_NAME else f"{rest[:half]}…{rest[-half:]}"
        short.append(f"{'…' if start and rest != name else ''}{rest}{'…' if stop < len(name) and rest != name else ''}")
    return {"tickmode": "array", "tickvals": [*map(plotly_text, names)], "ticktext": [*map(plotly_text, short)]}


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    x: str,
    y: str,
    what: str,
    colours: list[list[object]],
    ends: tuple[float, float],
    horizontal: bool = False,
) -> Figure:
    """Values by row and column; the first row on top."""
    trace: Figure = {
        "type": "heatmap",
        "x": [plotly_text(name) for name in columns],
        "y": [plotly_text(name) for name in rows],
        "z": to_plain(values, DIGITS),
        "colorscale": colours,
        "zmin": ends[0],
        "zmax": ends[1],
        "xgap": 1 if len(columns) <= 20 else 0,
        "ygap": 1,
        "colorbar": {
            "orientation": "h", "y": 1.0, "yanchor": "bottom", "thickness": 10, "len": 0.9, "outlinewidth": 0,
            "nticks": 5, "title": {"text": what, "side": "top"},
        },
        "hovertemplate": "%{y}, %{x}: %{z:.3~g}<extra></extra>",
    }  # fmt: skip
    axis = {"type": "category", "nticks": 9} if horizontal else {"type": "category", "tickangle": -40}
    made = figure(
        [trace],
        x,
        y,
        columns=28,
        height=130 + 22 * max(len(rows), 4) + (0 if horizontal else 90),
        xaxis={**axis, "showgrid": False, **({} if horizontal else tick_labels(columns))},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False, **tick_labels(rows)},
    )
    made["layout"]["margin"]["t"] = 56
    return made


def lyapunov_chart(found: Dynamics) -> Figure:
    """How fast small differences grow or shrink if samples are further apart."""
    unit, factor = time_unit(found.gap, found.unit)
    gaps = np.asarray(found.multiples) * found.gap / factor
    traces: list[Figure] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "growth",
            "x": to_plain(gaps, DIGITS),
            "y": to_plain(found.lyapunov_by_gap, DIGITS),
            "line": {"color": "--liquid", "width": 2},
            "marker": {"size": 7, "color": "--liquid"},
            "hovertemplate": f"%{{x:.3~g}} {plotly_text(unit)}: %{{y:.3~g}}<extra></extra>",
        }
    ]
    lines: list[Figure] = [
        {
            "type": "line",
            "xref": "paper",
            "x0": 0,
            "x1": 1,
            "y0": 0,
            "y1": 0,
            "line": {"color": "--truth", "width": 1.5},
        }
    ]  # fmt: skip
    if found.turns_positive_at is not None:
        at = found.turns_positive_at / factor
        lines.append(
            {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at,
             "line": {"color": "--rival", "width": 2, "dash": "dash"}}
        )  # fmt: skip
    return figure(
        traces,
        f"time between samples ({unit}, log scale)",
        "growth of a small difference (per sample, natural log)",
        height=320,
        columns=28,
        xaxis={"type": "log", "tickformat": "~g", **log_ticks(float(gaps.min()), float(gaps.max()))},
        shapes=lines,
    )


def _with_legend(made: Figure) -> Figure:
    made["layout"]["showlegend"] = True
    made["layout"]["legend"] = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    made["layout"]["margin"]["t"] = 60
    return made
