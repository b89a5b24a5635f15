"""The training loop."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from torchliquid.data.batch import Batch, batches
from torchliquid.data.recording import Recording
from torchliquid.data.windows import Windows
from torchliquid.errors import InputError
from torchliquid.models.model import Model, aligned
from torchliquid.solvers import SolverError
from torchliquid.training.history import History
from torchliquid.training.provenance import provenance
from torchliquid.training.sample import covering

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Told the share done (0 to 1) and a word on where it stands."""


class TrainingError(RuntimeError):
    """Training broke off; the message is one line.

    Attributes:
        model: with its best weights so far; None where no epoch came to its end.
    """

    model: Model | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        lr: of Adam with decoupled weight decay at its highest; it rises over the first 5 % of all steps and falls along
            a half cosine to a twentieth.
        epochs: at most so many passes over the training part.
        batch_size: windows in a batch.
        patience: stop after so many epochs in which the validation score did not improve.
        weight_decay: of matrices, not of biases or gains.
        clip: largest norm of the gradient.
        class_weights: whether rare classes weigh more.
        seed: of the shuffling and of dropout; the weights are the model's already.
    """

    lr: float = 0.01
    epochs: int = 30
    batch_size: int = 16
    patience: int = 10
    weight_decay: float = 0.1
    clip: float = 1.0
    class_weights: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "epochs", "batch_size", "patience", "clip"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be greater than 0, not {getattr(self, name)}")


def train(
    model: Model,
    training: Recording,
    validation: Recording,
    config: TrainingConfig | None = None,
    windows: Windows | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Model, History], None] | None = None,
) -> History:
    """Train a model in place; it ends with the weights that were best on the validation part.

    Each epoch is scored as the model will be used: the state carried through whole series. Better means a better
    primary metric of the task, or the same and a smaller loss. With the same weights, data and config the result is
    the same.

    Args:
        model: from :func:`torchliquid.models.build`.
        training, validation: parts of the recording; the model's task and preprocessing come from the first.
        windows: how the training part is cut; None: chosen from it.
        progress: told how far it is.
        on_epoch: called after each epoch, e.g. to keep a checkpoint.

    Raises:
        TrainingError: the loss is no longer finite, or the solver does not reach the end of a span.
        InputError: nothing to learn from.
    """
    config = config or TrainingConfig()
    task, history = model.task, History()
    windows = windows or Windows.choose(training, task)
    training, validation = (task.with_targets(aligned(part, model.preprocessing)) for part in (training, validation))
    device = model.readout.weight.device
    class_weights = torch.from_numpy(task.class_weights(training)).to(device) if config.class_weights else None
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)

    def epoch_batches() -> list[Batch]:
        return list(batches(training, model.preprocessing, task, windows, config.batch_size, rng))

    todo = epoch_batches()
    if not todo:
        raise InputError(
            f"no training window has a value of the target {task.target!r}; there is nothing to learn from"
        )
    model.sample = covering(todo)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}], config.lr
    )
    steps = config.epochs * len(todo)
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, 0.525 + 0.475 * math.cos(math.pi * s / steps))
    )
    longest = max(float(batch.timespans.max()) for batch in todo)
    if advice := _unstable(model, longest):
        log.warning(advice)
    best_score, best_weights = (-math.inf, -math.inf), copy.deepcopy(model.state_dict())

    def broken_off(reason: str = "") -> TrainingError:
        model.load_state_dict(best_weights)
        model.eval()
        reason = reason or _unstable(model, longest) or f"try a learning rate below {config.lr:g}"
        error = TrainingError(
            f"training {model.kind} broke off in epoch {epoch + 1}: its numbers are no longer finite; {reason}"
        )
        if history.validation:
            model.metadata |= provenance(training, history, config.seed)
            error.model = model
        return error

    for epoch in range(config.epochs):
        model.train()
        total = 0.0
        for batch in todo:
            batch = batch.to(device)
            optimizer.zero_grad()
            try:
                raw, _ = model(batch.inputs, batch.timespans, batch.lengths)
                loss = task.loss(raw, batch.targets, batch.weights, class_weights)
                loss.backward()
            except SolverError as error:
                raise broken_off(str(error)) from None
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            if not torch.isfinite(norm):
                raise broken_off()
            optimizer.step()
            schedule.step()
            total += loss.item()
        history.loss.append(total / len(todo))

        try:
            outputs = model.outputs(validation)
        except SolverError as error:
            raise broken_off(str(error)) from None
        if not all(np.isfinite(o).all() for o in outputs):
            raise broken_off()
        scores = task.metrics(outputs, validation)
        history.validation.append(scores)
        score = task.score(scores)
        if score > best_score:
            best_score, best_weights, history.best = score, copy.deepcopy(model.state_dict()), epoch
        if progress:
            progress((epoch + 1) / config.epochs, f"epoch {epoch + 1}, {task.primary} {scores[task.primary]:.4g}")
        if on_epoch:
            on_epoch(model, history)
        if epoch - history.best >= config.patience:
            break
        todo = epoch_batches()

    model.load_state_dict(best_weights)
    model.eval()
    model.metadata |= provenance(training, history, config.seed)
    return history


def _unstable(model: Model, longest: float) -> str | None:
    cell = model.network.cell
    return None if cell is None else cell.instability(longest)
