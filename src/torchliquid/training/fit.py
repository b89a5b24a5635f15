"""From a recording to a trained model in one call."""

from __future__ import annotations

import copy
import logging
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import numpy as np

from torchliquid.alarms import Alarm
from torchliquid.data.overlap import share_in
from torchliquid.data.preprocessing import Preprocessing, aligned
from torchliquid.data.recording import Recording
from torchliquid.data.splits import ENOUGH, forward_split, series_split
from torchliquid.data.windows import Windows
from torchliquid.devices import device_of
from torchliquid.errors import InputError, printable
from torchliquid.models.build import build
from torchliquid.models.conformal import add_interval, check_enough, check_interval
from torchliquid.models.model import Model
from torchliquid.random import seeded
from torchliquid.tasks import Horizon, Task
from torchliquid.training.loop import Progress, TrainingConfig, train

HELD_OUT = 0.2

NOTED = 0.01
"""Share of the held-out values that may also be in the training data without a warning."""

log = logging.getLogger(__name__)


def fit(
    recording: Recording,
    target: str | None = None,
    kind: str = "cfc",
    *,
    task: Task | None = None,
    horizon: Horizon | None = None,
    horizon_unit: str = "samples",
    metric: str = "",
    alarm: Alarm | None = None,
    parameters: int = 2500,
    validation: Recording | None = None,
    windows: Windows | None = None,
    start: Model | None = None,
    config: TrainingConfig | None = None,
    seed: int | None = None,
    interval: float | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    **hyper: Any,
) -> Model:
    """Train one model on a recording.

    Args:
        recording: the training data, with a target or with the channel to forecast.
        target: the channel to forecast with ``horizon``; otherwise the recording's own target.
        kind: one of :data:`torchliquid.models.KINDS`.
        task: what to predict; None: inferred from the recording.
        horizon, horizon_unit: how far ahead to forecast; a ``timedelta`` needs no unit; several steps at once as a
            list, such as ``[1, 2, 6]``; None: no forecast.
        metric: name of the metric that stops the training and decides, see :mod:`torchliquid.metrics`; empty: as in
            :meth:`Task.infer`.
        alarm: how predictions of two classes become alarms, and the limit of false alarms that sets the threshold;
            None: as in :meth:`Task.infer`.
        parameters: budget of live parameters.
        validation: the data that stop the training; None: a fifth of the recording, as whole series if there are five
            or more, else the end of each series.
        windows: how the training part is cut; None: chosen from the data.
        start: a model to train further, instead of a new one; it keeps its kind, task and scales. With
            ``config=TrainingConfig(epochs=3, lr=0.002, int8=True)`` it is prepared for int8.
        config: of the training; None: defaults.
        seed: seed of the weights, the shuffling and dropout, which replaces that of ``config``; None: that of
            ``config``.
        interval: for values, the share that an interval around each answer should cover, see
            :mod:`torchliquid.models.conformal`; None: no interval.
        device: where it is trained and validated, such as ``"cuda"``; ``"auto"``: a GPU if there is one. The trained
            model is on the CPU.
        progress: called with the share that is done and a note.
        hyper: further entries of the kind's config, e.g. ``mode="pure"``.

    Raises:
        InputError: the recording cannot be used, or there is no such device; the message is one line.
        TrainingError: the loss is no longer finite.
    """
    place = device_of(device)
    for name in hyper:
        if name in {field.name for field in fields(TrainingConfig)}:
            raise InputError(f"{name!r} is an option of the training: give config=TrainingConfig({name}=...)")
    if start is None:
        task = task or Task.infer(
            recording, target, horizon=horizon, horizon_unit=horizon_unit, primary=metric, alarm=alarm
        )
    else:
        if target or task or horizon or metric or alarm or hyper:
            raise InputError(
                "a model that is trained further keeps its kind, settings and task: leave these arguments out"
            )
        task, preprocessing = start.task, start.preprocessing
    training = recording
    if validation is None:
        training, validation = hold_out(recording, task)
    if start is None:
        task = task.fit(training)
        preprocessing = Preprocessing.fit(training)
        task = task.from_last(training, aligned(validation, preprocessing), preprocessing)
    if interval is not None:
        check_interval(task, interval)
    task.check(validation, "the part held out for validation")
    if interval is not None:
        check_enough(task, validation, interval)
    for note in (*training.notes, *preprocessing.notes, *task.notes(recording)):
        if note not in recording.notes:
            log.warning("%s", printable(note))
    if (share := share_in(aligned(validation, preprocessing), [training])) >= NOTED:
        log.warning("%.0f%% of the values of the validation part also occur in the training data.", 100 * share)
    config = config or TrainingConfig()
    config = config if seed is None else replace(config, seed=seed)
    with seeded(config.seed):
        model = copy.deepcopy(start) if start else build(kind, task, preprocessing, parameters, **hyper)
    train(model.to(place), training, validation, config, windows, progress)
    if interval is not None:
        add_interval(model, validation, interval)
    own, naive = (model.metadata["training"][name].get(task.primary, np.nan) for name in ("validation", "naive"))
    if (naive >= own) if task.higher_is_better else (naive <= own):
        log.warning(
            "The naive answer is as good on the validation part: %s %.4g against %.4g.", task.primary, naive, own
        )
    return model.cpu()


def hold_out(recording: Recording, task: Task) -> tuple[Recording, Recording]:
    """A part for training and a fifth for validation: whole groups or enough series, else forward in time. In time, up
    to two fifths are held out until they contain more than one class.

    Raises:
        InputError: there is too little data to hold out a part.
    """
    if recording.n_series >= ENOUGH or recording.grouped:
        return series_split(task.with_targets(recording) if task.per == "series" else recording, HELD_OUT)
    if task.per == "series":
        raise InputError(
            f"{recording.n_series} series with one target each are too few to hold any out; "
            f"give at least {ENOUGH}, or a validation recording"
        )
    gap = 0.0
    if task.horizon is not None and recording.target == task.target:  # forecasts were made before the cut
        gap = task.horizon if task.horizon_unit == "samples" else task.horizon / recording.median_gap()
    usual = forward_split(recording, HELD_OUT, int(np.ceil(gap)))
    if task.kind == "regression":
        return usual
    # The end of a recording may contain only one class, which would say nothing.
    for share in (HELD_OUT, 1.5 * HELD_OUT, 2 * HELD_OUT):
        with suppress(InputError):  # too short to hold out more
            parts = forward_split(recording, share, int(np.ceil(gap)))
            if all((task.count(task.with_targets(part)) > 0).sum() > 1 for part in parts):
                return parts
    return usual
