"""``torchliquid control``: policies compared in the loop."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from torchliquid.cli import options
from torchliquid.cli.assess import as_typed, errors_kept_in
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import StudyProgress
from torchliquid.cli.terminal import Terminal
from torchliquid.errors import InputError

OURS = {
    "fly": ("torchliquid/FlyToTarget-v0", "Fly to the target"),
    "drive": ("torchliquid/KeepLane-v0", "Keep the lane"),
}
"""Short names of the package's own environments, with their names in Gymnasium and titles."""


def control(
    environment: Annotated[
        str,
        typer.Argument(metavar="ENV", help="fly, drive, or an environment's name in Gymnasium, also module:Name-v0."),
    ],
    expert: Annotated[
        str | None,
        typer.Option(help="Gives the action for the environment and an observation."),
    ] = None,
    demonstrations: Annotated[
        Path | None, typer.Option(help="A Minari data set of the environment, instead of an expert.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="All contenders, 5 seeds, all shifts: hours.")] = False,
    contender: Annotated[list[str] | None, typer.Option(help="Only this contender; repeatable.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each contender.")] = None,
    updates: Annotated[int | None, typer.Option(min=1, help="Updates of each training.")] = None,
    shown: Annotated[int | None, typer.Option("--episodes", min=2, help="Demonstrations of the expert.")] = None,
    test: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel="World", min=1, help="Test worlds, each clean and under each shift."),
    ] = None,
    dagger: Annotated[int | None, typer.Option(min=0, help="Rounds in which the expert corrects each policy.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Maximum length of an episode.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Number of processes; default: one per core.")] = None,
    ray: Annotated[str | None, typer.Option(help="A Ray cluster that does the work.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the comparison; default: control-ENV.")] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.md", help="Write all comparisons beside OUT to this Markdown file.")
    ] = None,
) -> None:
    """Does a liquid policy work where it was never trained?

    Networks of several kinds learn from the same demonstrations of an expert, with the same number of parameters. Then
    they steer by themselves, in new worlds and in changed ones. Writes a report, the figures and the policies. The same
    command continues a comparison that was stopped.
    """
    name, title = OURS.get(environment, (environment, environment))
    folder = out or Path(f"control-{environment.rpartition('/')[2]}")
    options.check_folder(folder)
    options.check_device("cpu", ray, jobs)
    if demonstrations is not None and shown is not None:
        raise InputError("--episodes is for an expert, and --demonstrations replaces the expert: give one of them")
    if page is not None:
        options.check_writable(page, option="--page")
    with loading():
        from torchliquid.control.settings import setting_of
        from torchliquid.control.study import assess
        from torchliquid.control.summary import HEAD, cells, sentence
    given = options.given(
        contenders=tuple(contender) if contender else None,
        seeds=seeds,
        updates=updates,
        demonstrations=shown,
        test=test,
        dagger=dagger,
        max_steps=max_steps,
    )
    setting = setting_of(environment, full, given)
    console = Terminal()
    sys.path.insert(0, os.getcwd())  # where modules of ENV and --expert are
    processes = options.processes(jobs, console)
    with StudyProgress(console) as progress, errors_kept_in(folder):
        results = assess(
            name,
            None if expert is None else _found(expert),
            folder,
            setting,
            source=demonstrations,
            jobs=processes,
            ray=ray,
            listener=progress,
            title=title,
            command=as_typed(),
        )
    if page is not None:
        from torchliquid.control.settings import write_document

        write_document(folder.absolute().parent, page)
    from rich.table import Table

    table = Table(*HEAD[:6])
    for one in results["contenders"]:
        table.add_row(*cells(one)[:6])
    console.print(table)
    console.print(f"\n{results['verdict']['answer'].capitalize()}. {sentence(results)}")
    console.print(f"\nReport: {folder / 'report.html'}   figures: {folder / 'results.json'}")


def _found(expert: str) -> Any:
    """The function that MODULE:FUNCTION names."""
    from importlib import import_module

    module, colon, name = expert.partition(":")
    if not colon or not name:
        raise InputError(f"--expert {expert}: give a module and a function in it, like pilots:careful")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:
        raise InputError(f"--expert {expert} cannot be loaded: {type(error).__name__}: {error}") from None
    if not callable(found):
        raise InputError(f"--expert {expert} is no function, but a {type(found).__name__}")
    return found
