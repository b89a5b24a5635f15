"""``report.html``: one file that opens anywhere, without a network, and says first what a reader wants to know.

The page is made from the results alone; the same results give the same page, byte for byte. Templates escape
whatever comes from the data; data inside a script tag is JSON in which no character can end the tag.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from torchliquid.errors import InputError
from torchliquid.files import write_atomically
from torchliquid.study import figures, tables, words
from torchliquid.study.results import Finding, StudyResults
from torchliquid.study.tables import Table

GLOSSARY = {
    "liquid network": "A small recurrent network whose neurons are described by differential equations, so that it "
    "can be fed samples at uneven times. LTC is solved step by step, CfC has the solution in closed form. It learns "
    "in training only; what changes while it runs is its state, and how fast that state changes.",
    "NCP": "Neural circuit policy: a sparse wiring in layers (sensory, inter, command, motor neurons).",
    "contender": "A kind of model in this study, trained anew from each seed.",
    "seed": "The start of the random numbers of one training. The same model from another seed comes out different.",
    "validation part": "Data the models were not fitted to, used to stop training, to tune and to choose who is "
    "compared. The test part is looked at once, after that.",
    "95 % interval": "A range made so that in 95 of 100 such studies it holds the true figure: other seeds and other "
    "test data of the same kind would move the figure about that much.",
    "worth it": "Better by an interval that leaves zero out, and by at least what matters.",
    "not worth it": "The whole interval lies below the smallest difference that matters.",
    "not shown": "The data and the seeds allow neither of the two.",
    "what matters": "The smallest difference worth a change of model, fixed beforehand: a tenth of the rival's errors, "
    "a twentieth of its RMSE, a factor of two in cost.",
    "shift": "A change between training and use, such as noise or lost samples. Nothing is trained again.",
    "stability": "The primary metric averaged over all shifts, each counting the same.",
    "live step": "One new sample fed to a running model, one at a time, on one thread.",
    "99th percentile": "All but one of a hundred live steps are at least this fast.",
    "live parameters": "Trained numbers that can change the output; those a wiring masks out don't count.",
    "state carried": "The model runs through a whole recording without being reset, as it will be used.",
    "accuracy": "Share of samples (or series) given the right class.",
    "macro F1": "For each class the balance of misses and false alarms, averaged over the classes, rare ones as much.",
    "log loss": "How surprised the stated probabilities are by the truth; 0 is perfect.",
    "ROC AUC": "How often a sample of the second class gets a higher probability than one of the first; 0.5 is chance.",
    "average precision": "Mean share of true alarms as the alarm threshold is lowered.",
    "RMSE": "Root of the mean squared error, in the target's unit.",
    "MAE": "Mean absolute error, in the target's unit.",
    "R²": "Share of the target's variance that is explained; 0 is no better than its mean.",
}


@dataclass(frozen=True)
class Chart:
    """A chart with the title that says what it shows, and the table behind it."""

    id: str
    title: str
    figure: figures.Figure
    table: Table | None = None
    note: str = ""


@dataclass(frozen=True)
class Card:
    """A finding with its interval drawn as a bar between two sides; places in per cent of the bar."""

    finding: Finding
    headline: str
    caption: str = ""
    low: float = 0.0
    high: float = 0.0
    value: float = 0.0
    zero: float = 50.0
    margin: float | None = None
    drawn: bool = field(default=False)


def write_report(results: StudyResults, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        InputError: the folder can't be written.
    """
    page = render(results)
    try:
        write_atomically(path, lambda part: part.write_text(page, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the report {path} can't be written ({error.strerror}); choose another folder") from None


def render(results: StudyResults) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("torchliquid.study", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    charts = {
        "shifts": shift_charts(results),
        "costs": cost_charts(results),
        "stretches": stretch_charts(results),
        "gaps": [gap_chart(results)],
    }
    specifications = {chart.id: chart.figure for group in charts.values() for chart in group}
    return environment.get_template("report.html.j2").render(
        results=results,
        verdict=results.verdict,
        cards=[card(results, f) for f in results.verdict.findings] if results.verdict else [],
        charts=charts,
        main=tables.main_table(results),
        metrics=tables.metrics_table(results),
        shift_table=tables.shift_table(results),
        channels=tables.channel_table(results),
        parts=tables.part_table(results),
        trials=tables.trial_table(results),
        settings=tables.settings_table(results),
        pair=[results.contender(n) for n in (results.verdict.liquid, results.verdict.rival)] if results.verdict else [],
        primary=words.metric_label(results.task.primary),
        glossary=GLOSSARY,
        n_trials=sum(len(c.trials) for c in results.competing),
        # These four are the package's own or escaped for where they stand.
        specifications=Markup(script_json(specifications)),
        plotly=Markup(get_plotlyjs()),
        style=Markup(_template("report.css")),
        script=Markup(_template("report.js")),
    )


def script_json(data: Any) -> str:
    """JSON that is safe inside a script tag: no ``<``, ``>`` or ``&``, no line ends that scripts trip over."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _template(name: str) -> str:
    return resources.files("torchliquid.study").joinpath("templates", name).read_text(encoding="utf-8")


# -- the verdict


def card(results: StudyResults, finding: Finding) -> Card:
    """A finding as a card with its figure in large type."""
    task = results.task
    if finding.difference is None:
        latency = finding.ratios.get("latency_us")
        if latency is None:
            return Card(finding, "–")
        faster = latency < 1
        ratio = words.significant(1 / latency if faster else latency, 2)
        return Card(finding, f"{ratio} × {'faster' if faster else 'slower'}", "a live step")
    difference, least = finding.difference, finding.margin or 0.0
    headline = words.gain(task, difference.value, difference.reach, signed=True)
    if not math.isfinite(difference.reach):
        return Card(finding, headline, "interval unknown")
    width = 1.15 * max(abs(difference.low), abs(difference.high), 2 * least, 1e-12)

    def place(value: float) -> float:
        return round(50 + 50 * value / width, 2)

    return Card(
        finding,
        headline,
        f"95 % interval {words.gain_interval(task, difference)}",
        place(difference.low),
        place(difference.high),
        place(difference.value),
        50.0,
        place(least),
        True,
    )


# -- charts


def shift_charts(results: StudyResults) -> list[Chart]:
    span = figures.shift_span(results)
    return [
        Chart(f"shift-{i}", words.capital(shift.name), figures.shift_chart(results, shift, span), note=shift.summary)
        for i, shift in enumerate(results.shifts)
    ]


def cost_charts(results: StudyResults) -> list[Chart]:
    label = words.metric_label(results.task.primary)
    axes = {
        "latency_us": (f"Test {label} against the time of a live step", "median time of a live step (µs, log scale)"),
        "parameters": (f"Test {label} against the size of the model", "live parameters (number, log scale)"),
    }
    return [
        Chart(f"cost-{i}", title, figures.cost_chart(results, attribute, axis))
        for i, (attribute, (title, axis)) in enumerate(axes.items())
    ]


def stretch_charts(results: StudyResults) -> list[Chart]:
    charts = []
    for i, stretch in enumerate(results.stretches):
        where = f"{stretch.test}, series {stretch.series}" if stretch.series else stretch.test
        labels = [results.contender(name).label for name in stretch.outputs]
        step = max(1, len(stretch.times) // 60)
        rows = tuple(
            tuple(words.significant(v, 4) for v in row)
            for row in list(zip(stretch.times, stretch.truth, *stretch.outputs.values(), strict=True))[::step]
        )
        caption = f"Every {step}th sample." if step > 1 else ""
        what = f"Probability of {stretch.shown_class}: " if stretch.shown_class else ""
        table = Table(
            (
                "Series" if stretch.time_unit == "series" else f"Time ({stretch.time_unit})",
                "Truth",
                *(f"{what}{label}" for label in labels),
            ),
            rows,
            (),
            caption,
        )
        charts.append(Chart(f"stretch-{i}", f"What was true and what was said: {where}",
                            figures.stretch_chart(results, stretch), table))  # fmt: skip
    return charts


def gap_chart(results: StudyResults) -> Chart:
    gaps = results.data.gaps
    rows = tuple(
        (f"{low:.4g} to {high:.4g}", words.count(n))
        for low, high, n in zip(gaps.edges, gaps.edges[1:], gaps.counts, strict=False)
        if n
    )
    table = Table((f"Time between samples ({gaps.unit})", "Times"), rows)
    note = (
        f"Half of the samples came within {words.significant(gaps.median)} {gaps.unit} of the one before; the longest "
        f"gap is {words.significant(gaps.longest)} {gaps.unit}."
    )
    return Chart("gaps", "How long it was between one sample and the next", figures.gap_chart(gaps), table, note)
