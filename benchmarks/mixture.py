"""Does a mixture of liquid experts pay? ``python -m benchmarks.mixture`` writes docs/mixture.md.

Two generated plants of four regimes whose best possible error is known, and two real recordings. The mixture is
compared with one network of as many live parameters, with one that costs as much a step, and with a mixture of GRUs.
Finished trainings are lines of build/mixture/trials.jsonl: a run that was stopped goes on there. ``--page`` writes the
page of those that are finished.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor, nn

from torchliquid import Model, Recording, Task, TrainingConfig, datasets, explain, fit
from torchliquid.cells import States
from torchliquid.data import Windows
from torchliquid.jobs import lines
from torchliquid.layers import MixtureOfLiquid
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.build import EXPERTS
from torchliquid.models.networks import Liquid

PARAMETERS = 2000
UPDATES = 2000
SEEDS = 5
NOISE = 0.1
PICTURED = 400
TRIALS = Path("build/mixture/trials.jsonl")
PAGE = Path("docs/mixture.md")

# -- plants


def plant(seed: int, samples: int, shared: bool) -> tuple[Recording, np.ndarray]:
    """A plant in one of four regimes, and the regime at each sample.

    In a regime its temperature follows dx/dt = (f(u) - x) / tau, with f and tau of the regime. Either each regime has a
    machine of its own, which cools with its tau while another works, and the one that works is measured; or all regimes
    ``shared`` one temperature. Inputs are the load u and two settings that tell the regime all but always; samples come
    at random times. The measurement has noise of standard deviation NOISE, which is the best possible error.
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


# -- GRUs as experts, told the time since their last call as one more input


class GRUCell(RecurrentCell):
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
    def __init__(self, input_size: int, units: int) -> None:
        super().__init__(GRUCell(input_size, units), True, True, False)


EXPERTS["gru"] = GRU

# -- what is compared


def touched(model: Model) -> int:
    """Live parameters that a step reads, each in one multiply-add."""
    (network,) = model.network.chain
    assert isinstance(network, Liquid)
    layer, all_ = network.layer, model.live_parameters()
    if not isinstance(layer, MixtureOfLiquid):
        return all_
    each = [expert.live_parameters() for expert in layer.experts]
    return all_ - sum(each) + sum(sorted(each)[-layer.rnn_cell.top_k :])


CONTENDERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "Liquid experts": lambda cost: {"kind": "mixture"},
    "one CfC, equal parameters": lambda cost: {"kind": "cfc"},
    "one CfC, equal cost a step": lambda cost: {"kind": "cfc", "parameters": cost},
    "experts that are GRUs": lambda cost: {"kind": "mixture", "expert": "gru"},
}
FIRST = "Liquid experts"


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


def main() -> None:
    TRIALS.parent.mkdir(parents=True, exist_ok=True)
    done = {(one["recording"], one["contender"], one["seed"]): one for one in lines.read(TRIALS)}
    todo = [(name, who, seed) for seed in range(SEEDS) for name in RECORDINGS for who in CONTENDERS]
    for name, who, seed in todo if "--page" not in sys.argv else ():
        if (name, who, seed) not in done:
            cost = done.get((name, FIRST, seed), {}).get("touched", 0)
            done[name, who, seed] = one = trial(name, who, seed, cost)
            lines.append(TRIALS, one)
            print(
                f"{name}, seed {seed}, {who}: {one['metric']} {one['score']:.4f} ({one['seconds']:.0f} s)", flush=True
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
