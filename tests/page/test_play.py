"""The page of ``export --target web`` in a real browser: the same answers as Python's, from a dropped table and by
hand."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.exports import needs_zig
from tests.page.test_browser import browser, pytestmark  # noqa: F401
from typer.testing import CliRunner

import torchliquid as tl
from torchliquid.cli import app
from torchliquid.data import Preprocessing
from torchliquid.models import build
from torchliquid.tasks import Task

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Uneven times, holes, a name that wants to be code, a class in words and a value."""
    rng = np.random.default_rng(0)
    n = 900
    values = np.cumsum(rng.normal(size=(n, 3)), 0) * [1, 30, 0.01] + [0, 1000, -5]
    columns = {name: np.where(rng.random(n) < 0.1, np.nan, values[:, i]) for i, name in enumerate((EVIL, "b", "c, d"))}
    columns |= {"at": np.cumsum(rng.exponential(3.0, n)), "state": np.where(values[:, 0] > 0, "on", "off")}
    path = tmp_path_factory.mktemp("play") / "recording.csv"
    pl.DataFrame(columns | {"load": values[:, 1] / 7}, nan_to_null=True).write_csv(path)
    return path


@pytest.mark.parametrize(
    ("kind", "target", "hyper"),
    [
        ("ltc_ncp", "state", {}),
        ("cfc", "load", {"mixed_memory": True}),
        ("ltc", "state", {"layers": 2}),
    ],
)
def test_the_page_answers_as_python_does(kind, target, hyper, table, tmp_path, browser):  # noqa: F811
    needs_zig()
    other = "load" if target == "state" else "state"
    recording = tl.read(table, target=target, time="at", time_unit="ms", ignore=[other])
    torch.manual_seed(1)
    task = Task.infer(recording).fit(recording)
    model = build(kind, task, Preprocessing.fit(recording), 900, **hyper).eval()
    model.metadata = {"columns": {"time": "at", "missing": [-999]}}
    model.save(tmp_path / "plant.safetensors")
    command = ["export", str(tmp_path / "plant.safetensors"), "--target", "web", "--out", str(tmp_path / "page")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    file = tmp_path / "page" / "plant.html"
    assert file.stat().st_size < 2e6
    assert json.loads((tmp_path / "page" / "footprint.json").read_text())["wasm"] < 100_000

    page, faults, asked = browser.new_page(), [], []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append("a name ran as code"), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("#proof[data-worst]")
    assert float(page.locator("#proof").get_attribute("data-worst")) < 1e-5 * (1 if task.labels else task.std[0])

    marked = tmp_path / "marked.csv"  # as the training's table marks what is missing
    pl.read_csv(table).with_columns(pl.col("b").fill_null(-999.0)).write_csv(marked)
    page.set_input_files("#file", marked)
    page.wait_for_function("document.getElementById('source').textContent.startsWith('900 samples')")
    with page.expect_download() as saved:
        page.click("#save")
    found = pl.read_csv(saved.value.path())
    expected = model.predict(recording)
    if task.labels:
        assert found["prediction"].to_list() == expected["prediction"].to_list()
        for label in task.labels:
            np.testing.assert_allclose(found[f"p({label})"], expected[f"probability_{label}"], atol=1e-5)
    else:
        np.testing.assert_allclose(found[target], expected["prediction"], atol=1e-5 * task.std[0])

    page.click("#live")
    page.wait_for_function("circuit.times.length > 5")
    page.locator("[data-channel='0']").fill("1")
    page.locator("[data-seen='1']").uncheck()
    before = page.evaluate("circuit.times.length")
    page.wait_for_function(f"circuit.times.length > {before + 5}")
    page.click("#live")
    assert page.evaluate("circuit.taus.flat().every((tau) => tau === null || tau > 0)")
    assert page.evaluate("circuit.strip[1].values.at(-1)") is None
    assert not faults
    assert all(address.startswith(("file://", "data:", "blob:")) for address in asked)

    for text, trouble in (
        ("b,at\n1,2\n", "no column"),
        (table.read_text().replace("\n", "\noops,", 1), "is not a number"),
        ("\n".join([(lines := table.read_text().splitlines())[0], *lines[:0:-1]]), "goes back"),
    ):
        wrong = tmp_path / "wrong.csv"
        wrong.write_text(text)
        page.set_input_files("#file", wrong)
        page.locator("#trouble", has_text=trouble).wait_for()
        assert page.locator("#trouble").inner_text().startswith("wrong.csv: ")
    assert not faults


def test_the_time_constants_of_the_page_are_those_of_the_equation(tmp_path, browser):  # noqa: F811
    """With steps far shorter than the time constants a step forgets as the equation does."""
    needs_zig()
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.exponential(0.02, 300))
    values = np.cumsum(rng.normal(size=(300, 2)), 0)
    recording = tl.Recording.from_arrays(values, times, values[:, 0], ["a", "b"], target="y", time_unit="s")
    task = Task.infer(recording).fit(recording)
    rule = Preprocessing.fit(recording)
    torch.manual_seed(0)
    model = build("ltc", task, rule, 400).eval()
    model.save(tmp_path / "m.safetensors")
    table = tmp_path / "recording.csv"
    pl.DataFrame({"time": times, "a": values[:, 0], "b": values[:, 1]}).write_csv(table)
    command = ["export", str(tmp_path / "m.safetensors"), "--target", "web", "--out", str(tmp_path / "page")]
    assert CliRunner().invoke(app, command).exit_code == 0
    page = browser.new_page()
    page.goto((tmp_path / "page" / "m.html").as_uri())
    page.wait_for_selector("#proof[data-worst]")
    page.set_input_files("#file", table)
    page.wait_for_function("document.getElementById('source').textContent.startsWith('300 samples')")
    found = np.array(page.evaluate("circuit.taus"), dtype=float)
    stepped = tl.explain.time_constants(model, recording).stepped
    assert stepped is not None
    # A neuron's synapse to itself counts in a step, and not in the equation's constant.
    own = found[1:] / stepped[0][1:]
    assert 0.8 < np.median(own) < 1.25
