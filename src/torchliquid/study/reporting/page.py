"""``report.html``, which answers the reader's question first. It is made from the results alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np

from torchliquid import page
from torchliquid.page import Chart, Table, numbers, write_page
from torchliquid.page.glossary import METRICS, NETWORKS, metric_label
from torchliquid.study import words
from torchliquid.study.reporting import figures, tables
from torchliquid.study.results import Finding, Stretch, StudyResults

GLOSSARY = {
    **NETWORKS,
    "contender": "A kind of model in this study, trained separately from each seed.",
    "seed": "The start of the random numbers of one training. With another seed, training gives another model.",
    "validation part": "Data that the models were not fitted to, used to stop training, to tune and to choose which "
    "two are compared. The test part is used once, after that.",
    "95 % interval": "A range that contains the true value in 95 of 100 such studies: with other seeds and other "
    "test data of the same kind, the measured value would change by about that much.",
    "worth it": "Better by at least what matters, with an interval that excludes zero.",
    "not worth it": "The whole interval is below the smallest difference that matters.",
    "not shown": "The data and the seeds show neither of the two.",
    "what matters": "The smallest difference that justifies another model, fixed beforehand: a tenth of the rival's "
    "errors, a twentieth of its RMSE, a factor of two in cost.",
    "shift": "A change between training and use, such as noise or lost samples. The models are not trained again. "
    "Random shifts are drawn several times, and the same samples are scored at every severity.",
    "stability": "The primary metric averaged over all shifts with equal weight.",
    "stored": "Bytes on a device, stored compactly: float32 weights, 8 bytes per split of a tree, 4 per leaf.",
    "live step": "Processing one new sample in a running model, on one thread.",
    "99th percentile": "99 of 100 live steps are at least this fast.",
    "live parameters": "Trained parameters that can change the output; those that a wiring masks out do not count.",
    "state carried": "The model runs through a whole recording without being reset, as in use.",
    **METRICS,
}
COST_WORDS = {
    "operations": ("less work", "more work", "operations per sample"),
    "bytes": ("smaller", "larger", "size on a device"),
}


@dataclass(frozen=True)
class Card:
    """A finding with its interval drawn as a bar between two sides. Positions are in per cent of the bar."""

    finding: Finding
    headline: str
    caption: str = ""
    low: float = 0.0
    high: float = 0.0
    value: float = 0.0
    margin: float | None = None
    drawn: bool = False


def write_report(results: StudyResults, path: Path) -> None:
    """Write the page completely or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    write_page(render(results), path)


def render(results: StudyResults) -> str:
    """The page as text."""
    return page.render(
        "torchliquid.study.reporting",
        "report.html.j2",
        charts={
            "shifts": shift_charts(results),
            "costs": cost_charts(results),
            "reliability": reliability_charts(results),
            "stretches": stretch_charts(results),
            "gaps": [gap_chart(results)] if len(results.data.gaps.counts) > 1 else [],
            "overview": overview_charts(results),
            "learning": learning_charts(results),
            "confusion": confusion_charts(results),
        },
        glossary=GLOSSARY,
        usual_gap=numbers.length(results.data.gaps.longest, results.data.gaps.unit),
        results=results,
        verdict=results.verdict,
        cards=[card(results, f) for f in results.verdict.findings] if results.verdict else [],
        main=tables.main_table(results),
        metrics=tables.metrics_table(results),
        alarms=tables.alarm_table(results),
        coverage=tables.coverage_table(results),
        augmentation=tables.augmentation_table(results),
        alarms_from=alarm_rule(results),
        shift_table=tables.shift_table(results),
        channels=tables.channel_table(results),
        parts=tables.part_table(results),
        trials=tables.trial_table(results),
        settings=tables.settings_table(results),
        pair=results.pair,
        n_trials=sum(len(c.trials) for c in results.competing),
    )


# -- the verdict


