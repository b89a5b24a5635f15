"""``explain.html`` and ``explain.json``: what a model does inside, for readers and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid import page
from torchliquid.errors import InputError
from torchliquid.explain import figures
from torchliquid.explain.attribution import Attribution
from torchliquid.explain.dynamics import Dynamics
from torchliquid.explain.experts import Experts
from torchliquid.explain.explanation import Explanation
from torchliquid.explain.roles import Roles
from torchliquid.explain.wiring import Circuit
from torchliquid.files import to_plain, write_json
from torchliquid.metrics import find
from torchliquid.page import Chart, Table
from torchliquid.page.glossary import METRICS, NETWORKS, metric_label
from torchliquid.page.numbers import capital, count, number, share, significant, span
from torchliquid.tasks import Task

GLOSSARY = {
    **NETWORKS,
    "time constant": "The time in which a small push to an LTC's neuron fades to 37 %. It changes with the inputs: "
    "this is what makes the network liquid.",
    "gate time scale": "A CfC has this instead of a time constant: the gap between samples over which the argument of "
    "a neuron's gate changes by one. It is not a memory span.",
    "excitatory": "A synapse that drives the neuron up.",
    "inhibitory": "A synapse that drives the neuron down.",
    "sensory, inter, command, motor": "The layers of a wired circuit, from the inputs to the answer.",
    "state": "The value that a neuron keeps from one sample to the next.",
    "role": "A neuron has a clear role if it follows an input or the target, or if the model gets worse without it, "
    "in both cases by more than chance explains.",
    "rank correlation": "Whether one quantity rises with another: 1 always, 0 no link, −1 it always falls.",
    "attribution": "How much each past reading changed the answer (integrated gradients).",
    "Lyapunov exponent": "Growth of a small difference in the state, per sample. Below 0 it dies out, so that the same "
    "inputs lead to the same answer whatever happened long before. Above 0 the network is chaotic.",
    "fixed point": "A state that does not change while the input is constant.",
    **{word: METRICS[word] for word in ("accuracy", "macro F1", "log loss", "RMSE", "MAE")},
}

DIGITS = 5

MOST_LINES = 4
"""Number of inputs drawn below the slider."""


@dataclass(frozen=True)
class Fact:
    """A finding in large type, with its meaning."""

    question: str
    figure: str
    sentence: str


def write_explanation(explained: Explanation, folder: Path) -> None:
    """Write ``explain.json`` and then ``explain.html`` into a folder, each completely or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    text = render(explained)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "explain.json", plain(explained))
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another folder") from None
    page.write_page(text, folder / "explain.html")


def plain(explained: Explanation) -> Any:
    """The results as plain data, rounded to five digits. NaN and infinity become None. Time constants and states are
    those of the moments."""
    taus = explained.time_constants
    slim = replace(taus, times=(), values=(), stepped=None, towards=None, inputs=(), states=())
    experts = explained.experts and replace(explained.experts, times=(), chosen=(), weights=())
    return to_plain(replace(explained, time_constants=slim, experts=experts), DIGITS)


def render(explained: Explanation) -> str:
    """The page as text."""
    roles, attributed, dynamics = explained.roles, explained.attribution, explained.dynamics
    charts = {
        "taus": [tau_chart(explained), *([] if explained.experts is None else [expert_chart(explained.experts)])],
        "roles": [] if roles is None else [role_chart(roles)],
        "attribution": [] if attributed is None else attribution_charts(attributed),
        "dynamics": [] if dynamics is None else [dynamics_chart(dynamics)],
    }
    word, sentence, kind = summary(explained)
    return page.render(
        "torchliquid.explain",
        "explain.html.j2",
        charts,
        GLOSSARY,
        data=picture(explained),
        style="circuit.css",
        scripts=("circuit.js",),
        e=explained,
        word=word,
        sentence=sentence,
        kind=kind,
        facts=facts(explained),
        synapses=synapse_table(explained.circuit),
        clear=role_table(roles, True),
        unclear=role_table(roles, False),
        **({} if dynamics is None else dynamics_tables(dynamics)),
    )


# -- the summary


