"""The trade-off of solvers as a page and as plain data."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from torchliquid import page
from torchliquid.explain.solvers import Choice, Tradeoff
from torchliquid.files import to_plain
from torchliquid.page.charts import LEGEND_ABOVE, Figure, across, figure, log_ticks, scatter
from torchliquid.page.document import Chart, Table
from torchliquid.page.glossary import NETWORKS, metric_label
from torchliquid.page.numbers import duration, significant

COLOURS = {"fused": "--liquid", "euler": "--rival", "rk4": "--naive"}
GLOSSARY = {
    "fused": "The LTC authors' semi-implicit steps: stable for any step size; the error is proportional to the step.",
    "euler": "Explicit steps; the error is proportional to the step, and too large a step diverges.",
    "rk4": "The classical Runge-Kutta method, four evaluations per step; half the step has a sixteenth of the error, "
    "and too large a step diverges.",
    "dopri5, tsit5": "Adaptive: as many steps as a tolerance requires, for each sample separately. Not for devices.",
    "evaluation": "One pass over all synapses: the cost of a step on a device.",
    "liquid network": NETWORKS["liquid network"],
}


def plain(found: Tradeoff, chosen: Choice, error: float | None) -> Any:
    """For JSON; values that are not finite become null."""

    def row(choice: Choice) -> dict[str, Any]:
        return {**asdict(choice), "evaluations": choice.evaluations}

    data = {
        "now": {"solver": found.now[0], "unfolds": found.now[1]},
        "error_asked": error,
        "chosen": row(chosen),
        "metric": found.metric,
        "metric_of_tight_solution": found.tight,
        "samples": found.samples,
        "of_samples": found.of_samples,
        "longest_gap": found.longest,
        "time_unit": found.unit,
        "pieces": found.pieces,
        "choices": [row(choice) for choice in found.choices],
    }
    return to_plain(data)


def table(found: Tradeoff) -> Table:
    """All solvers that were tried, as a table."""
    rows = []
    for c in found.choices:
        error = "not finite" if not math.isfinite(c.error) else f"{c.error:.{'2g' if c.error > 1e-3 else '0e'}}"
        evaluations = "varies" if c.evaluations is None else str(c.evaluations)
        holds = "any" if c.holds is None else f"{c.holds:.3g} {found.unit}"
        rows.append((c.name, evaluations, error, significant(c.metric, 4), duration(1e-6 * c.microseconds), holds))
    head = ("solver", "evaluations per sample", "error", metric_label(found.metric), "time per sample", "gaps up to")
    return Table(head, tuple(rows))


def render(found: Tradeoff, chosen: Choice, error: float | None, model: str) -> str:
    """The page as text."""
    shown = [c for c in found.choices if c.evaluations is not None and c.error < 1e3]
    metric = metric_label(found.metric)
    dotted = {"dash": "dot", "color": "--muted"}
    asked = [] if error is None else [across(error, dotted)]
    off = _chart(shown, "error", "error, standard deviations of the answer", asked, {"type": "log"})
    charts = [Chart("error", "How far the answers are from the reference solution", off, table(found))]
    if math.isfinite(found.tight):
        tight = [across(found.tight, dotted)]
        well = f"How good the answers are, by {metric}; dotted: the reference solution"
        charts.insert(0, Chart("metric", well, _chart(shown, "metric", metric, tight, {})))
    return page.render(
        "torchliquid.explain",
        "solvers.html.j2",
        charts={"error": charts},
        glossary=GLOSSARY,
        found=found,
        chosen=chosen,
        asked=error,
        title=model,
        tight=significant(found.tight, 4),
        metric=metric_label(found.metric),
    )


def _chart(choices: list[Choice], what: str, y: str, shapes: list[Figure], yaxis: Figure) -> Figure:
    """One line per solver over the cost of a step on a device."""
    traces = []
    for solver, colour in COLOURS.items():
        points = [c for c in choices if c.solver == solver and math.isfinite(getattr(c, what))]
        if not points:
            continue
        costs, values = [c.evaluations for c in points], [getattr(c, what) for c in points]
        hover: Figure = {"text": [c.name for c in points], "hovertemplate": "%{text}: %{y:.3~g}<extra></extra>"}
        line = {"color": colour, "width": 2}
        traces.append(scatter("lines+markers", costs, values, solver, line=line, **hover))
    least, most = (end(c.evaluations or 1 for c in choices) for end in (min, max))
    return figure(
        traces,
        "evaluations of all synapses per sample",
        y,
        height=420,
        showlegend=True,
        shapes=shapes,
        legend=LEGEND_ABOVE,
        xaxis={"type": "log", **log_ticks(least, most)},
        yaxis={"exponentformat": "power", **yaxis},
    )