def card(results: StudyResults, finding: Finding) -> Card:
    """A finding as a card with its value in large type."""
    metric = results.task.primary
    if finding.difference is None:
        if not finding.ratios:
            return Card(finding, "–")
        name, ratio = next(iter(finding.ratios.items()))
        less, more, what = COST_WORDS[name]
        size = numbers.significant(max(ratio, 1 / ratio), 2)
        return Card(finding, f"{size} × {less if ratio < 1 else more}", what)
    difference, least = finding.difference, finding.margin or 0.0
    headline = words.gain(metric, difference.value, words.common_reach(difference, least), signed=True)
    if not difference.known:
        return Card(finding, headline, words.unknown(difference))
    width = 1.15 * max(abs(difference.low), abs(difference.high), 2 * least, 1e-12)

    def place(value: float) -> float:
        return round(50 + 50 * value / width, 2)

    return Card(
        finding,
        headline,
        f"95 % interval {words.gain_interval(metric, difference, least)}",
        place(difference.low),
        place(difference.high),
        place(difference.value),
        place(least),
        True,
    )


# -- charts


def shift_charts(results: StudyResults) -> list[Chart]:
    span = figures.shift_span(results)
    return [
        Chart(f"shift-{i}", numbers.capital(shift.name), figures.shift_chart(results, shift, span), note=shift.summary)
        for i, shift in enumerate(results.shifts)
    ]


LIKE = 1.5
"""Sizes that differ by less than this factor do not matter and are not drawn."""


def cost_charts(results: StudyResults) -> list[Chart]:
    sizes = [c.mean("bytes") for c in figures.costed(results, "bytes")]
    if not sizes or max(sizes) < LIKE * min(sizes):
        return []
    label = metric_label(results.task.primary)
    chart = figures.cost_chart(results, "bytes", "stored on a device (bytes, log scale)")
    return [Chart("cost", f"Test {label} over the size on a device", chart)]


def overview_charts(results: StudyResults) -> list[Chart]:
    chart = figures.overview_chart(results)
    title = f"Test {metric_label(results.task.primary)}: mean, 95 % interval and each seed, best on top"
    return [Chart("overview", title, chart)] if chart["data"][-1]["x"] else []


def learning_charts(results: StudyResults) -> list[Chart]:
    if not any(len(t.curve) > 1 for c in results.contenders for t in c.trials):
        return []
    title = f"During training: {metric_label(results.task.primary)} on the validation part, mean over the seeds"
    note = "The best weights were kept. A training that stopped early is continued with its last value."
    return [Chart("learning", title, figures.learning_chart(results), note=note)]


def confusion_charts(results: StudyResults) -> list[Chart]:
    charts = []
    for contender in results.pair:
        if not all(t.confusion for t in contender.trials):
            continue
        counts = np.sum([t.confusion for t in contender.trials], axis=0)
        rows = tuple((label, *map(numbers.count, row)) for label, row in zip(results.task.labels, counts, strict=True))
        table = Table(("True class", *(f"as {label}" for label in results.task.labels)), rows, (), "Over all seeds.")
        title = f"{contender.label}: answers for each class (% of the true class)"
        charts.append(Chart(f"confusion-{contender.name}", title, figures.confusion_chart(results, counts), table))
    return charts


def reliability_charts(results: StudyResults) -> list[Chart]:
    """For the two that are compared."""
    charts = []
    for contender in results.pair:
        found = [t.calibration for t in contender.trials if t.calibration is not None]
        if not found or len({len(f.after.said) for f in found}) > 1:
            continue
        rows = tuple(
            (words_, *(numbers.number(fmean(getattr(getattr(f, when), metric) for f in found), 4)
                       for metric in ("log_loss", "brier")))
            for words_, when in (("As trained", "before"), ("Calibrated", "after"))
        )  # fmt: skip
        table = Table(("Probabilities", "Log loss", "Brier score"), rows, (), "On the test part, mean over the seeds.")
        heat = fmean(f.temperature for f in found)
        verdict = "overconfident" if heat > 1.05 else "underconfident" if heat < 0.95 else "well calibrated"
        best = numbers.significant(heat, 2)
        note = f"On the validation part a temperature of {best} was best: the model was {verdict}."
        chart = figures.reliability_chart(results, contender)
        title = f"{contender.label}: are its probabilities reliable?"
        charts.append(Chart(f"reliability-{contender.name}", title, chart, table, note))
    return charts


