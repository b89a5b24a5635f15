"""Rare events: are the intervals of ranking metrics reliable, and do models learn what is rare?
``python -m benchmarks.rare`` writes docs/rare.md.

The first part simulates studies of two models with random scores. The second part is a study of a generated recording
in which one sample in a hundred is positive and the best possible answer is known. The study is kept in build/rare. It
resumes where it was stopped, or starts again if the code that decides its figures has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import lfilter
from scipy.special import expit

from benchmarks.fingerprint import code
from benchmarks.processes import drifting
from benchmarks.studies import run_study
from torchliquid import Recording
from torchliquid.metrics import Answers, Metric, find
from torchliquid.page import Table
from torchliquid.study.results import POOLED, StudyResults, TaskResult
from torchliquid.study.stats.intervals import Term, compare
from torchliquid.study.stats.verdict import answer, margin

STUDIES = 200
SEEDS = 5
PAGE = Path("docs/rare.md")
HEAD = f"""# Rare events

Written by `python -m benchmarks.rare`. How reliable is a study of rare events? If more than four labels in
five belong to one class, average precision decides instead of accuracy, which would hide the other classes.

## Are the intervals reliable?

Each row uses {STUDIES} simulated studies without a true difference and {STUDIES} with one. A study has two models with
{SEEDS} seeds each, and one recording. Its events come in runs: *neighbours* is the correlation of neighbouring samples.
The scores are random; nothing is trained. *Coverage* is how often the 95 % interval contains the true difference.
*False* is how often a study says "worth it" without a difference; it should be at most 5 %. *Power* is how often it
says so with one.

"""


@dataclass(frozen=True)
class Kind:
    """One kind of study: share of positives, samples, correlation of neighbours, and noise that the better model lacks,
    as a share of the other's."""

    rare: float
    samples: int
    memory: float
    gain: float = 0.35


KINDS = (
    Kind(0.15, 4000, 0.9),
    Kind(0.05, 4000, 0.9),
    Kind(0.05, 4000, 0.97),
    Kind(0.01, 8000, 0.9),
    Kind(0.01, 20_000, 0.97),
)


def scores(rng: np.random.Generator, kind: Kind, gains: tuple[float, float], n: int) -> tuple[np.ndarray, np.ndarray]:
    """(2, seeds, n) probabilities of both models, and (n,) what was true."""

    def path(*shape: int) -> np.ndarray:
        return drifting(rng, kind.memory, *shape, n)

    hidden = path()
    true = hidden > np.quantile(hidden, 1 - kind.rare)
    noise = 0.5 * path() + 0.4 * path(2, 1) + 0.3 * path(2, SEEDS) + 0.1 * rng.standard_normal((2, SEEDS, 1))
    size = np.array(gains)[:, None, None]
    return expit(3 * (hidden + (1 - size) * noise) - 5), true.astype(int)


def sums(metric: Metric, probabilities: np.ndarray, true: np.ndarray, cells: int) -> np.ndarray:
    """(seeds, cells, n) of one model."""
    starts = np.arange(cells) * len(true) // cells
    found = []
    for p in probabilities:
        terms = metric.terms(Answers(np.column_stack([1 - p, p]), true))
        found.append(np.add.reduceat(terms, starts))
    return np.stack(found)


def row(name: str, kind: Kind) -> tuple[str, ...]:
    metric, task = find(name), TaskResult("classification", "step", "y", name, True, ("0", "1"))
    rng = np.random.default_rng(0)

    def exact(gain: float) -> float:
        p, true = scores(np.random.default_rng(1), kind, (gain, 0.0), 400_000)
        each = [np.mean([metric(Answers(np.column_stack([1 - q, q]), true)) for q in model[:2]]) for model in p]
        return float(each[0] - each[1])

    covered, verdicts = 0, {0.0: 0, kind.gain: 0}
    for gain in verdicts:
        true_gain = exact(gain) if gain else 0.0
        for _ in range(STUDIES):
            p, true = scores(rng, kind, (gain, 0.0), kind.samples)
            terms = [Term(sums(metric, model, true, 100)) for model in p]
            over = compare(*terms, metric.value, True, False, (0.0, 1.0))
            covered += over.low <= true_gain <= over.high
            rival = float(metric.value(terms[1].sums.sum(1)).mean())
            verdicts[gain] += answer(over, margin(task, rival)) == "worth it"
    shares = [covered / (2 * STUDIES), *(n / STUDIES for n in verdicts.values())]
    cells = f"{kind.rare:.0%} of {kind.samples:,}, neighbours {kind.memory:g}"
    return (metric.label, cells, *(f"{share:.1%}" for share in shares))