def summary(explained: Explanation) -> tuple[str, str, str]:
    """The answer in a few words, in a sentence, and its kind: worth-it, not-worth-it or not-shown."""
    taus, dynamics, roles, quality = explained.time_constants, explained.dynamics, explained.roles, explained.quality
    parts = []
    if quality is None:
        word, kind = "Not judged: the recording has no targets", "not-shown"
    else:
        word = "Better than the naive answer" if quality.better else "No better than the naive answer"
        kind = "worth-it" if quality.better else "not-worth-it"
        parts.append(
            f"on this recording its {metric_label(quality.metric)} is {_score(quality.metric, quality.model)}, "
            f"the naive answer's {_score(quality.metric, quality.naive)}"
        )
    parts.append(in_words(explained))
    if roles is not None:
        more = f", {roles.close} more follow something closely" if roles.close else ""
        parts.append(f"{roles.clear} of {len(roles.roles)} neurons have a clear role{more}")
    if taus.weights_before != taus.weights_after:
        parts.append("its weights changed")
    if dynamics is not None:
        parts.append(f"a small difference in its state {'dies out' if dynamics.lyapunov < 0 else 'grows'}")
    return word, capital("; ".join(parts)) + ".", kind


def in_words(explained: Explanation) -> str:
    """How long the neurons remember, compared with the usual gap between samples."""
    taus, gap = explained.time_constants, explained.gap
    (middle,) = figures.quantiles(np.concatenate(taus.shown), [0.5], axis=0)
    ends = _span(taus.shown)
    if ends is None:
        return f"the neurons' {taus.name}s are infinite"
    moves = f"the neurons' {taus.name}s move between {ends[0]} and {ends[1]} {taus.unit}"
    if taus.name != "time constant":
        return moves
    short = int((middle < gap).sum())
    usual = f"the usual gap of {span(gap, taus.unit)}"
    if short > len(middle) / 2:
        return f"{moves}, most shorter than {usual}: most neurons forget within one sample"
    longest = significant(float(np.nanmax(middle) / gap), 2)
    return f"{moves}, most longer than {usual}: neurons remember up to about {longest} samples"


def facts(explained: Explanation) -> list[Fact]:
    """The findings, one per card."""
    found, taus = [], explained.time_constants
    if (q := explained.quality) is not None:
        naive = "the last value" if explained.task.horizon is not None else "the same at every sample"
        metric = capital(metric_label(q.metric))
        words = f"{metric} on this recording. The naive answer, {naive}, has {_score(q.metric, q.naive)}."
        found.append(Fact("How good is it here?", _score(q.metric, q.model), words))
    ends = _span(taus.shown)
    weights = "stay the same" if taus.weights_before == taus.weights_after else "changed"
    words = f"Over neurons and samples, 90 % of them{_of_equation(explained)}. The weights {weights}."
    figure = "infinite" if ends is None else f"{ends[0]} to {ends[1]} {taus.unit}"
    found.append(Fact(f"Do its {taus.name}s change?", figure, words))
    if (roles := explained.roles) is not None:
        more = f" {roles.close} more follow something closely; the recording is too short to rule out chance."
        words = (
            f"have a clear one.{more if roles.close else ''} With data of another time the same search finds "
            f"{roles.control_found}."
        )
        found.append(Fact("Do its neurons have roles?", f"{roles.clear} of {len(roles.roles)}", words))
    if (a := explained.attribution) is not None:
        channels = np.asarray(a.share).sum(1)
        top = int(np.argmax(channels))
        words = (
            f"of the changes of the answer. With noise of {a.noise:g} standard deviations the pattern is "
            f"{number(a.alike, 2)} similar (1 is equal; two unrelated moments {number(a.alike_by_chance, 2)}) and "
            f"{share(a.answers_kept)} of the answers do not change."
        )
        found.append(Fact("Which input matters most?", f"{a.channels[top]}, {share(float(channels[top]))}", words))
    if (d := explained.dynamics) is not None:
        growth = "−∞" if d.lyapunov == -math.inf else number(d.lyapunov, 2)
        if d.turns_positive_at is not None:
            when, usual = span(d.turns_positive_at, d.unit), span(d.gap, d.unit)
            beyond = f"It turns chaotic when samples are {when} apart; usual here: {usual}."
        elif d.lyapunov >= 0:
            beyond = "With longer gaps it was not chaotic in any shorter part."
        else:
            beyond = f"It stays stable up to gaps of {span(float(d.gap * np.max(d.multiples)), d.unit)}."
        found.append(Fact("Is it stable?", f"{growth} per sample", f"Below 0 small differences die out. {beyond}"))
    return found


