"""The results of a table's trials: numbers for programs, and a page for readers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from scipy.stats import t as student

from torchliquid.metrics import MARGIN_OF_ERRORS, MARGIN_OF_RMSE, SMALLEST_MARGIN
from torchliquid.page.document import Table
from torchliquid.reproduce.protocol import Protocol
from torchliquid.reproduce.trial import FITTED

LIQUID = {"LTC", "CfC", "CfC no gate", "CfC pure", "CfC-mm", "LTC on NCP", "CfC on NCP"}
FIVE = LIQUID | {"LSTM", "GRU"}
"""Contenders with five trainings; the others have three."""

UNBROKEN = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"

NORMAL = 1.96
"""Half of a 95 % interval in units of a known standard error."""

Line = dict[str, Any]

TUNING = """Tuned rows: the first tuning trial of a contender has the published setting, the others have a learning \
rate, its decay, a clipping norm and a batch size drawn by Optuna, from one space for all contenders. A trial has seed \
0 and a quarter of the epochs; the setting best on the validation part trains the row's networks. Every trial is kept \
in `results/`."""


def seeds_of(protocol: Protocol, contender: str) -> int:
    """Number of trainings of a contender. If each seed draws its own split, all contenders get the same splits."""
    return 5 if contender in FIVE or protocol.redraw else 3


def tuning_trials(trial: Line) -> int:
    """Number of tuning trials from which the settings of a training were chosen; 0: the published settings."""
    return int(trial.get("tuned", {}).get("trials", 0))


def counting(trials: Sequence[Line]) -> dict[tuple[str, str], list[Line]]:
    """For each contender and split the trainings with the most tuning trials, one per seed. Settings are never mixed:
    those of the last line count. A training that two runs repeated counts once."""
    of: dict[tuple[str, str], list[Line]] = {}
    for x in trials:
        of.setdefault((x["contender"], x["split"]), []).append(x)
    for pair, lines in of.items():
        newest = [x for x in lines if x.get("made_with") == lines[-1].get("made_with")]
        most, first = max(map(tuning_trials, newest)), dict[int, Line]()
        for x in newest:
            if tuning_trials(x) == most:
                first.setdefault(x["seed"], x)
        of[pair] = list(first.values())
    return of


def summary(protocol: Protocol, trials: Sequence[Line]) -> dict[str, Any]:
    """The table as plain data: a row for each contender and split with a finished trial."""
    rows, of = [], counting(trials)
    for split, contender in product(protocol.splits, protocol.settings):
        done = [x for x in of.get((contender, split), []) if "test" in x]
        if done:
            values = [x["test"] for x in done]
            rows.append(
                {
                    "contender": contender,
                    "split": split,
                    "mean": statistics.mean(values),
                    "std": statistics.stdev(values) if len(values) > 1 else 0.0,
                    "n": len(values),
                    "seeds": [x["seed"] for x in done],
                    "parameters": done[0]["parameters"],
                    "seconds": statistics.mean(x["seconds"] for x in done),
                }
            )
    return {
        "table": protocol.name,
        "metric": protocol.metric,
        "higher_is_better": protocol.higher_is_better,
        "published": {name: mean for name, (mean, _) in protocol.published.items()},
        "rows": rows,
    }


def to_reach(protocol: Protocol, contender: str) -> float | None:
    """The published result of a contender; for a liquid one that is not in the paper, that of its best liquid one."""
    if contender in protocol.published:
        return protocol.published[contender][0]
    liquid = [mean for name, (mean, _) in protocol.published.items() if name in LIQUID]
    return (max if protocol.higher_is_better else min)(liquid) if contender in LIQUID and liquid else None


def reached(protocol: Protocol, row: Line) -> str:
    """Whether our result reaches :func:`to_reach`, in words, with the 95 % interval of our advantage.

    Short of it: the whole interval is below zero. Reached: it is not, and its lower end is above the disadvantage that
    would matter (:func:`_matters`). Anything else cannot be decided from so few trainings.
    """
    published = to_reach(protocol, row["contender"])
    if published is None or row["split"] != "published":
        return ""
    if row["n"] < 3:
        return f"can't tell with n = {row['n']}"
    half = math.hypot(_half(row["std"], row["n"]), NORMAL * protocol.sampling_error)
    ahead = (row["mean"] - published) * protocol.sign
    low, high, digits = ahead - half, ahead + half, _digits(protocol)
    if high < 0:
        word = "short of it"
    elif low > -_matters(protocol, published):
        word = "reached, better" if low > 0 else "reached"
    else:
        word = f"can't tell with n = {row['n']}"
    return f"{word} ({low:+.{digits}f} to {high:+.{digits}f})"


def _matters(protocol: Protocol, published: float) -> float:
    """The difference that matters, as in a study's verdict: a tenth of the published errors, or a twentieth of the root
    of a squared error, which is nearly a tenth of the squared error."""
    if protocol.metric == "squared error":
        return (1 - (1 - MARGIN_OF_RMSE) ** 2) * published
    whole = 100 if protocol.metric == "accuracy %" else 1
    return max(MARGIN_OF_ERRORS * (whole - published), SMALLEST_MARGIN * whole)


