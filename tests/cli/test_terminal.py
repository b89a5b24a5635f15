"""Tables fit the terminal, and nothing in them is cut."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from tests.study.test_report import study

from torchliquid.cli.terminal import Terminal, print_table
from torchliquid.cli.verdict import print_results
from torchliquid.edge.footprint import HEAD
from torchliquid.jobs.lines import read
from torchliquid.reproduce.protocols import protocol
from torchliquid.reproduce.summary import table

COSTS = [("ltc_ncp of the study", "9,240", "868 (108 + 760)", "17,487 to 17,488", "4.4")]


def published() -> tuple[str, list[str], list[list[str]]]:
    trials = read(Path(__file__).parents[2] / "results/occupancy.trials.jsonl")
    return "Occupancy", *table(protocol("occupancy"), trials)


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("content", [("Costs", HEAD, COSTS), published()], ids=["export", "reproduce"])
def test_a_table_fits_and_has_every_word(content, width, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    console = Terminal()
    console.file = StringIO()
    title, heads, rows = content
    narrow = print_table(console, title, heads, rows)
    assert list(heads[len(heads) - len(narrow) :]) == narrow
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    said = "".join("".join(lines).split())
    shown = len(heads) - len(narrow)
    assert shown >= 4
    for text in (*heads[:shown], *(cell for row in rows for cell in row[:shown])):
        for word in text.split():
            assert word in said


@pytest.mark.parametrize("width", [60, 80])
def test_a_verdict_fits(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    console = Terminal()
    console.file = StringIO()
    results = study()
    print_results(results, console)
    said = console.file.getvalue()
    assert all(contender.label in said for contender in results.contenders)
    table_, _, _ = said.partition("Compared")
    assert max(map(len, table_.splitlines()[:-1])) <= width
