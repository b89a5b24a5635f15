"""The tools for a language model: each public method of :class:`Tools` is a tool, described by its docstring."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from torchliquid.alarms import runs
from torchliquid.data import Recording
from torchliquid.data.summary import moment
from torchliquid.errors import InputError
from torchliquid.mcp.folders import MODEL, TABLES, Folders
from torchliquid.mcp.lines import quoted, rounded
from torchliquid.mcp.reasons import Reasons
from torchliquid.mcp.studies import Studies
from torchliquid.mcp.watch import Watch, rule, unit_of, validation, with_names
from torchliquid.models.build import KINDS
from torchliquid.models.predictor import Predictor
from torchliquid.tasks import Task

AT_ONCE = 4
"""Maximum number of simultaneous predictions."""

LARGEST = 512 * 2**20
"""Maximum size of a recording to predict, in bytes."""

SHOWN = 50
"""Maximum number of stretches and of channels in an answer."""

Sensor = Annotated[str, Field(max_length=100, description="Name of a live sensor, from list_sensors.")]
File = Annotated[str, Field(max_length=1024, description="A file in an allowed folder, from list_files.")]
Option = Annotated[str | None, Field(max_length=200)]


class Tools:
    """The tools for live models, the folders that may be read, and studies (None: they are not allowed). Each change is
    appended to the file ``log``, if given, as a line of JSON."""

    def __init__(
        self, watches: Sequence[Watch], folders: Folders, studies: Studies | None = None, log: Path | None = None
    ) -> None:
        self._watches = {watch.name: watch for watch in watches}
        self._reasons = {watch.name: Reasons(watch) for watch in watches}
        self._folders, self._studies, self._log = folders, studies, log
        self._predicting = threading.BoundedSemaphore(AT_ONCE)
        self._logging = threading.Lock()

    # -- live sensors

    def list_sensors(self) -> dict[str, Any]:
        """List all live sensors: whether each sends samples, how many have arrived, and its current class."""
        found = []
        for watch in self._watches.values():
            one = watch.status()
            if one["samples"]:
                one |= {k: v for k, v in watch.now().items() if k in ("time", "class", "probabilities", "values")}
                one = with_names(one, watch.model)
            found.append(one)
        return {"sensors": found}

    def sensor_now(self, sensor: Sensor) -> dict[str, Any]:
        """The model's current answer for a sensor: the class with its probability (or the value), since when, whether
        an alarm is on, and how sure it is. Use this for "is it OK?", "since when not?" and "how sure are you?"."""
        return self._watch(sensor).now()

    def sensor_why(self, sensor: Sensor) -> dict[str, Any]:
        """Why the model gives this answer: which channels moved it and by how much, each reading compared with the
        usual one, the time constants of the neurons, and what neurons follow; of a mixture, which expert answers. Use
        this for "which channel is it?"."""
        self._watch(sensor)
        return self._reasons[sensor]()

    def sensor_history(self, sensor: Sensor) -> dict[str, Any]:
        """How often and when: the last stretches of each class, alarms, data that was no sample, and changes."""
        return self._watch(sensor).history()

    def set_alarm(
        self,
        sensor: Sensor,
        threshold: Annotated[float | None, Field(description="Smallest probability that counts, 0 to 1.")] = None,
        length: Annotated[
            float | None, Field(description="How long it must last before the alarm, in the model's unit of time.")
        ] = None,
        merge: Annotated[float | None, Field(description="The longest pause that does not end an alarm.")] = None,
        reason: Annotated[str, Field(max_length=200, description="The reason, for the log.")] = "",
    ) -> dict[str, Any]:
        """Change when a sensor raises an alarm, from now on. Values that are not given stay. Each change is logged."""
        return self._watch(sensor).set_alarm(threshold, length, merge, reason, self._record)

    def _record(self, change: dict[str, Any]) -> None:
        if self._log is not None:
            with self._logging, self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(change) + "\n")

    def _watch(self, sensor: str) -> Watch:
        if sensor not in self._watches:
            known = ", ".join(self._watches) or "none"
            raise InputError(f"there is no sensor {sensor[:100]!r}; there are {known}")
        return self._watches[sensor]

    # -- files

    def list_files(self) -> dict[str, Any]:
        """List the models and recordings in the allowed folders, by the names that the other tools take."""
        models, more_models = self._folders.files(MODEL)
        recordings, more = self._folders.files(*TABLES)
        return {"models": models, "recordings": recordings, "left_out": more or more_models}

    def inspect_model(self, model: File) -> dict[str, Any]:
        """Describe a saved model: kind, size, task, classes, alarm, time unit, channels, and its validation scores."""
        return _described(self._load(model))

    def predict(
        self,
        model: File,
        recording: File,
        time: Annotated[Option, Field(description="The time column, if it differs from the training's.")] = None,
        time_unit: Annotated[Option, Field(description="The unit of numeric times.")] = None,
    ) -> dict[str, Any]:
        """Run a saved model on a recording: how often each class was the answer, when and for how long, alarms, and the
        scores if the recording has the true values."""
        path = self._folders.find(recording)
        if path.stat().st_size > LARGEST:
            raise InputError(f"{recording!r} has more than {LARGEST // 2**20} MiB; cut it, or use torchliquid predict")
        if not self._predicting.acquire(blocking=False):
            raise InputError(f"{AT_ONCE} predictions are already running; ask again later")
        try:
            loaded = self._load(model)
            with _quoted_errors(recording):
                return _predicted(loaded, path, {"time": time, "time_unit": time_unit})
        finally:
            self._predicting.release()

    def _load(self, model: str) -> Predictor:
        path = self._folders.find(model)
        with _quoted_errors(model):
            return Predictor.load(path)

    # -- studies

    def start_assess(
        self,
        recording: File,
        target: Annotated[str, Field(max_length=200, description="The column to learn.")],
        time: Annotated[Option, Field(description="The time column.")] = None,
        horizon: Annotated[
            Option, Field(description="How far ahead to forecast the target: 6, or 30min; several steps: 1-12.")
        ] = None,
        metric: Annotated[Option, Field(description="The metric that decides, such as f1 or rmse.")] = None,
        time_limit: Annotated[Option, Field(description="About how long it may take, such as 10m or 2h.")] = None,
        seeds: Annotated[int | None, Field(ge=1, le=20, description="Number of trainings of each network.")] = None,
        updates: Annotated[int | None, Field(ge=1, description="Maximum number of updates of a network.")] = None,
        tuning: Annotated[int | None, Field(ge=1, le=20, description="Settings tried for each contender.")] = None,
        contenders: Annotated[list[str] | None, Field(max_length=20, description="Only these: ltc_ncp, ...")] = None,
    ) -> dict[str, Any]:
        """Start a study in the background: is a liquid network worth it for a recording? It takes minutes to hours. Get
        its progress and result with read_assess."""
        options: dict[str, Any] = {"target": target, "time": time, "horizon": horizon, "metric": metric}
        options |= {"time-limit": time_limit, "seeds": seeds, "updates": updates, "tuning": tuning}
        options["contender"] = contenders
        name = self._allowed().start(self._folders.find(recording), options)
        return {"study": name, "state": "running", "sentences": ["It runs in the background; call read_assess."]}

    def read_assess(
        self, study: Annotated[str, Field(max_length=100, description="Name of the study.")]
    ) -> dict[str, Any]:
        """The progress of a study or, when it is finished, its verdict with the figures."""
        return self._allowed().read(study)

    def _allowed(self) -> Studies:
        if self._studies is None:
            raise InputError("studies are not allowed: the server was started without --studies FOLDER")
        return self._studies


READING = ("list_sensors", "sensor_now", "sensor_why", "sensor_history", "list_files", "inspect_model", "predict")
STUDYING = ("start_assess", "read_assess")
CONTROLLING = ("set_alarm",)


@contextmanager
def _quoted_errors(file: str) -> Iterator[None]:
    """Quote errors about a file, because they can contain names from it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{file!r} can't be used: {quoted(error, 400)}") from None


