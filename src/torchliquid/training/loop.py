"""The training loop."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchliquid import metrics
from torchliquid.data.batch import Batch, batches
from torchliquid.data.preprocessing import aligned
from torchliquid.data.recording import Recording
from torchliquid.data.windows import Windows
from torchliquid.errors import InputError
from torchliquid.layers.recurrent import OVER_TIME, RecurrentLayer
from torchliquid.models.calibration import calibrate
from torchliquid.models.model import Model
from torchliquid.models.naive import Naive
from torchliquid.models.sample import covering
from torchliquid.random import seeded
from torchliquid.solvers import SolverError
from torchliquid.tasks import Task
from torchliquid.training.descent import NotFiniteError, descend, stretches
from torchliquid.training.grid import on_int8_grid
from torchliquid.training.history import Doubt, History
from torchliquid.training.provenance import provenance

UPDATES = 2000
"""A liquid network that needs a memory leaves the naive answer after hundreds of updates, however few epochs these
are."""

PASSES = 10
"""Minimum number of passes over a large training part."""

LOOKS = 40
"""Number of validations in a training, or one per epoch if these are fewer."""

LEFT = 0.02
"""Share of the naive answer's loss by which a model must be better to have left it."""

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and a note."""


class TrainingError(RuntimeError):
    """A training failed; the message is one line.

    Attributes:
        model: with its best weights so far; None if no epoch was completed.
    """

    model: Model | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        lr: maximum learning rate of Adam with decoupled weight decay; it rises over the first 5 % of all steps and
            falls along a half cosine to a twentieth.
        updates: maximum number of steps of the optimizer; None: 2,000, or ten passes over the training part if these
            are more.
        epochs: maximum number of passes over the training part instead, with a validation after each.
        batch_size: windows per batch.
        patience: stop after this many validations without a better score, counted from the first that was better than
            the naive answer. There are about 40 in all, or one per epoch.
        weight_decay: of matrices, not of biases or gains.
        clip: maximum norm of the gradient.
        class_weights: whether rare classes get a larger weight.
        over_time: how layers process samples in training, see
            :attr:`torchliquid.layers.recurrent.RecurrentLayer.over_time`.
        int8: train weights that an export to int8 keeps exactly, see :mod:`torchliquid.training.grid`.
        seed: seed of the shuffling and of dropout; the weights are the model's.
    """

    lr: float = 0.01
    updates: int | None = None
    epochs: int | None = None
    batch_size: int = 16
    patience: int = 10
    weight_decay: float = 0.1
    clip: float = 1.0
    class_weights: bool = False
    int8: bool = False
    seed: int = 0
    over_time: str = "sequential"

    def __post_init__(self) -> None:
        for name in ("lr", "updates", "epochs", "batch_size", "patience", "clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be greater than 0, not {value}")
        if self.over_time not in OVER_TIME:
            raise InputError(f"over_time must be one of {', '.join(OVER_TIME)}, not {self.over_time!r}")


def train(
    model: Model,
    training: Recording,
    validation: Recording,
    config: TrainingConfig | None = None,
    windows: Windows | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Model, History], None] | None = None,
) -> History:
    """Train a model in place. It ends with the weights that were best on the validation part, with its probabilities
    calibrated there and the threshold of its alarms chosen.

    At each validation it is scored as in use, with the state carried through whole series. Better means a better
    primary metric of the task, or an equal one and a smaller loss. With the same weights, data and config the result is
    the same. torch's global generator is not changed.

    Args:
        model: from :func:`torchliquid.models.build`.
        training, validation: parts of the recording; the model's task and preprocessing come from the first.
        windows: how the training part is cut; None: chosen from the data.
        progress: called with the share that is done and a note.
        on_epoch: called after each validation, e.g. to save a checkpoint.

    Raises:
        TrainingError: the loss is no longer finite, or the solver does not reach the end of a span.
        InputError: there is nothing to learn from.
    """
    config = config or TrainingConfig()
    with seeded(config.seed), _stepping(model, config.over_time):
        return _train(model, training, validation, config, windows, progress, on_epoch)


@contextmanager
def _stepping(model: Model, over_time: str) -> Iterator[None]:
    layers = [module for module in model.modules() if isinstance(module, RecurrentLayer)]
    before = [layer.rnn_cell.over_time for layer in layers]
    try:
        for layer in layers:
            layer.rnn_cell.over_time = over_time
        yield
    finally:
        for layer, way in zip(layers, before, strict=True):
            layer.rnn_cell.over_time = way


