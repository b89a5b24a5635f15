from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.control.test_imitation import Finds, knows
from tests.control.toys import Toy
from typer.testing import CliRunner

from torchliquid import control
from torchliquid.cli import app
from torchliquid.control import study
from torchliquid.control.contenders import CONTENDERS, PUBLISHED
from torchliquid.control.settings import setting_of, write_document
from torchliquid.control.study import DEMONSTRATED, TESTED, VALIDATED, Setting, shift_kinds
from torchliquid.control.summary import answer, both, near, pair_of, section, successes, summary, trained_for, world_of
from torchliquid.errors import InputError
from torchliquid.jobs.lines import read
from torchliquid.study.results import Interval
from torchliquid.training import TrainingError

TINY = Setting(
    contenders=("cfc", "feedforward"),
    demonstrations=4,
    noise=0.0,
    dropped=0.0,
    updates=20,
    parameters=1500,
    validation=2,
    test=6,
    shifts=(("DroppedFrames", 0.4), ("Hue", 30.0)),
)


class Breaks(Finds):
    """Its simulator takes the process down in some test worlds."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None and seed >= TESTED + 2 and os.environ.get("BREAKS"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reset(seed=seed, options=options)


class NeverTells(Finds):
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        *rest, info = super().step(action)
        return *rest, {"position": info["position"]}  # type: ignore[return-value]


def knows_too(env: Any, observation: Any) -> Any:
    return knows(env, observation)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("study") / "finds"
    return folder, control.assess(Finds, knows, folder, TINY, title="Finds", command="torchliquid control finds")


def test_the_pair_is_fixed_before_a_test_world_is_seen(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    lines = read(folder / "lines.jsonl")
    order = [line["what"] for line in lines]
    assert order.count("pair") == 1
    assert order.index("pair") < order.index("tested")
    assert max(i for i, what in enumerate(order) if what == "validated") < order.index("pair")
    worlds = {
        what: {e["seed"] for x in lines if x["what"] == what for e in x["episodes"]} for what in ("validated", "tested")
    }
    assert worlds["validated"] == set(range(VALIDATED, VALIDATED + 2))
    assert worlds["tested"] == set(range(TESTED, TESTED + 6))
    assert max(worlds["validated"] | {DEMONSTRATED}) < TESTED
    for one in results["contenders"]:
        assert abs(one["parameters"] - 1500) <= 150
        assert one["encoder"] == results["contenders"][0]["encoder"] <= 10_000
        assert one["clean"]["episodes"] == 6
        assert one["shifted"]["episodes"] == 12
    assert results["verdict"]["answer"] == "not shown"  # from one seed
    assert "one seed can't tell" in results["verdict"]["clean"]["words"]


def test_the_report_and_the_page_show_it(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, results = finished
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) < 6_000_000
    for words in ("CfC", "Feed-forward", "dropped frames 0.4", "data:image/jpeg;base64,", "chosen before"):
        assert words in page
    write_document(folder.parent, tmp_path / "control.md")
    text = (tmp_path / "control.md").read_text()
    assert "## Finds" in text
    assert "Not shown" in text
    assert json.loads((folder / "results.json").read_text())["pair"] == results["pair"]


def test_each_contender_has_its_worlds_in_the_order_of_the_setting(finished: tuple[Path, dict[str, Any]]) -> None:
    """However the jobs of several processes end: rows of tables take the worlds of all contenders by their place."""
    folder, results = finished
    lines, about = read(folder / "lines.jsonl"), json.loads((folder / "study.json").read_text())
    late = [line for line in lines if line["what"] == "tested" and line["contender"] == "cfc"]
    lines = [line for line in lines if line not in late] + late[::-1]
    units = {world["shift"]: world["unit"] for world in results["contenders"][0]["worlds"]}
    again = summary(lines, about, units, results["jitter"], results["title"], results["command"])
    assert [one["worlds"] for one in again["contenders"]] == [one["worlds"] for one in results["contenders"]]
    assert [world["shift"] for world in again["contenders"][0]["worlds"]] == ["clean", "dropped frames", "hue"]


def test_an_environment_may_tell_of_success_alone(finished: tuple[Path, dict[str, Any]]) -> None:
    """Then an episode of which nothing is known did not succeed."""
    folder, _ = finished
    lines, about = read(folder / "lines.jsonl"), json.loads((folder / "study.json").read_text())
    for line in lines:
        for one in line.get("episodes", []):
            one["success"] = (line["contender"] == "cfc" and one["seed"] == VALIDATED) or None
    found = {one["name"]: one for one in summary(lines, about, {}, 0.25, "", "")["contenders"]}
    assert found["cfc"]["validation"] == 0.5
    assert found["feedforward"]["validation"] == found["feedforward"]["clean"]["success"] == 0


def test_what_is_finished_is_not_done_again(finished: tuple[Path, dict[str, Any]]) -> None:
    folder, results = finished
    before = (folder / "lines.jsonl").read_bytes()
    begun = time.monotonic()
    again = control.assess(Finds, knows, folder, TINY, title="Finds", command="torchliquid control finds")
    assert time.monotonic() - begun < 60
    assert (folder / "lines.jsonl").read_bytes() == before
    assert again == results
    with pytest.raises(InputError, match=r"another comparison \(it differs in updates\)"):
        control.assess(Finds, knows, folder, Setting(**{**vars(TINY), "updates": 21}))
    with pytest.raises(InputError, match=r"another comparison \(it differs in expert\)"):
        control.assess(Finds, knows_too, folder, TINY)
    others = control.demonstrations(folder / "demonstrations" / "0")
    with pytest.raises(InputError, match=r"another comparison \(it differs in demonstrations\)"):
        control.assess(Finds, knows, folder, TINY, source=others)


def test_what_never_tells_of_success_cannot_be_compared(tmp_path: Path) -> None:
    setting = Setting(**{**vars(TINY), "demonstrations": 2, "updates": 2, "validation": 1})
    with pytest.raises(InputError, match="never says whether an episode succeeded"):
        control.assess(NeverTells, knows, tmp_path / "never", setting)
    assert not any(line["what"] == "tested" for line in read(tmp_path / "never" / "lines.jsonl"))


def test_a_training_that_breaks_off_is_kept_as_such_and_the_comparison_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "RATES", (1e30, 0.01))
    lost = {"kind": "lstm"}
    whole = study.imitate

    def breaks(shown: Any, kind: str, **given: Any) -> Any:
        if kind == lost["kind"] and given["config"].lr < 1:
            raise TrainingError("the loss is nan")
        return whole(shown, kind, **given)

    monkeypatch.setattr(study, "imitate", breaks)
    tiny = {**vars(TINY), "contenders": ("cfc", "lstm", "feedforward"), "trials": 2, "updates": 4, "validation": 1}
    setting = Setting(**{**tiny, "test": 2, "demonstrations": 2, "seeds": 2})
    results = control.assess(Finds, knows, tmp_path / "breaks", setting, title="Finds")
    lines = read(tmp_path / "breaks" / "lines.jsonl")
    broken = {line["id"] for line in lines if "broken_off" in line}
    assert broken == {"cfc-0-1e+30", "lstm-0-1e+30", "feedforward-0-1e+30", "lstm-0-0.01", "lstm-1-1e+30"}
    assert not broken & {line["id"].split("/")[0] for line in lines if line["what"] in ("validated", "tested")}
    assert not [one for one in (tmp_path / "breaks" / "policies").iterdir() if one.stem in broken]
    assert results["pair"] == {"liquid": "cfc", "other": "feedforward"}
    assert [one["name"] for one in results["contenders"]] == ["cfc", "feedforward"]
    assert all(one["policies"] == [f"{one['name']}-{seed}-0.01" for seed in (0, 1)] for one in results["contenders"])
    page = (tmp_path / "breaks" / "report.html").read_text()
    assert "LSTM, seed 0, rate 0.01: the loss is nan." in page
    assert "LSTM, seed 0, rate 0.01: the loss is nan." in section(results)
    before = (tmp_path / "breaks" / "lines.jsonl").read_bytes()
    assert control.assess(Finds, knows, tmp_path / "breaks", setting, title="Finds") == results
    assert (tmp_path / "breaks" / "lines.jsonl").read_bytes() == before

    lost["kind"] = "feedforward"
    alone = Setting(**{**vars(setting), "contenders": ("cfc", "feedforward")})
    words = "all trainings of networks that are not liquid broke off, so nothing can be compared; of Feed-forward"
    with pytest.raises(InputError, match=words):
        control.assess(Finds, knows, tmp_path / "none", alone)


def test_what_was_met_in_training_is_said() -> None:
    def said(jitter: float, demonstrations: str = "", **setting: Any) -> str:
        of = {"dropped": 0.2, "dagger": 0, **setting}
        return trained_for({"setting": of, "jitter": jitter, "demonstrations": demonstrations})

    assert said(0.25) == (
        "All training was in the clean world, with 20 % of the frames lost and control intervals up to 25 % longer or "
        "shorter; to that degree these shifts are not new."
    )
    assert "with 40 % of the frames lost;" in said(0.0, dropped=0.4)
    assert said(0.0, dropped=0.0) == "All training was in the clean world, at regular times."
    assert "recorded elsewhere" in said(0.25, "abc")
    assert "20 % of the frames lost" in said(0.25, "abc", dagger=1, dropped=0.0)


def test_a_season_is_named(finished: tuple[Path, dict[str, Any]]) -> None:
    units = {}
    for world in ("FlyToTarget", "KeepLane"):
        season = control.shifts.Season(control.environments.made(f"torchliquid/{world}-v0"), 1.0)
        units[world] = season.unit
        season.close()
    assert units == {"FlyToTarget": "1 is autumn, 2 winter, 3 urban", "KeepLane": "1 is winter, 2 dusk, 3 rain"}
    assert world_of({"shift": "season", "severity": 3.0, "unit": units["KeepLane"]}) == (
        "season 3, 1 is winter, 2 dusk, 3 rain"
    )
    assert "| dropped frames 0.4, lost (share) |" in section(finished[1])


@pytest.mark.slow
def test_a_killed_comparison_goes_on_where_it_was(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "from tests.control.test_study import TINY, Finds, knows\n"
        "from torchliquid import control\n"
        "if __name__ == '__main__':\n"
        f"    control.assess(Finds, knows, {str(tmp_path / 'killed')!r}, TINY, title='Finds', command='x')\n"
    )
    lines = tmp_path / "killed" / "lines.jsonl"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    seen = 0
    for wanted in (1, 4, 7):
        process = subprocess.Popen([sys.executable, str(script)], env=env)
        while process.poll() is None and (not lines.exists() or lines.read_bytes().count(b"\n") < wanted):
            time.sleep(0.05)
        process.kill()
        process.wait()
        assert lines.read_bytes().count(b"\n") >= seen
        seen = lines.read_bytes().count(b"\n")
    subprocess.run([sys.executable, str(script)], env=env, check=True)
    names = [(line["what"], line["id"]) for line in read(lines)]
    assert len(names) == len(set(names))
    whole, own = finished[1], json.loads((tmp_path / "killed" / "results.json").read_text())
    for one, other in zip(whole["contenders"], own["contenders"], strict=True):
        assert one["clean"]["success"] == other["clean"]["success"]
        assert one["shifted"]["path_error"] == other["shifted"]["path_error"]


@pytest.mark.slow
def test_a_cluster_finds_the_same(
    finished: tuple[Path, dict[str, Any]], two_nodes: tuple[Any, object], tmp_path: Path
) -> None:
    cluster, _ = two_nodes
    found = control.assess(Finds, knows, tmp_path / "ray", TINY, ray=cluster.address, title="Finds")
    for one, other in zip(finished[1]["contenders"], found["contenders"], strict=True):
        assert one["clean"]["path_error"] == other["clean"]["path_error"]
        assert one["shifted"]["success"] == other["shifted"]["success"]


@pytest.mark.slow
def test_a_simulator_that_dies_is_a_crash_and_the_comparison_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAKS", "1")
    setting = Setting(**{**vars(TINY), "test": 3, "shifts": (("Hue", 30.0),)})
    results = control.assess(Breaks, knows, tmp_path / "breaks", setting, jobs=2)
    for one in results["contenders"]:
        assert one["clean"]["crashes"] == 3
        assert one["clean"]["success"] == 0
    assert (
        "the simulator or a policy failed" in (tmp_path / "breaks" / "report.html").read_text()
        or results["crashed_simulators"]
    )


@pytest.mark.slow
def test_a_simulator_that_dies_in_dagger_breaks_that_training_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAKS", "1")  # DAgger's worlds are beyond the test worlds
    setting = Setting(**{**vars(TINY), "updates": 2, "demonstrations": 2, "dagger": 1})
    with pytest.raises(InputError, match=r"of liquid networks broke off.*simulator ended its process"):
        control.assess(Breaks, knows, tmp_path / "breaks", setting, jobs=2)
    lines = read(tmp_path / "breaks" / "lines.jsonl")
    assert sorted(line["id"] for line in lines if "broken_off" in line) == ["cfc-0-0.01", "feedforward-0-0.01"]


def test_success_of_one_world_under_several_shifts_is_one_block() -> None:
    def line(seed: int, shift: str, won: list[int]) -> dict[str, Any]:
        episodes = [{"seed": 10 + i, "success": bool(one)} for i, one in enumerate(won)]
        return {"seed": seed, "shift": shift, "episodes": episodes}

    sums = successes([line(0, "fog", [1, 0]), line(0, "hue", [1, 1]), line(3, "fog", [0, 0]), line(3, "hue", [0, 1])])
    np.testing.assert_array_equal(sums[..., 0], [[2, 2], [2, 2]])
    np.testing.assert_array_equal(sums[..., 1], [[2, 1], [0, 1]])


def test_each_comparison_in_a_folder_has_its_own_pair() -> None:
    def line(other: str, seeds: int, contenders: list[str]) -> dict[str, Any]:
        pair = {"liquid": "cfc", "other": other}
        return {"what": "pair", "id": json.dumps([pair, seeds, contenders]), **pair}

    few, more = ["cfc", "lstm"], ["cfc", "lstm", "gru"]
    lines = [line("lstm", 1, few), line("gru", 1, more), line("lstm", 2, more)]
    assert [pair_of(lines, *of)["other"] for of in ((few, 1), (more, 1), (more, 2))] == ["lstm", "gru", "lstm"]


def test_who_might_have_been_chosen_as_well_counts() -> None:
    def line(name: str, seed: int, won: float, lr: float = 0.01) -> dict[str, Any]:
        return {"contender": name, "seed": seed, "lr": lr, "episodes": [{"success": i < 10 * won} for i in range(10)]}

    rates = {"lstm": (0.8, 0.9), "gru": (0.7, 0.8), "feedforward": (0.0, 0.1), "cfc": (0.8, 0.9)}
    lines = [line(name, seed, won) for name, both in rates.items() for seed, won in enumerate(both)]
    lines += [line("lstm", 0, 0.1, lr=0.02), line("feedforward", 5, 1.0)]  # a trial that was not kept, a later seed
    assert near("lstm", lines, list(rates), 2) == 2
    assert near("cfc", lines, list(rates), 2) == 1
    assert near("lstm", lines, ["cfc", "lstm"], 2) == 1


def test_verdicts() -> None:
    better, same, wide = Interval(0.3, 0.1, 0.5), Interval(0.0, -0.03, 0.03), Interval(0.1, -0.2, 0.4)
    worse, unsure = Interval(-0.3, -0.5, -0.1), Interval(0.3, -np.inf, np.inf)
    assert [answer(one) for one in (better, same, wide, worse, unsure)] == [
        "worth it",
        "not worth it",
        "not shown",
        "not worth it",
        "not shown",
    ]
    assert both("worth it", "not shown", [better, wide]) == "worth it"
    assert both("worth it", "not worth it", [better, worse]) == "not shown"
    assert both("not worth it", "not worth it", [same, worse]) == "not worth it"


def test_settings_of_our_worlds_suit_them() -> None:
    for name, world in (("fly", "FlyToTarget"), ("drive", "KeepLane")):
        full = setting_of(name, True, {})
        env = control.environments.made(f"torchliquid/{world}-v0")
        for kind, severity in shift_kinds(full.shifts):
            kind(env, severity)
        assert {one.name for one in CONTENDERS} <= set(full.contenders)
    assert PUBLISHED.name in full.contenders
    assert setting_of("drive", False, {"seeds": 3}).seeds == 3


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["Nowhere-v0", "--expert", "math:sin"], "the environment 'Nowhere-v0' cannot be made"),
        (["CartPole-v1"], "CartPole-v1 has no expert of its own; give one, or demonstrations"),
        (["CartPole-v1", "--expert", "sin"], "give a module and a function"),
        (["CartPole-v1", "--expert", "math:nothing"], "cannot be loaded"),
        (["CartPole-v1", "--expert", "math:pi"], "is no function, but a float"),
        (["CartPole-v1", "--expert", "math:hypot", "--jobs", "1"], "the expert fails on an observation of CartPole-v1"),
        (["CartPole-v1", "--expert", "math:sin", "--contender", "cfc"], "needs a liquid contender and another one"),
        (["fly", "--contender", "cfk", "--contender", "lstm"], "there is no contender 'cfk'"),
        (["fly", "--contender", "published", "--contender", "lstm"], "is for one action"),
        (["CartPole-v1", "--demonstrations", "x", "--episodes", "3"], "--demonstrations replaces the expert: give one"),
        (["CartPole-v1", "--demonstrations", "nothing"], "there is no Minari data set nothing"),
    ],
)
def test_bad_input_is_one_line(typed: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, ["control", *typed, "--out", "out"])
    assert found.exit_code == 2, found.output
    said = [line for line in found.output.splitlines() if line.startswith("torchliquid: ")]
    assert len(said) == 1
    assert words in said[0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"validation": 0}, "validation must be at least 1"),
        ({"test": -1}, "test must be at least 1, not -1"),
        ({"trials": 4}, "trials must be at most 3, not 4"),
    ],
)
def test_a_comparison_of_nothing_is_refused(given: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Setting(**given)


def test_a_comparison_needs_a_process(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="jobs must be at least 1, not 0"):
        control.assess(Finds, knows, tmp_path / "none", TINY, jobs=0)


def test_an_environment_comes_from_a_module_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "polesof.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control.cartpole import CartPoleEnv\n"
        'gymnasium.register("OurPole-v0", entry_point=CartPoleEnv)\n'
    )
    found = CliRunner().invoke(app, ["control", "polesof:OurPole-v0", "--out", "out"])
    assert "OurPole-v0 has no expert of its own" in found.output


def test_a_data_set_of_another_environment_is_refused(tmp_path: Path) -> None:
    control.record(Toy(), lambda env, observation: np.array([1.0, np.sin(env.place)], np.float32), 2, tmp_path / "toy")
    with pytest.raises(InputError, match="is of another environment than Finds"):
        control.assess(Finds, knows, tmp_path / "out", TINY, source=tmp_path / "toy")
