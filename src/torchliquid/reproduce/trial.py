"""One contender of a table trained from one seed: the plain loop, and the line it leaves."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchliquid.devices import called, device_of
from torchliquid.jobs import Progress
from torchliquid.random import seeded
from torchliquid.reproduce import boosting, linear, minirocket, threshold
from torchliquid.reproduce.contenders import Missing, TableModel
from torchliquid.reproduce.metrics import answers, score
from torchliquid.reproduce.protocol import Parts, Protocol, Sequences, Setting, Split
from torchliquid.training.descent import NotFiniteError, advance, descend

FITTED = {
    "MiniRocket": minirocket.fit,
    "Boosting": boosting.fit,
    "Linear": linear.fit,
    "One threshold": threshold.fit,
}
"""Contenders that are no network; each chooses its only setting itself."""


def run_trial(
    protocol: Protocol,
    parts: Parts,
    split: Split,
    contender: str,
    seed: int,
    tuned: dict[str, Any] | None,
    device: str,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    """Train and measure; yields the trial's line.

    ``tuned`` holds the ``setup`` to train with instead of the published one, and the number of ``trials`` that it was
    chosen from.
    """
    name = {"contender": contender, "split": split, "seed": seed}
    if protocol.redraw is not None:
        parts = protocol.redraw(parts, seed)
    if contender in FITTED:
        line = fit_plain(protocol, parts, contender, seed)
    else:
        protocol = protocol.with_setup(contender, tuned["setup"] if tuned else {})
        line = train(protocol, parts, contender, seed, progress, device)
    yield name | ({"tuned": tuned} if tuned else {}) | line


def train(
    protocol: Protocol, parts: Parts, contender: str, seed: int, progress: Progress, device: str = "cpu"
) -> dict[str, Any]:
    """Train as the paper did; the weights best on validation are measured on the test part.

    Returns:
        Plain data; ``failed`` says why where the loss became infinite, and there is no ``test`` then.
    """
    model, line = fit(protocol, parts, contender, seed, progress, device)
    return line if "failed" in line else line | {"test": measure(protocol, model, parts.test)}


def fit(
    protocol: Protocol, parts: Parts, contender: str, seed: int, progress: Progress, device: str = "cpu"
) -> tuple[TableModel, dict[str, Any]]:
    """Train, and keep the weights of the epoch that is best on validation. The test part is not used."""
    with seeded(seed):
        return _fit(protocol, parts, contender, progress, device_of(device))


def _fit(
    protocol: Protocol, parts: Parts, contender: str, progress: Progress, device: torch.device
) -> tuple[TableModel, dict[str, Any]]:
    setting, start = protocol.settings[contender], time.process_time()
    channels, per_sequence = parts.train.inputs.shape[2], parts.train.targets.dim() == 1
    model = TableModel(protocol, contender, channels, parts.outputs, per_sequence)
    if isinstance(model.network, Missing):
        model.network.standardise(parts.train)
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), setting.lr, weight_decay=setting.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, setting.decay)
    scores: list[float] = []

    def look(_: float) -> float:
        found = measure(protocol, model, parts.validation)
        if not math.isfinite(found):
            raise NotFiniteError("the outputs are no longer finite")
        schedule.step()
        scores.append(protocol.sign * found)
        progress(len(scores) / setting.epochs, f"epoch {len(scores)}, {protocol.metric} {found:.4g}")
        return scores[-1]

    def enough() -> bool:
        return len(scores) - 1 - scores.index(max(scores)) >= setting.patience

    failed = ""
    try:
        epochs = (batches(parts.train, setting) for _ in range(setting.epochs))
        descend(model, optimizer, epochs, partial(loss_of, model, setting), look, enough, setting.clip, model.mask)
    except NotFiniteError as error:
        failed = f"{error} in epoch {len(scores) + 1}"
    line = {
        "epochs": len(scores) + bool(failed),
        "best_epoch": scores.index(max(scores)) + 1 if scores else 0,
        "parameters": model.live_parameters(),
        **_conditions(start),
        **({} if device.type == "cpu" else {"device": called(device)}),
    }
    return model, line | ({"failed": failed} if failed else {"validation": protocol.sign * max(scores)})


def train_epoch(model: TableModel, optimizer: torch.optim.Optimizer, part: Sequences, setting: Setting) -> None:
    """Once over a part.

    Raises:
        NotFiniteError: the loss is no longer finite.
    """
    advance(model, optimizer, batches(part, setting), partial(loss_of, model, setting), setting.clip, model.mask)


def batches(part: Sequences, setting: Setting) -> Iterator[Sequences]:
    """A part in batches drawn at random; in each the shortest sequences come first, where they differ in length."""
    rows = torch.randperm(len(part)).split(setting.batch)
    return (part.pick(r if part.lengths is None else r[part.lengths[r].argsort(stable=True)]) for r in rows)


def fit_plain(protocol: Protocol, parts: Parts, contender: str, seed: int) -> dict[str, Any]:
    """The line of a contender that is no network."""
    start = time.process_time()
    validation, test, parameters = FITTED[contender](protocol, parts, seed)
    return {
        "epochs": 1,
        "best_epoch": 1,
        "parameters": parameters,
        **_conditions(start),
        "validation": score(protocol.metric, validation, parts.validation.targets),
        "test": score(protocol.metric, test, parts.test.targets),
    }


def _conditions(start: float) -> dict[str, Any]:
    return {
        "seconds": round(time.process_time() - start, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def loss_of(model: TableModel, setting: Setting, batch: Sequences) -> Tensor:
    """Cross entropy of classes, squared error of values."""
    batch = batch.to(model.readout.weight.device)
    outputs, targets = model(batch.inputs, batch.timespans, batch.lengths), batch.targets
    if targets.is_floating_point():
        return F.mse_loss(outputs, targets)
    weight = outputs.new_ones(outputs.shape[-1])
    weight[-1] = setting.class_weight
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), weight)


@torch.no_grad()
def measure(protocol: Protocol, model: TableModel, part: Sequences) -> float:
    """The table's metric on a part."""
    model.eval()
    device = model.readout.weight.device
    pieces = (part.pick(rows).to(device) for rows in torch.arange(len(part)).split(1024))
    outputs = torch.cat([model(p.inputs, p.timespans, p.lengths) for p in pieces]).cpu()
    return score(protocol.metric, answers(protocol.metric, outputs), part.targets)
