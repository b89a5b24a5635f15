"""``torchliquid predict``: a saved model's answers for a new recording, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torchliquid.cli import options
from torchliquid.files import write_atomically


def predict(
    model: Annotated[Path, typer.Argument(help="A model that assess or train saved.")],
    recording: Annotated[Path, typer.Argument(help="A CSV or Parquet file with the channels the model knows.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the CSV; without it, to the terminal.")] = None,
    time: options.Time = None,
    time_unit: options.TimeUnit = None,
    series: options.Series = None,
    long: options.Long = None,
    missing: options.Missing = None,
    time_format: options.TimeFormat = None,
) -> None:
    """Predict row by row, the state carried from each row to the next, as a CSV.

    The table is read as the one the model was trained on; options say where it differs.
    """
    import polars as pl

    from torchliquid.models import Model

    loaded = Model.load(model)
    if out is not None:
        options.check_writable(out, model, recording)
    columns = options.remembered(loaded, None, time, time_unit, series, long, missing, time_format)
    found = columns.read(str(recording), channels=loaded.preprocessing.channels)
    frame = loaded.predict(found)
    lost = frame.select(pl.any_horizontal(pl.selectors.starts_with("prediction").is_null())).to_series()
    if lost.any():
        first = (lost.arg_max() or 0) + 1
        typer.echo(
            f"warning: {lost.sum()} of {frame.height} answers are empty, the first that of sample {first}: the "
            "network's numbers are not finite there, as an explicit solver's after too long a gap, see solvers",
            err=True,
        )
    if out is None:
        typer.echo(frame.write_csv(), nl=False)
    else:
        write_atomically(out, frame.write_csv)
        typer.echo(f"{frame.height} predictions in {out}", err=True)
