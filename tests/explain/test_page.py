import json
import re
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.small import small_model
from typer.testing import CliRunner

from torchliquid.cli import app
from torchliquid.data import Preprocessing, Recording
from torchliquid.explain import figures
from torchliquid.explain.explanation import STEPS, explanation
from torchliquid.explain.report import plain, render
from torchliquid.models import Model, build
from torchliquid.tasks import Task

EVIL = "<script>alert(1)</script>"


def recording(name: str = "a", n: int = 120) -> Recording:
    """Two channels that wander, uneven in time, and a class that follows the first."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(n, 2)), 0)
    return Recording.from_arrays(
        x, np.cumsum(rng.exponential(size=n)), (x[:, 0] > x[:, 0].mean()).astype(int).astype(str), [name, "b"],
        time_unit="ms",
    )  # fmt: skip


def model(kind: str, name: str = "a") -> Model:
    """Untrained, fitted to the recording."""
    found = recording(name)
    return build(kind, Task.infer(found).fit(found), Preprocessing.fit(found), 500).eval()


@pytest.fixture
def table(tmp_path):
    found = recording().series[0]
    path = tmp_path / "recording.csv"
    pl.DataFrame(
        {"a": found.values[:, 0], "b": found.values[:, 1], "t": found.times, "target": found.targets}
    ).write_csv(path)
    return path


@pytest.mark.parametrize("kind", ["ltc", "ltc_ncp", "cfc", "cfc_ncp"])
def test_the_command_writes_one_page_and_its_figures(kind, table, tmp_path):
    saved = tmp_path / "model.safetensors"
    model(kind).save(saved)
    out = tmp_path / "out"
    command = ["explain", str(saved), str(table), "--time", "t", "--time-unit", "ms", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    page, figures = (out / "explain.html").read_text(), json.loads((out / "explain.json").read_text())
    assert len(page) < 6e6
    assert sorted(path.name for path in out.iterdir()) == ["explain.html", "explain.json"]
    assert figures["left_out"] == {}
    assert figures["time_constants"]["weights_before"] == figures["time_constants"]["weights_after"]
    assert figures["time_constants"]["weights_before"] in page
    assert figures["roles"]["metric"] == "accuracy"  # the target's column was found
    n = len(figures["time_constants"]["neurons"])
    assert np.shape(figures["moments"]["taus"]) == (len(figures["moments"]["times"]), n)
    for name in figures["time_constants"]["neurons"]:
        assert name in page


@pytest.mark.parametrize("kind", ["cfc", "cfc_ncp"])
def test_a_network_without_a_way_through_is_shown_too(kind):
    """Its gates do not move, so that their time scales are infinite, and it has no synapses."""
    dead = model(kind)
    with torch.no_grad():
        for weight in dead.network.parameters():
            weight.zero_()
    found = explanation(dead, recording())
    assert found.circuit.synapses == ()
    assert "gate time scales are infinite" in render(found)
    assert plain(found)["moments"]["taus"][0][0] is None


def test_names_from_the_data_are_text_and_nothing_else():
    plain_page, evil = (render(explanation(model("cfc", n), recording(n), n)) for n in ("a", EVIL))
    assert evil.count("<script") == plain_page.count("<script")
    assert "&lt;script&gt;alert(1)" in evil
    specifications, data = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', evil, re.S)
    assert EVIL not in json.dumps(json.loads(specifications))  # Plotly reads tags of its own
    assert json.loads(data)["neurons"][0]["name"] == EVIL  # the circuit's script sets text


def test_what_can_not_be_found_in_a_recording_is_said_and_the_rest_is_shown():
    told = []
    short = explanation(model("ltc_ncp"), recording(n=12), progress=lambda *step: told.append(step))
    assert [what for what, *_ in told] == [*STEPS, "done"]
    assert short.roles is None
    page = render(short)
    assert "too short to distinguish a role from chance" in page
    assert json.dumps(plain(short), allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "named", "says"),
    [("lstm", "recording.csv", "no liquid neurons"), ("cfc", "none.csv", "none.csv"), ("cfc", "bad.csv", "'b'")],
)
def test_what_can_not_be_explained_is_refused_in_one_line(kind, named, says, table, tmp_path):
    saved = tmp_path / "model.safetensors"
    model(kind).save(saved)
    (tmp_path / "bad.csv").write_text("a\n1\n2\n3\n")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["explain", str(saved), str(tmp_path / named), "--out", str(out)])
    assert done.exit_code == 2
    assert says in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not out.exists()


def test_a_regression_without_targets_is_explained():
    found = small_model("cfc_ncp", task="regression")
    bare = Recording.from_arrays(
        np.random.default_rng(1).normal([1, -20, 300], [1, 5, 100], size=(80, 3)), channels=["a", "b", "c"]
    )
    bare = Recording(bare.series, bare.channels, None, "ms")
    assert "time scale" in render(explanation(found, bare))


def test_a_long_recording_is_thinned_out_once():
    rng = np.random.default_rng(0)
    lengths = rng.integers(500, 5000, 105)  # too many samples to look at all of them
    long = Recording.from_arrays(
        [rng.normal(size=(n, 2)) for n in lengths],
        [np.cumsum(rng.exponential(size=n)) for n in lengths],
        channels=["a", "b"],
        time_unit="ms",
    )
    found = explanation(model("cfc"), long)
    name, first = found.moments.series, found.moments.inputs[0]
    series = next(s for s in long.series if s.name == name)
    np.testing.assert_allclose(first[:2], model("cfc").preprocessing(series)[0][0][:2])


def test_long_names_leave_room_for_the_chart_and_of_very_many_the_largest_are_shown():
    long = [f"Building 3 / air handling unit {i} / supply temperature degC" for i in range(12)]
    found = figures.tick_labels(long)
    assert found["tickvals"] == long
    assert len(set(found["ticktext"])) == 12
    assert max(map(len, found["ticktext"])) <= 22
    assert figures.tick_labels(["a", "b"]) == {}
    share = np.random.default_rng(0).random((200, 9))
    attribution = SimpleNamespace(channels=[f"c{i}" for i in range(200)], lags=np.arange(9))
    made = figures.attribution_chart(attribution, share, 1.0)
    order = np.argsort(-share.sum(1), kind="stable")[:40]
    assert made["data"][0]["y"] == [f"c{i}" for i in order]
    assert "40 of 200" in str(made["layout"]["yaxis"]["title"]["text"])
