"""The report of a comparison of policies, as one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid import page
from torchliquid.control.environments import EnvMaker, Expert, expert_of
from torchliquid.control.evaluation import CLEAN, expert_path, shifted
from torchliquid.control.films import Film, film
from torchliquid.control.shifts import ALL, Shift
from torchliquid.control.summary import HEAD, broken_off, cells, sentence, trained_for, worlds_table
from torchliquid.jobs.lines import read
from torchliquid.models.model import Model
from torchliquid.page.charts import LEGEND_ABOVE, Figure, figure, plotly_text, scatter
from torchliquid.page.document import Chart, Table
from torchliquid.page.glossary import NETWORKS

GLOSSARY = {
    **NETWORKS,
    "success": "As the environment defines it: the target was reached, or a lap was driven in the lane.",
    "shift": "A change between training and use, such as fog or lost frames. Nothing is trained again for it.",
    "path error": "Mean distance between the policy's path and the expert's in the same world, in metres.",
    "95 % interval": "It contains the true rate in 95 of 100 such comparisons, over seeds and worlds together.",
    "pair": "The best liquid contender and the best other one on validation worlds. It was written down before any "
    "test world was used.",
    "saliency": "How much the answer changes when a pixel changes a little, with the same state.",
    "time constant": "How fast a neuron forgets at that moment; for a CfC, the time scale of its gate.",
}
WIDE = 150


def write_report(folder: Path, results: Mapping[str, Any], env: EnvMaker, expert: Expert | None) -> None:
    """Write ``report.html`` of a finished comparison."""
    lines = [line for line in read(folder / "lines.jsonl") if line["what"] == "tested"]
    films = _films(folder, results, lines, env)
    charts = {
        "worlds": [_worlds(results)],
        "severity": _severities(results),
        "paths": _paths(results, lines, env, expert),
        "films": [_constants(i, one) for i, (_, one) in enumerate(films)],
    }
    text = page.render(
        "torchliquid.control",
        "control.html.j2",
        charts=charts,
        glossary=GLOSSARY,
        results=results,
        sentence=sentence(results),
        trained_for=trained_for(results),
        broken_off=broken_off(results),
        main=_table(results, 1, 6),
        cost=_table(results, 6, len(HEAD)),
        films=films,
    )
    page.write_page(text, folder / "report.html")


def _table(results: Mapping[str, Any], first: int, last: int) -> Table:
    contenders = results["contenders"]
    rows = [cells(one) for one in contenders]
    kinds = tuple("pair" if one["name"] in results["pair"].values() else "" for one in contenders)
    return Table((HEAD[0], *HEAD[first:last]), tuple((row[0], *row[first:last]) for row in rows), kinds)


def _colour(results: Mapping[str, Any], name: str) -> str:
    pair = results["pair"]
    return {pair["liquid"]: "--liquid", pair["other"]: "--rival"}.get(name, "--other")


def _world(world: Mapping[str, Any]) -> str:
    return CLEAN if world["shift"] == CLEAN else f"{world['shift']} {world['severity']:g}"


def _worlds(results: Mapping[str, Any]) -> Chart:
    contenders = results["contenders"]
    names = [_world(world) for world in contenders[0]["worlds"]]
    trace = {
        "type": "heatmap",
        "x": [plotly_text(one["label"]) for one in contenders],
        "y": [plotly_text(name) for name in names],
        "z": [[100 * one["worlds"][i]["success"] for one in contenders] for i in range(len(names))],
        "zmin": 0,
        "zmax": 100,
        "colorscale": [[0, "--heat-low"], [1, "--heat-middle"]],
        "showscale": False,
        "texttemplate": "%{z:.0f} %",
        "textfont": {"color": "--ink"},
        "hovertemplate": "%{y}, %{x}: %{z:.0f} %<extra></extra>",
        "xgap": 2,
        "ygap": 2,
    }
    made = figure([trace], "", "", height=90 + 30 * len(names), yaxis={"autorange": "reversed"}, xaxis={"side": "top"})
    return Chart("worlds", "Success by contender and world", made, worlds_table(results))


def _severities(results: Mapping[str, Any]) -> list[Chart]:
    """A chart for each shift: success against severity, from the clean worlds at 0."""
    contenders, charts = results["contenders"], []
    shifts = list(dict.fromkeys(w["shift"] for w in contenders[0]["worlds"] if w["shift"] != CLEAN))
    for i, shift in enumerate(shifts):
        traces, unit = [], ""
        for one in contenders:
            points = [w for w in one["worlds"] if w["shift"] in (CLEAN, shift)]
            points.sort(key=lambda w: w["severity"])
            unit = points[-1]["unit"]
            paired = one["name"] in results["pair"].values()
            line = {"color": _colour(results, one["name"]), "width": 3 if paired else 1.5}
            marker = {"color": line["color"], "size": 8 if paired else 5}
            x, y = [w["severity"] for w in points], [100 * w["success"] for w in points]
            traces.append(scatter("lines+markers", x, y, one["label"], line=line, marker=marker))
        made = figure(traces, unit, "success, %", 300, showlegend=True, yaxis={"range": [-4, 104]}, legend=LEGEND_ABOVE)
        charts.append(Chart(f"severity{i}", shift.capitalize(), made))
    return charts


def _paths(
    results: Mapping[str, Any], lines: list[dict[str, Any]], env: EnvMaker, expert: Expert | None
) -> list[Chart]:
    """Paths in the first test world from above, clean and under the shift in which the contenders differ most."""
    first = [line for line in lines if line["seed"] == 0]
    if not any(one["path"] for line in first for one in line["episodes"]):
        return []
    apart = {
        (w["shift"], w["severity"]): np.std([one["worlds"][i]["success"] for one in results["contenders"]])
        for i, w in enumerate(results["contenders"][0]["worlds"])
        if w["shift"] != CLEAN
    }
    shown = [(CLEAN, 0.0), *sorted(apart, key=lambda key: -apart[key])[:1]]
    label = {one["name"]: one["label"] for one in results["contenders"]}
    charts = []
    for i, key in enumerate(shown):
        traces, seed = [], first[0]["episodes"][0]["seed"]
        if (known := _of_the_expert(env, expert, key, seed, results["setting"]["max_steps"])) is not None:
            traces.append(_line("the expert", known, "--truth", "dot", 2))
        for line in first:
            if (line["shift"], line["severity"]) == key and line["contender"] in label:
                path = line["episodes"][0]["path"]
                if path and len(path[0]) > 1:
                    colour = _colour(results, line["contender"])
                    traces.append(_line(label[line["contender"]], np.array(path), colour, "solid", 2.5))
        if traces:
            axes = ("metres east", "metres north")
            made = figure(traces, *axes, 420, showlegend=True, yaxis={"scaleanchor": "x"}, legend=LEGEND_ABOVE)
            where = "a clean world" if key[0] == CLEAN else f"the same world, {key[0]} {key[1]:g}"
            charts.append(Chart(f"paths{i}", f"Paths from above: {where}", made))
    return charts


def _line(name: str, path: np.ndarray, colour: str, dash: str, width: float) -> Figure:
    x, y = np.round(path.T[:2], 2)
    return scatter("lines", x, y, name, line={"color": colour, "dash": dash, "width": width})


def _of_the_expert(
    env: EnvMaker, expert: Expert | None, key: tuple[str, float], seed: int, max_steps: int
) -> np.ndarray | None:
    world = shifted(env, _kind(key[0]), key[1])
    teacher = expert_of(world, expert)
    path = None if teacher is None else expert_path(world, teacher, seed, max_steps)
    world.close()
    return None if path is None or path.ndim < 2 or path.shape[1] < 2 else path[:: max(1, len(path) // 120)]


def _kind(name: str) -> type[Shift] | None:
    return next((kind for kind in ALL if kind.name == name), None)


def _films(
    folder: Path, results: Mapping[str, Any], lines: list[dict[str, Any]], env: EnvMaker
) -> list[tuple[str, Film]]:
    """For both of the pair: one episode that succeeds, and one under a shift that fails."""
    found = []
    label = {one["name"]: one["label"] for one in results["contenders"]}
    for side in ("liquid", "other"):
        name = results["pair"][side]
        own = [line for line in lines if line["contender"] == name and line["seed"] == 0]
        for wanted in (True, False):
            flights = [
                (line, one)
                for line in own
                for one in line["episodes"]
                if bool(one["success"]) is wanted and not one["why"] and (wanted or line["shift"] != CLEAN)
            ]
            if not flights:
                continue
            line, one = flights[0]
            model = Model.load(folder / "policies" / f"{name}-{line['seed']}-{line['lr']:g}.safetensors")
            kind, most = _kind(line["shift"]), results["setting"]["max_steps"]
            if (made := film(model, env, kind, line["severity"], one["seed"], most)) is not None:
                ended = "succeeds" if made.success else "fails"
                found.append((f"{label[name]}, {_world(line)}: {ended} after {one['seconds']:.1f} s", made))
    return found


def _constants(i: int, one: Film) -> Chart:
    traces = []
    if one.constants is not None:
        step = max(1, len(one.times) // WIDE)
        shown = np.where(np.isfinite(one.constants), one.constants, np.nan)[::step]
        lively = np.argsort(-np.nanstd(np.log(np.maximum(shown, 1e-6)), 0))[:8]
        times = np.round(one.times[::step], 2)
        traces = [
            scatter("lines", times, shown[:, k], one.neurons[k], digits=3, line={"width": 1.5}) for k in lively.tolist()
        ]
    made = figure(
        traces, "seconds of the episode", f"{one.quantity}, s", height=260, yaxis={"type": "log"}, showlegend=False
    )
    return Chart(f"constants{i}", f"{one.quantity.capitalize()}s of the eight neurons in which they vary most", made)