def _half(deviation: float, n: int) -> float:
    """Half of the 95 % interval of a mean of n."""
    return float(student.ppf(0.975, n - 1)) * deviation / math.sqrt(n)


def _digits(protocol: Protocol) -> int:
    return 2 if protocol.metric == "accuracy %" else 3


def behind(protocol: Protocol, trials: Sequence[Line]) -> dict[str, str]:
    """If each seed draws its own split: the difference between each contender and the best liquid one on their common
    splits, with half of its 95 % interval."""
    if protocol.redraw is None:
        return {}
    of = {name: {x["seed"]: x["test"] for x in done if "test" in x} for (name, _), done in counting(trials).items()}
    of = {name: found for name, found in of.items() if found}
    liquid = {name: statistics.mean(found.values()) for name, found in of.items() if name in LIQUID}
    if not liquid:
        return {}
    best = max(liquid, key=lambda name: protocol.sign * liquid[name])
    found = {best: f"{best} itself"}
    for name in of:
        apart = [of[name][seed] - of[best][seed] for seed in of[name].keys() & of[best].keys()]
        if name != best and len(apart) > 1:
            half = _half(statistics.stdev(apart), len(apart))
            found[name] = f"{statistics.mean(apart):+.{_digits(protocol)}f} ± {half:.{_digits(protocol)}f}"
    return found


def table(protocol: Protocol, trials: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows as text, without columns that are constant."""
    digits, apart, of = _digits(protocol), behind(protocol, trials), counting(trials)

    def spread(mean: float, std: float) -> str:
        return f"{mean:.{digits}f} ± {std:.{digits}f}" if std else f"{mean:.{digits}f}"

    rows = []
    for row in summary(protocol, trials)["rows"]:
        done = of[row["contender"], row["split"]]
        n = tuning_trials(done[0])
        how = ", *earlier setting*" if outdated(protocol, done[0]) else f", *tuned, {n} trials*" if n else ""
        printed = protocol.published.get(row["contender"]) if row["split"] == "published" else None
        rows.append(
            {
                "contender": row["contender"] + how,
                "split": row["split"],
                "ours": spread(row["mean"], row["std"]),
                "published": spread(*printed) if printed else "",
                "reached": reached(protocol, row),
                "to the best liquid one, same cuts": apart.get(row["contender"], ""),
                "n": str(row["n"]),
                "parameters": _range(x["parameters"] for x in done),
                "epochs": "" if row["contender"] in FITTED else _range(x["epochs"] for x in done),
                "seconds": f"{row['seconds']:.0f}",
            }
        )
    head = [name for name in (rows[0] if rows else ()) if {row[name] for row in rows} - {"", "published"}]
    return head, [[row[name].replace(" ± ", UNBROKEN) for name in head] for row in rows]


def section(protocol: Protocol, trials: Sequence[Line], picture: str | None = None) -> str:
    """The table in Markdown, with what is missing from it, and its picture below the heading."""
    head, rows = table(protocol, trials)
    trials = [x for done in counting(trials).values() for x in done]
    lines = [
        f"## {protocol.name.capitalize()}",
        "",
        f"`torchliquid reproduce {protocol.name}`; {protocol.metric}, "
        f"{'higher' if protocol.higher_is_better else 'lower'} is better. {protocol.source}.",
        "",
        *([f"![Each contender's mean and deviation, ours and in print]({picture})", ""] if picture else []),
        Table(tuple(head), tuple(map(tuple, rows))).markdown() if head else "No training has ended yet.",
    ]
    hours = sum(x["seconds"] for x in trials) / 3600
    cost = f"{len(trials)} trainings, {hours:.1f} hours of one thread, many with other work beside them."
    lines += ["", cost + ("" if any(map(tuning_trials, trials)) else " No row is tuned."), ""]
    if absent := missing(protocol, trials):
        lines += [f"Not yet complete: {absent}.", ""]
    if any(outdated(protocol, x) for x in trials):
        lines += ["A row with an *earlier setting* waits to be trained again with today's.", ""]
    if any(map(tuning_trials, trials)):
        lines += [TUNING, ""]
    lines += [
        f"* {x['contender']}, {x['split']} split, seed {x['seed']}: {x['failed']}." for x in trials if "failed" in x
    ]
    return "\n".join([*lines, *(f"* {note}" for note in protocol.notes)]) + "\n"


def outdated(protocol: Protocol, trial: Line) -> bool:
    """Whether a training used another setting than the current one. Changed data are noticed when it is run again."""
    return trial.get("made_with", "").split("-")[0] != protocol.fingerprint(trial["contender"])


def _range(numbers: Iterable[int]) -> str:
    least, *_, most = sorted([*numbers] * 2)
    return f"{least:,}" if least == most else f"{least:,}–{most:,}"


def missing(protocol: Protocol, trials: Sequence[Line]) -> str:
    """The trainings that are still missing, in words; empty if there are none."""
    found, of = [], counting(trials)
    for split in protocol.splits:
        done = {name: sum(not outdated(protocol, x) for x in of.get((name, split), [])) for name in protocol.awaited}
        left = {name: seeds_of(protocol, name) - n for name, n in done.items()}
        if words := ", ".join(f"{n} of {name}" for name, n in left.items() if n > 0):
            found.append(f"{split} split: {words}")
    return "; ".join(found)
