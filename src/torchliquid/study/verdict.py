"""Is a liquid network worth it here? The answer, with the evidence for it.

Fixed before the test data is seen:

* who is compared: the liquid contender best on validation and the other one best on validation, those two only;
* what is compared: accuracy is the task's primary metric with the state carried through the test part; stability
  is the same metric averaged over all shifts (each counting the same); cost is the latency of a live step and the
  bytes on disk, as ratios (training is paid once and is only reported);
* how much matters: a tenth of the rival's errors, a twentieth of its RMSE (:func:`margin`), a factor of two in cost.

Nobody is judged who was not trained: no answer rests on a contender that never left the naive answer, or was still
improving when its training ended. Nor is a win one where a linear model on the last samples does as well.

**worth it**: better, with an interval that leaves zero out, by at least what matters. **not worth it**: the whole
interval lies below what matters. **not shown**: anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torchliquid import metrics
from torchliquid.page import numbers
from torchliquid.page.glossary import metric_label
from torchliquid.study import words
from torchliquid.study.comparison import Comparison
from torchliquid.study.results import (
    Answer,
    ContenderResult,
    Finding,
    Interval,
    StudyResults,
    TaskResult,
    Verdict,
)
from torchliquid.study.scores import Scores
from torchliquid.tasks import Task

MARGIN_OF_ERRORS = 0.10
MARGIN_OF_RMSE = 0.05
SMALLEST_MARGIN = 0.002  # of a metric that ends at 1: two samples in a thousand
CHEAPER = 0.5
UNTRAINED = {"plateau": "never left the naive answer", "falling": "was still improving when its training ended"}
MORE = {"accuracy": "more accurate", "stability": "more stable", "cost": "cheaper"}


def judge(results: StudyResults, folder: Path) -> StudyResults:
    """The results with each contender's intervals and the verdict, from the scores that its trials left in the folder.

    Raises:
        InputError: scores are missing or damaged.
    """
    scores = {
        contender.name: Scores.load([folder / t.scores for t in contender.trials if t.scores is not None])
        for contender in results.contenders
        if contender.trials and all(t.scores for t in contender.trials)
    }
    return with_verdict(results, scores)


def with_verdict(results: StudyResults, scores: Mapping[str, Scores]) -> StudyResults:
    """As :func:`judge`, with the scores at hand by contender's name."""
    compare = Comparison(results, scores)
    contenders = tuple(
        replace(c, primary=compare.alone(c), shifted=compare.alone(c, shifted=True)) for c in results.contenders
    )
    results = replace(results, contenders=contenders)
    return replace(results, verdict=_Jury(results, compare).verdict())


def margin(task: Task | TaskResult, rival: float) -> float:
    """The smallest difference that matters, given the rival's figure."""
    metric = metrics.find(task.primary)
    if metric.scaled:
        return MARGIN_OF_RMSE * rival
    errors = MARGIN_OF_ERRORS * abs(metric.best - rival)
    return max(errors, SMALLEST_MARGIN) if metric.higher_is_better else errors


def answer(difference: Interval, least: float) -> Answer:
    """Worth it, not worth it, or not shown, for a difference against the smallest one that matters."""
    if difference.low > 0 and difference.value >= least:
        return "worth it"
    return "not worth it" if difference.high < least else "not shown"


