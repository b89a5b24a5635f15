"""The commands. Each parses what was typed, calls the library, and prints; no logic of its own."""

from __future__ import annotations

import functools
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from torchliquid.cli.assess import assess
from torchliquid.cli.explain import explain
from torchliquid.cli.export import export
from torchliquid.cli.inspect import inspect
from torchliquid.cli.predict import predict
from torchliquid.cli.reproduce import reproduce
from torchliquid.cli.solvers import solvers
from torchliquid.cli.terminal import Terminal, any_encoding
from torchliquid.cli.train import train
from torchliquid.errors import InputError

app = typer.Typer(
    help="Liquid neural networks, from a recording of sensors to a network that runs on the device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich" if sys.stdout.isatty() and sys.stderr.isatty() else None,
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"torchliquid {version('torchliquid')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Liquid neural networks, from a recording of sensors to a network that runs on the device."""


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Exit code 2 and one line for what can't be used or done, 130 and one line after Ctrl-C."""

    @functools.wraps(command)
    def guarded(*args: object, **options: object) -> None:
        try:
            any_encoding()
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of numbers that are looked at afterwards
            command(*args, **options)
        except InputError as error:
            Terminal(stderr=True).print(f"torchliquid: {error}")
            raise typer.Exit(2) from None
        except OSError as error:
            if isinstance(error, BrokenPipeError):  # whoever reads the output has enough
                raise
            where = f"{error.filename}: " if error.filename else ""
            Terminal(stderr=True).print(
                f"torchliquid: {where}{error.strerror or error}; check the disk and its permissions"
            )
            raise typer.Exit(2) from None
        except RuntimeError as error:
            from torchliquid.jobs import JobError

            if not isinstance(error, JobError):
                raise
            Terminal(stderr=True).print(f"torchliquid: {error}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is near: a second Ctrl-C would only break it
            done = (
                " What was finished is on disk: the same command goes on from there."
                if command in (assess, reproduce)
                else ""
            )
            Terminal(stderr=True).print(f"Stopped.{done}")
            raise typer.Exit(130) from None

    return guarded


for command in (assess, train, predict, inspect, explain, solvers, export, reproduce):
    app.command()(_guarded(command))


def main() -> None:
    """The command ``torchliquid``; it ends as after Ctrl-C when it is told to by a signal."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
