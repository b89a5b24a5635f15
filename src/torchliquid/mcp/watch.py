"""One live model: takes samples as they arrive, and keeps its answers, since when, and how often."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from torchliquid import metrics
from torchliquid.alarms import Alarm, AlarmState
from torchliquid.data import Recording, given
from torchliquid.data.given import MICROSECONDS
from torchliquid.data.recording import Series
from torchliquid.errors import InputError, printable
from torchliquid.mcp.lines import Lines, NoSample, Sample, quoted, rounded
from torchliquid.models.predictor import Predictor
from torchliquid.page.glossary import metric_label
from torchliquid.page.numbers import count, share, significant, span
from torchliquid.runtime.policy import POLICY

log = logging.getLogger(__name__)

KEPT = 4096
"""Number of samples that are kept for explanations."""

LISTED = 1000
"""Number of stretches, alarms and changes that are kept. All are counted."""

SHOWN = 20
"""Number of these in an answer, the last ones."""

LABELS = 100
"""Maximum number of class names in an answer."""

SILENT, GAPS = 5.0, 10
"""A device is silent without a sample for more than this many seconds and this many usual gaps."""

OTHER_UNIT = "units of time"
"""Stands for an unknown unit."""

DATES = (datetime(1990, 1, 1, tzinfo=UTC).timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp())
"""Times between these, in seconds since 1970, are shown as dates."""


@dataclass
class Stretch:
    """Consecutive samples of the same class, or of one alarm. Label -1 means no class. Times are in the model's unit,
    ``arrived`` is the time of arrival."""

    label: int
    start: float
    arrived: float
    end: float
    samples: int = 0
    highest: float = 0.0

    def grow(self, end: float, probability: float) -> None:
        """Add a sample."""
        self.end, self.samples, self.highest = end, self.samples + 1, max(self.highest, probability)


class Watch:
    """Any model except a policy, on the samples of a device. Its methods are thread-safe.

    Args:
        name: the sensor's name.
        model: the model.
        source: the source of samples, as it is displayed.
    """

    def __init__(self, name: str, model: Predictor, source: str) -> None:
        if POLICY in model.metadata:
            raise InputError(f"{name}: the model is a policy; give one that was trained on a recording")
        self.name, self.model, self.source = name, model, source
        self.task, self.scales = model.task, model.preprocessing
        self.table = model.metadata.get("columns", {})
        self.lines = Lines(self.scales.channels, self.table.get("time"))
        self.unit = unit_of(self.scales.time_unit)
        self.second = 10**6 / MICROSECONDS[self.unit] if self.unit in MICROSECONDS else None
        self.lock = threading.RLock()
        self.stream = model.live()
        self.alarm = self._alarm_state()
        self.samples, self.refused = 0, 0
        self.last_refused: dict[str, str] | None = None
        self.state, self.why = "connecting", ""
        self.kept: deque[tuple[float, np.ndarray]] = deque(maxlen=KEPT)
        self.stretches: deque[Stretch] = deque(maxlen=LISTED)
        self.alarms: deque[Stretch] = deque(maxlen=LISTED)
        self.changes: deque[dict[str, Any]] = deque(maxlen=LISTED)
        self.counts: Counter[str] = Counter()
        self.answer = np.empty(0)
        self.difference: float | None = None
        self.last, self.arrived, self.clock = np.nan, 0.0, 0.0

    # -- called by a source

    def set_state(self, state: str, why: str = "") -> None:
        """Set the state of the connection (connecting, live, ended or failed) and its reason."""
        with self.lock:
            self.state, self.why = state, why
        if why:
            log.warning("%s: %s: %s", self.name, state, printable(why))

    def restart(self) -> None:
        """Start a new series."""
        with self.lock:
            self.stream.reset()
            self.kept.clear()
            self.alarm = self._alarm_state()
            self.last, self.clock = np.nan, 0.0

    def line(self, line: bytes) -> None:
        """Take a line. If it is not a sample, it is counted, and the stream continues."""
        try:
            sample = self.lines.read(line)
        except NoSample as error:
            self.refuse(line, str(error))
            return
        if sample is not None:
            self.sample(sample)

    def refuse(self, what: bytes, why: str) -> None:
        """Count data that is not a sample."""
        with self.lock:
            self.refused += 1
            self.last_refused = {"text": quoted(what[:200].decode(errors="replace")), "why": why}
        if self.refused == 1:
            log.warning("%s: no sample: %s (more of them are counted)", self.name, why)

    def sample(self, sample: Sample) -> None:
        """Take a sample. It is refused if it has no reading of the model's channels."""
        try:
            values, unreadable, _ = given.readings(dict(sample.values), self.scales.channels, self.table)
            if values.ndim != 1 or (unreadable and np.isnan(values).all()):
                raise NoSample("no reading in it is a number")
            now = self._time(sample)
        except (ValueError, TypeError, OverflowError) as error:  # InputError and NoSample too
            why = str(error) if isinstance(error, NoSample) else "none of the model's channels, or no time, in it"
            self.refuse(repr(dict(sample.values)).encode(), why)
            return
        with self.lock:
            self.arrived = sample.arrived
            self.stream.faults["unreadable"] += unreadable
            if now is not None and now == self.last:
                self.stream.step(values, time=now)  # which counts it
                return
            elapsed = np.nan if now is None else now - self.last
            self.answer = self.stream.step(values, time=now)
            spans = float(self.scales.spans(elapsed)) * self.scales.time_scale
            self.clock += spans if self.kept else 0.0
            self.last = self.clock if now is None else now
            self.samples += 1
            self.kept.append((self.clock, values))
            if len(sample.answers) == len(self.answer):
                apart = float(np.abs(np.array(sample.answers) - self.answer).max())
                self.difference = max(apart, self.difference or 0.0)
            self._follow(spans)

    def _time(self, sample: Sample) -> float | None:
        """The time in the model's unit; None if it is unknown."""
        if sample.time is None:
            return None if self.second is None else sample.arrived * self.second
        try:
            now = float(sample.time)
        except ValueError:
            now = float(given.stamp(sample.time, self.scales.time_unit, self.table)[0])
        if not np.isfinite(now):
            raise NoSample("a time that is not finite")
        return now

    def _follow(self, spans: float) -> None:
        """Update the stretches and alarms after a sample."""
        task = self.task
        if task.kind != "classification":
            return
        label = int(task.decide(self.answer)) if np.isfinite(self.answer).all() else -1
        self.counts[f"samples {label}"] += 1
        if not self.stretches or self.stretches[-1].label != label or len(self.kept) == 1:
            self._begin(self.stretches, label, f"stretches {label}")
        self.stretches[-1].grow(self.last, float(self.answer[label]))
        if self.alarm is None:
            return
        was_on = self.alarm.on
        if self.alarm.step(label == task.positive, spans):
            if not was_on:
                self._begin(self.alarms, task.positive, "alarms")
            self.alarms[-1].grow(self.last, float(self.answer[task.positive]))

    def _begin(self, stretches: deque[Stretch], label: int, counted: str) -> None:
        stretches.append(Stretch(label, self.last, self.arrived, self.last))
        self.counts[counted] += 1

    def _alarm_state(self) -> AlarmState | None:
        alarm = self.task.alarm if self.task.per == "step" else None
        return None if alarm is None or alarm.threshold is None else AlarmState(alarm)

    # -- changes

    def set_alarm(
        self,
        threshold: float | None,
        length: float | None,
        merge: float | None,
        reason: str,
        record: Callable[[dict[str, Any]], object] = lambda change: None,
    ) -> dict[str, Any]:
        """Change when an alarm is raised, from now on; the model needs two classes and an answer per sample.

        Args:
            threshold, length, merge: see :class:`torchliquid.alarms.Alarm`; None: unchanged.
            reason: reason of the change, for the log.
            record: called with the change before it takes effect, to write it down.
        """
        if self.task.kind != "classification" or len(self.task.labels) != 2 or self.task.per != "step":
            raise InputError(f"{self.name}: alarms need a model with two classes and one answer per sample")
        with self.lock:
            before = self.task.alarm or Alarm()
            given = {"threshold": threshold, "length": length, "merge": merge}
            new = {name: value for name, value in given.items() if value is not None}
            after = replace(before, **new)
            if not new:
                raise InputError(f"{self.name}: nothing to change; give threshold, length or merge")
            if after.threshold is None:
                raise InputError(f"{self.name}: the model has no threshold yet; give one, a probability from 0 to 1")
            change = {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "sensor": self.name,
                "reason": quoted(reason),
                "from": rule(before),
                "to": rule(after),
            }
            record(change)
            self.task = replace(self.task, alarm=after)
            self.alarm = self._alarm_state()
            self.changes.append(change)
        log.warning("%s: alarm changed from %s to %s: %s", self.name, rule(before), rule(after), quoted(reason))
        return change

    # -- questions

    def when(self, moment: float) -> str:
        """A time as text, as a date if it is one."""
        if self.second is not None and DATES[0] <= moment / self.second <= DATES[1]:
            whole = datetime.fromtimestamp(round(moment / self.second, 3), UTC).replace(tzinfo=None)
            return whole.isoformat(" ", "milliseconds").removesuffix(".000")
        return f"{moment:.10g} {self.unit}"

    def status(self) -> dict[str, Any]:
        """Whether samples are arriving, and how many have arrived."""
        with self.lock:
            silent = time.time() - self.arrived if self.samples else 0.0
            gap = 0.0 if self.second is None else self.scales.time_scale / self.second
            state = "silent" if self.state == "live" and silent > max(SILENT, GAPS * gap) else self.state
            return {
                "sensor": self.name,
                "source": self.source,
                "state": state,
                "why": quoted(self.why) if self.why else "",
                "samples": self.samples,
                "refused": self.refused,
                "silent_for_s": round(silent, 1),
                "last_arrived": _iso(self.arrived) if self.samples else None,
            }

    def now(self) -> dict[str, Any]:
        """The model's answer for the last sample, since when, and how sure it is."""
        with self.lock:
            found = self._checked()
            found["time"] = self.when(self.last)
            sentences = self._classes(found) if self.task.kind == "classification" else self._values(found)
            found["how_sure"], words = self._sure()
            unseen = ~self.scales.observed(np.array([values for _, values in self.kept])).any(0)
            if unseen.any():
                which = ", ".join(f"channel {c + 1}" for c in np.flatnonzero(unseen)[:SHOWN])
                more = f" and {unseen.sum() - SHOWN:,} more" if unseen.sum() > SHOWN else ""
                sentences.append(f"No reading came of {which}{more} in the last {len(self.kept):,} samples.")
            if found["state"] in ("silent", "ended", "failed"):
                silent = f"Nothing has come for {span(found['silent_for_s'], 's')} (the source is {found['state']})."
                sentences.insert(0, f"{silent} The following is for the last sample.")
            return with_names(found | {"sentences": [*sentences, *words]}, self.model)

    def _checked(self) -> dict[str, Any]:
        found = self.status()
        if not self.samples:
            why = f" ({quoted(self.why)})" if self.why else ""
            garbage = f"; {self.refused:,} things that are no samples have" if self.refused else ""
            raise InputError(f"{self.name}: no sample has come yet{garbage}; the source is {self.state}{why}")
        return found

    def _classes(self, found: dict[str, Any]) -> list[str]:
        task, at = self.task, f"at sample {self.samples:,} ({found['time']})"
        each = {f"class {i}": rounded(p) for i, p in enumerate(self.answer, 1)}
        stretch = self.stretches[-1]
        label = f"class {stretch.label + 1}" if stretch.label >= 0 else None
        found |= {"class": label, "probabilities": each, "since": self._shown(stretch)}
        probability = each.get(label or "")
        if label is None or probability is None:
            return [f"The model's numbers are not finite {at}: there is no answer."]
        lasted = span(stretch.end - stretch.start, self.unit)
        sentences = [
            f"The answer is {label} with a probability of {share(probability)} {at}.",
            f"It has been {label} since {self.when(stretch.start)}: {count(stretch.samples)} samples, {lasted}.",
        ]
        if len(self.stretches) > 1 and len(self.kept) > stretch.samples:
            sentences.append(f"Before that it was class {self.stretches[-2].label + 1}.")
        if len(task.labels) == 2:
            found["looked_for"] = f"class {task.positive + 1}"
            sentences.append(f"class {task.positive + 1}, the rarer one in training, is the one to detect.")
        found["alarm"] = None
        if self.alarm is not None:
            found["alarm"] = {"on": self.alarm.on, **rule(self.alarm.alarm)}
            if self.alarm.on:
                found["alarm"]["since"] = self._shown(self.alarms[-1])
            on = f"on since {self.when(self.alarms[-1].start)}" if self.alarm.on else "not on"
            alarm = self.alarm.alarm
            length = f"{alarm.length:g} {self.unit}" if alarm.length else "one sample"
            sentences.append(
                f"An alarm is {on}; it begins when the probability of class {task.positive + 1} reaches "
                f"{alarm.threshold:.3g} for {length}."
            )
        return sentences

    def _values(self, found: dict[str, Any]) -> list[str]:
        task, ends = self.task, self.stream.interval
        ahead = "" if task.horizon is None else f", {task.ahead} {unit_of(task.horizon_unit)} ahead"
        found |= {"values": [rounded(v) for v in self.answer], "ahead": ahead.lstrip(", ") or None}
        found["interval"] = None if ends is None else [[rounded(v) for v in pair] for pair in ends]
        values = " and ".join(significant(float(v), 5) for v in self.answer)
        around = ""
        if ends is not None:
            pairs = (f"{significant(low, 4)} and {significant(high, 4)}" for low, high in ends.tolist())
            around = f", with its interval between {' and '.join(pairs)}"
        return [f"The answer for the target{ahead} is {values}{around} at sample {self.samples:,} ({found['time']})."]

    def _sure(self) -> tuple[dict[str, Any], list[str]]:
        """The model's validation scores, and whether the device computes the same outputs."""
        scores = validation(self.model)
        calibrated = getattr(self.model, "calibration", None) is not None
        sure = {"validation": scores, "calibrated": calibrated, "largest_difference_to_device": self.difference}
        sentences = []
        if self.task.primary in scores:
            figure = f"{metric_label(self.task.primary)} was {significant(scores[self.task.primary], 3)}"
            words = ", and its probabilities were calibrated there" if calibrated else ""
            sentences.append(f"On its validation part the model's {figure}{words}.")
        if self.difference is not None:
            sentences.append(
                f"The device's own answers differ from these by at most {self.difference:.1g} over all samples."
            )
        return sure, sentences

    def history(self) -> dict[str, Any]:
        """Since when, how often and for how long: stretches of each class, alarms, refused data and changes."""
        with self.lock:
            found = self._checked()
            found["classes"] = {
                f"class {k + 1}": {
                    "stretches": self.counts[f"stretches {k}"],
                    "samples": self.counts[f"samples {k}"],
                    "share_of_samples": round(self.counts[f"samples {k}"] / self.samples, 5),
                }
                for k in range(len(self.task.labels))
            }
            found["stretches"] = [self._shown(one) for one in list(self.stretches)[-SHOWN:]]
            alarms = [self._shown(one) for one in list(self.alarms)[-SHOWN:]]
            found["alarms"] = {"count": self.counts["alarms"], "last": alarms}
            found["faults"] = {what: n for what, n in self.stream.faults.items() if n}
            found["last_refused"] = self.last_refused
            found["changes"] = list(self.changes)[-SHOWN:]
            sentences = [
                f"{name} was the answer in {share(one['share_of_samples'])} of {self.samples:,} samples "
                f"(stretches: {one['stretches']:,})."
                for name, one in found["classes"].items()
            ]
            if self.alarm is not None:
                n = self.counts["alarms"]
                sentences.append("There was one alarm." if n == 1 else f"There were {count(n)} alarms.")
            if self.refused:
                sentences.append(
                    f"{self.refused:,} things came that are no samples; the last one: {found['last_refused']['why']}."
                )
            return with_names(found | {"sentences": sentences}, self.model)

    def _shown(self, one: Stretch) -> dict[str, Any]:
        named = {"class": f"class {one.label + 1}"} if one.label >= 0 else {}
        return {
            **named,
            "from": self.when(one.start),
            "to": self.when(one.end),
            "arrived": _iso(one.arrived),
            "samples": one.samples,
            "highest_probability": round(one.highest, 5),
        }

    def window(self, n: int) -> tuple[int, Recording]:
        """The number of samples so far, and the last ``n`` of them as a recording with numbered channels."""
        with self.lock:
            self._checked()
            number, last = self.samples, list(self.kept)[-n:]
        series = Series(np.array([at for at, _ in last]), np.array([values for _, values in last]), None, "live")
        channels = tuple(f"channel {i}" for i in range(1, self.scales.n_channels + 1))
        return number, Recording((series,), channels, None, self.unit, ())


