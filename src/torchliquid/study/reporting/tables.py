"""The results of a study as tables of text, for the report and the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev

from torchliquid.alarms import summary
from torchliquid.page import Table, numbers
from torchliquid.page.glossary import metric_label
from torchliquid.study import words
from torchliquid.study.reporting.figures import role
from torchliquid.study.results import POOLED, ContenderResult, Interval, StudyResults


def main_table(results: StudyResults) -> Table:
    """Every contender, the best on the test part first."""
    task = results.task
    label = metric_label(task.primary)
    head = ("Contender", f"Test {label}", "Mean under shifts", "Live step", "Stored", "Parameters", "Training")
    values = {c.name: _value(results, c) for c in results.contenders}
    ordered = sorted(results.contenders, key=lambda c: (math.isnan(values[c.name]), -task.sign * values[c.name]))
    reach, shifted = (
        usual_reach(intervals) for intervals in zip(*((c.primary, c.shifted) for c in ordered), strict=True)
    )
    rows = tuple(
        (
            c.heading,
            with_reach(results, c.primary, values[c.name], reach),
            with_reach(results, c.shifted, math.nan, shifted),
            "–" if c.family in UNTIMED else numbers.duration(1e-6 * c.mean("latency_us")),
            numbers.size(c.mean("bytes")),
            numbers.count(c.mean("parameters")) if c.mean("parameters") > 0 else "–",
            numbers.duration(c.mean("train_seconds")),
        )
        for c in ordered
    )
    kinds = tuple(role(results, c) if c.family != "probe" else "probe" for c in ordered)
    return Table(head, rows, kinds)


UNTIMED = ("naive",)
"""Families whose live steps measure mostly Python, which says nothing about a device."""


def usual_reach(intervals: Sequence[Interval | None]) -> float:
    """The half interval that sets the rounding of a column: a typical one."""
    known = [i.reach for i in intervals if i is not None and i.known and i.reach > 0]
    return median(known) if known else math.inf


def with_reach(results: StudyResults, interval: Interval | None, value: float, reach: float) -> str:
    """A value with half its interval, if known, rounded like the column."""
    if interval is None:
        return words.score(results.task.primary, value, reach)
    return words.score_with(results.task.primary, interval, reach)


def augmentation_table(results: StudyResults) -> Table | None:
    """Each contender's scores with and without augmentation; None if the study has none."""
    label = metric_label(results.task.primary)
    head = ("Contender", f"Test {label}, without", "with", "Mean under shifts, without", "with")
    pairs = [(plain, results.contender(plain.name)) for plain in results.plain]
    if not pairs:
        return None
    every = [c for pair in pairs for c in pair]
    reach, shifted = usual_reach([c.primary for c in every]), usual_reach([c.shifted for c in every])
    rows = tuple(
        (
            first.label,
            *(with_reach(results, c.primary, _value(results, c), reach) for c in (first, second)),
            *(with_reach(results, c.shifted, math.nan, shifted) for c in (first, second)),
        )
        for first, second in pairs
    )
    return Table(head, rows)


def coverage_table(results: StudyResults) -> Table | None:
    """How often the intervals contain the truth on each test recording, and their width; None without intervals."""
    rows = []
    for c in results.competing:
        covered = [t.coverage for t in c.trials if t.coverage]
        for name, shown in _shown_tests(covered):
            share, width = (fmean(each[name][i] for each in covered) for i in (0, 1))
            rows.append((c.label, shown, f"{100 * share:.1f} %", numbers.significant(width)))
    return Table(("Contender", "Test recording", "Truth inside", "Mean width"), tuple(rows)) if rows else None


def metrics_table(results: StudyResults) -> Table:
    """All metrics on each test recording, mean over the seeds, with the state carried and on windows."""
    names = list(dict.fromkeys(m for c in results.contenders for t in c.trials for m in t.tests.get(POOLED, {})))
    labels = (numbers.capital(metric_label(m, results.task.steps)) for m in names)
    head = ("Contender", "Test recording", "Scored", *labels)
    rows: list[tuple[str, str, str, list[list[float]]]] = []
    for c in results.contenders:
        for way, scored in (("state carried", "tests"), ("windows", "windows")):
            found = [getattr(trial, scored) for trial in c.trials]
            for test, shown in _shown_tests(found):
                rows.append((c.label, shown, way, [[one[test].get(m, math.nan) for one in found] for m in names]))
    columns = [column(m, [row[-1][i] for row in rows]) for i, m in enumerate(names)]
    cells = zip(*columns, strict=True) if names else [()] * len(rows)
    return Table(head, tuple((*row[:-1], *figures) for row, figures in zip(rows, cells, strict=True)))


def _shown_tests(figures: Sequence[Mapping[str, object]]) -> list[tuple[str, str]]:
    """The test recordings of trials' figures, each with its name in tables; all together only if there are several."""
    names = list(dict.fromkeys(name for one in figures for name in one))
    return [(n, "all together" if n == POOLED else n) for n in names if n != POOLED or len(names) != 2]


def column(metric: str, rows: Sequence[Sequence[float]]) -> list[str]:
    """Means over the seeds, rounded to what a typical spread in the column supports."""
    errors = [2 * stdev(row) / math.sqrt(len(row)) for row in rows if len(row) > 1 and all(map(math.isfinite, row))]
    means = [fmean(row) for row in rows]
    known = [error for error in errors if error > 0]
    if known or words.bounded(metric):
        return [words.score(metric, mean, median(known) if known else math.inf) for mean in means]
    return [numbers.number(mean, numbers.column_places(means)) for mean in means]


