"""Does a mixture of liquid experts pay? ``python -m benchmarks.mixture`` writes docs/mixture.md.

The recordings are two generated plants of four regimes, for which the best possible error is known, and two real ones.
The mixture is compared with one network of as many live parameters, with one of the same cost per step, and with a
mixture of GRUs. Finished trainings are lines of build/mixture/trials.jsonl, and are not repeated. ``--page`` writes the
page from the finished trainings.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor, nn

from benchmarks.means import mean_and_half
from torchliquid import Model, Recording, Task, TrainingConfig, datasets, explain, fit
from torchliquid.cells import States
from torchliquid.data import Preprocessing, Windows
from torchliquid.edge import TARGETS, footprint, parity
from torchliquid.edge.artifact import make
from torchliquid.jobs import lines
from torchliquid.layers import MixtureOfLiquid
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models import build, description
from torchliquid.models.build import EXPERTS
from torchliquid.models.networks import Liquid
from torchliquid.page import Table

PARAMETERS = 2000
UPDATES = 2000
SEEDS = 5
NOISE = 0.1
PICTURED = 400
TRIALS = Path("build/mixture/trials.jsonl")
PAGE, PICTURE = Path("docs/mixture.md"), Path("docs/mixture.svg")
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44")
HEAD = """# Does a mixture of liquid experts pay?

Written by `python -m benchmarks.mixture`. {answer}

## How it is measured

The page tests a [`MixtureOfLiquid`](api/layers.md) of four CfC experts. A router of 8 neurons calls one of them at
each sample. The mixture is compared with

* one CfC with the same number of live parameters ({parameters:,});
* one CfC with the same cost per step;
* a mixture of GRUs that get the time since their last call as an input.

All are trained in the same way, for up to {updates:,} updates, without tuning. The recordings:

* **plant, a temperature for each regime**: four machines, one of which works at a time. Each has its own time constant
  and its own response to the load. The working one is measured, and the others cool. Samples come at random times.
* **plant, one temperature for all regimes**: one machine that responds to the load in four ways. The temperature
  changes while an expert is not called, and the elapsed time alone does not tell how.
* **skab** (F1, higher is better) and **traffic** (RMSE): from `torchliquid.datasets`.

