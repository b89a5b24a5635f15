"""Is a liquid network worth it here? The answer, with its evidence.

Fixed before the test data is used:

* which two are compared: the liquid contender and the other contender that are best on validation, only these two;
* what is compared: accuracy is the task's primary metric with the state carried through the test part; stability is the
  same metric averaged over all shifts (with equal weight); cost is the bytes on a device and the operations per sample,
  as ratios (:mod:`torchliquid.study.run.cost`; times depend on the machine and are only reported);
* what counts as learnt: less log loss, or less squared error, than the naive answer;
* how much matters: a tenth of the rival's errors, a twentieth of its RMSE (:func:`margin`), a factor of two in cost.

A contender that was not trained properly is not judged: no answer is based on one that never left the naive answer, or
was still improving when its training ended. A win does not count if a linear model on the last samples is as good.

**worth it**: better by at least what matters, with an interval that excludes zero. **not worth it**: the whole interval
is below what matters. **not shown**: anything else, with a sentence on what would decide it. The statements that two
are equal, that nothing was learnt or that the order has no effect are made only if the whole interval is within what
matters (two one-sided tests, Schuirmann 1987), because a small difference may still exist.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from torchliquid import metrics
from torchliquid.alarms import summary
from torchliquid.page import numbers
from torchliquid.page.glossary import metric_label
from torchliquid.study import words
from torchliquid.study.results import (
    POOLED,
    Answer,
    ContenderResult,
    Finding,
    Interval,
    StudyResults,
    TaskResult,
    Verdict,
)
from torchliquid.study.stats.comparison import Comparison
from torchliquid.study.stats.decide import what_would_decide
from torchliquid.study.stats.scores import Scores
from torchliquid.tasks import Task

MARGIN_OF_LEARNING = 0.05  # of the naive answer's log loss or squared error
CHEAPER = 0.5
FEW_SEEDS, FEW_UPDATES = 3, 200  # a smaller study is only a first impression
UNTRAINED = {"plateau": "never left the naive answer", "falling": "was still improving when its training ended"}
MORE = {"accuracy": "more accurate", "stability": "more stable", "cost": "cheaper"}


def judge(results: StudyResults, folder: Path) -> StudyResults:
    """Add each contender's intervals and the verdict to the results, from the scores in the study's folder.

    Raises:
        InputError: scores are missing or damaged.
    """
    results = with_verdict(results, _scores(results.contenders, folder))
    plain = replace(results, contenders=results.plain)
    return replace(results, plain=_with_intervals(plain, Comparison(plain, _scores(results.plain, folder))))


def _scores(contenders: Sequence[ContenderResult], folder: Path) -> dict[str, Scores]:
    return {
        contender.name: Scores.load([folder / t.scores for t in contender.trials if t.scores is not None])
        for contender in contenders
        if contender.trials and all(t.scores for t in contender.trials)
    }


def _with_intervals(results: StudyResults, compare: Comparison) -> tuple[ContenderResult, ...]:
    return tuple(
        replace(c, primary=compare.alone(c), shifted=compare.alone(c, shifted=True)) for c in results.contenders
    )


def with_verdict(results: StudyResults, scores: Mapping[str, Scores]) -> StudyResults:
    """As :func:`judge`, with the scores given by contender's name."""
    compare = Comparison(results, scores)
    results = replace(results, contenders=_with_intervals(results, compare))
    liquid, rival = results.best("liquid"), results.best("neural", "classical", "naive")
    if liquid is None or rival is None or not (compare.has(liquid) and compare.has(rival)):
        return replace(results, verdict=None)
    return replace(results, verdict=_Jury(results, compare, liquid, rival).verdict())


def margin(task: Task | TaskResult, rival: float) -> float:
    """The smallest difference that matters, given the rival's score."""
    return metrics.find(task.primary).matters(rival)


def answer(difference: Interval, least: float) -> Answer:
    """Worth it, not worth it, or not shown, for a difference compared with the smallest one that matters."""
    if difference.low > 0 and difference.value >= least:
        return "worth it"
    return "not worth it" if difference.high < least else "not shown"


