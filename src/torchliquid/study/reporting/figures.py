"""The report's charts, one function each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

import numpy as np

from torchliquid.files import to_plain
from torchliquid.page import numbers
from torchliquid.page.charts import (
    DIGITS,
    LEGEND_ABOVE,
    Figure,
    figure,
    log_ticks,
    packed,
    plotly_text,
    scatter,
    title,
)
from torchliquid.study import words
from torchliquid.study.results import (
    POOLED,
    ContenderResult,
    Gaps,
    ShiftResult,
    Stretch,
    StudyResults,
    TaskResult,
)

SYMBOLS = {"liquid": "circle", "neural": "square", "classical": "diamond", "naive": "x", "probe": "triangle-up"}

MOST_SHOWN = 12
"""Maximum length of a class's name on an axis; the table behind the chart has the whole name."""

MOST_WRITTEN = 12
"""Maximum number of classes for which shares are written into the squares."""


def role(results: StudyResults, contender: ContenderResult) -> str:
    """The role of a contender in charts: one of the two compared, the naive answer, or one of the others."""
    verdict = results.verdict
    if verdict and contender.name == verdict.liquid:
        return "liquid"
    if verdict and contender.name == verdict.rival:
        return "rival"
    return "naive" if contender.family == "naive" else "other"


def colour(part: str) -> str:
    return {"liquid": "--liquid", "rival": "--rival", "naive": "--naive", "truth": "--truth"}.get(part, "--other")


def in_front(part: str) -> bool:
    """Whether it is one of the two compared."""
    return part in ("liquid", "rival")


def stroke(part: str) -> Figure:
    """The style of a contender's line."""
    dash = {"naive": "dot", "rival": "dash"}.get(part, "solid")
    return {"color": colour(part), "width": 3 if in_front(part) else 1.2, "dash": dash}


def front_last(results: StudyResults) -> list[tuple[str, ContenderResult]]:
    """The contenders with their roles, in the order in which lines are drawn over each other."""
    order = ("other", "naive", "rival", "liquid")
    return sorted(((role(results, c), c) for c in results.contenders), key=lambda one: order.index(one[0]))


def percent(task: TaskResult) -> float:
    return 100.0 if words.is_share(task.primary) else 1.0


def overview_chart(results: StudyResults) -> Figure:
    """Each contender's primary metric with its interval, the best on top, and that of each seed."""
    scale, metric = percent(results.task), results.task.primary
    shown = [(c, c.primary) for c in results.contenders if c.primary is not None and math.isfinite(c.primary.value)]
    shown.sort(key=lambda one: results.task.sign * one[1].value)
    names = [plotly_text(c.heading) for c, _ in shown]
    colours = [colour(role(results, c)) for c, _ in shown]
    seeds = scatter(
        "markers",
        [scale * v for c, _ in shown for v in c.test(metric)],
        [name for (c, _), name in zip(shown, names, strict=True) for _ in c.trials],
        marker={"symbol": "line-ns-open", "size": 9, "color": "--other"},
        hovertemplate="%{y}, one seed: %{x:.4~g}<extra></extra>",
    )
    means = scatter(
        "markers",
        [scale * value.value for _, value in shown],
        names,
        marker={"size": 11, "color": colours},
        hovertemplate="%{y}: %{x:.4~g}<extra></extra>",
    )
    ends = {c.name: [scale * value.low, scale * value.high] for c, value in shown if value.known}
    whiskers = [
        scatter("lines", ends[c.name], [name, name], line={"color": color, "width": 3}, hoverinfo="skip")
        for (c, _), name, color in zip(shown, names, colours, strict=True)
        if c.name in ends
    ]
    axis: Figure = {}
    beyond: list[Figure] = []
    if ends:
        low, high = span(results, ends)
        axis = {"range": [low, high], "nticks": 6, "tickangle": 0}
        usual = median((high - low) / 2 for low, high in ends.values()) / scale
        for name, x in zip(names, means["x"], strict=True):
            if not low <= x <= high:
                there, left = words.score(metric, x / scale, usual), x < low
                beyond.append(
                    {
                        "x": low if left else high,
                        "y": name,
                        "text": f"◂ {there}" if left else f"{there} ▸",
                        "xanchor": "left" if left else "right",
                        "showarrow": False,
                    }
                )
    y = {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": names,
        "tickmode": "array",
        "tickvals": names,
        "ticktext": [title(c.heading, 20) for c, _ in shown],
    }
    return figure(
        [*whiskers, seeds, means],
        words.metric_axis(metric),
        "contender (kind)",
        height=90 + 34 * len(shown),
        columns=24,
        xaxis=axis,
        yaxis=y,
        annotations=beyond,
    )