def _span(values: Sequence[np.ndarray]) -> tuple[str, str] | None:
    """The range of 90 % of the finite time constants; None if all are infinite."""
    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    if not len(finite):
        return None
    low, high = np.quantile(finite, [0.05, 0.95])
    return significant(float(low), 2), significant(float(high), 2)


def _of_equation(explained: Explanation) -> str:
    """The time constants of the equation, if the solver's steps forget at another rate."""
    taus = explained.time_constants
    ends = _span(taus.values)
    if ends is None or ends == _span(taus.shown):
        return ""
    low, high = ends
    return f", with the solver's steps; the time constants of the equation lie between {low} and {high} {taus.unit}"


# -- the circuit


def picture(explained: Explanation) -> dict[str, Any]:
    """The data for the circuit's script."""
    moments, roles, taus, circuit = explained.moments, explained.roles, explained.time_constants, explained.circuit
    most_needed = max(roles.roles, key=lambda r: (r.clear, r.loss)).neuron if roles is not None else taus.neurons[0]
    sentences = {role.neuron: role.sentence for role in roles.roles} if roles is not None else {}
    data = {
        **drawn(circuit, answer_names(explained.task) if len(moments.answers) else (), sentences),
        "start": next((i for i, n in enumerate(circuit.neurons) if n.name == most_needed), 0),
        **{name: getattr(moments, name) for name in ("times", "inputs", "states", "taus", "answers")},
        "clock": moments.unit,
        "unit": taus.unit,
        "tau": taus.name,
        "strip": strip(explained),
    }
    found: dict[str, Any] = to_plain(data, DIGITS)
    return found


def drawn(circuit: Circuit, answers: Sequence[str], sentences: Mapping[str, str]) -> dict[str, Any]:
    """The nodes of the circuit's picture, with the array and the column that each shows, and its links as (source,
    target, polarity, strength).

    Args:
        circuit: of the model.
        answers: names of the answers, drawn as the last column; empty: without it.
        sentences: sentences about neurons, by name.
    """
    neurons: list[dict[str, Any]] = []
    for i, n in enumerate(circuit.neurons):
        shown = {"of": "inputs", "at": i} if n.state is None else {"of": "states", "at": n.state}
        neurons.append({"name": n.name, "kind": n.kind, "x": n.x, "y": n.y, **shown, "role": sentences.get(n.name, "")})
    synapses = [(s.source, s.target, s.polarity, s.strength) for s in circuit.synapses]
    if answers:
        columns, first = len({each["x"] for each in neurons}), len(neurons)
        for each in neurons:
            each["x"] = each["x"] * (columns - 1) / columns
        for k, name in enumerate(answers):
            y = (k + 0.5) / len(answers)
            neurons.append({"name": name, "kind": "answer", "x": 1.0, "y": y, "of": "answers", "at": k})
        most = max((strength for *_, strength in synapses), default=1.0) / float(np.abs(circuit.readout).max() or 1.0)
        for k, source in zip(*np.nonzero(circuit.readout), strict=True):
            weight = float(circuit.readout[k, source])
            synapses.append((int(source), first + int(k), 1 if weight > 0 else -1, abs(weight) * most))
    return {"neurons": neurons, "synapses": synapses}


def answer_names(task: Task) -> list[str]:
    """A name for each output of the network."""
    if task.kind == "classification":
        return [f"{task.target} = {label}" for label in task.labels]
    return [task.target] if task.n_outputs == 1 else [f"{task.target} {k + 1}" for k in range(task.n_outputs)]


