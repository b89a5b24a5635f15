"""``torchliquid export``: a saved model as C or ONNX for a device, proven and measured, or as a page that runs it."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchliquid.cli import names, options
from torchliquid.cli.amounts import device_limits, limits_of, share_of
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal, table_of
from torchliquid.files import check_model_file

if TYPE_CHECKING:
    from torchliquid.data import Recording


class Quantization(StrEnum):
    """What --quantize takes."""

    none = "none"
    int8 = "int8"
    auto = "auto"


class Mathematics(StrEnum):
    """What --math takes."""

    builtin = "builtin"
    libm = "libm"


@options.of_a_table("target", "group", "ignore", "keep")
def export(
    model: Annotated[Path, typer.Argument(help="A model that assess or train saved.")],
    columns: options.Columns,
    target: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel="Device",
            help=f"{names.listed(names.TARGETS)}.",
        ),
    ] = "c99",
    out: Annotated[Path, typer.Option(help="The folder to write; new, empty, or an earlier export.")] = Path(
        "exported"
    ),
    data: Annotated[Path | None, typer.Option(help="A recording to prove it on, and to tell the metric of.")] = None,
    study: Annotated[Path | None, typer.Option(help="The folder of a study, to compare its contenders' costs.")] = None,
    quantize: Annotated[
        Quantization,
        typer.Option(help="Integers instead of single precision: int8 weights, or 8 and 16 bits as --error asks for."),
    ] = Quantization.none,
    calibrate: Annotated[
        Path | None, typer.Option(help="A recording to scale integers by, instead of the model's training sample.")
    ] = None,
    error: Annotated[str, typer.Option(help="What integers may cost, of the outputs' spread (RMS).")] = "1%",
    strict: Annotated[bool, typer.Option("--strict", help="Fail where they cost more, instead of a warning.")] = False,
    math_: Annotated[
        Mathematics | None,
        typer.Option("--math", help="exp and tanh built in, or of the C library; without it, as suits the target."),
    ] = None,
    flash_limit: Annotated[str | None, typer.Option(help="Fail beyond so much flash, e.g. 32k.")] = None,
    ram_limit: Annotated[str | None, typer.Option(help="Fail beyond so much RAM, e.g. 4k.")] = None,
    step_limit: Annotated[str | None, typer.Option(help="Fail beyond so long a step, e.g. 2ms.")] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the C's files, types and functions; without it, that of the model's file."),
    ] = None,
    plausible: Annotated[
        list[str] | None,
        typer.Option(help="CHANNEL=LOW:HIGH, what a sensor can give: readings beyond are held. Repeatable."),
    ] = None,
    longest_gap: Annotated[
        float | None, typer.Option(help="Longest time between samples that can be real, in the recording's unit.")
    ] = None,
    sample: Annotated[bool, typer.Option(help="Put recorded samples into the self-test, not made-up ones.")] = True,
) -> None:
    """Write a model as C or ONNX for a device, prove that it computes the same, and tell what it costs there; or as a
    page that runs it in a browser.

    A recording is read as the one the model was trained on; options say where it differs.
    """
    names.check("--target", target, names.TARGETS)
    most = device_limits(flash_limit, ram_limit, step_limit)
    allowed, within = share_of(error, "--error"), limits_of(plausible or [])
    check_model_file(model)
    options.check_folder(out)
    options.check_tables(*(path for path in (data, calibrate) if path is not None))
    with loading():
        from torchliquid import edge
        from torchliquid.edge import footprint
        from torchliquid.edge.names import model_name
        from torchliquid.edge.targets import find
        from torchliquid.models.storage import load_network
        from torchliquid.study.run.trained import trained
    machine = find(target)
    loaded = load_network(model, "exported")

    def read(path: Path | None) -> Recording | None:
        if path is None:
            return None
        return columns.read_for(loaded, str(path))

    recording, scaled_by = read(data), read(calibrate)
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
