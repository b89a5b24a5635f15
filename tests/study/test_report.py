import html.parser
import json
import re
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from tests.helpers.studies import Truth, simulate

from torchliquid.cli.verdict import print_results
from torchliquid.data import Recording
from torchliquid.errors import InputError
from torchliquid.page import numbers
from torchliquid.page.charts import log_ticks
from torchliquid.study import words
from torchliquid.study.reporting.describe import STRETCH, VALUES, describe_data, describe_gaps, stretches
from torchliquid.study.reporting.figures import label_positions
from torchliquid.study.reporting.page import render, write_report
from torchliquid.study.results import Channel, Interval, StudyResults
from torchliquid.study.stats.verdict import with_verdict
from torchliquid.tasks import Task

EVIL = "<script>alert(1)</script>"


class Reader(html.parser.HTMLParser):
    """What a browser would see: tags with their attributes, the text outside scripts, and the scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text.append(data)


def study(name: str = "Light") -> StudyResults:
    """A judged study with something to draw everywhere, a name of the data in all its places."""
    results, scores = simulate(np.random.default_rng(0), Truth(n_samples=2000, probe=0.0))
    probe = replace(results.contender("one_sensor"), detail=name)
    results = replace(results, contenders=(*results.contenders[:-1], probe))
    results = with_verdict(results, scores)
    learnt = {"curve": ((100.0, 0.6), (200.0, 0.8)), "confusion": ((60, 3), (9, 28))}
    contenders = tuple(replace(c, trials=tuple(replace(t, **learnt) for t in c.trials)) for c in results.contenders)
    results = replace(results, contenders=contenders)
    rng = np.random.default_rng(0)
    recording = Recording.from_arrays(
        rng.normal(size=(900, 2)), targets=(rng.random(900) < 0.5).astype(int).astype(str), channels=[name, "CO2"]
    )
    task = Task.infer(recording)
    outputs = {c: [[rng.dirichlet([1, 1], 900)]] for c in (results.verdict.liquid, results.verdict.rival)}
    return replace(
        results,
        title=name,
        task=replace(results.task, target=name, labels=("0", name)),
        data=replace(describe_data(name, task, recording, {"training": recording}), notes=(name,)),
        stretches=tuple(replace(s, shown_class=name) for s in stretches(task, {name: recording}, outputs)),
        command=f"torchliquid assess {name} --target '{name}'",
        settings={"seeds": 5, name: name},
        versions={"torch": "2.13.0"},
    )


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_names_from_the_data_are_text_and_nothing_else():
    plain, evil = read(render(study())), read(render(study(EVIL)))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert sum(EVIL in text for text in evil.text) >= 10
    specifications = json.loads(evil.scripts[0])
    assert "<script>" not in json.dumps(specifications)  # Plotly reads tags of its own
    assert "&lt;script&gt;" in json.dumps(specifications)
    assert "<" not in evil.scripts[0]


def test_one_small_file_that_asks_nothing_of_the_network(tmp_path):
    path = tmp_path / "report.html"
    write_report(study(), path)
    assert path.stat().st_size < 6e6
    page = path.read_text()
    reader = read(page)
    for tag, attributes in reader.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    styles = re.findall(r"<style>(.*?)</style>", page, re.S)
    assert not any("url(" in style or "@import" in style for style in styles)
    with pytest.raises(InputError, match="choose another folder"):
        write_report(study(), tmp_path / "none" / "report.html")
    assert not list(tmp_path.glob(".*"))
    assert render(study()) == page


def test_the_verdict_comes_first_and_all_figures_are_there():
    results = study()
    reader = read(render(results))
    text = " ".join(" ".join(reader.text).split())
    assert text.index(results.verdict.sentence) < text.index("All contenders in figures")
    for finding in results.verdict.findings:
        assert finding.sentence in text
    for contender in results.competing:
        assert contender.label in text
    for expected in (results.command, "2.13.0", "noise of 0.1 standard deviations", "44 µs", "2,490", "12 kB"):
        assert expected in text
    charts = [attributes for _, attributes in reader.tags if "data-chart" in attributes]
    specifications = json.loads(reader.scripts[0])
    assert {c["data-chart"] for c in charts} == set(specifications)
    assert {"overview", "learning", f"confusion-{results.verdict.liquid}"} <= set(specifications)
    shares = specifications[f"confusion-{results.verdict.liquid}"]["data"][0]["z"]
    np.testing.assert_allclose(shares, [[6000 / 63, 300 / 63], [900 / 37, 2800 / 37]], rtol=1e-4)
    best_last = specifications["overview"]["data"][-1]["x"]
    assert best_last == sorted(best_last)
    for specification in specifications.values():  # every axis has a title with a unit
        for axis in ("xaxis", "yaxis"):
            assert re.search(r"\(.+\)", specification["layout"][axis]["title"]["text"].replace("<br>", " "))
    terms = {a["popovertarget"] for _, a in reader.tags if "popovertarget" in a}
    assert terms <= {a.get("id") for _, a in reader.tags}


def test_a_study_without_verdict_tests_or_shifts_is_still_a_page():
    results = study()
    bare = replace(results, verdict=None, stretches=(), shifts=(), contenders=results.contenders[:1])
    assert "No verdict" in render(bare)
    regression = replace(bare.task, kind="regression", primary="rmse", higher_is_better=False, labels=())
    trials = tuple(replace(t, tests={"pooled": {"rmse": 13.2}}, shifts={}) for t in bare.contenders[0].trials)
    bare = replace(bare, task=regression, contenders=(replace(bare.contenders[0], trials=trials),))
    assert "13.2" in render(bare)


def test_the_terminal_says_the_same():
    results = study("[red]x[/red]")
    console = Console(file=StringIO(), width=150, force_terminal=False)
    print_results(results, console)
    shown = " ".join(console.file.getvalue().split())
    assert results.verdict.sentence in shown
    assert "[red]x[/red]" in shown
    for finding in results.verdict.findings:
        assert f"{finding.question}: {finding.answer}." in shown
    print_results(replace(results, verdict=None), console)


def test_figures_are_rounded_to_what_their_spread_supports():
    assert words.score("accuracy", 0.97321, 0.004) == "97.3 %"
    assert words.score("accuracy", 0.97321, 0.03) == "97 %"
    assert words.score("roc_auc", 0.91234, 0.014) == "0.912"
    assert words.score("rmse", 13.4567, 0.6) == "13.5"
    assert words.score("rmse", 1345.67, 300) == "1,300"
    assert words.score("accuracy", 0.35, np.inf) == "35.0 %"
    assert words.score("rmse", 16_000_748_949_241.883, np.inf) == "16,000,000,000,000"
    assert words.gain("rmse", -123.456, np.inf) == "−123.5"
    assert words.gain("accuracy", -0.0123, 0.005, signed=True) == "−1.2 points"
    assert words.gain("accuracy", 0.0123, 0.02, signed=True) == "+1 points"
    assert words.gain("accuracy", -0.0001, 0.02, signed=True) == "0 points"
    assert words.gain_interval("accuracy", Interval(-0.03, -0.0682, -0.0021)) == "−6.8 to −0.2 points"
    assert words.gain_interval("accuracy", Interval(-0.03, -0.0682, 0.0021)) == "−7 to 0 points"
    times = (0.4, 35, 720, 11_000, 207_000, 6.2e-4, 0.0033, float("nan"))
    said = ["0.40 s", "35 s", "12 min", "3.1 h", "2.4 days", "620 µs", "3.3 ms", "–"]
    assert [numbers.duration(s) for s in times] == said
    assert [numbers.size(b) for b in (950, 14_000, 2_100_000, 0)] == ["950 B", "14 kB", "2.1 MB", "–"]
    assert [numbers.significant(v, 2) for v in (9.96, 99.6, 0.0996)] == ["10", "100", "0.10"]
    assert [numbers.span(t, u) for t, u in ((207_360, "s"), (0.0033, "s"), (90, "min"), (5, "steps"))] == [
        "2.4 days", "3.3 ms", "90 minutes", "5.0 steps",
    ]  # fmt: skip


def test_a_cost_chart_has_room_for_its_words_on_a_phone():
    assert label_positions([(0, 0), (1, 1)], ["CfC", "Gradient boosting"], [True, True]) == [
        "middle right",
        "middle left",
    ]
    for low, high in ((1.0, 30.0), (0.02, 1.9), (45.0, 9e4), (1.0, 5e9)):
        ticks = log_ticks(low, high)
        every = ticks.get("tickvals", [10.0**i for i in range(-3, 12, ticks.get("dtick", 1))])
        assert 2 <= sum(low <= tick <= high for tick in every) <= 7
    assert log_ticks(3.0, 3.0) == {"nticks": 6}


def test_stretches_show_where_the_truth_changes():
    rng, times, truth = np.random.default_rng(0), np.arange(3000.0), np.zeros(3000)
    truth[2000:2100] = 1
    readings = np.column_stack([np.zeros(3000), truth + 20, np.where(times % 2, np.nan, times), *np.zeros((5, 3000))])
    recording = Recording.from_arrays(readings, times, truth, list("abcdefgh"))
    task = Task.infer(recording)
    said = np.column_stack([1 - truth, truth]) * 0.8 + 0.1
    (stretch,) = stretches(task, {"later": recording}, {"cfc": [[said]]})
    assert len(stretch.times) == stretch.of_samples == 3000
    assert sum(stretch.view[0] <= t <= stretch.view[1] for t in stretch.times) == STRETCH
    assert stretch.view[0] <= 2000 < 2100 <= stretch.view[1]
    assert set(stretch.channels) == {"b", "c"}  # the others do not vary
    assert stretch.of_channels == 8
    np.testing.assert_array_equal(stretch.channels["c"], readings[:, 2])
    np.testing.assert_allclose(stretch.outputs["cfc"], np.array(stretch.truth) * 0.8 + 0.1)
    long = Recording.from_arrays(rng.normal(size=(VALUES, 9)), targets=(np.arange(VALUES) > 70_000).astype(int))
    task = Task.infer(long)
    (stretch,) = stretches(task, {"t": long}, {"cfc": [[np.full((VALUES, 2), 0.5)]]})
    assert len(stretch.channels) == 6
    assert len(stretch.times) * 9 <= VALUES  # with the time, the truth and the answer
    assert {0.0, 1.0} == set(stretch.truth)
    # One answer at the end of each series: the series side by side, in order of the truth.
    ends = [np.array([np.nan, np.nan, life]) for life in (30.0, 10.0, 20.0)]
    engines = Recording.from_arrays([np.zeros((3, 1))] * 3, targets=ends)
    task = Task.infer(engines, kind="regression")
    (stretch,) = stretches(task, {"t": engines}, {"cfc": [[np.full((3, 1), i) for i in range(3)]]})
    assert stretch.truth == (10.0, 20.0, 30.0)
    assert stretch.outputs["cfc"] == (1.0, 2.0, 0.0)
    assert stretch.time_unit == "series"


@pytest.mark.parametrize(
    "gaps", [np.ones(50), np.zeros(3), np.empty(0), np.array([0, 1, 1, 1, 5000.0]), np.geomspace(1, 1e6, 99)]
)
def test_every_gap_is_counted(gaps):
    described = describe_gaps(gaps, "s")
    assert sum(described.counts) == len(gaps)
    assert len(described.edges) == len(described.counts) + 1
    assert (np.diff(described.edges) > 0).all()


def test_results_are_read_as_they_were_written_and_lists_of_numbers_are_one_line_each():
    results = study(EVIL)
    text = results.to_json()
    assert StudyResults.from_json(text).to_json() == text
    np.testing.assert_array_equal(StudyResults.from_json(text).stretches[0].truth, results.stretches[0].truth)
    assert len(text.splitlines()) < 20_000


def test_data_is_described_from_the_training_part():
    values = np.array([[1.0, np.nan], [3.0, 2.0], [np.nan, 2.0], [np.nan, 2.0]])
    training = Recording.from_arrays(values, targets=["a", "b", None, "a"], channels=["x", "y"])
    data = describe_data("f.csv", Task.infer(training), training, {"training": training})
    assert data.channels == (Channel("x", 0.5, 2.0, 1.0), Channel("y", 0.25, 2.0, 0.0))
    assert data.parts[0].classes == {"a": 2, "b": 1}
    assert data.parts[0].n_labelled == 3