def _train(
    model: Model,
    training: Recording,
    validation: Recording,
    config: TrainingConfig,
    windows: Windows | None,
    progress: Progress | None,
    on_epoch: Callable[[Model, History], None] | None,
) -> History:
    task, history = model.task, History()
    windows = windows or Windows.choose(training, task)
    training, validation = (task.with_targets(aligned(part, model.preprocessing)) for part in (training, validation))
    device = model.readout.weight.device
    class_weights = torch.from_numpy(task.class_weights(training)).to(device) if config.class_weights else None
    rng = np.random.default_rng(config.seed)

    def weights() -> AbstractContextManager[None]:
        return on_int8_grid(model) if config.int8 else nullcontext()

    def epoch_batches() -> Iterator[Batch]:
        return batches(training, model.preprocessing, task, windows, config.batch_size, rng)

    def endless(todo: Iterable[Batch]) -> Iterator[Batch]:
        while True:
            yield from todo
            todo = epoch_batches()

    first = list(epoch_batches())
    if not first:
        raise InputError(
            f"no training window has a value of the target {task.target!r}; there is nothing to learn from"
        )
    model.sample = covering(first)
    in_a_pass = len(first)
    if config.epochs is not None:
        steps, apart = config.epochs * in_a_pass, in_a_pass
    else:
        steps = config.updates or enough_updates(in_a_pass)
        apart = in_a_pass * -(-steps // (LOOKS * in_a_pass))  # whole epochs
    optimizer, schedule = optimizer_of(model, config, steps)
    longest = max(float(batch.timespans.max()) for batch in first)
    if advice := _unstable(model, longest):
        log.warning(advice)

    naive = Naive.fit(task, model.preprocessing, training)
    naive_scores = task.metrics(naive.outputs(validation), validation)

    def naive_loss() -> float:
        if class_weights is not None:
            naive.constant = naive.constant * class_weights.cpu().double().numpy()
            naive.constant = naive.constant / naive.constant.sum()
        return _loss(task, naive.outputs(validation), validation, class_weights)

    todo, step, losses, left = endless(first), 0, [naive_loss()], 0
    del first  # pictures would fill the memory
    best: tuple[float, float] | None = None

    def loss_of(batch: Batch) -> Tensor:
        batch = batch.to(device)
        raw, _ = model(batch.inputs, batch.timespans, batch.lengths)
        return task.loss(raw, batch.targets, batch.weights, class_weights)

    def updated() -> None:
        nonlocal step
        schedule.step()
        step += 1

    def look(loss: float) -> tuple[float, float]:
        nonlocal best
        history.loss.append(loss)
        history.updates.append(step)
        history.epochs.append(-(-step // in_a_pass))
        outputs = model.outputs(validation)
        if not all(np.isfinite(o).all() for o in outputs):
            raise NotFiniteError("the answers are no longer finite")
        scores = task.metrics(outputs, validation)
        history.validation.append(scores)
        losses.append(_loss(task, outputs, validation, class_weights))
        score = task.score(scores)
        if best is None or score > best:
            best, history.best = score, len(history.loss) - 1
        history.doubt = _doubt(task, losses, history, step == steps)
        return score

    def enough() -> bool:
        nonlocal left
        if progress:
            progress(step / steps, f"{step:,} updates, {task.primary} {history.validation[-1][task.primary]:.4g}")
        if on_epoch:
            on_epoch(model, history)
        left = len(history.loss) if history.doubt == "plateau" else left
        return history.doubt != "plateau" and len(history.loss) - 1 - max(history.best, left) >= config.patience

    try:
        descend(model, optimizer, stretches(todo, steps, apart), loss_of, look, enough, config.clip, updated, weights)
    except (NotFiniteError, SolverError) as error:
        reason = str(error) if isinstance(error, SolverError) else _unstable(model, longest)
        reason = reason or f"try a learning rate below {config.lr:g}"
        broken = TrainingError(
            f"training {model.kind} broke off in epoch {step // in_a_pass + 1}: its numbers are no longer finite; "
            f"{reason}"
        )
        if history.validation:
            model.metadata |= provenance(training, history, config.seed)
            broken.model = model
        raise broken from None

    if task.kind == "classification":
        calibrate(model, validation)
        history.validation[history.best] = model.task.metrics(model.outputs(validation), validation)
    model.metadata |= provenance(training, history, config.seed)
    model.metadata["training"]["naive"] = {name: v for name, v in naive_scores.items() if np.isfinite(v)}
    return history


def optimizer_of(
    model: torch.nn.Module, config: TrainingConfig, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
    """The optimizer, and its learning rate over the steps. A module's ``undecayed`` names its matrices without weight
    decay."""
    spared = {id(getattr(m, name)) for m in model.modules() for name in getattr(m, "undecayed", ())}
    matrices = [p for p in model.parameters() if p.ndim > 1 and id(p) not in spared]
    others = [p for p in model.parameters() if p.ndim <= 1 or id(p) in spared]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}], config.lr
    )
    warm = max(1, steps // 20)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / warm, 0.525 + 0.475 * math.cos(math.pi * s / steps))
    )


def enough_updates(batches: int) -> int:
    """The maximum number of updates, given the number of batches per pass over the training part."""
    return max(UPDATES, PASSES * batches)


def _loss(task: Task, outputs: Sequence[np.ndarray], recording: Recording, class_weights: Tensor | None) -> float:
    """The training loss of decoded answers to a recording with targets."""
    encoded = [task.encode(series) for series in recording.series]
    targets, weights = (np.concatenate([np.atleast_1d(part[i]) for part in encoded]) for i in (0, 1))
    answers = np.concatenate([np.atleast_2d(output) for output in outputs])
    if task.kind == "classification":
        raw = np.log(np.clip(answers, 1e-12, None))
    else:
        raw, targets = (answers - task.mean) / task.std, targets.reshape(len(answers), -1)
    known = None if class_weights is None else class_weights.cpu().double()
    return float(task.loss(torch.from_numpy(raw), torch.from_numpy(targets), torch.from_numpy(weights), known))


def _doubt(task: Task, losses: list[float], history: History, ended: bool) -> Doubt:
    """From the losses on the validation part (the naive answer's first, then one per validation): whether the last
    third of the training, in which a falling learning rate flattens any curve, still improved by what matters."""
    if not min(losses[1:]) < (1 - LEFT) * losses[0]:
        return "plateau"
    late = -(-len(history.validation) // 3)
    if not ended or len(history.validation) <= late:
        return ""
    sign = 1.0 if task.higher_is_better else -1.0
    scores = [sign * scores[task.primary] for scores in history.validation]
    before = max(scores[:-late])
    return "falling" if max(scores[-late:]) - before > metrics.find(task.primary).matters(sign * before) else ""


def _unstable(model: Model, longest: float) -> str | None:
    return next((advice for cell in model.network.cells if (advice := cell.instability(longest))), None)
