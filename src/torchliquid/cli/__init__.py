"""The commands. Each parses what was typed, calls the library, and prints; no logic of its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

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


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Exit code 2 and one line for input that can't be used, 130 and one line after Ctrl-C."""

    @functools.wraps(command)
    def guarded(*args: object, **options: object) -> None:
        try:
            command(*args, **options)
        except InputError as error:
            Console(stderr=True, soft_wrap=True).print(f"torchliquid: {error}", markup=False, highlight=False)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print("Stopped. What was finished is on disk: the same command goes on from there.", file=sys.stderr)
            raise typer.Exit(130) from None

    return guarded


for command in (assess, train, predict, inspect):
    app.command()(_guarded(command))


def main() -> None:
    """The command ``torchliquid``."""
    app()
