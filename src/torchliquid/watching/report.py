"""The report of a watched recording, as a page and as tables."""

from __future__ import annotations

import numpy as np
import polars as pl

from torchliquid import page
from torchliquid.alarms import runs
from torchliquid.models.predictor import shown_times
from torchliquid.page.charts import Figure, figure
from torchliquid.page.document import Chart, Table
from torchliquid.page.numbers import span
from torchliquid.runtime.watch import Rule
from torchliquid.watching.findings import Watched

MOST = 4000
"""Maximum number of points of a line. With more samples, the largest score of each block is drawn."""

SERIES = 12
"""Maximum number of series that are drawn, those with alarms first."""

HEAD = ("since", "alarm from", "until", "for", "sensor", "also unusual", "largest score")

GLOSSARY = {
    "score": "Distance between the most unusual reading of a sample and its forecast. 1 is the limit of what is usual "
    "in the good stretch.",
    "forecast": "The expected reading of every channel, from the previous samples, by a linear model of the good "
    "stretch.",
    "alarm": "Samples whose score stays above 1. It ends after a pause in which all scores are below 1.",
}


def when(watched: Watched, time: float) -> str:
    """A time in the form of the recording's table."""
    shown = shown_times(np.array([time]), watched.recording)
    return str(shown[0]).removesuffix(".000000") if shown.dtype.is_temporal() else f"{shown[0]:g}"


def table(watched: Watched) -> Table:
    """The alarms as a table, one row each."""
    several = watched.recording.n_series > 1
    rows = []
    for one in watched.findings:
        lasted = span(one.until - one.since, watched.recording.time_unit)
        row = (*(when(watched, t) for t in (one.since, one.raised, one.until)), lasted, one.sensor)
        row = (*row, ", ".join(one.others), f"{one.peak:.3g}")
        rows.append((one.series, *row) if several else row)
    return Table(("series", *HEAD) if several else HEAD, tuple(rows))


def alarms(watched: Watched) -> pl.DataFrame:
    """The alarms as a frame, with times in the form of the recording's table."""
    found, several = watched.findings, watched.recording.n_series > 1
    times = {
        name: shown_times(np.array([getattr(one, name) for one in found], dtype=np.float64), watched.recording)
        for name in ("since", "raised", "until")
    }
    return pl.DataFrame(
        {
            **({"series": [one.series for one in found]} if several else {}),
            **times,
            "sensor": pl.Series([one.sensor for one in found], dtype=pl.String),
            "also_unusual": pl.Series([", ".join(one.others) for one in found], dtype=pl.String),
            "largest_score": pl.Series([one.peak for one in found], dtype=pl.Float64),
        }
    )


def lead(watched: Watched) -> str:
    """A summary in two sentences."""
    n = sum(map(len, watched.ratios))
    on = sum(int(each.sum()) for each in watched.on)
    if not watched.findings:
        return f"Nothing unusual lasted long enough for an alarm, in {n:,} samples."
    first = watched.findings[0]
    alarms = "1 alarm" if len(watched.findings) == 1 else f"{len(watched.findings):,} alarms"
    where = f" in series {first.series}" if watched.recording.n_series > 1 else ""
    return (
        f"{alarms}, on for {on / n:.1%} of {n:,} samples. The first begins at {when(watched, first.since)}{where}: "
        f"{first.sensor}."
    )


def render(watched: Watched, name: str) -> str:
    """The page as text."""
    order = sorted(range(len(watched.ratios)), key=lambda i: not watched.on[i].any())[:SERIES]
    charts = [
        Chart(f"scores-{i}", watched.recording.series[i].name or "The recording", _drawn(watched, i)) for i in order
    ]
    rule = Rule.of(watched.model)
    unit = watched.recording.time_unit
    return page.render(
        "torchliquid.watching",
        "watch.html.j2",
        charts={"scores": charts},
        glossary=GLOSSARY,
        title=name,
        lead=lead(watched),
        table=table(watched),
        notes=watched.notes,
        learnt=rule.good,
        lookback=watched.model.config["lookback"],
        level=f"{watched.model.metadata['interval']['level']:.1%}",
        length=span(rule.alarm.length, unit),
        merge=span(rule.alarm.merge, unit),
        left_out=len(watched.ratios) - len(order),
    )


def _drawn(watched: Watched, i: int) -> Figure:
    """The score over time, with the good stretch and the alarms in the background."""
    series, scores = watched.recording.series[i], watched.scores[i]
    step = -(-len(scores) // MOST)
    starts = np.arange(0, len(scores), step)
    shown = shown_times(series.times, watched.recording)
    y = np.maximum.reduceat(scores, starts) if len(scores) else scores

    def at(places: np.ndarray) -> list[object]:
        return [str(t) if shown.dtype.is_temporal() else t for t in shown.gather(places).to_list()]

    def behind(on: np.ndarray, colour: str) -> list[Figure]:
        first, stop = runs(on)
        return [
            {
                "type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": a, "x1": b,
                "fillcolor": colour, "opacity": 0.2, "line": {"width": 0}, "layer": "below",
            }
            for a, b in zip(at(first), at(stop - 1), strict=True)
        ]  # fmt: skip

    line = {
        "type": "scatter",
        "mode": "lines",
        "x": at(starts),
        "y": np.maximum(y, 0.01).tolist(),
        "line": {"color": "--liquid", "width": 1.5},
        "hovertemplate": "%{x}: %{y:.3~g}<extra></extra>",
    }
    usual = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1}
    usual["line"] = {"dash": "dot", "color": "--muted"}
    return figure(
        [line],
        "time" if shown.dtype.is_temporal() else f"time, {watched.recording.time_unit}",
        "score",
        height=300,
        shapes=[*behind(watched.good[i], "--muted"), *behind(watched.on[i], "--rival"), usual],
        yaxis={"type": "log"},
    )
