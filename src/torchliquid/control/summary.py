"""The figures, the verdicts and the Markdown section of a comparison, from its lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from torchliquid.control.contenders import BY_NAME
from torchliquid.control.demonstrations import DROPPED, JITTER
from torchliquid.control.evaluation import CLEAN
from torchliquid.control.shifts import shift_kinds
from torchliquid.files import to_plain
from torchliquid.page.document import Table
from torchliquid.page.numbers import duration, number, significant, size
from torchliquid.study.results import Answer, Interval
from torchliquid.study.stats import verdict
from torchliquid.study.stats.comparison import CLOSE
from torchliquid.study.stats.intervals import Term, compare, estimate
from torchliquid.study.words import unknown

MATTERS = 0.05
"""The smallest difference of success rates that matters."""

BOUNDS = (0.0, 1.0)
Line = dict[str, Any]


def rate(sums: np.ndarray) -> np.ndarray:
    """The success rate of (..., 2) episodes and successes."""
    return np.asarray(sums[..., 1] / np.maximum(sums[..., 0], 1))


def successes(lines: Sequence[Line]) -> np.ndarray:
    """(seeds, worlds, 2) episodes and successes of a contender. Episodes of one world under several shifts are summed,
    because they are not independent."""
    seeds = sorted({line["seed"] for line in lines})
    worlds = sorted({one["seed"] for line in lines for one in line["episodes"]})
    sums = np.zeros((len(seeds), len(worlds), 2))
    for line in lines:
        for one in line["episodes"]:
            sums[seeds.index(line["seed"]), worlds.index(one["seed"])] += [1, bool(one["success"])]
    return sums


def answer(difference: Interval) -> Answer:
    """The verdict from the 95 % interval of the difference in success rates, liquid minus other."""
    return verdict.answer(difference, MATTERS)


def both(clean: Answer, shifted: Answer, differences: Sequence[Interval]) -> Answer:
    """The verdict on clean and shifted worlds together: worth it in one of them, and not worse in the other."""
    if "worth it" in (clean, shifted) and all(not d.known or d.high > 0 for d in differences):
        return "worth it"
    return "not worth it" if clean == shifted == "not worth it" else "not shown"


def summary(
    lines: Sequence[Line], about: Mapping[str, Any], units: Mapping[str, str], jitter: float, title: str, command: str
) -> dict[str, Any]:
    """All figures as plain data.

    Args:
        about: the content of ``study.json``.
        units: unit of the severity of each shift, by the shift's name.
        jitter: the share by which the demonstrations' intervals varied.
    """
    setting = about["setting"]
    names = list(setting["contenders"])
    trained = {line["id"]: line for line in lines if line["what"] == "trained"}
    tested = [line for line in lines if line["what"] == "tested" and line["contender"] in names]
    tested = [line for line in tested if line["seed"] < setting["seeds"]]
    validated = {line["id"]: line for line in lines if line["what"] == "validated"}
    pair = pair_of(lines, names, setting["seeds"])
    worlds = [(CLEAN, 0.0), *((kind.name, severity) for kind, severity in shift_kinds(setting["shifts"]))]
    contenders = []
    for name in names:
        own = [line for line in tested if line["contender"] == name]
        if not own:  # all its trainings failed
            continue
        ids = {f"{name}-{line['seed']}-{line['lr']:g}" for line in own}
        runs = [trained[one] for one in sorted(ids)]
        # In the order of the setting: lines are in that in which their jobs ended.
        groups = {world: [line for line in own if (line["shift"], line["severity"]) == world] for world in worlds}
        contenders.append(
            {
                "name": name,
                "label": BY_NAME[name].label,
                "family": BY_NAME[name].family,
                "parameters": runs[0]["parameters"],
                "encoder": runs[0]["encoder"],
                "bytes": runs[0]["bytes"],
                "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in runs])),
                "step_ms": float(np.median([one.get("step_ms", 0) for line in own for one in line["episodes"]])),
                "validation": float(np.mean([_success(validated[one]) for one in sorted(ids)])),
                "policies": sorted(ids),
                "clean": _figures(groups[CLEAN, 0.0]),
                "shifted": _figures([line for key, of in groups.items() if key[0] != CLEAN for line in of]),
                "worlds": [
                    {"shift": shift, "severity": severity, "unit": units.get(shift, ""), **_figures(of)}
                    for (shift, severity), of in groups.items()
                ],
            }
        )
    rivals = {side: near(pair[side], validated.values(), names, setting["seeds"]) for side in pair}
    verdicts: dict[str, dict[str, Any]] = {}
    differences, answers = [], []
    for part in ("clean", "shifted"):
        first, second = (
            Term(
                successes([line for line in tested if line["contender"] == pair[side] and _is(line, part)]),
                chosen_from=rivals[side],
            )
            for side in ("liquid", "other")
        )
        found = compare(first, second, rate, True, True, BOUNDS)
        differences.append(found)
        answers.append(answer(found))
        verdicts[part] = {"interval": vars(found), "answer": answers[-1], "words": _in_words(found)}
    overall = both(answers[0], answers[1], differences)
    return to_plain(
        {
            "title": title,
            "command": command,
            **about,
            "pair": pair,
            "contenders": contenders,
            "verdict": {"answer": overall, **verdicts},
            "episodes": sum(len(line["episodes"]) for line in tested),
            "jitter": jitter,
            "broken_off": [
                {"label": BY_NAME[one["contender"]].label, **{key: one[key] for key in ("seed", "lr", "broken_off")}}
                for one in trained.values()
                if "broken_off" in one and one["contender"] in names and one["seed"] < setting["seeds"]
            ],
            "crashed_simulators": sum(bool(one["why"]) for line in tested for one in line["episodes"]),
        }
    )


def pair_of(lines: Sequence[Line], contenders: list[str], seeds: int) -> dict[str, str]:
    """The pair that was chosen from these contenders and seeds. A folder that was used with others too has more."""
    pairs = [line for line in lines if line["what"] == "pair" and json.loads(line["id"])[1:] == [seeds, contenders]]
    return {side: pairs[-1][side] for side in ("liquid", "other")}


def near(chosen: str, validated: Iterable[Line], contenders: Sequence[str], seeds: int) -> int:
    """The number of contenders in the chosen one's family, itself included, that could have been best on the validation
    worlds by chance. The best of several is partly so by luck of its seeds, and the test worlds use the same seeds."""
    rates: dict[str, dict[int, float]] = {}
    for line in validated:
        if line["contender"] in contenders and BY_NAME[line["contender"]].family == BY_NAME[chosen].family:
            by_seed = rates.setdefault(line["contender"], {})
            by_seed[line["seed"]] = max(_success(line), by_seed.get(line["seed"], 0.0))  # the best of the tuning trials
    means, errors = {}, {}
    for name, by_seed in rates.items():
        own = [rate for seed, rate in by_seed.items() if seed < seeds]
        means[name] = np.mean(own)
        errors[name] = np.std(own, ddof=1) / np.sqrt(len(own)) if len(own) > 1 else 0.0
    return sum(abs(means[n] - means[chosen]) <= CLOSE * np.hypot(errors[n], errors[chosen]) for n in means)


def _is(line: Line, part: str) -> bool:
    return (line["shift"] == CLEAN) == (part == "clean")


def _figures(lines: Sequence[Line]) -> dict[str, Any]:
    """Success rate with its interval, path error, time to target and crashes, from the lines of one contender."""
    if not lines:
        return {"episodes": 0, "success": None, "low": None, "high": None}
    episodes = [one for line in lines for one in line["episodes"]]
    sums = successes(lines)
    # With one training, the interval does not cover other seeds; the page says so.
    found = estimate([Term(sums, deterministic=len(sums) == 1)], rate, True, BOUNDS)
    reached = [one["seconds"] for one in episodes if one["success"]]
    return {
        "episodes": len(episodes),
        "success": found.value,
        "low": found.low if found.known else None,
        "high": found.high if found.known else None,
        "path_error": _mean(episodes, "path_error"),
        "time_to_target": float(np.median(reached)) if reached else None,
        "crashes": int(sum(one["crashed"] for one in episodes)),
    }


def _success(line: Line) -> float:
    """The share of episodes that are known to have succeeded."""
    return float(np.mean([bool(one["success"]) for one in line["episodes"]]))


def _mean(episodes: Sequence[Line], what: str) -> float | None:
    known = [float(one[what]) for one in episodes if one[what] is not None]
    return float(np.mean(known)) if known else None


def _in_words(difference: Interval) -> str:
    points = f"{number(100 * difference.value, 0)} points"
    if not difference.known:
        return f"{points}, but {unknown(difference)}"
    return f"{points} ({number(100 * difference.low, 0)} to {number(100 * difference.high, 0)})"


# -- in words


def share(figures: Mapping[str, Any]) -> str:
    """``85 % (60 to 96)``."""
    if figures["success"] is None:
        return "–"
    low, value, high = ("" if figures[n] is None else number(100 * figures[n], 0) for n in ("low", "success", "high"))
    return f"{value} % ({low} to {high})" if low else f"{value} %"


def cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    """A contender's row of the table of figures."""
    clean, shifted = one["clean"], one["shifted"]
    error, seconds = clean.get("path_error"), clean.get("time_to_target")
    return (
        one["label"],
        share(clean),
        share(shifted),
        "–" if error is None else f"{significant(error, 2)} m",
        "–" if seconds is None else duration(seconds),
        f"{clean.get('crashes', 0)} + {shifted.get('crashes', 0)}",
        f"{one['parameters']:,}",
        size(one["bytes"]),
        f"{significant(one['step_ms'], 2)} ms",
        duration(one["cpu_seconds"]),
    )


