"""``torchliquid watch``: what of a recording departs from its usual course, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torchliquid.cli import options
from torchliquid.cli.amounts import duration, part_of_one
from torchliquid.cli.loading import loading
from torchliquid.cli.predict import write
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal, table_of
from torchliquid.errors import InputError
from torchliquid.files import check_model_file

SHOWN = 20
"""Alarms in the terminal; all are in the files."""


@options.expanded("target")
def watch(
    recording: Annotated[list[str], typer.Argument(metavar="FILE...", help=f"A table, or several: {options.FILES}.")],
    columns: options.Columns,
    good: Annotated[
        str | None,
        typer.Option(
            help="What was good: the share at the beginning, like 30%, or its times, as numbers or dates, START:END or "
            "START,END. Without it, 30 %.",
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Watch with a model learnt before; nothing is learnt then.")
    ] = None,
    level: Annotated[str | None, typer.Option(help="Of good samples, how many are usual; without it, 99%.")] = None,
    alarm_length: Annotated[
        str | None, typer.Option(help="How long samples must be unusual, e.g. 30s; without it, three samples.")
    ] = None,
    alarm_merge: Annotated[
        str | None, typer.Option(help="The longest pause that does not end an alarm; without it, ten samples.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for watch.html, alarms.csv, scores.csv and watch.safetensors.")
    ] = None,
) -> None:
    """Find what departs from a recording's usual course: a score a sample, alarms, which sensor and since when.

    The usual course is learnt from a stretch that was good. No column of labels is needed; leave one out with --ignore.
    """
    if model is not None:
        check_model_file(model)
        if any(given is not None for given in (good, level, alarm_length, alarm_merge)):
            raise InputError("--model has its good stretch, level and alarms; give no others")
    share = part_of_one("--level", level)
    options.check_tables(*recording)
    if out is not None:
        options.check_folder(out)
    with loading():
        from torchliquid.models import Model
        from torchliquid.page import write_page
        from torchliquid.watching import report
        from torchliquid.watching import watch as look
        from torchliquid.watching.findings import LEVEL
    known = None if model is None else Model.load(model)
    read = columns.read(recording) if known is None else columns.read_for(known, recording, labelled=False)
    length, merge = (
        None if text is None else duration(option, text, read.time_unit)
        for option, text in (("--alarm-length", alarm_length), ("--alarm-merge", alarm_merge))
    )
    with Working() as working:
        working("watching" if known is not None else "learning the usual course")
        found = look(read, _good(good), known, LEVEL if share is None else share, length, merge)
    console = Terminal()
    for note in found.notes:
        Terminal(stderr=True).print(f"Note: {note}")
    alarms = report.table(found)
    if alarms.rows:
        console.print(table_of("Alarms", alarms.head, alarms.rows[:SHOWN]))
    if len(alarms.rows) > SHOWN:
        console.print(f"and {len(alarms.rows) - SHOWN:,} more{'' if out is None else ', in alarms.csv'}")
    console.print(report.lead(found))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_page(report.render(found, Path(options.name_of(recording)).name), out / "watch.html")
        write(found.frame(), out / "scores.csv")
        write(report.alarms(found), out / "alarms.csv")
        if known is None:
            found.model.save(out / "watch.safetensors")
        console.print(f"{out / 'watch.html'}")


def _good(text: str | None) -> float | tuple[str, str] | None:
    """What --good says."""
    if text is None:
        return None
    for mark in (",", ":"):
        start, found, end = text.partition(mark)
        if found and (mark == "," or ":" not in end):
            return start.strip(), end.strip()
    return part_of_one("--good", text, "; or its times: START:END, or START,END where they have colons")
