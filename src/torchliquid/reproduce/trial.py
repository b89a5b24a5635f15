"""One contender of a table trained from one seed: the plain loop, and the line it leaves."""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from torchliquid.reproduce import minirocket
from torchliquid.reproduce.contenders import Contender
from torchliquid.reproduce.protocol import Part, Parts, Protocol, Setting, Split
from torchliquid.reproduce.protocols import protocol as named
from torchliquid.reproduce.trials import append
from torchliquid.study.workers import Progress


def run_trial(table: str, split: Split, contender: str, seed: int, file: Path, progress: Progress) -> None:
    """Train and measure, then append the trial's line to ``file``."""
    protocol = named(table)
    run = rocket if contender == "MiniRocket" else train
    append(file, run(protocol, protocol.parts(split), split, contender, seed, progress))


def train(
    protocol: Protocol, parts: Parts, split: Split, contender: str, seed: int, progress: Progress
) -> dict[str, Any]:
    """Train as the paper did; the weights best on validation are measured on the test part.

    Returns:
        Plain data; ``failed`` says why where the loss became infinite, and there is no ``test`` then.
    """
    setting, start = protocol.settings[contender], time.perf_counter()
    torch.manual_seed(seed)
    per_sequence = parts.train.targets.dim() == 1
    model = Contender(protocol, contender, parts.train.inputs.shape[2], parts.outputs, per_sequence)
    optimizer = torch.optim.AdamW(model.parameters(), setting.lr, weight_decay=setting.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, setting.decay)
    sign = 1 if protocol.higher_is_better else -1
    best, best_epoch, weights, epoch, failed = -math.inf, 0, copy.deepcopy(model.state_dict()), 0, ""
    for epoch in range(1, setting.epochs + 1):
        model.train()
        for rows in torch.randperm(len(parts.train)).split(setting.batch):
            batch = parts.train.pick(rows)
            loss = loss_of(model(batch.inputs, batch.timespans, batch.lengths), batch.targets, setting)
            optimizer.zero_grad()
            loss.backward()
            if setting.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), setting.clip)
            optimizer.step()
            model.mask()
            if not torch.isfinite(loss):
                failed = f"the loss is no longer finite in epoch {epoch}"
                break
        score = math.nan if failed else measure(protocol, model, parts.validation)
        if failed or not math.isfinite(score):
            failed = failed or f"the outputs are no longer finite in epoch {epoch}"
            break
        schedule.step()
        if sign * score > best:
            best, best_epoch, weights = sign * score, epoch, copy.deepcopy(model.state_dict())
        progress(epoch / setting.epochs, f"epoch {epoch}, {protocol.metric} {score:.4g}")
        if epoch - best_epoch >= setting.patience:
            break
    line = {
        "contender": contender,
        "split": split,
        "seed": seed,
        "epochs": epoch,
        "best_epoch": best_epoch,
        "parameters": model.live_parameters(),
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if failed:
        return line | {"failed": failed}
    model.load_state_dict(weights)
    return line | {"validation": sign * best, "test": measure(protocol, model, parts.test)}


def rocket(
    protocol: Protocol, parts: Parts, split: Split, contender: str, seed: int, progress: Progress
) -> dict[str, Any]:
    """The line of a MiniRocket, which trains no network; its parameters are the classifier's at most."""
    start = time.perf_counter()
    validation, test = minirocket.areas(parts, seed, end=48, bins=48)
    return {
        "contender": contender,
        "split": split,
        "seed": seed,
        "epochs": 1,
        "best_epoch": 1,
        "parameters": minirocket.KERNELS + 1,
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "validation": validation,
        "test": test,
    }


def loss_of(outputs: Tensor, targets: Tensor, setting: Setting) -> Tensor:
    """Cross entropy of classes, squared error of values."""
    if targets.is_floating_point():
        return F.mse_loss(outputs, targets)
    weight = outputs.new_ones(outputs.shape[-1])
    weight[-1] = setting.class_weight
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), weight)


@torch.no_grad()
def measure(protocol: Protocol, model: Contender, part: Part) -> float:
    """The table's metric on a part."""
    model.eval()
    pieces = [part.pick(rows) for rows in torch.arange(len(part)).split(1024)]
    outputs = torch.cat([model(p.inputs, p.timespans, p.lengths) for p in pieces])
    if not torch.isfinite(outputs).all():
        return math.nan
    if protocol.metric == "AUC":
        return float(roc_auc_score(part.targets.numpy(), outputs.softmax(-1)[:, 1].numpy()))
    if protocol.metric == "accuracy %":
        return 100 * float((outputs.argmax(-1) == part.targets).float().mean())
    return float((outputs.double() - part.targets).square().mean())
