"""Where do liquid networks lead, and where do others? ``python -m benchmarks.where`` writes docs/where.md and its map.

The recordings are of two generated families with a known best answer. One setting is changed at a time, and all
contenders have their defaults. Finished trainings are kept in build/where, in a folder for the code that decides the
figures. ``--seconds N`` stops after the training that runs at that time. ``--page`` only writes the page.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.best_possible import chosen
from benchmarks.fingerprint import code
from benchmarks.means import mean_and_half
from torchliquid import Recording
from torchliquid.data import Preprocessing
from torchliquid.errors import InputError
from torchliquid.files import write_atomically, write_json
from torchliquid.models import KINDS, Naive, build
from torchliquid.page import Table
from torchliquid.study.contenders import CONTENDERS, Contender
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig, TrainingError, train
from torchliquid.training.fit import hold_out

PAGE, MAP = Path("docs/where.md"), Path("docs/pictures/where.svg")
SEEDS, UPDATES = 3, 1000
RIVALS = tuple(c for c in CONTENDERS if not c.suits and c.family != "naive")
CLEAR = 0.02
"""Smallest difference that counts, as a share of the variance that can be explained."""


@dataclass(frozen=True)
class Setting:
    """The settings of one cell.

    Attributes:
        gaps: their coefficient of variation, 0 for even sampling.
        follows: how strongly the time constant follows an input, exp(follows * u).
        memory: the time constant at u = 0, or the lag of the delayed copy, in usual gaps.
        noise: deviation of the noise, of that of the truth.
        samples: of the recording; the last fifth is the test.
        parameters: of each network.
        slower: gaps of the test part, times those of training.
        delayed: whether the family is the delayed copy.
    """

    gaps: float = 1.0
    follows: float = 1.0
    memory: float = 5.0
    noise: float = 0.3
    samples: int = 3000
    parameters: int = 1000
    slower: float = 1.0
    delayed: bool = False

    @property
    def name(self) -> str:
        return "-".join(f"{value:g}" for value in asdict(self).values())


BASE = Setting()
DELAYED = Setting(gaps=0.0, delayed=True)
KNOBS: dict[str, tuple[str, Setting, tuple[float, ...]]] = {
    "gaps": ("Unevenness of sampling (variation of the gaps)", BASE, (0.0, 0.5, 1.0, 2.0)),
    "follows": ("Time constants that follow an input (exponent)", BASE, (0.0, 0.5, 1.0, 2.0)),
    "memory": ("Memory of a delayed copy (samples)", DELAYED, (2.0, 8.0, 32.0, 64.0)),
    "noise": ("Noise (share of the truth's deviation)", BASE, (0.1, 0.3, 1.0, 2.0)),
    "samples": ("Samples in all", BASE, (500, 1000, 3000, 10000)),
    "parameters": ("Parameters of a network", BASE, (200, 1000, 5000, 20000)),
    "slower": ("Shift: gaps of the test, times those of training", BASE, (0.25, 1.0, 2.0, 4.0)),
}


def cells(knob: str) -> list[Setting]:
    _, base, values = KNOBS[knob]
    return [Setting(**{**asdict(base), knob: value}) for value in values]


def truth(setting: Setting, x: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """(T,) the output before noise. The inputs (T, 2) are held from each sample to the next."""
    if setting.delayed:
        lag = int(setting.memory)
        return np.concatenate([np.zeros(lag), x[:-lag, 0]])
    kept = np.exp(-gaps[1:] / (setting.memory * np.exp(setting.follows * x[:-1, 1])))
    y = np.zeros(len(x))
    for i, k in enumerate(kept, 1):
        y[i] = k * y[i - 1] + (1 - k) * x[i - 1, 0]
    return y


def draw(setting: Setting, seed: int) -> tuple[Recording, Recording, np.ndarray]:
    """The training part, the test part, and the best possible answers to the test part."""
    rng = np.random.default_rng([seed, 25])
    n, tested = setting.samples, max(setting.samples // 5, 1000)
    parts, best = [], np.empty(0)
    noise = math.nan
    for many, slower in ((n - n // 5, 1.0), (tested, setting.slower)):
        shape = 1 / setting.gaps**2 if setting.gaps else math.inf
        gaps = slower * (rng.gamma(shape, 1 / shape, many) if setting.gaps else np.ones(many))
        x = rng.standard_normal((many, 2))
        best = truth(setting, x, gaps)
        noise = setting.noise * best.std() if math.isnan(noise) else noise  # the sensor's own: the same in the test
        y = best + noise * rng.standard_normal(many)
        parts.append(Recording.from_arrays(x, np.cumsum(gaps), y, ["x", "u"], time_unit="s"))
    return parts[0], parts[1], best


def measured(setting: Setting, contender: Contender, seed: int) -> dict[str, Any]:
    """The squared distance from the best answer, relative to that of the naive answer, with its time and doubt."""
    learnt, test, best = draw(setting, seed)
    task = Task.infer(learnt)
    training, validation = hold_out(learnt, task)
    task, scales, begun = task.fit(training), Preprocessing.fit(training), time.perf_counter()
    doubt: str = ""
    try:
        if contender.name in KINDS:
            torch.manual_seed(seed)
            model: Any = build(contender.name, task, scales, setting.parameters)
            doubt = train(model, training, validation, TrainingConfig(updates=UPDATES, seed=seed)).doubt
        else:
            model = chosen(contender.name, task, scales, (training, validation))
    except (InputError, TrainingError) as error:  # it can't be so small, or its training broke off
        return {"missed": math.nan, "doubt": str(error), "seconds": time.perf_counter() - begun}
    naive, answers = (m.outputs(test)[0][:, 0] for m in (Naive.fit(task, scales, training), model))
    missed = float(np.square(answers - best).mean() / np.square(naive - best).mean())
    return {"missed": missed, "doubt": doubt, "seconds": time.perf_counter() - begun}


def place(setting: Setting, contender: Contender, seed: int) -> Path:
    return Path("build/where") / code() / f"{setting.name}-{contender.name}-{seed}.json"


def jobs() -> Iterator[tuple[Setting, Contender, int]]:
    """Cell by cell: the extreme values of each setting first, and the first seed of all cells before the second."""
    order = [cells(knob)[i] for i in (0, 3, 2, 1) for knob in KNOBS]
    for seed in range(SEEDS):
        for setting in dict.fromkeys(order):
            yield from ((setting, contender, seed) for contender in RIVALS)


def whole() -> list[int]:
    """The seeds on the page: the first, and each other seed that is finished for all settings."""
    everything = [(setting, contender) for setting, contender, seed in jobs() if seed == 0]
    return [seed for seed in range(SEEDS) if not seed or all(place(*one, seed).exists() for one in everything)]


@dataclass(frozen=True)
class Cell:
    """The results of one cell: for each contender the figure of each seed that all contenders have finished."""

    setting: Setting
    missed: dict[str, list[float]]

    @classmethod
    def read(cls, setting: Setting) -> Cell:
        seeds = [s for s in whole() if all(place(setting, c, s).exists() for c in RIVALS)]
        found = {
            c.name: [json.loads(place(setting, c, s).read_text())["missed"] for s in seeds] for c in RIVALS if seeds
        }
        return cls(setting, {name: [math.inf if m is None else m for m in each] for name, each in found.items()})

    @property
    def seeds(self) -> int:
        return len(next(iter(self.missed.values()), []))

    def best(self, liquid: bool) -> str:
        """The contender of one side with the smallest mean."""
        side = [c.name for c in RIVALS if (c.family == "liquid") == liquid]
        return min(side, key=lambda name: float(np.mean(self.missed[name])))

    def lead(self) -> tuple[float, float]:
        """The figure of the best other contender less that of the best liquid one, and half the width of its 95 %
        interval over seeds (infinite for one seed)."""
        liquid, other = (np.array(self.missed[self.best(side)]) for side in (True, False))
        return mean_and_half(other - liquid)


LABELS = {c.name: c.label for c in RIVALS}


def verdict(cell: Cell) -> str:
    """Who leads, as the map colours it."""
    if not cell.seeds:
        return "blank"
    lead, reach = cell.lead()
    if abs(lead) < CLEAR or (math.isfinite(reach) and abs(lead) <= reach):
        return "even"
    return "liquid" if lead > 0 else "other"


def drawing() -> str:
    """The map: a row for each setting, a square for each value, coloured by who leads."""
    colours = {"liquid": "#0072b2", "other": "#d55e00", "even": "#bbbbbb", "blank": "#ffffff"}
    words = {"liquid": "a liquid network", "other": "another contender", "even": "none clearly", "blank": "did not run"}
    left, wide, high, top = 330, 150, 56, 52
    width, height = left + 4 * wide + 20, top + len(KNOBS) * high + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="13" role="img" aria-label="Who leads at each value of each setting">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<text x="16" y="28" font-weight="bold">Who leads</text>',
    ]
    for i, (name, colour) in enumerate(colours.items()):
        x = left - 120 + i * 180
        parts.append(f'<rect x="{x}" y="16" width="16" height="16" fill="{colour}" stroke="#333"/>')
        parts.append(f'<text x="{x + 22}" y="28">{words[name]}</text>')
    for row, (knob, (title, _, values)) in enumerate(KNOBS.items()):
        y = top + row * high
        parts.append(f'<text x="16" y="{y + 30}" font-size="12">{title}</text>')
        for column, (value, setting) in enumerate(zip(values, cells(knob), strict=True)):
            cell, x = Cell.read(setting), left + column * wide
            leads = verdict(cell)
            ink = "#ffffff" if leads in ("liquid", "other") else "#222222"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{wide - 6}" height="{high - 6}" fill="{colours[leads]}" stroke="#333"/>'
            )
            parts.append(f'<text x="{x + 8}" y="{y + 20}" fill="{ink}" font-weight="bold">{value:g}</text>')
            if leads != "blank":
                first = min(cell.missed, key=lambda name: float(np.mean(cell.missed[name])))
                parts.append(f'<text x="{x + 8}" y="{y + 39}" fill="{ink}" font-size="11">{LABELS[first]}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def table(knob: str) -> str:
    title, _, values = KNOBS[knob]
    found = [Cell.read(setting) for setting in cells(knob)]
    rows = (
        *((c.label, *(figure(cell, c.name) for cell in found)) for c in RIVALS),
        ("*best other less best liquid*", *map(difference, found)),
        ("*seeds*", *(str(cell.seeds or "") for cell in found)),
    )
    return Table((title, *(f"{value:g}" for value in values)), rows).markdown()


def figure(cell: Cell, name: str) -> str:
    if not cell.seeds:
        return ""
    mean, reach = mean_and_half(cell.missed[name])
    if not math.isfinite(mean):
        return "–"
    text = f"{mean:.3f}" + (f" ± {reach:.3f}" if math.isfinite(reach) else "")
    best = min(float(np.mean(each)) for each in cell.missed.values())
    return f"**{text}**" if mean == best else text


def difference(cell: Cell) -> str:
    if not cell.seeds:
        return ""
    mean, reach = cell.lead()
    return f"{mean:+.3f}" + (f" ± {reach:.3f}" if math.isfinite(reach) else "")


def summary() -> str:
    """How many cells each side leads, in a sentence."""
    every = list(dict.fromkeys(setting for knob in KNOBS for setting in cells(knob)))
    found = [verdict(Cell.read(setting)) for setting in every]
    counts = {name: found.count(name) for name in ("liquid", "other", "even", "blank")}
    ran = len(every) - counts["blank"]
    return (
        f"Of {len(every)} different settings {ran} ran. A liquid network leads in {counts['liquid']}, another "
        f"contender in {counts['other']}, and none clearly in {counts['even']}."
    )


TEXT = """# Where liquid networks lead