# -- a recording with one positive sample in a hundred


def made(n: int, seed: int) -> tuple[Recording, np.ndarray, np.ndarray]:
    """A plant that fails when it is overloaded, and the probability of failure at each sample.

    A leaky integrator sums two of six loads; the larger the sum, the more likely a failure. A tenth of all readings is
    missing. The probabilities, each (n,), are given all loads, and given the observed ones with each missing reading
    replaced by its expectation."""
    rng = np.random.default_rng(seed)
    loads = lfilter([1.0], [1.0, -0.8], rng.standard_normal((n, 6)), axis=0)
    heat = _heat(loads)
    p = expit(6 * (heat / heat.std()) - 15.3)
    failed = (rng.random(n) < p).astype(float)
    loads[rng.random(loads.shape) < 0.1] = np.nan
    filled = loads.copy()
    for i in range(n):
        filled[i] = np.where(np.isnan(filled[i]), 0.8 * filled[i - 1] if i else 0.0, filled[i])
    recording = Recording.from_arrays(loads, targets=failed, channels=[f"load_{i + 1}" for i in range(6)])
    return recording, p, expit(6 * (_heat(filled) / heat.std()) - 15.3)


def _heat(loads: np.ndarray) -> np.ndarray:
    return np.asarray(lfilter([0.15], [1.0, -0.85], loads[:, 0] + loads[:, 1]))


def learnt() -> tuple[StudyResults, float, float, float]:
    """The study; the best possible average precision on its test recording, with all readings and with the missing
    ones; and the share of failures."""
    recording, *_ = made(40_000, 0)
    test, *best = made(20_000, 1)
    results = run_study(
        recording,
        Path("build/rare") / code(),
        tests={"later": test},
        contenders=["cfc", "cfc_ncp", "lstm", "linear", "boosting", "naive"],
        seeds=3,
        shifts=(),
        title="one failure in a hundred",
        command="python -m benchmarks.rare",
    )
    targets = test.series[0].targets
    assert targets is not None
    whole, possible = (
        find("average_precision")(Answers(np.column_stack([1 - p, p]), targets.astype(int))) for p in best
    )
    return results, whole, possible, float(targets.mean())


def section(results: StudyResults, whole: float, possible: float, share: float) -> str:
    lines = [
        "## Do models learn rare events?",
        f"A simulated plant fails in {share:.1%} of the test recording's samples. It has six channels, two of which "
        "matter; a tenth of the readings is missing. The probability of failure is known, so the best possible average "
        f"precision is too: {whole:.3f} without missing readings, and **{possible:.3f}** with each missing reading "
        "replaced by its expectation. For the naive answer it is the share of failures.",
        f"*{results.verdict.sentence if results.verdict else ''}*",
    ]
    rows = []
    for c in sorted(results.competing, key=lambda c: -np.mean(c.test("average_precision"))):
        precision, auc, f1 = (np.nanmean(c.test(name)) for name in ("average_precision", "roc_auc", "f1"))
        rows.append((c.label, f"{precision:.3f}", f"{precision / possible:.0%}", f"{auc:.3f}", f"{f1:.3f}"))
    table = Table(("contender", "average precision", "of the best possible", "ROC AUC", "F1"), tuple(rows))
    tests = [name for name in results.contenders[0].trials[0].tests if name != POOLED]
    note = f"Means over {len(results.contenders[0].trials)} seeds on the test recording '{tests[0]}' of 20,000 samples."
    return "\n\n".join([*lines, table.markdown(), note]) + "\n"


def main() -> None:
    rows = []
    for name in ("average_precision", "roc_auc"):
        for kind in KINDS:
            rows.append(row(name, kind))
            print(*rows[-1], sep=", ", flush=True)
    table = Table(("metric", "positives, samples", "coverage", "false", "power"), tuple(rows))
    PAGE.write_text(HEAD + table.markdown() + "\n\n" + section(*learnt()))


if __name__ == "__main__":
    main()