def learning_chart(results: StudyResults) -> Figure:
    """The primary metric on the validation part during training, the mean over the seeds."""
    traces = []
    for part, contender in front_last(results):
        curves = [np.array(t.curve) for t in contender.trials if len(t.curve) > 1]
        if not curves:
            continue
        looks = curves[int(np.argmax([len(c) for c in curves]))][:, 0]
        # A training that stopped early keeps its last value, so that the mean does not jump.
        mean = percent(results.task) * np.mean([np.interp(looks, c[:, 0], c[:, 1]) for c in curves], axis=0)
        hover = "%{fullData.name}: %{y:.4~g}<extra></extra>"
        traces.append(scatter("lines", looks, mean, contender.label, line=stroke(part), hovertemplate=hover))
    return figure(traces, "updates of the weights (number)", words.metric_axis(results.task.primary), height=300)


def confusion_chart(results: StudyResults, counts: np.ndarray) -> Figure:
    """One row for each class: counts, and the share of each answer."""
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    labels = [plotly_text(label) for label in results.task.labels]
    short = [
        plotly_text(label if len(label) <= MOST_SHOWN else f"{label[: MOST_SHOWN - 1]}…")
        for label in results.task.labels
    ]
    few, places = len(labels) <= MOST_WRITTEN, list(range(len(labels)))
    axis = {"showgrid": False, "zeroline": False, "tickvals": places, "ticktext": short}
    trace: Figure = {
        "type": "heatmap",
        "x": places,
        "y": places,
        "customdata": [[f"{true} answered by {answer}" for answer in labels] for true in labels],
        "z": to_plain(share, DIGITS),
        "colorscale": [[0, "--heat-low"], [1, "--heat-middle"]],
        "zmin": 0,
        "zmax": 100,
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "texttemplate": "%{z:.0f}" if few else "",
        "hovertemplate": "%{customdata}: %{z:.3~g} %<extra></extra>",
    }
    return figure(
        [trace],
        "answered (class)",
        "true (class)",
        height=150 + 26 * max(len(labels), 4),
        columns=24,
        xaxis=axis,
        yaxis={**axis, "autorange": "reversed"},
    )


def shift_chart(results: StudyResults, shift: ShiftResult, span: tuple[float, float]) -> Figure:
    """The primary metric over the severity of one shift, the two compared in front."""
    scale, traces = percent(results.task), []
    for part, contender in front_last(results):
        if shift.name not in contender.trials[0].shifts:
            continue
        every = contender.test(results.task.primary)
        clean = [fmean(t.unshifted.get(shift.name, v) for t, v in zip(contender.trials, every, strict=True))]
        under = [fmean(t.shifts[shift.name][i] for t in contender.trials) for i in range(len(shift.severities))]
        marker = {"symbol": "circle" if part == "liquid" else "square", "size": 8, "color": colour(part)}
        traces.append(
            scatter(
                "lines+markers" if in_front(part) else "lines",
                list(range(len(under) + 1)),
                [v * scale for v in clean + under],
                contender.label,
                line=stroke(part),
                marker=marker,
                hoverinfo="none",
            )
        )
    ticks = ["none", *(f"{s:g}" for s in shift.severities)]
    return figure(
        traces,
        shift.unit or "severity",
        words.metric_axis(results.task.primary),
        height=250,
        columns=24,
        xaxis={"tickvals": list(range(len(ticks))), "ticktext": ticks, "range": [-0.15, len(ticks) - 0.85]},
        yaxis={"range": list(span)},
        hovermode="x",
    )


