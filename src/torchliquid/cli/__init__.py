"""The commands. Each parses what was typed, calls the library, and prints; no logic of its own."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from torchliquid.cli.assess import assess
from torchliquid.cli.inspect import inspect
from torchliquid.cli.predict import predict
from torchliquid.cli.train import train
from torchliquid.errors import InputError

app = typer.Typer(
    help="Liquid neural networks, from a recording of sensors to a network that runs on the device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (assess, train, predict, inspect):
    app.command()(command)


def main() -> None:
    """Run a command. Exit code 2 and one line for input that can't be used, 130 after Ctrl-C."""
    try:
        app()
    except InputError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"torchliquid: {error}", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nStopped. What was finished is on disk: the same command goes on from there.", file=sys.stderr)
        sys.exit(130)
