"""The verdict and the table in a terminal, with the numbers of the report."""

from __future__ import annotations

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from torchliquid.cli.terminal import Terminal, cell, table_of
from torchliquid.page import Table as Content
from torchliquid.study.reporting import tables
from torchliquid.study.results import StudyResults

MARKS = {"worth it": ("✓", "green"), "not worth it": ("✕", "red"), "not shown": ("?", "yellow")}
ROWS = {"liquid": "bold cyan", "rival": "bold yellow", "naive": "dim", "probe": "italic"}


LEAST = 2
"""Columns that even the narrowest terminal shows: the contender and its score."""


def print_results(results: StudyResults, console: Terminal) -> None:
    """Print the table of contenders, then the verdict with its evidence; names from the data are not markup."""
    content = tables.main_table(results)
    title = f"{results.title}, on the test part"
    columns = len(content.head)
    endless = console.options.update(max_width=10_000)
    while columns > LEAST and console.measure(_table(content, title, columns), options=endless).maximum > console.width:
        columns -= 1
    console.print(_table(content, title, columns))
    if left_out := content.head[columns:]:
        console.print(f"Only in the report: {', '.join(left_out)}.", style="dim")
    verdict = results.verdict
    if verdict is None:
        console.print("No verdict: it needs the scores of a liquid contender and of another one.", style="yellow")
        for sentence in results.left_out:
            console.print(cell(sentence))
        return
    rival = results.contender(verdict.rival)
    simpler = ", which is as good there as any model, and simpler" if rival.family == "naive" else ""
    console.print(
        Text(
            f"Compared (best on validation): {results.contender(verdict.liquid).label} and {rival.label}{simpler}. "
            "± is half of the 95 % interval.",
            style="dim",
        )
    )
    mark, colour = MARKS[verdict.answer]
    console.print()
    console.print(Text(f"{mark} {verdict.answer.upper()}", style=f"bold {colour}"))
    console.print(cell(verdict.sentence, "bold"))
    for finding in verdict.findings:
        mark, colour = MARKS[finding.answer]
        heading = Text(f"{mark} {finding.question}: {finding.answer}. ", style=colour)
        console.print(Padding(heading + cell(finding.sentence, "default"), (0, 0, 0, 2), expand=False))
    for sentence in verdict.evidence:
        console.print(Padding(cell(sentence), (0, 0, 0, 2), expand=False))


def _table(content: Content, title: str, columns: int) -> Table:
    """The first columns of a table, with one line per row if more columns than the minimum fit."""
    heads = ["\n".join(head.rsplit(" ", 1)) for head in content.head[:columns]]
    table = table_of(title, heads, [row[:columns] for row in content.rows])
    for column in table.columns:
        column.no_wrap = columns > LEAST
    for row, kind in zip(table.rows, content.kinds, strict=True):
        row.style = ROWS.get(kind)
    return table
