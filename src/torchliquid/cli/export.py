"""``torchliquid export``: a saved model as C or ONNX for a device, checked and measured, or as a page that runs it."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from torchliquid.cli import names, options
from torchliquid.cli.amounts import device_limits, limits_of, share_of
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal, table_of
from torchliquid.errors import InputError
from torchliquid.files import check_model_file

Quantization = StrEnum("Quantization", ["none", "int8", "auto"])
"""Values of --quantize."""


class Mathematics(StrEnum):
    """Values of --math."""

    builtin = "builtin"
    libm = "libm"


@options.expanded("target", "group", "ignore", "keep")
def export(
    model: Annotated[Path, typer.Argument(help="A model saved by assess or train.")],
    columns: options.Columns,
    target: Annotated[
        str,
        typer.Option(metavar="NAME", rich_help_panel="Device", help=f"{names.listed(names.TARGETS)}."),
    ] = "c99",
    out: Annotated[Path, typer.Option(help="The folder to write: new, empty, or an earlier export.")] = Path(
        "exported"
    ),
    data: Annotated[Path | None, typer.Option(help="A recording to check the export and its metric on.")] = None,
    study: Annotated[Path | None, typer.Option(help="The folder of a study, to compare its contenders' costs.")] = None,
    quantize: Annotated[
        Quantization,
        typer.Option(help="Integers instead of single precision: int8 weights, or 8 and 16 bits as --error requires."),
    ] = Quantization.none,
    calibrate: Annotated[
        Path | None, typer.Option(help="A recording that scales integers; default: the model's training sample.")
    ] = None,
    error: Annotated[str, typer.Option(help="Allowed RMS error of integers, relative to the outputs' spread.")] = "1%",
    strict: Annotated[bool, typer.Option("--strict", help="Fail if their error is larger.")] = False,
    math_: Annotated[
        Mathematics | None,
        typer.Option("--math", help="Built-in exp and tanh, or the C library's; default: as suits the target."),
    ] = None,
    flash_limit: Annotated[str | None, typer.Option(help="Maximum flash, e.g. 32k; fail if exceeded.")] = None,
    ram_limit: Annotated[str | None, typer.Option(help="Maximum RAM, e.g. 4k; fail if exceeded.")] = None,
    step_limit: Annotated[str | None, typer.Option(help="Maximum time of a step, e.g. 2ms; fail if exceeded.")] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the C's files, types and functions; default: the model file's name."),
    ] = None,
    plausible: Annotated[
        list[str] | None,
        typer.Option(
            help="CHANNEL=LOW:HIGH, a sensor's range; the last good reading replaces those beyond. Repeatable."
        ),
    ] = None,
    longest_gap: Annotated[
        float | None, typer.Option(help="Longest plausible time between samples, in the recording's unit.")
    ] = None,
    sample: Annotated[bool, typer.Option(help="Put recorded samples into the self-test, not synthetic ones.")] = True,
) -> None:
    """Write a model as C or ONNX for a device, check that it computes the same, and measure its costs there; or write
    it as a page that runs it in a browser.

    A recording is read like the model's training table, except as the options say.
    """
    names.check("--target", target, names.TARGETS)
    most = device_limits(flash_limit, ram_limit, step_limit)
    allowed, within = share_of("--error", error), limits_of(plausible or [])
    check_model_file(model)
    options.check_folder(out)
    options.check_tables(*(path for path in (data, calibrate) if path is not None))
    with loading():
        from torchliquid import edge
        from torchliquid.edge import footprint
        from torchliquid.edge.names import model_name
        from torchliquid.edge.targets import find
        from torchliquid.models import Model
        from torchliquid.models.storage import load
        from torchliquid.models.tabular import Tabular
        from torchliquid.study.run.trained import trained
    machine = find(target)
    loaded = load(model)
    if not isinstance(loaded, Model | Tabular):
        raise InputError(f"{model} holds a {loaded.kind} model, of which there is no C: export another model")

    recording, scaled_by = (None if path is None else columns.read_for(loaded, str(path)) for path in (data, calibrate))
    with Working() as working:
        report = edge.export(
            loaded,
            machine,
            out,
            recording,
            {} if study is None else trained(study, loaded),
            quantize is not Quantization.none,
            None if math_ is None else math_.value,
            edge.Limits(*most),
            loaded.kind,
            auto=quantize is Quantization.auto,
            calibrate=scaled_by,
            error=allowed,
            strict=strict,
            c_name=model_name(model.stem) if name is None else name,
            plausible=within,
            longest_gap=longest_gap,
            sample=sample,
            command=shlex.join(["torchliquid", *sys.argv[1:]]),
            progress=working,
        )
    console = Terminal()
    for line in report.measured:
        console.print(f"  {line}")
    if report.costs:
        console.print(table_of("Models side by side", footprint.HEAD, footprint.rows(report.costs)))
    for warning in report.warnings:
        Terminal(stderr=True).print(f"warning: {warning}", style="yellow")
    Terminal(stderr=True).print(f"{machine.name} in {out}")