Each seed of a plant is another recording. The best possible RMSE of both plants is {noise}, the noise of the
measurement. Brackets are 95 % intervals over seeds (Student's t); a single seed has none. *Mixture less this one* is
the mean difference over the same seeds.

"""

# -- plants


def plant(seed: int, samples: int, shared: bool) -> tuple[Recording, np.ndarray]:
    """A plant that is always in one of four regimes, and the regime at each sample.

    In a regime the temperature follows dx/dt = (f(u) - x) / tau, with f and tau of the regime. If ``shared``, all
    regimes have one temperature. Otherwise each regime has its own machine; the active machine is measured, and the
    others cool with their tau. Inputs are the load u and two noisy settings that indicate the regime. Samples come at
    random times. The measurement has noise of standard deviation NOISE, which is the best possible error.
    """
    rng = np.random.default_rng([seed, shared])
    gaps = rng.exponential(1.0, samples)
    regime = np.empty(samples, dtype=int)
    at = 0
    while at < samples:
        dwell = 5 + rng.geometric(1 / 25)
        regime[at : at + dwell] = rng.choice([r for r in range(4) if at == 0 or r != regime[at - 1]])
        at += dwell
    load = np.empty(samples)
    u = 0.0
    for i, gap in enumerate(gaps):
        keep = np.exp(-gap / 5)
        u = keep * u + np.sqrt(1 - keep**2) * rng.standard_normal()
        load[i] = u
    driven = (load, np.abs(load) * 2 - 1, np.sin(3 * load), -load + 0.5)
    tau = np.array([2.0, 5.0, 10.0, 20.0])
    x, truth = np.zeros(4), np.empty(samples)
    for i, (gap, r) in enumerate(zip(gaps, regime, strict=True)):
        if shared:
            x[:] = driven[r][i] + (x[0] - driven[r][i]) * np.exp(-gap / tau[r])
        else:
            towards = np.where(np.arange(4) == r, driven[r][i], 0.0)
            x = towards + (x - towards) * np.exp(-gap / tau)
        truth[i] = x[r]
    settings = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])[regime]
    values = np.column_stack([load, settings + 0.2 * rng.standard_normal((samples, 2))])
    measured = truth + NOISE * rng.standard_normal(samples)
    return Recording.from_arrays(values, np.cumsum(gaps), measured, ["load", "setting 1", "setting 2"]), regime


# -- GRUs as experts, with the time since their last call as an additional input


class GRUCell(RecurrentCell):
    plain_parts = (nn.GRU,)

    def __init__(self, input_size: int, units: int) -> None:
        super().__init__()
        self.input_size, self.state_size, self.output_size = input_size, units, units
        self.rnn = nn.GRU(input_size + 1, units, batch_first=True)

    def recur(
        self,
        inputs: Float[Tensor, "B T C"],
        timespans: Float[Tensor, "B T"],
        state: Float[Tensor, "B H"],
        lengths: Int[Tensor, " B"] | None = None,
        memory: nn.Module | None = None,
        cell: Float[Tensor, "B H"] | None = None,
        reset: Bool[Tensor, "B T"] | None = None,
    ) -> States:
        assert memory is None
        assert reset is None
        spans = torch.log1p(timespans.unsqueeze(2)) - np.log(2.0)
        states, _ = self.rnn(torch.cat([inputs, spans], 2), state.unsqueeze(0))
        if lengths is not None:  # the state stays behind the end
            now = torch.arange(states.shape[1]).expand(len(states), -1)
            now = torch.minimum(now, lengths.unsqueeze(1) - 1)
            states = states.gather(1, now.unsqueeze(2).expand_as(states))
        return states, states[:, :0]


class GRU(RecurrentLayer):
    rnn_cell: GRUCell

    def __init__(self, input_size: int, units: int) -> None:
        super().__init__(GRUCell(input_size, units), True, True, False)


def described(layer: GRU) -> description.Part:
    part: description.Part = description.LAYERS[nn.GRU](layer.rnn_cell.rnn, 0)
    return replace(part, with_span=True)


EXPERTS["gru"] = GRU
description.LAYERS[GRU] = described

# -- what is compared


def touched(model: Model) -> int:
    """The number of live parameters that a step uses, each in one multiply-add."""
    (network,) = model.network.chain
    assert isinstance(network, Liquid)
    layer, all_ = network.layer, model.live_parameters()
    if not isinstance(layer, MixtureOfLiquid):
        return all_
    each = [expert.live_parameters() for expert in layer.experts]
    return all_ - sum(each) + sum(sorted(each)[-layer.rnn_cell.top_k :])


FIRST, GRUS = "Liquid experts", "experts that are GRUs"
CONTENDERS: dict[str, Callable[[int], dict[str, Any]]] = {
    FIRST: lambda cost: {"kind": "mixture"},
    "one CfC, equal parameters": lambda cost: {"kind": "cfc"},
    "one CfC, equal cost a step": lambda cost: {"kind": "cfc", "parameters": cost},
    GRUS: lambda cost: {"kind": "mixture", "expert": "gru"},
}


@cache
def data(name: str, seed: int) -> tuple[Recording, Recording | None, Recording, np.ndarray | None, Task | None]:
    """Training, validation and test part, the regimes of the last, and the task."""
    if name.startswith("plant"):
        shared = name == SHARED
        (train, _), (validation, _), (test, regime) = (
            plant(3 * seed + part, samples, shared) for part, samples in enumerate((8000, 3000, 6000))
        )
        return train, validation, test, regime, None
    one = datasets.load(name)
    test = one.tests["other" if name == "skab" else "later"]
    labels = [np.asarray(series.targets) for series in test.series] if name == "skab" else None
    return one.train, one.validation, test, None if labels is None else np.concatenate(labels), one.task


SHARED = "plant, one temperature for all regimes"
RECORDINGS = ("plant, a temperature for each regime", SHARED, "skab", "traffic")
WINDOWS = {name: Windows(128, 64, 32) for name in RECORDINGS[:2]}


def trial(name: str, contender: str, seed: int, cost: int) -> dict[str, Any]:
    train, validation, test, regime, task = data(name, seed)
    options = {"parameters": PARAMETERS} | CONTENDERS[contender](cost)
    began = time.process_time()
    model = fit(
        train,
        task=task,
        validation=validation,
        windows=WINDOWS.get(name),
        config=TrainingConfig(updates=UPDATES, seed=seed),
        **options,
    )
    seconds = time.process_time() - began
    scores = model.task.metrics(model.outputs(test), test)
    found: dict[str, Any] = {"metric": model.task.primary, "score": scores[model.task.primary]}
    found |= {"parameters": model.live_parameters(), "touched": touched(model), "seconds": seconds}
    if model.kind == "mixture":
        said = explain.experts(model, test, test.n_samples)
        first = np.concatenate([chosen[:, 0] for chosen in said.chosen])
        found["load"] = [expert.load for expert in said.experts]
        found["waits"] = [expert.wait for expert in said.experts]
        if regime is not None:
            found["ami"] = float(adjusted_mutual_info_score(regime.astype(str), first))
            found["picture"] = {"regime": regime[:PICTURED].tolist(), "expert": first[:PICTURED].tolist()}
    return {"recording": name, "contender": contender, "seed": seed, **found}


# -- the page


def interval(values: list[float], digits: int) -> str:
    """The mean and its 95 % interval."""
    mean, half = mean_and_half(values)
    around = "" if math.isinf(half) else f" [{mean - half:.{digits}f}, {mean + half:.{digits}f}]"
    return f"{mean:.{digits}f}{around}"


def table(name: str, done: list[dict[str, Any]]) -> str:
    """One recording."""
    own = {one["seed"]: one["score"] for one in done if one["contender"] == FIRST}
    head = (
        "",
        "seeds",
        "metric",
        "mixture less this one",
        "live parameters",
        "multiply-adds per step",
        "AMI with the truth",
    )
    rows: list[tuple[str, ...]] = []
    for who in CONTENDERS:
        found = [one for one in done if one["contender"] == who]
        if not found:
            rows.append((who, "0", "not yet measured", "", "", "", ""))
            continue
        digits = 1 if found[0]["score"] > 10 else 3
        less = [own[one["seed"]] - one["score"] for one in found if one["seed"] in own]
        ami = [one["ami"] for one in found if "ami" in one]
        rows.append(
            (
                who,
                str(len(found)),
                f"{found[0]['metric']} {interval([one['score'] for one in found], digits)}",
                "" if who == FIRST or not less else interval(less, digits),
                f"{np.mean([one['parameters'] for one in found]):,.0f}",
                f"{np.mean([one['touched'] for one in found]):,.0f}",
                interval(ami, 2) if ami else "",
            )
        )
    return f"### {name}\n\n{Table(head, tuple(rows)).markdown()}\n"


def verdict(done: list[dict[str, Any]]) -> str:
    """Where the mixture is better or worse than a rival, with the seeds as samples."""
    sentences, found = [], []
    for name in RECORDINGS:
        for who in [who for who in CONTENDERS if who != FIRST]:
            own, other = (
                {one["seed"]: one["score"] for one in done if (one["recording"], one["contender"]) == (name, which)}
                for which in (FIRST, who)
            )
            both = sorted(own.keys() & other.keys())
            if len(both) < 2:
                continue
            sign = -1 if name == "skab" else 1
            mean, half = mean_and_half([sign * (own[seed] - other[seed]) for seed in both])
            found.append("better" if mean + half < 0 else "worse" if mean - half > 0 else "even")
            word = {"better": "better than", "worse": "worse than", "even": "not shown to differ from"}[found[-1]]
            sentences.append(f"* {name}: the mixture is **{word}** {who} ({len(both)} seeds).")
    if not found:
        return "There are too few seeds yet for an answer."
    better, worse = found.count("better"), found.count("worse")
    answer = "It does not pay here" if not better else "It pays in some places"
    text = f"**{answer}**: of {len(found)} comparisons the mixture is better in {better} and worse in {worse}."
    return "\n".join([f"{text} The others do not show a difference.\n", *sentences])


def cost(contender: str, parameters: int) -> dict[str, Any]:
    """The cost of a step on a Cortex-M4, in emulation. It depends only on sizes, so the model is not trained."""
    train = data(RECORDINGS[0], 0)[0]
    task, rule = Task.infer(train).fit(train), Preprocessing.fit(train)
    options = {"parameters": PARAMETERS} | CONTENDERS[contender](parameters)
    torch.manual_seed(0)
    model = build(options.pop("kind"), task, rule, **options).eval()
    target = TARGETS["cortex-m4"]
    artifact = make(model, target, "builtin", False, parity.samples_of(model, train, 64))
    return {"cost": contender, "touched": touched(model), **footprint.measure(artifact, target).plain()}


def costs(done: list[dict[str, Any]]) -> str:
    rows = tuple(
        (
            one["cost"],
            f"{one['touched']:,}",
            f"{one['fewest']:,} to {one['instructions']:,}",
            f"{one['flash']:,}",
            f"{one['ram']:,}",
        )
        for one in done
    )
    head = ("", "multiply-adds", "instructions per step", "flash, bytes", "RAM, bytes")
    return f"{DEVICE}{Table(head, rows).markdown()}\n"


DEVICE = """## On a device

Float32 C on a Cortex-M4 in emulation: the fewest and the most instructions of 64 steps. Each step calls one expert, and
all experts have the same size, so only `exp` and `tanh` make steps differ.

"""


def picture(regimes: list[int], experts: list[int]) -> str:
    """The regime and the called expert at each sample, as SVG. Each expert has the colour of one regime."""
    together = np.zeros((4, 4))
    np.add.at(together, (regimes, experts), 1)
    pairs = linear_sum_assignment(together, maximize=True)
    own = {int(expert): int(regime) for regime, expert in zip(*pairs, strict=True)}
    experts = [own[expert] for expert in experts]
    wide, rows = 2, (("regime", regimes, 24), ("expert", experts, 64))
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide * len(regimes) + 90} 120" font-size="13" '
             'font-family="sans-serif" fill="#777">']  # fmt: skip
    for name, values, y in rows:
        parts.append(f'<text x="4" y="{y + 20}">{name}</text>')
        start = 0
        for i in range(1, len(values) + 1):
            if i == len(values) or values[i] != values[start]:
                x, width = 66 + wide * start, wide * (i - start)
                parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="30" fill="{COLOURS[values[start]]}"/>')
                start = i
    for at in range(0, len(regimes) + 1, 100):
        parts.append(f'<text x="{62 + wide * at}" y="112">{at}</text>')
    return "".join([*parts, '<text x="4" y="112">sample</text></svg>\n'])


def write(done: list[dict[str, Any]]) -> None:
    trials = [one for one in done if "recording" in one]
    text = HEAD.format(answer=verdict(trials), parameters=PARAMETERS, updates=UPDATES, noise=NOISE)
    drawn = next((one for one in trials if "picture" in one), None)
    if drawn is not None:
        PICTURE.write_text(picture(drawn["picture"]["regime"], drawn["picture"]["expert"]))
        ami = f"{drawn['ami']:.2f}"
        text += f"![The regime and the expert that is called, over {PICTURED} samples](mixture.svg)\n\n"
        text += f"The first {PICTURED} samples of a test part ({drawn['recording']}, {drawn['contender']}). The\n"
        text += f"adjusted mutual information (AMI) of experts and regimes is {ami}; 1 is perfect, 0 is chance. Each\n"
        text += "expert has the colour of one regime, chosen so that the two rows agree as well as possible.\n\n"
    text += "## Errors\n\n" + "\n".join(
        table(name, [o for o in trials if o["recording"] == name]) for name in RECORDINGS
    )
    text += "\nThe truth is the regime of a plant; for skab, it is whether the pump is faulty. Traffic has none.\n"
    text += "\n" + costs([one for one in done if "cost" in one])
    PAGE.write_text(text)


def main() -> None:
    TRIALS.parent.mkdir(parents=True, exist_ok=True)
    done = lines.read(TRIALS)
    trained = {(one["recording"], one["contender"], one["seed"]) for one in done if "recording" in one}
    todo = [(name, who, seed) for seed in range(SEEDS) for name in RECORDINGS for who in CONTENDERS]
    todo.sort(key=lambda one: one[1] == GRUS)  # they take longest
    if "--page" not in sys.argv:
        for name, who, seed in todo:
            if (name, who, seed) not in trained:
                own = (one for one in done if one.get("recording") == name and one["contender"] == FIRST)
                keep(trial(name, who, seed, next(own, {"touched": 0})["touched"]), done)
        equal = next(one["touched"] for one in done if one.get("contender") == FIRST)
        for who in CONTENDERS.keys() - {one.get("cost") for one in done}:
            keep(cost(who, equal), done)
    write(done)


def keep(one: dict[str, Any], done: list[dict[str, Any]]) -> None:
    lines.append(TRIALS, one)
    done.append(one)
    print({name: value for name, value in one.items() if name != "picture"}, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