@dataclass(frozen=True)
class _Jury:
    results: StudyResults
    compare: Comparison
    liquid: ContenderResult
    rival: ContenderResult

    @cached_property
    def task(self) -> TaskResult:
        return self.results.task

    @cached_property
    def best(self) -> ContenderResult | None:
        """The best on validation of all that learn."""
        return self.results.best("liquid", "neural", "classical")

    @cached_property
    def naive(self) -> ContenderResult | None:
        return self.results.best("naive")

    @cached_property
    def probes(self) -> list[ContenderResult]:
        return [c for c in self.results.contenders if c.family == "probe" and self.compare.has(c)]

    def level(self, contender: ContenderResult, shifted: bool = False) -> float:
        interval = contender.shifted if shifted else contender.primary
        return interval.value if interval is not None else math.nan

    def figure(self, contender: ContenderResult, reach: float, shifted: bool = False) -> str:
        """A contender's score, rounded like the others of its statement."""
        return words.score(self.task.primary, self.level(contender, shifted), reach)

    def difference(self, interval: Interval, least: float = math.inf) -> str:
        metric, reach = self.task.primary, words.common_reach(interval, least)
        ends = f"95 % interval {words.gain_interval(metric, interval, least)}"
        gain = words.gain(metric, interval.value, reach, signed=True)
        return f"difference {gain}, {ends if interval.known else words.unknown(interval)}"

    def verdict(self) -> Verdict:
        liquid, rival = self.liquid, self.rival
        learnt, doubt = self.over_naive()
        equals, near = ([], []) if learnt else self.equals()
        tags = [learnt] if learnt else [probe.name for probe, _ in equals]
        evidence = ([doubt] if doubt else []) + [sentence for _, sentence in equals] + near
        linear = next((c for c in self.results.contenders if c.name == "linear" and self.compare.has(c)), None)
        simpler = self.probes + ([linear] if linear is not None and linear is not rival else [])
        findings = [self.against("accuracy", simpler)]
        if self.compare.has(liquid, shifted=True) and self.compare.has(rival, shifted=True):
            findings.append(self.against("stability", simpler))
        findings.append(self.cost(rival))
        network = self.results.best("neural")
        if network is not None and network.name != rival.name and self.compare.has(network):
            over = self.compare.better(liquid, network)
            evidence.append(f"{liquid.label} against {network.label}, the best other network: {self.difference(over)}.")
        evidence += [sentence for c in (liquid, rival) if (sentence := self.alarms(c))]
        evidence += [
            f"{c.label} {UNTRAINED[c.doubt]}, so its figures do not count." for c in self.results.competing if c.doubt
        ]
        cheap = linear is None or self.beats(linear, False) or self.cost(linear).answer == "worth it"
        overall = self.overall(findings, tags, cheap and not near)
        sentence = self.sentence(overall, findings, tags, [probe for probe, _ in equals])
        loser = {"worth it": rival, "not worth it": liquid}.get(overall)
        if loser is not None and loser.doubt and "nothing_learnt" not in tags:
            overall = "not shown"
            sentence = (
                f"It is not shown whether a liquid network is worth it here: {loser.label}, the best "
                f"{'liquid one' if loser is liquid else 'other'}, {UNTRAINED[loser.doubt]}; train longer, with more "
                "updates."
            )
        if one := self.one_class():
            overall, sentence = "not shown", f"It is not shown whether a liquid network is worth it here: {one}."
        elif overall == "not shown" and (more := self.decides(findings, tags)):
            evidence.append(more)
        evidence = [*self.small(), *self.results.left_out, *evidence]
        return Verdict(overall, sentence, liquid.name, rival.name, tuple(findings), tuple(evidence), tuple(tags))

    def alarms(self, contender: ContenderResult) -> str | None:
        """A contender's alarms, in a sentence; None if the task has no alarms."""
        counts = [t.alarms[POOLED] for t in contender.trials if t.alarms]
        if not counts:
            return None
        found, unit = summary(counts), self.task.time_unit
        each, factor = words.alarm_unit(self.results)
        first = (
            f", the first alarm {numbers.span(found.median, unit)} after an event's beginning (90 % within "
            f"{numbers.span(found.late, unit)})"
            if found.caught
            else ""
        )
        false = numbers.significant(found.false_alarms * factor, 2)
        caught = f"{found.caught:.3g} of {found.events} events"
        return f"{contender.label} catches {caught}, with {false} false alarms {each}{first}."

    def one_class(self) -> str:
        """The part that has one class only although there should be several, and what helps; else empty."""
        if self.task.kind == "regression":
            return ""
        validation = [part for part in self.results.data.parts if part.name == "validation"]
        tests = [part for part in self.results.data.parts if part.name not in ("training", "validation")]
        for name, parts in (("validation", validation), ("test", tests)):
            found = {label for part in parts for label, n in part.classes.items() if n}
            if len(found) == 1:
                return (
                    f"the {name} part has one class only, {found.pop()}, which any constant answer gets right; give a "
                    "longer recording, or one with several classes to test on"
                )
        return ""

    def small(self) -> list[str]:
        """A sentence if the study is too small to trust."""
        trained = [c for c in self.results.competing if c.network]
        seeds = max((len(c.trials) + len(c.failed) for c in trained), default=FEW_SEEDS)
        updates = max((t.updates for c in trained for t in c.trials), default=0)
        few = [f"{seeds} seed{'s' * (seeds > 1)}"] if seeds < FEW_SEEDS else []
        few += [f"{updates} updates of a network"] if 0 < updates < FEW_UPDATES else []
        return [f"Too small to trust: {' and '.join(few)}."] if few else []

    def decides(self, findings: list[Finding], tags: list[str]) -> str | None:
        """What would decide the first open question."""
        pair = (self.liquid, self.rival)
        open_ = [(f.difference, f.margin) for f in findings if f.answer == "not shown" and f.difference is not None]
        if "learning_not_shown" in tags and self.best is not None and self.naive is not None:
            pair, open_ = (self.best, self.naive), [self.learnt(self.best, self.naive)]
        if not open_:
            return None
        (difference, least), trained = open_[0], [c for c in pair if c.network]
        assert least is not None
        seconds = sum(c.mean("train_seconds") for c in trained)
        return what_would_decide(difference, least, max((len(c.trials) for c in trained), default=1), seconds)

    def over_naive(self) -> tuple[str, str | None]:
        """A tag if no model is shown to have learnt anything, and a sentence if the best on validation is not.

        ``nothing_learnt`` if the whole interval of its gain over the naive answer is below what matters,
        ``learning_not_shown`` if it only contains zero; no tag if at least a probe learnt something.
        """
        best, naive = self.best, self.naive
        if best is None or naive is None or not (self.compare.has(best) and self.compare.has(naive)):
            return "", None
        over, least = self.learnt(best, naive)
        if over.low > 0:
            return "", None
        there = ", as good there and simpler" if self.task.sign * (naive.validation - best.validation) >= 0 else ""
        by = ""
        if self.compare.learnt(best, naive) is not None:
            by = " by log loss" if self.task.kind == "classification" else " by squared error"
        gain = self.compare.better(best, naive)
        doubt = (
            f"{best.label}, the best model on validation, is not shown to beat the naive answer{there}{by} "
            f"({metric_label(self.task.primary)}: {self.difference(gain)})."
        )
        if any(self.learnt(probe, naive)[0].low > 0 for probe in self.probes):
            return "", doubt
        return "nothing_learnt" if over.high < least else "learning_not_shown", doubt

    def learnt(self, model: ContenderResult, naive: ContenderResult) -> tuple[Interval, float]:
        """How much better a model is than the naive answer by a proper score, and how much would matter; by the primary
        metric if the study's scores are older than the proper score."""
        over = self.compare.learnt(model, naive)
        if over is None:
            return self.compare.better(model, naive), margin(self.task, self.level(naive))
        return over, MARGIN_OF_LEARNING * self.compare.loss(naive)

    def equals(self) -> tuple[list[tuple[ContenderResult, str]], list[str]]:
        """The probes, far simpler than a contender, that are shown to be as good as the best on validation and as the
        liquid one, and that no contender is shown to beat, each with a sentence; and sentences about those that only
        seem to be."""
        best, naive, found, near = self.best, self.naive, [], []
        if best is None or not self.compare.has(best):
            return [], []
        for probe in self.probes:
            if naive is not None and self.compare.has(naive) and not self.learnt(probe, naive)[0].low > 0:
                continue
            least = margin(self.task, self.level(probe))
            over, liquid_over = self.compare.better(best, probe), self.compare.better(self.liquid, probe)
            reach = words.common_reach(over, least)
            figures = (
                f"{self.figure(probe, reach)}, against {self.figure(best, reach)} for "
                f"{best.label}, the best model on validation ({self.difference(over, least)})"
            )
            better = self.shown_better(probe, least)
            one = probe.name == "one_sensor"
            if over.high < least and liquid_over.high < least and better is None:
                opening = (
                    f"One sensor does it: {_name(probe)} reaches"
                    if one
                    else f"The order of the samples brings nothing: {_name(probe)}, which sees no order, reaches"
                )
                found.append((probe, f"{opening} {figures}."))
            elif over.value < least and liquid_over.value < least:
                opening = "One sensor may do it" if one else "The order of the samples may bring nothing"
                but = "that is not shown" if better is None else f"but {better.label} is shown to be better"
                near.append(f"{opening}, {but}: {_name(probe)} reaches {figures}.")
        return found, near

    def shown_better(self, probe: ContenderResult, least: float) -> ContenderResult | None:
        """A contender that is better than a probe by at least what matters."""
        for contender in self.results.competing:
            if self.compare.has(contender):
                over = self.compare.better(contender, probe)
                if over.low > 0 and over.high >= least:
                    return contender
        return None

    def against(self, question: Literal["accuracy", "stability"], simpler: list[ContenderResult]) -> Finding:
        """The comparison in accuracy or stability. A win over the rival counts only if it also beats simpler models."""
        liquid, rival, task, shifted, more = self.liquid, self.rival, self.task, question == "stability", MORE[question]
        over = self.compare.better(liquid, rival, shifted)
        least = margin(task, self.level(rival, shifted))
        result = answer(over, least)
        reach = words.common_reach(over, least)
        matters = words.least(task.primary, least, reach)
        figures = (
            f"{'mean ' if shifted else ''}{metric_label(task.primary)}{' under the shifts' if shifted else ''} "
            f"{self.figure(liquid, reach, shifted)} against "
            f"{self.figure(rival, reach, shifted)} ({self.difference(over, least)})"
        )
        equal = next((p for p in simpler if not self.beats(p, shifted)), None)
        if result == "worth it" and equal is not None:
            gain = self.compare.better(liquid, equal, shifted)
            shown = gain.high < margin(task, self.level(equal, shifted))
            result, does = ("not worth it", "does as well") if shown else ("not shown", "may do as well")
            sentence = f"{liquid.label} is {more} than {rival.label}, but {_name(equal)} {does}: {figures}."
        elif result == "worth it":
            sentence = f"{liquid.label} is {more} than {rival.label}: {figures}."
        elif over.high < 0:
            sentence = f"{rival.label} is {more} than {liquid.label}: {figures}."
        elif result == "not worth it":
            sentence = f"{liquid.label} is not {more} than {rival.label} by what matters, {matters}: {figures}."
        elif over.low > 0:
            sentence = f"{liquid.label} is {more} than {rival.label}, not shown by what matters, {matters}: {figures}."
        else:
            sentence = f"{liquid.label} and {rival.label} can't be told apart: {figures}; {matters} would matter."
        return Finding(question, result, sentence, over, least)

    def beats(self, probe: ContenderResult, shifted: bool) -> bool:
        if not self.compare.has(probe, shifted):
            return False
        over = self.compare.better(self.liquid, probe, shifted)
        return answer(over, margin(self.task, self.level(probe, shifted))) == "worth it"

    def cost(self, rival: ContenderResult) -> Finding:
        """Ratios, liquid over rival, of the bytes on a device and of the operations per sample."""
        liquid = self.liquid
        own_costs, other_costs = (
            {"bytes": c.mean("bytes") + c.mean("state_bytes"), "operations": c.mean("operations")}
            for c in (liquid, rival)
        )
        ratios = {
            name: own / other if other > 0 else math.inf
            for (name, own), other in zip(own_costs.items(), other_costs.values(), strict=True)
            if math.isfinite(own) and math.isfinite(other) and (own > 0 or other > 0)
        }
        least, most = min(ratios.values(), default=1), max(ratios.values(), default=1)
        cheaper, dearer = least <= CHEAPER, most >= 1 / CHEAPER
        result: Answer = "not shown"
        if cheaper and dearer:
            opening = f"{liquid.label} saves one thing and costs another against {rival.label}"
        elif cheaper:
            result, opening = "worth it", f"{liquid.label} is cheaper than {rival.label}"
        elif dearer:
            result, opening = "not worth it", f"{liquid.label} costs more than {rival.label}"
        elif ratios:
            opening = f"{liquid.label} and {rival.label} cost about the same"
        else:
            opening = f"What {liquid.label} and {rival.label} cost cannot be compared"
        opening += ", each stored compactly for the same device" if ratios else ""
        costs = []
        if "bytes" in ratios:
            sizes = [
                numbers.size(c.mean("bytes"))
                + (f" and {numbers.size(c.mean('state_bytes'))} of state" if c.mean("state_bytes") else "")
                for c in (liquid, rival)
            ]
            costs.append(f"it holds {sizes[0]} against {sizes[1]}")
        if "operations" in ratios:
            costs.append(f"a sample takes {_about(liquid)} operations against {_about(rival)}")
        # The naive answer's is the time of Python.
        live = [("latency_us", "a live step here takes", 1e-6)] if rival.family != "naive" else []
        for attribute, opening_, scale in (*live, ("train_seconds", "training took", 1.0)):
            own, other = scale * liquid.mean(attribute), scale * rival.mean(attribute)
            if math.isfinite(own) and math.isfinite(other):
                costs.append(f"{opening_} {numbers.duration(own)} against {numbers.duration(other)}")
        finite = {n: r for n, r in ratios.items() if math.isfinite(r)}
        return Finding("cost", result, f"{': '.join(filter(None, (opening, '; '.join(costs))))}.", ratios=finite)

    def overall(self, findings: list[Finding], tags: list[str], cheap: bool) -> Answer:
        """The overall answer. A gain in one respect counts only if no other is shown to be lost. ``cheap``: whether
        being cheaper than the rival counts, because no linear model and possibly no probe is as good and as cheap."""
        if "nothing_learnt" in tags:
            return "not worth it"
        if "learning_not_shown" in tags:
            return "not shown"
        measured = [(f.answer, f.difference, f.margin) for f in findings if f.difference and f.margin is not None]
        cheaper = cheap and any(f.question == "cost" and f.answer == "worth it" for f in findings)
        gained = any(result == "worth it" for result, _, _ in measured)
        lost = any(difference.high < 0 for _, difference, _ in measured)
        as_good = all(difference.low > -least for _, difference, least in measured)
        if (gained and not lost) or (cheaper and as_good and not tags):
            return "worth it"
        hopeless = all(result == "not worth it" for result, _, _ in measured) and not cheaper
        return "not worth it" if (lost and not gained) or hopeless or tags else "not shown"

    def sentence(self, overall: Answer, findings: list[Finding], tags: list[str], equals: list[ContenderResult]) -> str:
        """The verdict in one sentence."""
        liquid, rival = self.liquid, self.rival
        if "nothing_learnt" in tags:
            return "Nothing was learnt here: the best model is not shown to be better than the naive answer."
        if "learning_not_shown" in tags:
            return "It is not shown that anything was learnt here: the best model's interval reaches the naive answer."
        if overall == "worth it":
            gains = _listed([MORE[f.question] for f in findings if f.answer == "worth it"])
            return f"A liquid network is worth it here: {liquid.label} is {gains} than the best other, {rival.label}."
        if "one_sensor" in tags:
            probe = next(p for p in equals if p.name == "one_sensor")
            return f"A liquid network brings no advantage here: one sensor does it ({_name(probe)})."
        if tags:
            return (
                "A liquid network brings no advantage here: the order of the samples carries nothing, "
                f"{_name(equals[0])} does as well without it."
            )
        losses = [MORE[f.question] for f in findings if f.difference is not None and f.difference.high < 0]
        if overall == "not worth it":
            why = f"it gains nothing that matters over {rival.label}"
            if losses:
                why = f"{rival.label} is {_listed(losses)}"
            return f"A liquid network is not worth it here: {liquid.label} is the best liquid one, and {why}."
        won = [MORE[f.question] for f in findings if f.difference is not None and f.answer == "worth it"]
        if won and losses:
            return (
                f"It depends on what matters: {liquid.label}, the best liquid network, is {_listed(won)} than the best "
                f"other, {rival.label}, which is {_listed(losses)}."
            )
        primary = findings[0].difference
        what = "These seeds and this test data can't tell"
        if primary is not None and primary.reason in ("few", "wide"):
            what = numbers.capital(words.unknown(primary)).split(",")[0]
        return f"{what} whether {liquid.label}, the best liquid network, is worth it over {rival.label}."


def _name(probe: ContenderResult) -> str:
    """The name of a probe, or of a contender, in the middle of a sentence."""
    if probe.family != "probe":
        return probe.label
    label = probe.label[:1].lower() + probe.label[1:]
    return f"{label} on {probe.detail} alone" if probe.name == "one_sensor" else label


def _about(contender: ContenderResult) -> str:
    return numbers.significant(contender.mean("operations"), 2)


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