def alarm_rule(results: StudyResults) -> str:
    """How samples became alarms, in a sentence; empty if there are no alarms."""
    alarm, task = results.task.alarm, results.task
    if alarm is None:
        return ""
    chosen = "has the best F1 there"
    if alarm.limit is not None:
        unit, factor = ("per series", 1.0) if task.per == "series" else words.alarm_unit(results)
        limit = f"{numbers.significant(alarm.limit * factor, 2)} false alarms {unit}"
        chosen = f"is the lowest there with no more than {limit}"
    sentences = f"{task.target} = {task.labels[task.positive]} is predicted from a probability that {chosen}, on the "
    sentences += "validation part, separately for each trained model."
    if task.per == "step":
        lasted, pause = (numbers.length(value, task.time_unit) for value in (alarm.length, alarm.merge))
        begins = f"once that has lasted {lasted}" if alarm.length else "with the first"
        ends = f"a pause of more than {pause}" if alarm.merge else "the first other one"
        sentences += f" An alarm begins {begins} such sample and ends with {ends}."
    return sentences


ROWS = 60
"""Maximum number of rows in the table behind a drawn recording."""


def stretch_charts(results: StudyResults) -> list[Chart]:
    charts = []
    for i, stretch in enumerate(results.stretches):
        single = stretch.time_unit == "series"
        where = f"{stretch.test}, series {stretch.series}" if stretch.series else stretch.test
        labels = [results.contender(name).label for name in stretch.outputs]
        low, high = stretch.view or (-math.inf, math.inf)
        lines = [stretch.times, stretch.truth, *stretch.outputs.values(), *stretch.channels.values()]
        rows = [row for row in zip(*lines, strict=True) if low <= row[0] <= high]
        step = max(1, len(rows) // ROWS)
        what = f"Probability of {stretch.shown_class}: " if stretch.shown_class else ""
        dated = math.isfinite(stretch.begins)
        when = "Series" if single else "Time" if dated else f"Time ({stretch.time_unit})"
        table = Table(
            (when, "Truth", *(f"{what}{label}" for label in labels), *stretch.channels),
            tuple(
                (_date(stretch.begins + row[0]) if dated else numbers.significant(row[0], 6),
                 *(numbers.significant(v, 4) for v in row[1:]))
                for row in rows[::step]
            ),
            (),
            f"Every {words.nth(step)} of the samples that are shown at first." if step > 1 else "",
        )  # fmt: skip
        title = "Truth and answers" if single else "Readings, truth and answers"
        chart = figures.stretch_chart(results, stretch)
        charts.append(Chart(f"stretch-{i}", f"{title}: {where}", chart, table, _drawn(results, stretch), not single))
    return charts


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _drawn(results: StudyResults, stretch: Stretch) -> str:
    """How much of a test recording can be seen."""
    if not stretch.of_samples:
        return ""
    drawn, of, channels = len(stretch.times), stretch.of_samples, len(stretch.channels)
    parts = [f"All {numbers.count(of)} samples are drawn"]
    if drawn != of:
        some = f"{numbers.count(drawn)} of {numbers.count(of)} samples"
        parts = [f"{some} are drawn, those in which the truth changes the most"]
    if 0 < channels < stretch.of_channels:
        parts.append(f"of {stretch.of_channels} inputs the {words.NUMBERS[channels]} most related to the truth")
    if results.task.horizon:
        ahead = results.task.steps[0] if results.task.steps else results.task.horizon
        first = ", the first of its steps" if results.task.steps else ""
        parts.append(f"truth and answers are drawn at the sample of the forecast, which is {ahead} ahead{first}")
    return "; ".join(parts) + "."


def gap_chart(results: StudyResults) -> Chart:
    gaps = results.data.gaps
    bins = zip(pairwise(gaps.edges), gaps.counts, strict=True)
    rows = tuple((f"{low:.4g} to {high:.4g}", numbers.count(n)) for (low, high), n in bins if n)
    table = Table((f"Time between samples ({gaps.unit})", "Times"), rows)
    median, longest = (numbers.span(value, gaps.unit) for value in (gaps.median, gaps.longest))
    note = f"Half of the samples came within {median} of the previous one; the longest gap is {longest}."
    return Chart("gaps", "Time between one sample and the next", figures.gap_chart(gaps), table, note)
