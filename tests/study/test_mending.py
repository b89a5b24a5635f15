"""What is lost or changed in a study's folder is made anew, to the same figures, and the study says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.helpers.small import small_model, small_recording

from torchliquid.errors import InputError
from torchliquid.models import Model
from torchliquid.study.assess import assess
from torchliquid.study.results import StudyResults

DEEP = "[" * 100_000


def study(out: Path) -> StudyResults:
    return assess(
        small_recording((200,)),
        out,
        contenders=["ltc_ncp", "gru", "linear"],
        seeds=2,
        tuning=2,
        epochs=2,
        parameters=300,
    )


def figures(results: StudyResults) -> list:
    return [(c.name, t.validation, t.tests, t.windows, t.shifts) for c in results.contenders for t in c.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, StudyResults]:
    out = tmp_path_factory.mktemp("whole") / "study"
    return out, study(out)


def of(out: Path, results: StudyResults, name: str, kind: str = "trials") -> Path:
    """A trial whose figures count: the first of the liquid contender's."""
    best = results.contender(name).trials[1]
    assert best.scores is not None
    return out / kind / Path(best.scores).parent.name


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "model lost": ("trials", lambda f: (f / "model.safetensors").unlink(), "again: model.safetensors was missing"),
    "model cut": ("trials", lambda f: truncate(f / "model.safetensors"), "not the one that was measured"),
    "another model": (
        "trials",
        lambda f: small_model("ltc_ncp").save(f / "model.safetensors"),
        "not the one that was measured",
    ),
    "trial lost": ("trials", lambda f: (f / "trial.json").unlink(), "trial.json was missing"),
    "trial deep": ("trials", lambda f: (f / "trial.json").write_text(DEEP), "trial.json is damaged"),
    "trial of words": ("trials", lambda f: (f / "trial.json").write_text('{"validation": "x"}'), "is damaged"),
    "evaluation deep": ("evaluations", lambda f: (f / "evaluation.json").write_text(DEEP), "measured again"),
    "evaluation of words": (
        "evaluations",
        lambda f: (f / "evaluation.json").write_text('{"tests": {}, "windows": {}, "shifts": {"noise": "strong"}}'),
        "evaluation.json is damaged",
    ),
    "costs without bytes": ("evaluations", lambda f: (f / "cost.json").write_text("{}"), "cost.json is damaged"),
    "scores lost": ("evaluations", lambda f: (f / "scores.npz").unlink(), "scores.npz was missing"),
    "scores cut": ("evaluations", lambda f: truncate(f / "scores.npz"), "measured again"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_was_lost_or_changed_is_made_anew_and_told(name, whole, tmp_path, caplog):
    kind, damage, words = DAMAGE[name]
    out = tmp_path / "study"
    shutil.copytree(whole[0], out)
    trial = of(out, whole[1], "ltc_ncp")
    before = Model.load(trial / "model.safetensors")
    damage(of(out, whole[1], "ltc_ncp", kind))
    again = study(out)
    assert figures(again) == figures(whole[1])
    after = Model.load(trial / "model.safetensors")
    assert all((before.state_dict()[n] == value).all() for n, value in after.state_dict().items())
    for told in (caplog.text, " ".join(again.conditions), " ".join(study(out).conditions)):
        assert words in told
        assert "ltc_ncp, seed 1" in told


def test_a_probe_is_made_anew(whole, tmp_path):
    out = tmp_path / "study"
    shutil.copytree(whole[0], out)
    (out / "evaluations/probe-one_sensor/probe.json").unlink()
    again = study(out)
    assert figures(again) == figures(whole[1])
    assert "probe.json was missing" in again.conditions[-1]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        *((file, text) for file in ("study.json", "latency.json", "made-anew.json") for text in (DEEP, "{", "\0", "")),
        ("latency.json", '{"cfc": 3}'),
        ("latency.json", "[]"),
        ("made-anew.json", "{}"),
    ],
)
def test_a_damaged_file_is_one_line(file, content, whole, tmp_path):
    out = tmp_path / "study"
    shutil.copytree(whole[0], out)
    (out / file).write_text(content)
    with pytest.raises(InputError, match=r"json is damaged; (choose|remove)"):
        study(out)
    assert json.loads((out / "results.json").read_text())["verdict"]