Written by `python -m benchmarks.where`. {summary}

![Who leads at each value of each setting; the tables below say the same](pictures/where.svg)

Each square names the best contender. Blank squares and cells have not run yet (the command resumes where it was
stopped). A dash means that the contender cannot be so small, or that its training broke off.

## How it is measured

Two families of recordings whose best possible answer is known:

* **A filter**: y' = (x - y) / tau, with tau = 5 exp(u) usual gaps. x and u are white and held from each sample to the
  next, gaps are exponential, and y has noise of 0.3 of the truth's standard deviation. An exact recursion over the
  samples gives the best answer. The equation is that of a liquid time constant: if liquid networks lead anywhere, it
  should be here.
* **A delayed copy**: y(t) = x(t - lag), with the same noise, evenly sampled.

Each table changes one setting. The others are as above, with 3,000 samples and about 1,000 parameters per network. The
last fifth of the training samples is the validation part; the test part has 1,000 or more further samples. The figures
are the squared distance from the best answer, divided by that of the naive answer. **0 is the best possible, and 1
means that nothing was learnt**; under a shift a figure can be above 1. All contenders have their defaults: networks
train for {updates:,} updates, and Linear and Gradient boosting use the window of 8, 16, 32 or 64 samples that is best
on the validation part. GRU-D and MiniRocket do not take part, because nothing is missing and each sample has a label.