def alarm_table(results: StudyResults) -> Table | None:
    """Each contender's alarms on each test recording, as operators count them; None if the task has no alarms."""
    if not any(t.alarms for c in results.contenders for t in c.trials):
        return None
    unit, factor = words.alarm_unit(results)
    head = ("Contender", "Test recording", "Threshold", "Events caught", f"False alarms {unit}",
            "First alarm after", "90 % of them within")  # fmt: skip
    rows = []
    for c in results.contenders:
        trials = [t for t in c.trials if t.alarms]
        thresholds = [t.calibration.threshold for t in trials if t.calibration and t.calibration.threshold is not None]
        for test, shown in _shown_tests([t.alarms for t in trials]):
            found = summary([t.alarms[test] for t in trials])
            rows.append(
                (
                    c.heading,
                    shown,
                    numbers.significant(fmean(thresholds), 2) if thresholds else "–",
                    f"{found.caught:.3g} of {found.events}",
                    numbers.significant(found.false_alarms * factor, 2),
                    numbers.span(found.median, results.task.time_unit),
                    numbers.span(found.late, results.task.time_unit),
                )
            )
    return Table(head, tuple(rows), (), "Mean over the seeds; delays of caught events, from their first sample.")


def shift_table(results: StudyResults) -> Table:
    """The primary metric for every contender, shift and severity."""
    head = ("Shift", *(c.label for c in results.contenders))
    metric, nothing = results.task.primary, math.nan
    rows = [("none", [c.test(metric) for c in results.contenders])]
    for shift in results.shifts:
        if any(shift.name in t.unshifted for c in results.contenders for t in c.trials):
            asked = [[t.unshifted.get(shift.name, nothing) for t in c.trials] for c in results.contenders]
            rows.append((f"{shift.name}: none, on the same samples", asked))
        for i, description in enumerate(shift.descriptions):
            under = [
                [t.shifts[shift.name][i] if shift.name in t.shifts else nothing for t in c.trials]
                for c in results.contenders
            ]
            rows.append((f"{shift.name}: {description}", under))
    cells = iter(column(metric, [values for _, row in rows for values in row]))
    return Table(head, tuple((name, *(next(cells) for _ in row)) for name, row in rows))


def channel_table(results: StudyResults) -> Table:
    """The sensors: mean and standard deviation in the training part, and the share of missing values."""
    rows = tuple(
        (c.name, numbers.significant(c.mean), numbers.significant(c.std), numbers.share(c.missing))
        for c in results.data.channels
    )
    return Table(("Channel", "Mean", "Standard deviation", "Not observed"), rows)


def part_table(results: StudyResults) -> Table:
    """Training, validation and test parts."""
    dated = any(p.span for p in results.data.parts)
    classes = results.task.labels if len(results.task.labels) <= 10 else ()
    head = ("Part", "Series", "Samples", "Labelled", *(["When"] if dated else []))
    head += tuple(f"{results.task.target} = {label}" for label in classes)
    rows = []
    for p in results.data.parts:
        shares = tuple(numbers.share(p.classes.get(label, 0) / max(p.n_labelled, 1)) for label in classes)
        rows.append(
            (
                p.name,
                numbers.count(p.n_series),
                numbers.count(p.n_samples),
                numbers.count(p.n_labelled),
                *([p.span or "–"] if dated else []),
                *shares,
            )
        )
    return Table(head, tuple(rows))


ENDED = {"": "", "plateau": ", never left the naive answer", "falling": ", still improving"}


def trial_table(results: StudyResults) -> Table:
    """Every trial with its settings and figures."""
    label = metric_label(results.task.primary)
    head = ("Contender", "Seed", f"Validation {label}", f"Test {label}", "Updates", "Training", "99 % of steps within",
            "Peak memory", "Settings")  # fmt: skip
    metric, trials = results.task.primary, [t for c in results.contenders for t in c.trials]
    validation = iter(column(metric, [[t.validation] for t in trials]))
    tests = iter(column(metric, [[t.tests.get(POOLED, {}).get(metric, math.nan)] for t in trials]))
    rows = tuple(
        (
            c.label,
            str(t.seed),
            next(validation),
            next(tests),
            (numbers.count(t.updates) if t.updates else "–") + ENDED[t.doubt],
            numbers.duration(t.train_seconds),
            "–" if c.family in UNTIMED else numbers.duration(1e-6 * t.latency_p99_us),
            f"{numbers.significant(t.memory_mb)} MB" if t.memory_mb > 0 else "–",
            "none to tune" if c.family == "naive" else settings(t.hyper),
        )
        for c in results.contenders
        for t in c.trials
    )
    broken = tuple(
        (c.label, "tuning" if f.tuning else str(f.seed), "broke off", *["–"] * 5, f"{settings(f.hyper)}: {f.reason}")
        for c in results.contenders
        for f in c.failed
    )
    return Table(head, rows + broken)


def settings(hyper: Mapping[str, object]) -> str:
    """A trial's settings, for readers; a trial without settings has the defaults."""
    return ", ".join(f"{key} {_listed(value)}" for key, value in hyper.items()) or "the defaults"


def settings_table(results: StudyResults) -> Table:
    """The study's settings and the versions of packages."""
    rows = [(key.replace("_", " "), _listed(value)) for key, value in results.settings.items()]
    rows += [(f"version of {key}", value) for key, value in results.versions.items()]
    if results.machine:
        rows.append(("machine", results.machine))
    if results.created:
        rows.append(("made", results.created))
    return Table(("Setting", "Value"), tuple(rows))


def _value(results: StudyResults, contender: ContenderResult) -> float:
    return fmean(contender.test(results.task.primary))


def _listed(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_listed(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_listed, value))
    if value is None:
        return "not given"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
