"""``torchliquid solvers``: which solver, with how many steps, a trained model needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torchliquid.cli import options
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal, table_of
from torchliquid.errors import InputError
from torchliquid.files import check_model_file, write_json


@options.of_a_table("group", "ignore", "keep")
def solvers(
    model: Annotated[Path, typer.Argument(help="An LTC that assess or train saved.")],
    recording: Annotated[Path, typer.Argument(help="A CSV or Parquet file with the channels the model knows.")],
    columns: options.Columns,
    out: Annotated[Path | None, typer.Option(help="A folder for solvers.json and solvers.html.")] = None,
    error: Annotated[
        float | None,
        typer.Option(
            help="Choose by this largest distance from the tight solution, in deviations of the answer; without it, by "
            "how well the model answers."
        ),
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Save the model with the chosen solver under this name.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="About how many samples to look at.")] = 1024,
) -> None:
    """Compare solvers and step counts: error against a tight solution, the task's metric, time a sample.

    The table is read as the one the model was trained on; options say where it differs.
    """
    if error is not None and not error > 0:
        raise InputError(f"--error must be greater than 0, not {error}")
    check_model_file(model)
    options.check_tables(recording)
    if write is not None:
        options.check_writable(write, model, recording, option="--write")
    if out is not None:
        options.check_folder(out)
    with loading():
        from torchliquid.explain.solvers import compare_solvers, solver_names, with_solver
        from torchliquid.explain.solvers_page import plain, render, table
        from torchliquid.models.storage import load_network
        from torchliquid.page import write_page
    loaded = load_network(model, "compared under other solvers")
    solver_names(loaded)
    read = columns.read_for(loaded, str(recording))
    with Working() as working:
        found = compare_solvers(loaded, read, samples, working)
    shown = table(found)
    console = Terminal()
    heads = [head.replace(" a sample", "") for head in shown.head]
    console.print(table_of("A sample", heads, shown.rows))
    chosen = found.recommended() if error is None else found.cheapest(error)
    said = [
        found.advice()
        if error is None
        else f"{chosen.name}: the fewest evaluations within an error of {error:g}; the model has {found.own}.",
        f"Looked at {found.samples:,} of {found.of_samples:,} samples in {found.pieces} pieces, each anew.",
    ]
    if found.off is not None:
        said.insert(
            1,
            f"The model's own {found.own} are {found.off:.2g} deviations of the answer off the tight solution: it "
            "learnt with these steps, which are part of it.",
        )
    if any(map(found.too_short, found.choices)):
        said.append(
            f"Explicit solvers whose steps may be too few for the longest gap here, {found.longest:.3g} {found.unit}, "
            "are not chosen."
        )
    if chosen.holds is not None:
        said.append(
            f"No neuron by itself is too fast for its steps at gaps up to {chosen.holds:.3g} {found.unit}, whatever "
            "the inputs are."
        )
    for sentence in said:
        console.print(sentence)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "solvers.json", plain(found, chosen, error))
        write_page(render(found, chosen, error, model.stem), out / "solvers.html")
        console.print(f"{out / 'solvers.html'}")
    if write is not None:
        with_solver(loaded, chosen.solver, chosen.unfolds).save(write)
        console.print(f"{write}: the same weights with {chosen.name}")
