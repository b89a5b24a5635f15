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


@options.expanded("group", "ignore", "keep")
def solvers(
    model: Annotated[Path, typer.Argument(help="An LTC saved by assess or train.")],
    recording: Annotated[Path, typer.Argument(help="A table with the model's channels.")],
    columns: options.Columns,
    out: Annotated[Path | None, typer.Option(help="A folder for solvers.json and solvers.html.")] = None,
    error: Annotated[
        float | None,
        typer.Option(
            help="Choose a solver with at most this error, the difference from the reference solution in standard "
            "deviations of the answer. Without it, choose by the quality of the answers."
        ),
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Save the model with the chosen solver under this name.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Approximate number of samples to use.")] = 1024,
) -> None:
    """Compare solvers and step counts: difference from a reference solution, the task's metric, time per sample.

    The table is read like the model's training table, except as the options say.
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
    heads = [head.replace(" per sample", "") for head in shown.head]
    console.print(table_of("Per sample", heads, shown.rows))
    chosen = found.recommended() if error is None else found.cheapest(error)
    console.print(
        found.advice()
        if error is None
        else f"{chosen.name}: the fewest evaluations with an error of at most {error:g}; the model has {found.own}."
    )
    if found.off is not None:
        console.print(
            f"The answers of the model's own solver, {found.own}, differ from the reference solution by "
            f"{found.off:.2g} standard deviations. The model was trained with these steps, so they are part of it."
        )
    console.print(
        f"Used {found.samples:,} of {found.of_samples:,} samples in {found.pieces} pieces, each from the initial state."
    )
    if any(map(found.too_short, found.choices)):
        console.print(
            f"Explicit solvers whose steps may be too few for the longest gap here, {found.longest:.3g} {found.unit}, "
            "are not chosen."
        )
    if chosen.holds is not None:
        console.print(
            f"With gaps up to {chosen.holds:.3g} {found.unit}, its steps are short enough for each single neuron, "
            "whatever the inputs are."
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "solvers.json", plain(found, chosen, error))
        write_page(render(found, chosen, error, model.stem), out / "solvers.html")
        console.print(f"{out / 'solvers.html'}")
    if write is not None:
        with_solver(loaded, chosen.solver, chosen.unfolds).save(write)
        console.print(f"{write}: the same weights with {chosen.name}")