def span(results: StudyResults, values: dict[str, list[float]]) -> tuple[float, float]:
    """A range for an axis of the primary metric, from each contender's values by name.

    It contains all values of the two compared and most of the others. Values far away, such as a naive answer among
    good ones, must not compress the rest; the table has them.
    """
    pair = [v for c in results.pair for v in values.get(c.name, [])]
    every = sorted(v for each in values.values() for v in each if math.isfinite(v))
    pair = [v for v in pair if math.isfinite(v)] or every
    if not every:
        return 0.0, 1.0
    low, high = min(pair), max(pair)
    reach = max(high - low, every[3 * len(every) // 4] - every[len(every) // 4], 1e-9)
    near = [v for v in every if low - reach <= v <= high + reach]
    low, high = min(near), max(near)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def shift_span(results: StudyResults) -> tuple[float, float]:
    """One range for all shifts, so that they can be compared."""
    scale, metric = percent(results.task), results.task.primary
    values = {
        c.name: [
            scale * v
            for t in c.trials
            for v in (
                t.tests[POOLED].get(metric, math.nan),
                *t.unshifted.values(),
                *(v for severities in t.shifts.values() for v in severities),
            )
        ]
        for c in results.contenders
    }
    return span(results, values)


def cost_chart(results: StudyResults, attribute: str, axis: str) -> Figure:
    """The primary metric with its interval over the cost of a contender."""
    scale, traces = percent(results.task), []
    shown = costed(results, attribute)
    points = [(math.log10(c.mean(attribute)), c.primary.value * scale) for c in shown if c.primary]
    firm = [in_front(role(results, c)) for c in shown]
    whiskers = {c.name: [scale * v for v in (c.primary.low, c.primary.high)] for c in shown if c.primary}
    positions = label_positions(points, [c.label for c in shown], firm)
    for contender, position in zip(shown, positions, strict=True):
        part, interval = role(results, contender), contender.primary
        assert interval is not None
        low, high = whiskers[contender.name]
        front = in_front(part)
        traces.append(
            scatter(
                "markers+text" if position else "markers",
                [contender.mean(attribute)],
                [interval.value * scale],
                contender.label,
                text=[plotly_text(contender.label)],
                textposition=position or "top center",
                cliponaxis=False,
                textfont={"color": colour(part) if front else "--muted", "size": 13 if front else 11},
                marker={"symbol": SYMBOLS[contender.family], "size": 13 if front else 9, "color": colour(part)},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": to_plain([high - interval.value * scale], DIGITS),
                    "arrayminus": to_plain([interval.value * scale - low], DIGITS),
                    "visible": interval.known,
                    "thickness": 1.5,
                    "width": 3,
                    "color": colour(part),
                },
                hovertemplate="%{fullData.name}<br>%{x:.3~s}: %{y:.4~g}<extra></extra>",
            )
        )
    xs = [x for x, _ in points] or [0.0, 1.0]
    room = 0.18 * max(max(xs) - min(xs), 0.3)
    left, right = min(xs) - room, max(xs) + room
    return figure(
        traces,
        axis,
        words.metric_axis(results.task.primary),
        height=400,
        columns=30,
        xaxis={"type": "log", "range": [left, right], "tickformat": "~g", **log_ticks(10**left, 10**right)},
        yaxis={"range": list(span(results, whiskers))},
    )


def costed(results: StudyResults, attribute: str) -> list[ContenderResult]:
    """The contenders whose cost and score are drawn. The naive answer costs nothing; only the table has it."""
    return [c for c in results.contenders if c.mean(attribute) > 0 and c.primary is not None and c.family != "naive"]


def label_positions(points: list[tuple[float, float]], labels: list[str], firm: list[bool]) -> list[str]:
    """For each point the side on which its label fits, important ones first; empty if it fits nowhere and may be left
    out.

    Computed for a chart of usual proportions, about 60 characters wide and 25 lines high; near its ends for a chart 40
    characters wide, as on a phone.
    """
    if not points:
        return []
    xs, ys = [x for x, _ in points], [y for _, y in points]
    width, height = 1.4 * max(max(xs) - min(xs), 0.3), 1.3 * max(max(ys) - min(ys), 1e-9)
    places = [(60 * (x - min(xs)) / width, 25 * (y - min(ys)) / height) for x, y in points]
    taken = [(x - 1, x + 1, y - 0.6, y + 0.6) for x, y in places]
    chosen = [""] * len(points)
    for i in sorted(range(len(points)), key=lambda i: not firm[i]):
        (x, y), half = places[i], len(labels[i]) / 2
        boxes = {
            "middle right": (x + 1.2, x + 1.2 + 2 * half, y - 0.7, y + 0.7),
            "middle left": (x - 1.2 - 2 * half, x - 1.2, y - 0.7, y + 0.7),
            "top center": (x - half, x + half, y + 0.7, y + 2.2),
            "bottom center": (x - half, x + half, y - 2.2, y - 0.7),
        }
        crowd = {
            side: sum(left < r and right > a and low < h and high > b for a, r, b, h in taken)
            + 8 * (x + 1.5 * (left - x) < -8 or x + 1.5 * (right - x) > 52)
            for side, (left, right, low, high) in boxes.items()
        }
        best = min(crowd, key=crowd.__getitem__)
        if firm[i] or crowd[best] == 0:
            taken.append(boxes[best])
            chosen[i] = best
    return chosen


def stretch_chart(results: StudyResults, stretch: Stretch) -> Figure:
    """The truth and the answers of the two compared over a stretch of a test recording."""
    task = results.task
    times, unit = _readable_times(stretch)
    single = stretch.time_unit == "series"
    many_classes = len(task.labels) > 2
    line: Figure = {"type": "scatter", "x": times, "hoverinfo": "none"}
    truth: Figure = {**line, "name": "truth", "y": packed(stretch.truth)}
    if single:
        truth |= {"mode": "markers", "marker": {"symbol": "circle-open", "size": 11, "color": colour("truth")}}
    else:
        truth |= {"mode": "lines", "line": {"color": colour("truth"), "width": 1.5}, "connectgaps": False}
        if task.labels:
            truth["line"] |= {"shape": "hv"}
            if stretch.shown_class:
                truth |= {"fill": "tozeroy", "fillcolor": "--truth-fill"}
        elif _sparse(stretch.truth):
            truth |= {"mode": "markers", "marker": {"symbol": "circle-open", "size": 10, "color": colour("truth")}}
    traces = [truth]
    for name, answers in stretch.outputs.items():
        contender = results.contender(name)
        part = role(results, contender)
        trace: Figure = {**line, "name": plotly_text(contender.label), "y": packed(answers)}
        if single:
            mark = {"symbol": "circle" if part == "liquid" else "square", "size": 5, "color": colour(part)}
            trace |= {"mode": "markers", "marker": mark}
        else:
            drawn: Figure = {"color": colour(part), "width": 2, "dash": "dash" if part == "rival" else "solid"}
            trace |= {"mode": "lines", "line": drawn | ({"shape": "hv"} if many_classes else {})}
        traces.append(trace)
    axes: Figure = {}
    if many_classes:
        shown = [plotly_text(label) for label in task.labels]
        axes = {"tickvals": list(range(len(shown))), "ticktext": shown}
        y = f"{task.target} (class)"
    elif stretch.shown_class:
        axes = {"range": [-0.04, 1.04]}
        y = f"probability that {task.target} is {stretch.shown_class} (0 to 1)"
    elif task.labels:
        y = f"{task.target} (class)"
    else:
        y = f"{task.target} (in its own unit)"
    x = "test series (in order of the truth)" if single else f"time ({unit})"
    above: Figure = {"showlegend": True, "legend": {**LEGEND_ABOVE, "x": 0}, "margin": {"t": 40}}
    made = figure(traces, x, y, height=340, yaxis=axes, hovermode="x", **above)
    if not single:
        _add_readings(made, stretch, line)
    return made


STRIP = 72
"""Height of a channel's strip below the answers, in pixels."""


def _add_readings(made: Figure, stretch: Stretch, line: Figure) -> None:
    """The channels below a chart of answers, each in its own strip, over the same times."""
    layout, n = made["layout"], len(stretch.channels)
    answers = layout["height"]
    layout["height"] = whole = answers + STRIP * n
    layout["yaxis"]["domain"] = [STRIP * n / whole, 1]
    layout["xaxis"] |= {"anchor": f"y{n + 1}" if n else "y", "showspikes": True, "spikemode": "across",
                        "spikethickness": 1, "spikedash": "solid", "spikecolor": "--muted"}  # fmt: skip
    layout |= {"hoversubplots": "axis", "uirevision": "kept", "annotations": []}
    if math.isfinite(stretch.begins):
        layout["xaxis"]["type"] = "date"
    if stretch.view:
        layout["xaxis"]["range"] = _shown_times(stretch, stretch.view).tolist()
        least, most = _shown_times(stretch, (stretch.times[0], stretch.times[-1])).tolist()
        layout["xaxis"] |= {"minallowed": least, "maxallowed": most}
    for place, (name, values) in enumerate(stretch.channels.items()):
        low = STRIP * (n - 1 - place) / whole
        axis, color = f"y{place + 2}", "--activity-colour"
        mark: Figure = {"mode": "markers", "marker": {"size": 3, "color": color}}
        drawn: Figure = {"mode": "lines", "line": {"color": color, "width": 1.3}, "connectgaps": False}
        trace = {**line, "name": plotly_text(name), "y": packed(values), "yaxis": axis, "showlegend": False}
        made["data"].append(trace | (mark if _sparse(values) else drawn))
        layout[f"yaxis{place + 2}"] = {
            "domain": [low, low + 0.66 * STRIP / whole], "anchor": "x", "nticks": 3, "automargin": True,
        }  # fmt: skip
        layout["annotations"].append(
            {"text": plotly_text(name), "xref": "paper", "yref": "paper", "x": 0, "y": low + 0.66 * STRIP / whole,
             "xanchor": "left", "yanchor": "bottom", "showarrow": False}
        )  # fmt: skip


def _sparse(values: Sequence[float]) -> bool:
    """Whether most samples have no value, so that a line would have more gaps than pieces."""
    return sum(map(math.isfinite, values)) < len(values) / 2


def _shown_times(stretch: Stretch, times: Sequence[float]) -> np.ndarray:
    """Times for the chart's axis: in a unit that is easy to read, or in milliseconds since 1970 if they are dates."""
    moments = np.asarray(times, dtype=float)
    if math.isfinite(stretch.begins):
        return 1000 * (stretch.begins + moments)
    return moments / numbers.time_unit(_seen(stretch) / 4, stretch.time_unit)[1]


def _seen(stretch: Stretch) -> float:
    ends = stretch.view or stretch.times
    return ends[-1] - ends[0] if ends else 0.0


def _readable_times(stretch: Stretch) -> tuple[Figure, str]:
    dated = math.isfinite(stretch.begins)
    unit = "date" if dated else numbers.time_unit(_seen(stretch) / 4, stretch.time_unit)[0]
    return packed(_shown_times(stretch, stretch.times).tolist(), "<f8"), unit


def gap_chart(gaps: Gaps) -> Figure:
    """The distribution of the time between samples."""
    unit, factor = numbers.time_unit(gaps.median, gaps.unit)
    bins = [(low / factor, high / factor) for low, high in pairwise(gaps.edges)]
    widths = [high - low for low, high in bins]
    bars: Figure = {
        "type": "bar",
        "y": [c or None for c in gaps.counts],
        "customdata": [f"{low:.3g} to {high:.3g}" for low, high in bins],
        "marker": {"color": "--liquid"},
        "hovertemplate": "%{customdata} " + plotly_text(unit) + ": %{y:,} times<extra></extra>",
    }
    x: Figure = {}
    if max(widths) > 2 * min(widths):  # bins of different widths are drawn side by side, each with its start below
        bars["x"] = list(range(len(bins)))
        at = list(range(0, len(bins), max(1, len(bins) // 6)))
        x = {"tickvals": [i - 0.5 for i in at], "ticktext": [numbers.significant(bins[i][0], 2) for i in at]}
    else:
        bars["x"], bars["width"] = [(low + high) / 2 for low, high in bins], widths
    return figure(
        [bars],
        f"time since the previous sample ({unit})",
        "samples (number, log scale)",
        height=300,
        bargap=0.05,
        xaxis=x,
        yaxis={"type": "log", "tickformat": "~s", "dtick": 1, "range": [-0.3, math.log10(max(gaps.counts) or 1) + 0.2]},
    )


def reliability_chart(results: StudyResults, contender: ContenderResult) -> Figure:
    """How reliable a contender's probabilities were on the test part, before and after calibration, over its seeds."""
    found = [t.calibration for t in contender.trials if t.calibration is not None]
    task, color = results.task, colour(role(results, contender))
    dotted = {"color": "--other", "width": 1, "dash": "dot"}
    traces = [scatter("lines", [0, 1], [0, 1], hoverinfo="skip", showlegend=False, line=dotted)]
    for name, each, line in (
        ("as trained", [f.before for f in found], {"color": "--other", "width": 2, "dash": "dash"}),
        ("calibrated", [f.after for f in found], {"color": color, "width": 3}),
    ):
        stated, true = (np.mean([getattr(one, axis) for one in each], axis=0) for axis in ("said", "true"))
        marker = {"size": 7, "color": line["color"]}
        hover = "%{fullData.name}: stated %{x:.3~g}, true in %{y:.3~g}<extra></extra>"
        traces.append(scatter("lines+markers", stated, true, name, line=line, marker=marker, hovertemplate=hover))
    what = f"{task.target} = {task.labels[task.positive]}" if len(task.labels) == 2 else "the most probable class"
    return figure(
        traces,
        f"stated probability of {what}",
        "share of samples for which it was true",
        height=320,
        columns=36,
        showlegend=True,
        legend=LEGEND_ABOVE,
        xaxis={"range": [-0.03, 1.03]},
        yaxis={"range": [-0.03, 1.03]},
    )