@dataclass(frozen=True)
class _Jury:
    results: StudyResults
    compare: Comparison

    def level(self, contender: ContenderResult, shifted: bool = False) -> float:
        interval = contender.shifted if shifted else contender.primary
        return interval.value if interval is not None else math.nan

    def figure(self, contender: ContenderResult, difference: Interval, shifted: bool = False) -> str:
        """A contender's figure, as exact as its own interval or the difference's, the narrower one, supports."""
        own = contender.shifted if shifted else contender.primary
        reach = min(own.reach, difference.reach) if own is not None else difference.reach
        return words.score(self.results.task.primary, self.level(contender, shifted), reach)

    def difference(self, interval: Interval) -> str:
        metric = self.results.task.primary
        return (
            f"difference {words.gain(metric, interval.value, interval.reach, signed=True)}, "
            f"95 % interval {words.gain_interval(metric, interval)}"
        )

    def verdict(self) -> Verdict | None:
        liquid = self.results.best("liquid")
        rival = self.results.best("neural", "classical", "naive")
        if liquid is None or rival is None or not (self.compare.has(liquid) and self.compare.has(rival)):
            return None
        learnt, doubt = self.over_naive()
        equals = [] if learnt else self.equals(liquid)
        tags = [learnt] if learnt else [probe.name for probe, _ in equals]
        evidence = ([doubt] if doubt else []) + [sentence for _, sentence in equals]
        probes = [probe for probe, _ in equals]
        linear = next((c for c in self.results.contenders if c.name == "linear" and self.compare.has(c)), None)
        simpler = probes if linear is None or linear is rival else [*probes, linear]
        findings = [self.against("accuracy", liquid, rival, simpler)]
        if self.compare.has(liquid, shifted=True) and self.compare.has(rival, shifted=True):
            findings.append(self.against("stability", liquid, rival, simpler))
        findings.append(self.cost(liquid, rival))
        network = self.results.best("neural")
        if network is not None and network.name != rival.name and self.compare.has(network):
            over = self.compare.better(liquid, network)
            evidence.append(f"{liquid.label} against {network.label}, the best other network: {self.difference(over)}.")
        evidence += [
            f"{c.label} {UNTRAINED[c.doubt]}: its figures do not judge it." for c in self.results.competing if c.doubt
        ]
        cheap = linear is None or self.beats(liquid, linear, False) or self.cost(liquid, linear).answer == "worth it"
        overall = self.overall(findings, tags, cheap)
        sentence = self.sentence(overall, findings, tags, liquid, rival, probes)
        loser = {"worth it": rival, "not worth it": liquid}.get(overall)
        if loser is not None and loser.doubt and "nothing_learnt" not in tags:
            overall = "not shown"
            sentence = (
                f"It is not shown whether a liquid network is worth it here: {loser.label}, the best "
                f"{'liquid one' if loser is liquid else 'other'}, {UNTRAINED[loser.doubt]}; train longer, with more "
                "updates."
            )
        return Verdict(overall, sentence, liquid.name, rival.name, tuple(findings), tuple(evidence), tuple(tags))

    def over_naive(self) -> tuple[str, str | None]:
        """A tag where no model is shown to beat the naive answer, and a sentence where the best on validation is not.

        ``nothing_learnt`` where it hardly differs from it, ``learning_not_shown`` where only the interval is too wide;
        no tag where a probe, at least, learnt something.
        """
        best, naive = self.results.best("liquid", "neural", "classical"), self.results.best("naive")
        if best is None or naive is None or not (self.compare.has(best) and self.compare.has(naive)):
            return "", None
        over = self.compare.better(best, naive)
        if over.low > 0:
            return "", None
        sign = 1 if self.results.task.higher_is_better else -1
        there = ", as good there and simpler" if sign * naive.validation >= sign * best.validation else ""
        doubt = (
            f"{best.label}, the best model on validation, is not shown to beat the naive answer{there} "
            f"({self.difference(over)})."
        )
        probes = [c for c in self.results.contenders if c.family == "probe" and self.compare.has(c)]
        if any(self.compare.better(probe, naive).low > 0 for probe in probes):
            return "", doubt
        if not math.isfinite(over.reach):
            return "learning_not_shown", doubt
        small = max(margin(self.results.task, self.level(naive)), over.reach / 2)
        return "nothing_learnt" if over.value < small else "learning_not_shown", doubt

    def equals(self, liquid: ContenderResult) -> list[tuple[ContenderResult, str]]:
        """The probes, far simpler than a contender, that do as well as the best on validation and as the liquid one.

        None where a difference has no interval: from a single seed or sample nothing is shown.
        """
        best, naive = self.results.best("liquid", "neural", "classical"), self.results.best("naive")
        found = []
        for probe in self.results.contenders:
            if probe.family != "probe" or best is None or not (self.compare.has(probe) and self.compare.has(best)):
                continue
            if naive is not None and self.compare.has(naive) and not self.compare.better(probe, naive).low > 0:
                continue
            least = margin(self.results.task, self.level(probe))
            over, liquid_over = self.compare.better(best, probe), self.compare.better(liquid, probe)
            known = math.isfinite(over.reach) and math.isfinite(liquid_over.reach)
            if known and over.value < least and liquid_over.value < least:
                figures = (
                    f"{self.figure(probe, over)}, against {self.figure(best, over)} for "
                    f"{best.label}, the best model on validation ({self.difference(over)})"
                )
                if probe.name == "one_sensor":
                    opening = f"One sensor does it: {_name(probe)} reaches"
                else:
                    opening = f"The order of the samples brings nothing: {_name(probe)}, which sees no order, reaches"
                found.append((probe, f"{opening} {figures}."))
        return found

    def against(
        self,
        question: Literal["accuracy", "stability"],
        liquid: ContenderResult,
        rival: ContenderResult,
        probes: list[ContenderResult],
    ) -> Finding:
        """The two in accuracy or stability. A win over the rival is none where a probe does as well."""
        task, shifted, more = self.results.task, question == "stability", MORE[question]
        over = self.compare.better(liquid, rival, shifted)
        least = margin(task, self.level(rival, shifted))
        result = answer(over, least)
        matters = words.least(task.primary, least)
        figures = (
            f"{'mean ' if shifted else ''}{metric_label(task.primary)}{' under the shifts' if shifted else ''} "
            f"{self.figure(liquid, over, shifted)} against "
            f"{self.figure(rival, over, shifted)} ({self.difference(over)})"
        )
        equal = next((p for p in probes if not self.beats(liquid, p, shifted)), None)
        if result == "worth it" and equal is not None:
            result = "not worth it"
            sentence = f"{liquid.label} is {more} than {rival.label}, but {_name(equal)} does as well: {figures}."
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

    def beats(self, liquid: ContenderResult, probe: ContenderResult, shifted: bool) -> bool:
        if not self.compare.has(probe, shifted):
            return False
        over = self.compare.better(liquid, probe, shifted)
        return answer(over, margin(self.results.task, self.level(probe, shifted))) == "worth it"

    def cost(self, liquid: ContenderResult, rival: ContenderResult) -> Finding:
        """Ratios, liquid over rival; the live step and the bytes decide."""
        shown = {
            "latency_us": ("a live step takes", numbers.microseconds),
            "bytes": ("the saved model has", numbers.size),
            "parameters": ("live parameters are", numbers.count),
            "train_seconds": ("training took", numbers.duration),
        }
        pairs = {name: (liquid.mean(name), rival.mean(name)) for name in shown}
        ratios = {
            n: own / other if other > 0 else math.inf
            for n, (own, other) in pairs.items()
            if math.isfinite(own) and math.isfinite(other) and (own > 0 or other > 0)
        }
        # What scikit-learn takes for a live step is Python's time, not the model's: there the bytes alone decide.
        decisive = ("latency_us", "bytes") if rival.family == "neural" else ("bytes",)
        deciding = {name: ratios[name] for name in decisive if name in ratios}
        least, most = min(deciding.values(), default=1), max(deciding.values(), default=1)
        cheaper, dearer = least <= CHEAPER, most >= 1 / CHEAPER
        result: Answer = "not shown"
        if cheaper and dearer:
            opening = f"{liquid.label} saves one thing and costs another against {rival.label}"
        elif cheaper:
            result, opening = "worth it", f"{liquid.label} is cheaper than {rival.label}"
        elif dearer:
            result, opening = "not worth it", f"{liquid.label} costs more than {rival.label}"
        elif deciding:
            opening = f"{liquid.label} and {rival.label} cost about the same"
        else:
            opening = f"What {liquid.label} and {rival.label} cost cannot be compared"
        aside = {} if "latency_us" in decisive else {"latency_us": " (mostly the time of Python: it decides nothing)"}
        parts = [
            f"{words} {form(pairs[n][0])} against {form(pairs[n][1])}{aside.get(n, '')}"
            for n, (words, form) in shown.items()
            if n in ratios
        ]
        finite = {n: r for n, r in deciding.items() if math.isfinite(r)}
        return Finding("cost", result, f"{': '.join(filter(None, (opening, '; '.join(parts))))}.", ratios=finite)

    def overall(self, findings: list[Finding], tags: list[str], cheap: bool) -> Answer:
        """One answer. A gain in one respect counts only where no other is shown to be lost for it; ``cheap``: whether
        to be cheaper than the rival counts, since no linear model is as good and as cheap."""
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

    def sentence(
        self,
        overall: Answer,
        findings: list[Finding],
        tags: list[str],
        liquid: ContenderResult,
        rival: ContenderResult,
        probes: list[ContenderResult],
    ) -> str:
        """The verdict in one sentence."""
        if "nothing_learnt" in tags:
            return "Nothing was learnt here: the best model is not shown to be better than the naive answer."
        if "learning_not_shown" in tags:
            return "It is not shown that anything was learnt here: the best model's interval reaches the naive answer."
        if overall == "worth it":
            gains = _listed([MORE[f.question] for f in findings if f.answer == "worth it"])
            return f"A liquid network is worth it here: {liquid.label} is {gains} than the best other, {rival.label}."
        if "one_sensor" in tags:
            probe = next(p for p in probes if p.name == "one_sensor")
            return f"A liquid network brings no advantage here: one sensor does it ({_name(probe)})."
        if tags:
            return (
                "A liquid network brings no advantage here: the order of the samples carries nothing, "
                f"{_name(probes[0])} does as well without it."
            )
        losses = [MORE[f.question] for f in findings if f.difference is not None and f.difference.high < 0]
        if overall == "not worth it":
            why = (
                f"{rival.label} is {_listed(losses)}" if losses else f"it gains nothing that matters over {rival.label}"
            )
            return f"A liquid network is not worth it here: {liquid.label} is the best liquid one, and {why}."
        won = [MORE[f.question] for f in findings if f.difference is not None and f.answer == "worth it"]
        if won and losses:
            return (
                f"It depends on what matters: {liquid.label}, the best liquid network, is {_listed(won)} than the best "
                f"other, {rival.label}, which is {_listed(losses)}."
            )
        return (
            f"These seeds and this test data can't tell whether {liquid.label}, the best liquid network, "
            f"is worth it over {rival.label}."
        )


def _name(probe: ContenderResult) -> str:
    """A probe, or a plain contender, in the middle of a sentence."""
    if probe.family != "probe":
        return probe.label
    label = probe.label[:1].lower() + probe.label[1:]
    return f"{label} on {probe.detail} alone" if probe.name == "one_sensor" else label


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
