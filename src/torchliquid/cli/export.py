"""``torchliquid export``: a saved model as C or ONNX for a device, proven and measured."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from torchliquid.cli import options
from torchliquid.errors import InputError

if TYPE_CHECKING:
    from torchliquid.models import Model


class Quantization(StrEnum):
    """What --quantize takes."""

    none = "none"
    int8 = "int8"


class Mathematics(StrEnum):
    """What --math takes."""

    builtin = "builtin"
    libm = "libm"


def export(
    model: Annotated[Path, typer.Argument(help="A model that assess or train saved.")],
    target: Annotated[
        str,
        typer.Option(
            help="c99, linux-x86_64, raspberry-pi, raspberry-pi-zero, cortex-m0, cortex-m4, cortex-m7, riscv32 or onnx."
        ),
    ] = "c99",
    out: Annotated[Path, typer.Option(help="The folder to write; new, empty, or an earlier export.")] = Path(
        "exported"
    ),
    data: Annotated[Path | None, typer.Option(help="A recording to prove it on, and to tell the metric of.")] = None,
    study: Annotated[Path | None, typer.Option(help="The folder of a study, to compare its contenders' costs.")] = None,
    quantize: Annotated[Quantization, typer.Option(help="Integers instead of single precision.")] = Quantization.none,
    math_: Annotated[
        Mathematics | None,
        typer.Option("--math", help="exp and tanh built in, or of the C library; without it, as suits the target."),
    ] = None,
    flash_limit: Annotated[str | None, typer.Option(help="Fail beyond so much flash, e.g. 32k.")] = None,
    ram_limit: Annotated[str | None, typer.Option(help="Fail beyond so much RAM, e.g. 4k.")] = None,
    step_limit: Annotated[str | None, typer.Option(help="Fail beyond so long a step, e.g. 2ms.")] = None,
) -> None:
    """Write a model as C or ONNX for a device, prove that it computes the same, and tell what it costs there."""
    from torchliquid import edge
    from torchliquid.edge.footprint import bytes_of, microseconds_of, table
    from torchliquid.edge.targets import find
    from torchliquid.models import Model

    machine = find(target)
    loaded = Model.load(model)
    limits = edge.Limits(
        None if flash_limit is None else bytes_of(flash_limit, "--flash-limit"),
        None if ram_limit is None else bytes_of(ram_limit, "--ram-limit"),
        None if step_limit is None else microseconds_of(step_limit, "--step-limit"),
    )
    recording = None
    if data is not None:
        columns = options.remembered(loaded, None if loaded.task.horizon is not None else loaded.task.target)
        recording = columns.read(str(data), loaded.task.horizon is None, loaded.preprocessing.channels)
    report = edge.export(
        loaded,
        machine,
        out,
        recording,
        {} if study is None else contenders(study, model),
        quantize is Quantization.int8,
        None if math_ is None else math_.value,
        limits,
        loaded.kind,
    )
    console = Console()
    for line in report.measured:
        console.print(f"  {line}", markup=False, highlight=False)
    if report.costs:
        console.print(Markdown(table(report.costs)))
    for warning in report.warnings:
        Console(stderr=True).print(f"warning: {warning}", markup=False, highlight=False, style="yellow")
    typer.echo(f"{machine.name} in {out}", err=True)


def contenders(study: Path, but: Path) -> dict[str, Model]:
    """The trained networks of a study, one a contender, the best on validation first.

    Raises:
        InputError: there is no finished study.
    """
    from torchliquid.models import Model
    from torchliquid.study.results import StudyResults
    from torchliquid.study.trial import MODEL, Spec

    try:
        results = StudyResults.from_json((study / "results.json").read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{study} holds no results of a study ({reason}); give the folder of assess") from None
    sign = 1.0 if results.task.higher_is_better else -1.0
    found: list[tuple[float, str, Path]] = []
    for contender in results.contenders:
        for trial in contender.trials:
            path = study / "trials" / Spec(contender.name, trial.hyper, trial.seed).id / MODEL
            if path.exists() and not math.isnan(trial.validation):
                found.append((sign * trial.validation, contender.name, path))
    best: dict[str, Model] = {}
    for _, name, path in sorted(found, key=lambda each: -each[0]):
        label = f"{name} of the study"
        if label not in best and path.resolve() != but.resolve():
            best[label] = Model.load(path)
    return best
