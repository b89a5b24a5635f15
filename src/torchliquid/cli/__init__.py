"""The commands. Each parses its arguments, calls the library and prints the result; they contain no other logic."""

from __future__ import annotations

import functools
import signal
import warnings
from collections.abc import Callable
from typing import Annotated

import typer

from torchliquid.cli import help
from torchliquid.cli.assess import assess
from torchliquid.cli.control import control
from torchliquid.cli.distil import distil
from torchliquid.cli.explain import explain
from torchliquid.cli.export import export
from torchliquid.cli.inspect import inspect
from torchliquid.cli.mcp import mcp
from torchliquid.cli.predict import predict
from torchliquid.cli.reproduce import reproduce
from torchliquid.cli.solvers import solvers
from torchliquid.cli.terminal import Terminal, any_encoding
from torchliquid.cli.train import train
from torchliquid.cli.watch import watch
from torchliquid.errors import InputError

app = typer.Typer(
    help="Liquid neural networks, from a recording of sensors to a network that runs on the device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    cls=help.Group,
    rich_markup_mode=None,
    epilog="torchliquid assess plant.csv --target state --time when\n"
    "torchliquid predict study-plant/model.safetensors new.csv --out answers.csv",
)

COMMANDS: dict[Callable[..., None], tuple[str, str]] = {
    assess: (
        "Compare liquid networks with other models on a recording.",
        "torchliquid assess plant.csv --target state --time when\n"
        "torchliquid assess plant.csv --target load --time when --horizon 30min",
    ),
    train: (
        "Train one network on a recording and save it.",
        "torchliquid train plant.csv --target state --time when\n"
        "torchliquid train plant.csv --target state --time when --kind ltc_ncp",
    ),
    predict: (
        "Predict with a saved model for a new table.",
        "torchliquid predict model.safetensors new.csv --out answers.csv\n"
        "torchliquid predict model.safetensors new.csv --order rows",
    ),
    inspect: (
        "Show what a saved model is and expects.",
        "torchliquid inspect model.safetensors\ntorchliquid inspect study-plant/best.safetensors",
    ),
    explain: (
        "Explain what a saved model does inside.",
        "torchliquid explain model.safetensors plant.csv\n"
        "torchliquid explain model.safetensors plant.csv --out explained",
    ),
    solvers: (
        "Find out which ODE solver a saved model needs.",
        "torchliquid solvers model.safetensors plant.csv --out solvers\n"
        "torchliquid solvers model.safetensors plant.csv --write deployed.safetensors",
    ),
    distil: (
        "Train a small network to reproduce a saved model.",
        "torchliquid distil study-plant/model.safetensors plant.csv --parameters 300\n"
        "torchliquid distil model.safetensors plant.csv --kind ltc_ncp",
    ),
    watch: (
        "Find what departs from a recording's usual course, without labels.",
        "torchliquid watch pump.csv --time when --good 30% --out watched\n"
        "torchliquid watch new.csv --model watched/watch.safetensors",
    ),
    export: (
        "Write a saved model as C or ONNX for a device.",
        "torchliquid export model.safetensors --target cortex-m4 --out device\n"
        "torchliquid export model.safetensors --quantize int8 --flash-limit 32k",
    ),
    mcp: (
        "Let a language model ask what sensors say.",
        "torchliquid mcp --live pump=model.safetensors,tcp://192.168.0.7:5000\n"
        "torchliquid mcp --folder recordings --http 8765",
    ),
    control: (
        "Compare control policies in worlds they were not trained for.",
        "torchliquid control fly --out flights\ntorchliquid control CartPole-v1 --expert pilots:careful --episodes 20",
    ),
    reproduce: (
        "Rerun a published table.",
        "torchliquid reproduce occupancy\ntorchliquid reproduce occupancy --contender ltc --seeds 1 --out quick",
    ),
}
"""A summary of each command, and examples."""


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"torchliquid {version('torchliquid')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Liquid neural networks, from a recording of sensors to a network that runs on the device."""


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Exit with code 2 and one line for input that cannot be used, and with 130 and one line after Ctrl-C."""

    @functools.wraps(command)
    def guarded(*args: object, **options: object) -> None:
        try:
            any_encoding()
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, about numbers that are checked afterwards
            command(*args, **options)
        except (InputError, OSError, RuntimeError) as error:
            Terminal(stderr=True).print(f"torchliquid: {_in_a_line(error)}")
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would interrupt the cleanup
            kept = " Finished work is on disk: the same command continues from there."
            Terminal(stderr=True).print(f"Stopped.{kept if command in (assess, control, reproduce) else ''}")
            raise typer.Exit(130) from None

    return guarded


def _in_a_line(error: Exception) -> str:
    """What a user can do about an error. One that is not the user's is raised again."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # the output's reader has closed it
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}; check the disk and its permissions"
    from torchliquid.jobs import JobError

    if isinstance(error, JobError):
        return str(error)
    raise error


for command, (words, examples) in COMMANDS.items():
    app.command(cls=help.Command, short_help=words, epilog=examples)(_guarded(command))


def main() -> None:
    """The command ``torchliquid``. A signal that asks it to end has the effect of Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
