"""``torchliquid predict``: a saved model's answers for a new recording, row by row."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchliquid.cli import options
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal
from torchliquid.errors import InputError, printable
from torchliquid.files import check_model_file, write_atomically

if TYPE_CHECKING:
    import polars as pl

    from torchliquid.data import Recording


NOT_WRITTEN = {".xlsx", ".xls", ".ods", ".json", ".jsonl", ".gz", ".bz2", ".xz", ".zip"}
"""Endings of files in formats that are not written."""

Order = StrEnum("Order", ["time", "rows"])
"""Values of --order."""


@options.expanded("target", "group", "ignore", "keep")
def predict(
    model: Annotated[Path, typer.Argument(help="A model saved by assess or train.")],
    recording: options.New,
    columns: options.Columns,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write: .parquet, .arrow, or else CSV; default: CSV to the terminal."),
    ] = None,
    order: Annotated[
        Order,
        typer.Option(help="Order of the answers: by time in each series, or by rows of the table, with their numbers."),
    ] = Order.time,
) -> None:
    """Predict row by row, with the state carried from each row to the next, as a CSV.

    The table is read like the model's training table, except as the options say. Control characters in names are
    escaped, and a name that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    check_model_file(model)
    options.check_tables(*recording)
    out = None if str(out) == "-" else out
    if out is not None:
        options.check_writable(out, model, *map(Path, recording))
        if out.suffix.lower() in NOT_WRITTEN:
            raise InputError(f"--out {out}: answers can be written as .csv, .parquet or .arrow; choose one of these")
    with loading():
        import polars as pl

        from torchliquid.data.summary import understood, unlike
        from torchliquid.models import Model
    loaded = Model.load(model)
    found = columns.read_for(loaded, recording, labelled=False)
    errors = Terminal(stderr=True)
    for line in understood(found, loaded.task):
        errors.print(line)
    for sentence in unlike(found, loaded.preprocessing, loaded.metadata.get("columns", {})):
        errors.print(f"warning: {sentence}")
    with Working() as working:
        what = f"predicting {found.n_samples:,} samples"
        working(what)
        frame = loaded.predict(found, lambda done: working(what, done, found.n_samples))
        if order is Order.rows:
            frame = in_order_of_rows(frame, found)
    lost = frame.select(pl.any_horizontal(pl.selectors.starts_with("prediction").is_null())).to_series()
    if lost.any():
        first = (lost.arg_max() or 0) + 1
        Terminal(stderr=True).print(
            f"warning: {lost.sum()} of {frame.height} answers are empty, the first is that of sample {first}: the "
            "network's numbers are not finite there, for example with an explicit solver after a long gap; see solvers"
        )
    if out is None:
        sys.stdout.buffer.write(csv(frame).encode())
        sys.stdout.buffer.flush()
    else:
        write(frame, out)
        Terminal(stderr=True).print(f"{frame.height} predictions in {out}")


def in_order_of_rows(frame: pl.DataFrame, recording: Recording) -> pl.DataFrame:
    """Answers in the order of the table's rows, with the number of each; several tables one after the other."""
    import numpy as np
    import polars as pl

    parts = [s for s in recording.series if s.rows is not None]
    if len(parts) < recording.n_series or sum(map(len, parts)) != frame.height:
        raise InputError("--order rows: here one answer covers several rows; leave the option out")
    files = {name: place for place, name in enumerate(dict.fromkeys(s.file for s in parts))}
    of = np.repeat([files[s.file] for s in parts], [len(s) for s in parts])
    numbered = frame.insert_column(0, pl.Series("row", np.concatenate([s.rows for s in parts])))
    if len(files) > 1:
        numbered.insert_column(0, pl.Series("file", [list(files)[place] for place in of.tolist()]))
    return numbered[np.lexsort((numbered["row"], of))]


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write a table in the format of the file's name, atomically."""
    make: Callable[[Path], object] = lambda part: part.write_text(csv(frame), encoding="utf-8")  # noqa: E731
    if path.suffix.lower() in (".parquet", ".pq"):
        make = frame.write_parquet
    elif path.suffix.lower() in (".arrow", ".feather", ".ipc"):
        make = frame.write_ipc
    write_atomically(path, make)


def csv(frame: pl.DataFrame) -> str:
    """A table as CSV that cannot control a terminal or run in a spreadsheet, because names come from a file."""
    import polars as pl

    def safe(name: str) -> str:
        text = printable(name, longest=None)
        return f"'{text}" if text.startswith(("=", "@")) or re.match(r"[-+](?![\d.]|inf)", text) else text

    frame = frame.with_columns(
        pl.selectors.string().map_elements(safe, return_dtype=pl.String),
        pl.selectors.datetime(time_zone="*").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
    )
    frame.columns = _different(printable(column, longest=None) for column in frame.columns)
    return frame.write_csv()


def _different(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        found.append(name if name not in found else f"{name}_{len(found)}")
    return found