± is half the width of the 95 % interval over seeds; each seed has its own recording and weights. A side leads if the
figure of its best contender is at least {clear:g} lower than that of the other side's best and, with more than one
seed, the interval of the difference excludes 0. One seed says nothing about chance. The best contenders of both sides
are chosen on the test part, and nothing is tuned. So this page only shows where to look; `torchliquid assess` decides
for your recording.

With one of the three seeds, the test part starts with two samples that are very close together. The slope over these
two, a feature of Linear and Gradient boosting, is far beyond all slopes in training, and one answer spoils their mean:
hence their large ±.

{tables}
"""


def page() -> str:
    return TEXT.format(
        summary=summary(), updates=UPDATES, clear=CLEAR, tables="\n\n".join(table(knob) for knob in KNOBS)
    )


def write() -> None:
    write_atomically(MAP, lambda part: part.write_text(drawing(), "utf-8"))
    write_atomically(PAGE, lambda part: part.write_text(page(), "utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after about so long")
    parser.add_argument("--page", action="store_true", help="only write the page")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + (0 if asked.page else asked.seconds)
    for setting, contender, seed in jobs():
        path = place(setting, contender, seed)
        if path.exists():
            continue
        if time.monotonic() >= end:
            break
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, measured(setting, contender, seed))
        print(path.stem, json.loads(path.read_text()), flush=True)
        if contender is RIVALS[-1]:  # a cell is whole
            write()
    write()


if __name__ == "__main__":
    main()