HEAD = (
    "contender",
    "success, clean",
    "success, shifted",
    "path error",
    "time to target",
    "crashes, clean + shifted",
    "parameters, encoder apart",
    "file",
    "a step here",
    "training, processor",
)


def sentence(results: Mapping[str, Any]) -> str:
    """The verdict in two sentences."""
    label = {one["name"]: one["label"] for one in results["contenders"]}
    pair, clean, shifted = results["pair"], results["verdict"]["clean"], results["verdict"]["shifted"]
    return (
        f"{label[pair['liquid']]} against {label[pair['other']]}, chosen on validation worlds. How much more often the "
        f"liquid one succeeds: clean {clean['words']}: {clean['answer']}; under shifts {shifted['words']}: "
        f"{shifted['answer']}."
    )


def trained_for(results: Mapping[str, Any]) -> str:
    """Which shifts the training already contained."""
    setting, met = results["setting"], []
    elsewhere = bool(results.get("demonstrations"))
    if elsewhere and not setting["dagger"]:
        return "The demonstrations were recorded elsewhere; whether they contain any of the shifts is not known."
    dropped = max(0.0 if elsewhere else setting["dropped"], DROPPED if setting["dagger"] else 0.0)
    if dropped:
        met.append(f"{number(100 * dropped, 0)} % of the frames lost")
    if jitter := results.get("jitter", JITTER):
        met.append(f"control intervals up to {number(100 * jitter, 0)} % longer or shorter")
    if not met:
        return "All training was in the clean world, at regular times."
    return f"All training was in the clean world, with {' and '.join(met)}; to that degree these shifts are not new."