def _described(model: Predictor) -> dict[str, Any]:
    task, scales = model.task, model.preprocessing
    looked_for = f"class {task.positive + 1}" if len(task.labels) == 2 else None
    found = {
        "kind": model.kind,
        "label": KINDS[model.kind].label if model.kind in KINDS else model.kind,
        "live_parameters": model.live_parameters(),
        "task": task.kind,
        "answers_per": task.per,
        "classes": len(task.labels),
        "looked_for": looked_for,
        "ahead": None if task.horizon is None else f"{task.ahead} {unit_of(task.horizon_unit)}",
        "alarm": None if task.alarm is None else rule(task.alarm),
        "time_unit": unit_of(scales.time_unit),
        "usual_gap": rounded(scales.time_scale, 6),
        "channels": [
            {"channel": f"channel {i}", "mean": rounded(mean, 6), "deviation": rounded(std, 6)}
            for i, (mean, std) in enumerate(zip(scales.mean[:SHOWN], scales.std[:SHOWN], strict=True), 1)
        ],
        "of_channels": scales.n_channels,
        "decided_by": task.primary,
        "validation": validation(model),
    }
    return with_names(found, model)


def _predicted(model: Predictor, path: Path, columns: dict[str, str | None]) -> dict[str, Any]:
    task = model.task
    like = model.metadata.get("columns", {}) | {name: value for name, value in columns.items() if value is not None}
    if task.horizon is None:
        like["target"] = task.target
    recording = Recording.read(path, channels=model.preprocessing.channels, like=like)
    outputs = model.outputs(recording)
    found: dict[str, Any] = {"samples": recording.n_samples, "series": recording.n_series}
    if task.kind == "classification":
        found |= _in_classes(task, recording, outputs)
    else:
        rows = np.concatenate([np.atleast_2d(one) for one in outputs])
        found["values"] = [
            {"mean": rounded(v.mean()), "lowest": rounded(v.min()), "highest": rounded(v.max()), "last": rounded(v[-1])}
            for v in rows.T
        ]
    labelled = task.with_targets(recording)
    if any(np.any(task.encode(series)[1] > 0) for series in labelled.series):
        scores = task.metrics(outputs, recording)
        found["against_the_truth"] = {name: rounded(value) for name, value in scores.items()}
    found["notes"] = [quoted(note) for note in recording.notes]
    return with_names(found, model)


