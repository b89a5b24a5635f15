"""``torchliquid reproduce``: repeats a published table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torchliquid.cli import names, options
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import StudyProgress
from torchliquid.cli.terminal import Terminal, print_table


def reproduce(
    name: Annotated[
        str,
        typer.Argument(help="occupancy, traffic, cheetah, walker, physionet or xor."),
    ],
    contender: Annotated[list[str] | None, typer.Option(help="Only this contender; repeatable.")] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split: published or time.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each; default: five or three.")] = None,
    jobs: options.Jobs = None,
    ray: options.Ray = None,
    device: options.Device = "cpu",
    tune: Annotated[
        int, typer.Option(min=0, help="Number of tuning trials of each contender; 0: the published settings.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("results"),
    page: Annotated[Path | None, typer.Option(help="Write all tables of the folder to this Markdown file.")] = None,
) -> None:
    """Repeat a published table of liquid networks and their rivals as its authors ran it.

    It takes hours on two cores. The same command continues a run that was interrupted.
    """
    options.check_folder(out)
    if page is not None:
        options.check_writable(page, option="--page")
    from torchliquid.reproduce.protocols import check_name

    check_name(name)
    names.check("--contender", contender, names.ROWS)
    names.check("--split", split, names.SPLITS)
    place = options.check_device(device, ray, jobs)
    with loading():
        from torchliquid.jobs.lines import read
        from torchliquid.reproduce.protocols import protocol
        from torchliquid.reproduce.run import reproduce as run
        from torchliquid.reproduce.run import write_tables
        from torchliquid.reproduce.summary import missing, table
    console = Terminal()
    processes = options.processes(jobs, console, place)
    console.print(f"{name}: reading its data")
    with StudyProgress(console) as progress:
        run(name, out, progress, contender or (), split or (), seeds, processes, tune, ray, place)
    if page is not None:
        write_tables(out, page)
    published, trials = protocol(name), read(out / f"{name}.trials.jsonl")
    heads, rows = table(published, trials)
    better = "higher" if published.higher_is_better else "lower"
    narrow = print_table(console, f"{name.capitalize()}: {published.metric}, {better} is better", heads, rows)
    if absent := missing(published, trials):
        console.print(f"Not yet complete: {absent}.")
    for x in trials:
        if "failed" in x:
            console.print(f"{x['contender']}, {x['split']} split, seed {x['seed']}: {x['failed']}.")
    more = f" ({', '.join(narrow)} too)" if narrow else ""
    console.print(f"Results{more}: {out / f'{name}.json'}")