def strip(explained: Explanation) -> list[dict[str, Any]]:
    """The lines below the slider: the most important inputs, then the answer and the truth."""
    moments, task, attributed = explained.moments, explained.task, explained.attribution
    order = np.arange(len(explained.channels))
    if attributed is not None:
        order = np.argsort(-np.asarray(attributed.share).sum(1), kind="stable")
    lines: list[dict[str, Any]] = [
        {"name": explained.channels[c], "values": moments.readings[:, c]} for c in order[:MOST_LINES]
    ]
    if len(moments.answers):
        name = f"{task.target}: answer, truth in grey"
        labels = {"labels": task.labels} if task.kind == "classification" else {}
        lines.append({"name": name, "truth": moments.truth, "values": moments.predicted, **labels})
    return lines


def synapse_table(circuit: Circuit) -> Table:
    """The circuit's picture as a table."""
    neurons = circuit.neurons
    rows = tuple(
        (neurons[s.source].name, neurons[s.target].name, "excitatory" if s.polarity > 0 else "inhibitory",
         significant(s.strength, 2))
        for s in circuit.synapses
    )  # fmt: skip
    left = circuit.left_out
    caption = f"Only the strongest; {count(left)} weaker ones are left out." if left else ""
    return Table(("From", "To", "Kind", "Strength"), rows, (), caption)


# -- the other sections, chart by chart


def tau_chart(explained: Explanation) -> Chart:
    taus = explained.time_constants
    low, middle, high = figures.quantiles(np.concatenate(taus.shown), [0.05, 0.5, 0.95], axis=0)
    columns = {"5 % quantile": _figures(low), "Median": _figures(middle), "95 % quantile": _figures(high)}
    if taus.stepped is not None:
        columns["The equation's median"] = _figures(np.median(np.concatenate(taus.values), axis=0))
    if taus.bounds is not None:
        ends = zip(*map(_figures, taus.bounds.T), strict=True)
        columns["Possible in the equation"] = [f"{a} to {b}" for a, b in ends]
    if taus.towards is not None and taus.heads is not None:
        up = (np.concatenate(taus.towards) > 0).mean(0)
        columns[taus.heads[1].capitalize()] = [share(float(v)) for v in up]
    rows = tuple(zip(taus.neurons, *columns.values(), strict=True))
    above, shaded = shading(explained)
    return Chart(
        "taus",
        f"How the {taus.name}s move through the recording, and which change the most",
        figures.tau_chart(taus, explained.moments, above),
        Table(("Neuron", *columns), rows, (), f"In {taus.unit}, over all samples."),
        f"{taus.meaning} {shaded}".strip(),
    )


def _figures(values: np.ndarray) -> list[str]:
    return [significant(float(v)) for v in values]


def expert_chart(found: Experts) -> Chart:
    """Which expert of a mixture is called when."""
    head = ("Expert", "Called at", "Median wait", "Mean weight", "Called when", "Follows")
    rows: list[tuple[str, ...]] = []
    for k, one in enumerate(found.experts, 1):
        (channel, area), (follows, correlation) = one.called_by, one.follows
        if not one.load:
            rows.append((f"expert {k}", "never", "", "", "", ""))
            continue
        when = f"{channel} is {'high' if area > 0.5 else 'low'} ({share(max(area, 1 - area))})"
        own = (share(one.load), significant(one.wait), significant(one.weight))
        rows.append((f"expert {k}", *own, when, f"{follows} ({significant(correlation)})"))
    note = (
        f"Waits between two calls in {found.unit}. In brackets: how often the input is higher, or lower, at a call "
        "than at another sample, where 50 % tells nothing; and the rank correlation of the input with the output."
    )
    return Chart(
        "experts",
        "Which expert is called when",
        figures.expert_chart(found),
        Table(head, tuple(rows), (), note),
        "At each sample the router chooses which experts step. The others wait, and are told how long they waited.",
    )


def shading(explained: Explanation) -> tuple[float | None, str]:
    """The value of the truth above which a chart's background is shaded, and its meaning; None if there is none."""
    task, truth = explained.task, explained.moments.truth
    if not np.isfinite(truth).any() or len(task.labels) > 2:
        return None, ""
    if task.kind == "classification":
        return 0.5, f"Shaded: {task.target} = {task.labels[1]}."
    middle = float(np.nanmedian(truth))
    return middle, f"Shaded: {task.target} above {significant(middle)}, its median here."