def _in_classes(task: Task, recording: Recording, outputs: Sequence[np.ndarray]) -> dict[str, Any]:
    """The number of samples of each class, the stretches, and the number of alarms."""
    stretches, alarms, counts = [], 0, np.zeros(len(task.labels), dtype=int)
    for series, rows in zip(recording.series, outputs, strict=True):
        rows = np.atleast_2d(rows)
        labels = task.decide(rows)
        counts += np.bincount(labels, minlength=len(counts))
        ends = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
        times = series.times if len(series.times) == len(labels) else series.times[-1:]
        for start, stop in pairwise(ends):
            stretches.append(
                {
                    "class": f"class {labels[start] + 1}",
                    "series": quoted(series.name),
                    "from": moment(recording, float(times[start])),
                    "to": moment(recording, float(times[stop - 1])),
                    "samples": stop - start,
                    "highest_probability": rounded(rows[start:stop, labels[start]].max()),
                }
            )
        if task.alarm is not None and task.alarm.threshold is not None and task.per == "step":
            alarms += len(runs(task.alarm.raised(labels == task.positive, series.times))[0])
    return {
        "classes": {f"class {k + 1}": int(n) for k, n in enumerate(counts)},
        "stretches": stretches[:SHOWN],
        "stretches_left_out": max(len(stretches) - SHOWN, 0),
        "alarms": alarms,
    }