def with_names(found: dict[str, Any], model: Predictor) -> dict[str, Any]:
    """An answer with the names of its numbered classes and channels, quoted, because names come from a file or a
    device. Only channels that the answer mentions are named."""
    task, scales = model.task, model.preprocessing
    names = {"the target": quoted(task.target)}
    names |= {f"class {i}": quoted(label) for i, label in enumerate(task.labels[:LABELS], 1)}
    for number in sorted(map(int, set(re.findall(r"channel (\d+)", json.dumps(found))))):
        names[f"channel {number}"] = quoted(scales.channels[number - 1])
    if unit_of(scales.time_unit) != scales.time_unit:
        names[OTHER_UNIT] = quoted(scales.time_unit)
    return found | {"names": names}


def unit_of(name: str) -> str:
    """The unit of time if it is known. Any other is a text from a file and is not shown."""
    return name if name in MICROSECONDS or name in ("samples", "units") else OTHER_UNIT


def validation(model: Predictor) -> dict[str, float]:
    """The model's validation scores, for known metrics."""
    found: dict[str, float] = {}
    for name, value in model.metadata.get("training", {}).get("validation", {}).items():
        with suppress(InputError, TypeError, ValueError):
            found[metrics.find(name).name] = float(f"{value:.4g}")
    return found


def rule(alarm: Alarm) -> dict[str, Any]:
    """The rule of an alarm as plain data."""
    return {"threshold": alarm.threshold, "length": alarm.length, "merge": alarm.merge}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
