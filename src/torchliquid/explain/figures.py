"""The charts of an explanation, one function each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from torchliquid.alarms import runs
from torchliquid.explain.attribution import Attribution
from torchliquid.explain.dynamics import Dynamics
from torchliquid.explain.experts import Experts
from torchliquid.explain.explanation import Moments
from torchliquid.explain.roles import Roles
from torchliquid.explain.time_constants import TimeConstants
from torchliquid.files import to_plain
from torchliquid.page.charts import LEGEND_ABOVE, Figure, across, figure, log_ticks, plotly_text, scatter
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
    traces, marker = [], {"color": "--liquid", "symbol": "line-ns-open", "size": 14}
    for k in range(n):
        x = to_plain(times[(chosen == k).any(1)] / factor, DIGITS)
        traces.append(scatter("markers", x, [k] * len(x), marker=marker))
    axis = {"tickvals": list(range(n)), "ticktext": names, "range": [n - 0.5, -0.5]}
    return figure(traces, f"Time ({unit})", "", 90 + 36 * n, yaxis=axis)


def tau_chart(taus: TimeConstants, moments: Moments, shaded_above: float | None) -> Figure:
    """The neurons' time constants over the recording: the middle half of them, and those that change the most. The
    background is shaded where the truth is above a value."""
    x = to_plain(moments.times, DIGITS)
    finite = np.where(np.isfinite(moments.taus) & (moments.taus > 0), moments.taus, np.nan)
    low, middle, high = quantiles(finite, [0.25, 0.5, 0.75], axis=1)
    band: Figure = {"hoverinfo": "skip", "line": {"width": 0}, "digits": DIGITS}
    line: Figure = {"hoverinfo": "none", "digits": DIGITS}
    traces = [
        scatter("lines", x, low, **band, showlegend=False),
        scatter("lines", x, high, "middle half of all", **band, fill="tonexty", fillcolor="--truth-fill"),
        scatter("lines", x, middle, "median of all", **line, line={"color": "--truth", "width": 2}),
    ]
    for h, (color, dash) in zip(_liveliest(finite), SINGLED_OUT, strict=False):
        style = {"color": color, "width": 2, "dash": dash}
        traces.append(scatter("lines", x, finite[:, h], taus.neurons[h], **line, line=style))
    shaded = [] if shaded_above is None else zip(*runs(moments.truth > shaded_above), strict=True)
    drawn = [v for trace in traces for v in trace["y"] if v is not None]
    return figure(
        traces,
        f"time since the beginning ({moments.unit})",
        f"{taus.name} ({taus.unit}, log scale)",
        height=380,
        yaxis={"type": "log", "tickformat": "~g", **log_ticks(min(drawn, default=1.0), max(drawn, default=1.0))},
        hovermode="x",
        shapes=[
            {"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": x[i], "x1": x[min(j, len(x) - 1)],
             "layer": "below", "fillcolor": "--shade", "line": {"width": 0}}
            for i, j in shaded
        ],
        showlegend=True,
        legend=LEGEND_ABOVE,
        margin={"t": 60},
    )  # fmt: skip


def quantiles(values: np.ndarray, at: Sequence[float], axis: int) -> np.ndarray:
    """Of the finite values; NaN where there are none, as of an expert that is never called."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        found: np.ndarray = np.nanquantile(np.where(np.isfinite(values), values, np.nan), at, axis=axis)
    return found


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


def tick_labels(names: Sequence[str]) -> Figure:
    """Names on an axis. Long names, which would leave no room for the chart on a phone, lose their common prefix first,
    then their middle. The tooltip shows the whole name."""
    if all(len(name) <= LONGEST_NAME for name in names):
        return {}
    first = len(os.path.commonprefix(names))  # noqa: RUF071 - letters are what it compares
    last = len(os.path.commonprefix([name[first:][::-1] for name in names]))  # noqa: RUF071
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
    return figure(
        [trace],
        x,
        y,
        columns=28,
        height=130 + 22 * max(len(rows), 4) + (0 if horizontal else 90),
        xaxis={**axis, "showgrid": False, **({} if horizontal else tick_labels(columns))},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False, **tick_labels(rows)},
        margin={"t": 56},
    )


def lyapunov_chart(found: Dynamics) -> Figure:
    """How fast small differences grow or shrink if samples are further apart."""
    unit, factor = time_unit(found.gap, found.unit)
    gaps = np.asarray(found.multiples) * found.gap / factor
    hover = f"%{{x:.3~g}} {plotly_text(unit)}: %{{y:.3~g}}<extra></extra>"
    style = {"line": {"color": "--liquid", "width": 2}, "marker": {"size": 7, "color": "--liquid"}}
    x, y = to_plain(gaps, DIGITS), found.lyapunov_by_gap
    growth = scatter("lines+markers", x, y, "growth", DIGITS, **style, hovertemplate=hover)
    shapes = [across(0, {"color": "--truth", "width": 1.5})]
    if found.turns_positive_at is not None:
        at = found.turns_positive_at / factor
        shapes.append(across(at, {"color": "--rival", "width": 2, "dash": "dash"}, "x"))
    return figure(
        [growth],
        f"time between samples ({unit}, log scale)",
        "growth of a small difference (per sample, natural log)",
        height=320,
        columns=28,
        xaxis={"type": "log", "tickformat": "~g", **log_ticks(float(gaps.min()), float(gaps.max()))},
        shapes=shapes,
    )
