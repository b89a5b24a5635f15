"""``torchliquid predict``: a saved model's answers for a new recording, row by row."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchliquid.cli import options
from torchliquid.cli.terminal import Terminal
from torchliquid.errors import printable
from torchliquid.files import write_atomically

if TYPE_CHECKING:
    import polars as pl


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

    The table is read as the one the model was trained on; options say where it differs. Control characters in names
    stand as their escapes, and a name that a spreadsheet would take for a formula has an apostrophe before it.
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
        Terminal(stderr=True).print(
            f"warning: {lost.sum()} of {frame.height} answers are empty, the first that of sample {first}: the "
            "network's numbers are not finite there, as an explicit solver's after too long a gap, see solvers"
        )
    answers = csv(frame)
    if out is None:
        typer.echo(answers, nl=False)
    else:
        write_atomically(out, lambda part: part.write_text(answers, encoding="utf-8"))
        Terminal(stderr=True).print(f"{frame.height} predictions in {out}")


def csv(frame: pl.DataFrame) -> str:
    """Answers as CSV that neither steers a terminal nor runs in a spreadsheet; names come from a file."""
    import polars as pl

    def safe(name: str | None) -> str | None:
        if name is None:
            return None
        text = printable(name, longest=None)
        return f"'{text}" if text.startswith(("=", "@")) or re.match(r"[-+](?![\d.]|inf)", text) else text

    frame = frame.with_columns(
        pl.col(column).map_elements(safe, return_dtype=pl.String)
        for column, kind in frame.schema.items()
        if kind == pl.String
    )
    frame.columns = _different(printable(column, longest=None) for column in frame.columns)
    return frame.write_csv()


def _different(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        found.append(name if name not in found else f"{name}_{len(found)}")
    return found
