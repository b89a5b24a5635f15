"""Explain the last answer of a live model in sentences: its inputs, time constants and neurons.

All analyses run on a copy of the model in which channels and classes are numbered. So no sentence contains a name from
a file or a device.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from torchliquid import explain
from torchliquid.data import Recording
from torchliquid.errors import InputError
from torchliquid.explain.neurons import has_experts
from torchliquid.mcp.lines import rounded
from torchliquid.mcp.watch import Watch, with_names
from torchliquid.models.model import Model
from torchliquid.page.numbers import number, share, span

LAGS, ROLES = 256, 2000
"""Maximum number of past samples for an attribution, and for the neurons' roles."""

SHOWN = 100
"""Maximum number of channels and neurons in an answer."""

ENOUGH = 100
"""Minimum number of samples for the neurons' roles."""

T = TypeVar("T")


class Reasons:
    """The reasons of one live model. Only one call computes at a time; waiting calls get the same result."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.lock = threading.Lock()
        self.latest: tuple[int, dict[str, Any]] | None = None
        self.twin = _numbered(watch) if isinstance(watch.model, Model) else None

    def __call__(self) -> dict[str, Any]:
        """The reasons for the model's answer, at the last sample before this call or a later one."""
        asked, _ = self.watch.window(1)
        with self.lock:
            if self.latest is None or self.latest[0] < asked:
                n, recording = self.watch.window(ROLES)
                self.latest = n, self._compute(n, recording)
            return self.latest[1]

    def _compute(self, n: int, recording: Recording) -> dict[str, Any]:
        left_out: list[str] = []

        def attempt(analyse: Callable[[Model], T]) -> T | None:
            if self.twin is None:
                return None
            try:
                return analyse(self.twin)
            except InputError as error:
                left_out.append(str(error))
                return None

        (series,) = recording.series
        lags = min(LAGS, len(series))
        moved = attempt(lambda model: explain.attribution(model, recording, lags=lags, moments=1))
        taus = attempt(lambda model: explain.time_constants(model, recording))
        roles = None
        if len(series) < ENOUGH:
            left_out.append(f"neurons' roles need {ENOUGH} samples; {len(series)} have arrived")
        else:
            roles = attempt(lambda model: explain.roles(model, recording))
        if self.twin is None:
            left_out.append(f"a model of kind {self.watch.model.kind!r} has no neurons to explain")
        inputs, sentences = self._inputs(series.values, moved)
        found: dict[str, Any] = {"sensor": self.watch.name, "sample": n, "inputs": inputs[:SHOWN]}
        if taus is not None:
            values = taus.shown[0]
            found["time_constants"] = {
                "name": taus.name,
                "unit": taus.unit,
                "now": dict(list(zip(taus.neurons, (rounded(tau, 6) for tau in values[-1]), strict=True))[:SHOWN]),
                "meaning": taus.meaning,
            }
            sentences.append(_taus(taus.name, taus.unit, values))
        if roles is not None:
            clear = [role for role in roles.roles if role.clear or role.close]
            found["neurons"] = {role.neuron: role.sentence for role in clear[:SHOWN]}
            sentences.append(
                f"{len(clear)} of {len(roles.roles)} neurons follow something in the last {roles.samples:,} samples."
            )
            sentences += [f"{role.neuron}: {role.sentence}" for role in clear[:5]]
        if self.twin is not None and has_experts(self.twin):
            called = attempt(lambda model: explain.experts(model, recording))
            if called is not None:
                found["experts"], words = self._experts(called)
                sentences += words
        found |= {"sentences": sentences, "left_out": list(dict.fromkeys(left_out))}
        return with_names(found, self.watch.model)

    def _experts(self, called: explain.Experts) -> tuple[list[dict[str, Any]], list[str]]:
        """Each expert of a mixture: whether it answers now, since when, with which weight, and how often it does."""
        (times,), (chosen,), (weights,) = called.times, called.chosen, called.weights
        begun = self.watch.last - self.watch.clock
        experts, sentences = [], []
        for k, expert in enumerate(called.experts):
            calls = (chosen == k).any(1)
            one: dict[str, Any] = {"expert": k + 1, "now": bool(calls[-1]), "load": round(expert.load, 4)}
            if calls[-1]:
                run = len(calls) - int(np.argmin(calls[::-1])) if not calls.all() else 0
                one["since"] = self.watch.when(begun + float(times[run]))
                one["weight"] = rounded(weights[-1][chosen[-1] == k][0], 6)
                before = "" if run else " or before"
                sentences.append(
                    f"Expert {k + 1} of {len(called.experts)} answers now, with a weight of {share(one['weight'])}, "
                    f"since {one['since']}{before}; it was called at {share(expert.load)} of the last {len(calls):,} "
                    f"samples, where an equal share is {share(chosen.shape[1] / len(called.experts))}."
                )
            elif calls.any():
                one["last"] = self.watch.when(begun + float(times[np.flatnonzero(calls)[-1]]))
            experts.append(one)
        return experts, sentences

    def _inputs(self, values: np.ndarray, moved: explain.Attribution | None) -> tuple[list[dict[str, Any]], list[str]]:
        """Each channel's last reading compared with training, and its share in the answer, the largest first."""
        scales = self.watch.scales
        seen = scales.observed(values)
        places = [int(np.flatnonzero(column)[-1]) if column.any() else None for column in seen.T]
        readings = [np.nan if at is None else float(values[at, c]) for c, at in enumerate(places)]
        shares = None if moved is None else moved.share.sum(1)
        inputs = []
        for c, reading in enumerate(readings):
            one: dict[str, Any] = {"channel": f"channel {c + 1}", "reading": rounded(reading, 6)}
            one["usual"] = rounded(scales.mean[c], 6)
            one["deviations"] = rounded((reading - scales.mean[c]) / scales.unit[c], 6)
            if shares is not None and moved is not None:
                one["share"] = round(float(shares[c]), 4)
                weight = moved.share[c]
                age = float(weight @ moved.lag_times / weight.sum()) if weight.sum() else 0.0
                one["mean_age"] = f"{age:.3g} {moved.unit}"
            inputs.append(one)
        key = "deviations" if shares is None else "share"
        inputs.sort(key=lambda one: -abs(one[key] or 0.0))
        sentences = []
        for rank, one in enumerate(inputs[:3]):
            what = _compared(one)
            if moved is None:
                sentences.append(f"{one['channel']} is {what}.")
            elif one["share"] >= 0.01:
                most = "moved this answer most" if not rank else "moved it too"
                sentences.append(
                    f"{one['channel']} {most}: {share(one['share'])} of all influence, on average by readings "
                    f"{one['mean_age']} ago; it is {what}."
                )
        if moved is not None and not moved.share.any():
            sentences.append("No reading has moved this answer yet.")
        elif moved is not None:
            before = f"; earlier samples have {share(moved.older)} of the influence" if moved.older >= 0.01 else ""
            kept = "stays the same" if moved.answers_kept > 0.5 else "changes"
            sentences.append(
                f"If noise of {moved.noise:g} standard deviations is added to all readings, the answer {kept}, and the "
                f"influences have a similarity of {number(moved.alike, 2)} (1 is the same). Computed by integrated "
                f"gradients over the last {len(moved.lags):,} samples{before}."
            )
        return inputs, sentences