def role_chart(roles: Roles) -> Chart:
    rows = tuple(
        (role.neuron, *(number(float(c), 2) for c in line))
        for role, line in zip(roles.roles, roles.correlations, strict=True)
    )
    title = "Which neuron rises (blue) or falls (orange) with which input or target"
    table = Table(("Neuron", *roles.features), rows, (), "Rank correlation at the lag where it is strongest.")
    return Chart("roles", title, figures.role_chart(roles), table)


def role_table(roles: Roles | None, clear: bool) -> Table | None:
    """The neurons with a clear role, or those without; None if there are none."""
    if roles is None or not any(role.clear == clear for role in roles.roles):
        return None
    order = sorted(range(len(roles.roles)), key=lambda h: -roles.roles[h].loss)
    order = [h for h in order if roles.roles[h].clear == clear]
    head: tuple[str, ...] = ("Neuron", "Role")
    caption = "" if roles.metric is None else f"The whole model: {significant(roles.intact)}."
    rows: list[tuple[str, ...]] = [(roles.roles[h].neuron, roles.roles[h].sentence) for h in order]
    if roles.metric is not None:
        head += (f"{capital(metric_label(roles.metric))} without it",)
        rows = [(*row, significant(float(roles.without[h]))) for row, h in zip(rows, order, strict=True)]
    return Table(head, tuple(rows), () if clear else ("unclear",) * len(rows), caption)


def attribution_charts(a: Attribution) -> list[Chart]:
    most = float(max(np.max(a.share), np.max(a.noisy_share)))
    head = ("Input", "In all", *(f"{lag:g} before" for lag in a.lags[:8]))
    charts = []
    for name, title, values, older in (
        ("clean", "Which input changed the answer, and how long ago", np.asarray(a.share), a.older),
        ("noise", f"The same with noise ({a.noise:g} standard deviations)", np.asarray(a.noisy_share), a.noisy_older),
    ):
        rows = tuple(
            (a.channels[c], share(float(values[c].sum())), *(f"{number(100 * float(v), 1)} %" for v in values[c, :8]))
            for c in np.argsort(-values.sum(1), kind="stable")
        )
        table = Table(head, rows, (), f"Before these {len(a.lags)} samples: {share(older)}.")
        charts.append(Chart(f"attribution-{name}", title, figures.attribution_chart(a, values, most), table))
    return charts


def dynamics_chart(d: Dynamics) -> Chart:
    rows = tuple(
        (span(m * d.gap, d.unit), f"{significant(m, 2)} ×", "gone after one sample" if v == -math.inf else number(v, 2))
        for m, v in zip(map(float, d.multiples), map(float, d.lyapunov_by_gap), strict=True)
    )
    table = Table(("Time between samples", "Of the recording's", "Growth per sample"), rows)
    title = "Up to which gap between samples it is stable: above the line differences grow, below it they die out"
    note = (
        f"The dashed line is at {span(d.turns_positive_at, d.unit)}, the shortest gap at which it is chaotic."
        if d.turns_positive_at is not None
        else "At none of these gaps is it chaotic."
    )
    return Chart("lyapunov", title, figures.lyapunov_chart(d), table, note)


def dynamics_tables(d: Dynamics) -> dict[str, Table]:
    """The fixed points, each neuron's state there, and its bounds."""
    points = tuple(
        (p.at, "stable" if p.stable else "not stable", number(p.spectral_radius, 3), f"{p.residual:.0e}")
        for p in d.fixed_points
    )
    columns = [[number(float(v), 2) for v in p.state] for p in d.fixed_points]
    states = tuple(zip(d.neurons, *columns, strict=True))
    possible = ["–"] * len(d.neurons) if d.bounds is None else map(_ends, d.bounds)
    bounds = tuple(zip(d.neurons, map(_ends, d.seen), possible, strict=True))
    return {
        "fixed": Table(("Constant input", "Is it stable?", "Spectral radius", "Change in one more step"), points),
        "fixed_states": Table(("Neuron", *(p.at for p in d.fixed_points)), states),
        "bounds": Table(("Neuron", "Seen here", "Possible"), bounds),
    }


def _ends(ends: np.ndarray) -> str:
    return f"{number(float(ends[0]), 2)} to {number(float(ends[1]), 2)}"


def _score(metric: str, value: float) -> str:
    return f"{number(100 * value, 1)} %" if find(metric).share else significant(value)
