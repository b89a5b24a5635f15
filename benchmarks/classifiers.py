"""Compares liquid networks with aeon's classifiers: ``python -m benchmarks.classifiers`` writes docs/classifiers.md.

The series have one class each and ship with aeon and sktime, so nothing is downloaded. Finished trainings are lines of
build/classifiers/trials.jsonl, and are not repeated. ``--page`` only writes the page.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from aeon.classification.convolution_based import (
    MiniRocketClassifier,
    MultiRocketHydraClassifier,
    RocketClassifier,
)
from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier
from aeon.classification.interval_based import QUANTClassifier, TimeSeriesForestClassifier
from aeon.classification.shapelet_based import RDSTClassifier
from aeon.datasets import load_from_ts_file

from benchmarks.means import mean_and_half
from torchliquid.files import write_atomically
from torchliquid.jobs import lines
from torchliquid.page.document import Table
from torchliquid.sklearn import LiquidClassifier
from torchliquid.training import TrainingError

SEEDS = 5
TRIALS, PAGE = Path("build/classifiers/trials.jsonl"), Path("docs/classifiers.md")
HEAD = f"""# Whole series beside the classifiers of aeon

Written by `python -m benchmarks.classifiers`.

How accurate are liquid networks if a whole series has one label? The table gives the accuracy, in per cent, on the
published test parts of four data sets: the mean over {SEEDS} seeds and half the width of its 95 % interval (Student's
t). Nearest neighbours do not depend on a seed. The best of each set is bold. All contenders have their defaults.
Networks have about 2,500 parameters and read one sample after the other; a fifth of the training series is held out to
stop their training. All others see a whole series at once.

Networks, shapelets and nearest neighbours take series of unequal length as they are. aeon's others do not: for them
each series is padded with zeros to the longest of the set. "Broke off" means that the training diverged.

"""


@dataclass(frozen=True)
class Contender:
    label: str
    make: Callable[[int], Any]
    padded: bool = True
    seeded: bool = True


def liquid(label: str, kind: str) -> Contender:
    return Contender(label, lambda seed: LiquidClassifier(kind, random_state=seed), padded=False)


CONTENDERS = (
    liquid("CfC", "cfc"),
    liquid("CfC on NCP", "cfc_ncp"),
    liquid("LTC on NCP", "ltc_ncp"),
    liquid("LrcSSM", "lrcssm"),
    liquid("LSTM", "lstm"),
    liquid("GRU", "gru"),
    Contender("Rocket", lambda seed: RocketClassifier(random_state=seed)),
    Contender("MiniRocket", lambda seed: MiniRocketClassifier(random_state=seed)),
    Contender("MultiRocket and Hydra", lambda seed: MultiRocketHydraClassifier(random_state=seed)),
    Contender("QUANT", lambda seed: QUANTClassifier(random_state=seed)),
    Contender("Time series forest", lambda seed: TimeSeriesForestClassifier(random_state=seed)),
    Contender("Random dilated shapelets", lambda seed: RDSTClassifier(random_state=seed), padded=False),
    Contender(
        "Nearest neighbour, DTW of a tenth",
        lambda seed: KNeighborsTimeSeriesClassifier(distance="dtw", distance_params={"window": 0.1}),
        padded=False,
        seeded=False,
    ),
)

SETS = {
    "JapaneseVowels": "aeon",
    "BasicMotions": "aeon",
    "PickupGestureWiimoteZ": "aeon",
    "PLAID": "sktime",
}
"""Data sets, and the package whose files they are."""


@cache
def data(name: str) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray], np.ndarray]:
    """Series (C, T) and classes of the training part, then of the test part."""
    folder = files(f"{SETS[name]}.datasets") / "data" / name
    parts = [load_from_ts_file(str(folder / f"{name}_{part}.ts")) for part in ("TRAIN", "TEST")]
    (X, y), (X_test, y_test) = parts
    return list(X), y, list(X_test), y_test


def padded(series: list[np.ndarray], length: int) -> np.ndarray:
    """(N, C, length) with zeros behind the end of each series."""
    return np.stack([np.pad(one, ((0, 0), (0, length - one.shape[1]))) for one in series])


def trial(name: str, contender: Contender, seed: int) -> dict[str, Any]:
    X: Any
    X_test: Any
    X, y, X_test, y_test = data(name)
    if contender.padded:
        length = max(one.shape[1] for one in (*X, *X_test))
        X, X_test = padded(X, length), padded(X_test, length)
    began = time.process_time()
    try:
        classifier = contender.make(seed).fit(X, y)
        right = float(np.mean(np.asarray(classifier.predict(X_test)) == y_test))
    except TrainingError as error:
        right = None
        print(f"{contender.label} on {name}: {error}")
    return {
        "set": name,
        "contender": contender.label,
        "seed": seed,
        "accuracy": right,
        "seconds": time.process_time() - began,
    }


def finite(given: list[float | None]) -> list[float]:
    """The accuracies of the trainings that did not break off."""
    return [one for one in given if one is not None]


def figure(given: list[float | None], best: float, seeds: int) -> str:
    values = finite(given)
    if not values:
        return f"broke off ({len(given)} of {seeds} seeds)" if given else "not measured"
    mean, half = mean_and_half(values)
    text = f"{100 * mean:.1f}" + ("" if math.isinf(half) else f" ± {100 * half:.1f}")
    text = f"**{text}**" if mean == best else text
    return text if len(values) == seeds else f"{text} ({len(values)} of {seeds} seeds)"


def page(done: list[dict[str, Any]]) -> str:
    sets = []
    for name, package in SETS.items():
        X, y, X_test, _ = data(name)
        lengths = [one.shape[1] for one in (*X, *X_test)]
        span = f"{min(lengths):,} to {max(lengths):,}" if min(lengths) < max(lengths) else f"{max(lengths):,}"
        counts = (f"{len(X):,}", f"{len(X_test):,}", str(len(set(y))), str(X[0].shape[0]), span, package)
        sets.append((name, *counts))
    about = Table(
        ("set", "training series", "test series", "classes", "channels", "samples", "ships with"), tuple(sets)
    )
    scores = {
        (name, c.label): [one["accuracy"] for one in done if (one["set"], one["contender"]) == (name, c.label)]
        for name in SETS
        for c in CONTENDERS
    }
    means = {case: float(np.mean(finite(given))) for case, given in scores.items() if finite(given)}
    best = {name: max((mean for (of, _), mean in means.items() if of == name), default=0.0) for name in SETS}
    rows = tuple(
        (c.label, *(figure(scores[name, c.label], best[name], SEEDS if c.seeded else 1) for name in SETS))
        for c in CONTENDERS
    )
    return HEAD + about.markdown() + "\n\n" + Table(("contender", *SETS), rows).markdown() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="only write the page")
    only_page = parser.parse_args().page
    torch.set_num_threads(1)
    TRIALS.parent.mkdir(parents=True, exist_ok=True)
    done = lines.read(TRIALS)
    there = {(one["set"], one["contender"], one["seed"]) for one in done}
    todo = [
        (name, contender, seed)
        for name in SETS
        for seed in range(SEEDS)
        for contender in CONTENDERS
        if (seed == 0 or contender.seeded) and (name, contender.label, seed) not in there
    ]
    for one in [] if only_page else todo:
        found = trial(*one)
        lines.append(TRIALS, found)
        done.append(found)
        print(found, flush=True)
    text = page(done)
    write_atomically(PAGE, lambda part: part.write_text(text, "utf-8"))


if __name__ == "__main__":
    main()