def _compared(one: dict[str, Any]) -> str:
    if one["reading"] is None:
        return "not observed yet"
    if one["deviations"] is None:
        return f"{one['reading']:.4g}"
    side = "above" if one["deviations"] > 0 else "below"
    return (
        f"{one['reading']:.4g}, {abs(one['deviations']):.2g} standard deviations {side} its mean in training, "
        f"{one['usual']:.4g}"
    )


def _taus(name: str, unit: str, values: np.ndarray) -> str:
    finite = values[-1][np.isfinite(values[-1])]
    if not len(finite):
        return f"No neuron has a finite {name} now."
    over = values[np.isfinite(values)]
    low, high = np.quantile(over, [0.05, 0.95])
    return (
        f"The neurons' {name}s are now {span(float(finite.min()), unit)} to {span(float(finite.max()), unit)}, with a "
        f"median of {span(float(np.median(finite)), unit)}; over the last {len(values):,} samples 90 % lay between "
        f"{span(float(low), unit)} and {span(float(high), unit)}."
    )


def _numbered(watch: Watch) -> Model:
    """A copy of the model in which channels and classes are numbered."""
    twin = copy.deepcopy(watch.model)
    assert isinstance(twin, Model)
    labels = tuple(f"class {i}" for i in range(1, len(twin.task.labels) + 1))
    channels = tuple(f"channel {i}" for i in range(1, len(twin.preprocessing.channels) + 1))
    twin.task = replace(twin.task, labels=labels, target="the target")
    twin.preprocessing = replace(twin.preprocessing, channels=channels, time_unit=watch.unit)
    return twin.eval()