def world_of(world: Mapping[str, Any]) -> str:
    """``distance 20, m``."""
    if world["shift"] == CLEAN:
        return CLEAN
    unit = f", {world['unit']}" if world["unit"] else ""
    return f"{world['shift']} {world['severity']:g}{unit}"


def worlds_table(results: Mapping[str, Any]) -> Table:
    """The success of each contender in each world."""
    contenders = results["contenders"]
    rows = zip(*(one["worlds"] for one in contenders), strict=True)  # each contender's figures in one world
    head = ("world", *(one["label"] for one in contenders))
    return Table(head, tuple((world_of(row[0]), *map(share, row)) for row in rows))


def broken_off(results: Mapping[str, Any]) -> list[str]:
    """A paragraph that lists the trainings that failed; an empty list if there was none."""
    found = results.get("broken_off", [])
    treatment = (
        "Trainings that broke off do not count; the other trainings of the same contender do. A contender is left out "
        "if all its trainings broke off."
    )
    each = [f"{one['label']}, seed {one['seed']}, rate {one['lr']:g}: {one['broken_off']}." for one in found]
    return [" ".join([treatment, *each])] if found else []


def section(results: Mapping[str, Any]) -> str:
    """The section of a comparison in a Markdown page."""
    setting, contenders = results["setting"], results["contenders"]
    lines = [
        f"## {results['title']}",
        "",
        f"`{results['command']}`",
        "",
        f"**{results['verdict']['answer'].capitalize()}.** {sentence(results)}",
        "",
        f"{setting['demonstrations']} demonstrations, {setting['updates']} updates of each training, "
        f"{setting['seeds']} seed{'s' * (setting['seeds'] != 1)}, {setting['trials']} tuning "
        f"trial{'s' * (setting['trials'] != 1)} per contender, {setting['validation']} validation worlds, "
        f"{setting['test']} test worlds, each clean and under {len(setting['shifts'])} shifts: "
        f"{results['episodes']} test episodes. Nothing is trained again for a shift. {trained_for(results)}",
        "",
        Table(HEAD, tuple(cells(one) for one in contenders)).markdown(),
        "",
        "Success by world; in brackets the 95 % interval, over seeds and worlds"
        + (", of this one training" if setting["seeds"] == 1 else "")
        + ".",
        "",
        worlds_table(results).markdown(),
    ]
    if results["crashed_simulators"]:
        lines += [
            "",
            f"Episodes in which the simulator or a policy failed, counted as crashes: {results['crashed_simulators']}.",
        ]
    if broken := broken_off(results):
        lines += ["", *broken]
    return "\n".join(lines) + "\n"
