"""``torchliquid assess``: is a liquid network worth it for a recording?"""

from __future__ import annotations

import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from torchliquid.cli import names, options
from torchliquid.cli.alarms import Deciding
from torchliquid.cli.amounts import part_of_one
from torchliquid.cli.amounts import seconds as seconds_of
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import StudyProgress
from torchliquid.cli.terminal import Terminal
from torchliquid.errors import InputError, first_line
from torchliquid.files import without_folders


@options.expanded()
def assess(
    recording: options.Sources,
    columns: options.Columns,
    test: Annotated[
        list[str] | None,
        typer.Option(help="A recording to test on; repeatable. Default: a part is held out."),
    ] = None,
    task: options.TaskKind = None,
    horizon: options.Horizon = None,
    *,
    deciding: Deciding,
    contender: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Only this contender; repeatable: {names.listed(names.CONTENDERS)}. Default: all but mixture that "
            "suit the task: grud if values are missing, minirocket for one label per series."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of trainings of each network.")] = 5,
    tuning: Annotated[int, typer.Option(min=1, help="Number of settings tried for each contender.")] = 4,
    parameters: options.Parameters = 2500,
    updates: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum updates of a network; default: 2000 or ten passes."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Maximum passes over the training part instead.")] = None,
    window: options.Window = None,
    class_weights: Annotated[
        bool | None,
        typer.Option(help="Whether rare classes get a larger weight, in all contenders; default: both are tried."),
    ] = None,
    interval: options.Interval = None,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment",
            help="Also train on copies with lost samples and drifting sensors, the same for all; the report compares "
            "both.",
        ),
    ] = False,
    walk_forward: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=100_000,
            help="Test on this many stretches, one after the other: before each, all contenders are trained again on "
            "what came before. For values and forecasts.",
        ),
    ] = None,
    jobs: options.Jobs = None,
    ray: options.Ray = None,
    device: options.Device = "cpu",
    time_limit: Annotated[
        str | None,
        typer.Option(
            help="Approximate maximum time, such as 90s, 10m or 2h. What does not fit is left out, the same for all."
        ),
    ] = None,
    sample: Annotated[
        bool, typer.Option(help="Keep a small scaled sample of the training inputs in saved models, for self-tests.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="The study's folder; default: study-NAME.")] = None,
) -> None:
    """Compare liquid networks with LSTM, GRU, Transformer and plain models on a recording.

    All are trained under the same conditions. The trained models are measured on the test part, unchanged and under
    shifts such as noise and lost samples. Writes a report, the results, and the best models. The same command continues
    a study that was interrupted.
    """
    names.check("--contender", contender, names.CONTENDERS)
    place = options.check_device(device, ray, jobs)
    cut, share = options.windows(window), part_of_one("--interval", interval)
    seconds = None if time_limit is None else seconds_of("--time-limit", time_limit)
    question = options.question(recording, test, columns, task, horizon, deciding)
    folder = out or Path(f"study-{Path(question.name).stem}")
    console = Terminal()
    options.print_understood(question, console)
    with loading():
        from torchliquid.cli.verdict import print_results
        from torchliquid.study.assess import assess as run
    processes = options.processes(jobs, console, place)
    with StudyProgress(console) as progress, errors_kept_in(folder):
        results = run(
            question.recording,
            folder,
            task=question.task,
            tests=question.tests,
            validation=question.validation,
            contenders=contender,
            seeds=seeds,
            tuning=tuning,
            parameters=parameters,
            updates=updates,
            epochs=epochs,
            class_weights=class_weights,
            interval=share,
            augment=augment,
            walk_forward=walk_forward,
            windows=cut,
            jobs=processes,
            ray=ray,
            device=place,
            time_limit=seconds,
            with_sample=sample,
            title=question.name,
            command=as_typed(),
            listener=progress,
        )
    print_results(results, console)
    console.print(f"\nReport: {folder / 'report.html'}   results: {folder / 'results.json'}")
    best = results.best("liquid", "neural", "classical")
    every = "" if best is None else f"{best.label}, the best of all on validation"
    for name, words in (("model", "the best liquid network"), ("best", every)):
        if (folder / f"{name}.safetensors").exists():
            console.print(f"Model:  {folder / name}.safetensors, {words}")


def name_only(word: str) -> str:
    """An argument as typed, with paths reduced to names, because reports are copied to other machines."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{Path(value).name}" if Path(value).is_absolute() else word


def as_typed() -> str:
    """This command, with paths reduced to names."""
    return shlex.join(["torchliquid", *map(name_only, sys.argv[1:])])


@contextmanager
def errors_kept_in(folder: Path) -> Iterator[None]:
    """Write the traceback of an unexpected error to the study's folder, and raise it as an ``InputError``."""
    try:
        yield
    except (InputError, OSError, typer.Exit):
        raise
    except Exception as error:
        from torchliquid.jobs import JobError

        if isinstance(error, JobError) or not folder.is_dir():
            raise
        path = folder / "error.txt"
        path.write_text(without_folders("".join(traceback.format_exception(error))), encoding="utf-8")
        raise InputError(
            f"the study broke off ({type(error).__name__}: {first_line(error)}); the traceback is in {path}. Finished "
            "work is kept: the same command continues from there"
        ) from None
