"""``torchliquid distil``: a small network that reproduces the answers of a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from torchliquid.cli import names, options
from torchliquid.cli.amounts import device_limits
from torchliquid.cli.inspect import size
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal, table_of
from torchliquid.errors import InputError
from torchliquid.files import check_model_file

if TYPE_CHECKING:
    from rich.table import Table

    from torchliquid.data import Recording
    from torchliquid.distillation import Distilled, Under
    from torchliquid.models import Model, Naive, Predictor, Tabular


@options.expanded("target", "group", "ignore", "keep")
def distil(
    teacher: Annotated[Path, typer.Argument(help="A model saved by assess or train.")],
    recording: options.New,
    columns: options.Columns,
    test: Annotated[
        Path | None,
        typer.Option(help="A table to compare the two on, preferably new to the teacher; default: a fifth."),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="cfc, cfc_ncp, ltc, ltc_ncp, ctrnn, neural_ode, ctgru, ode_lstm, lstm or gru.")
    ] = "cfc",
    parameters: Annotated[
        int | None, typer.Option(min=50, help="Live parameters of the pupil.", show_default="500")
    ] = None,
    until_fits: Annotated[
        str | None, typer.Option(help="Instead of --parameters: the largest that fits this device's limits.")
    ] = None,
    flash_limit: Annotated[str | None, typer.Option(help="With --until-fits: maximum flash, e.g. 16k.")] = None,
    ram_limit: Annotated[str | None, typer.Option(help="With --until-fits: maximum RAM, e.g. 4k.")] = None,
    step_limit: Annotated[str | None, typer.Option(help="With --until-fits: maximum time of a step, e.g. 2ms.")] = None,
    updates: Annotated[
        int | None, typer.Option(min=1, help="Maximum updates of the weights; default: 2000 or ten passes.")
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.01,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the weights and the shuffling.")] = 0,
    sample: Annotated[bool, typer.Option(help="Keep a small scaled sample of the training inputs.")] = True,
    out: Annotated[Path, typer.Option(help="Where to save the pupil.")] = Path("pupil.safetensors"),
) -> None:
    """Train a small network to reproduce a saved model's answers, on a recording and on shifted copies of it.

    No labels are needed. If the recording has them, both models are scored.
    """
    names.check("--kind", kind, names.KINDS)
    names.check("--until-fits", until_fits, names.TARGETS)
    limits = device_limits(flash_limit, ram_limit, step_limit)
    check_model_file(teacher)
    options.check_tables(*recording, *([] if test is None else [str(test)]))
    options.check_writable(out, teacher, *map(Path, recording))
    limited = any(limit is not None for limit in limits)
    if until_fits is None and limited:
        raise InputError("a limit needs a device: name it with --until-fits, such as cortex-m4")
    if until_fits is not None and (parameters is not None or not limited):
        raise InputError("--until-fits needs --flash-limit, --ram-limit or --step-limit, and finds --parameters itself")
    with loading():
        from torchliquid import edge
        from torchliquid.distillation import distil, largest_that_fits
        from torchliquid.edge.targets import find
        from torchliquid.models import Model
        from torchliquid.training import TrainingConfig, TrainingError
    loaded = Model.load(teacher)
    read = columns.read_for(loaded, recording)
    tested = None if test is None else columns.read_for(loaded, str(test))
    console = Terminal()
    with Working() as working:
        if until_fits is not None:
            target = find(until_fits)
            working(f"what fits {target.name}")
            parameters, cost = largest_that_fits(loaded, kind, target, edge.Limits(*limits))
            console.print(
                f"The largest {kind} that fits {target.name}: {parameters:,} parameters, {cost.flash:,} bytes of "
                f"flash, {cost.ram:,} of RAM, about {cost.microseconds:,.1f} µs per step, assuming {target.assumption}."
            )
        working(f"distilling into {kind}")
        try:
            found = distil(
                loaded,
                read,
                kind,
                parameters=parameters or 500,
                test=tested,
                config=TrainingConfig(lr, updates, seed=seed),
                progress=lambda share, note: working(f"distilling into {kind}", share, 1, note),
            )
        except TrainingError as error:
            raise InputError(str(error)) from None
    found.model.save(out, sample)
    console.print(f"{out}: {size(found.model, out)}")
    for sentence in _sentences(found):
        console.print(sentence)
    console.print(_costs(loaded, found.model, read))


def _sentences(found: Distilled) -> list[str]:
    """How close the pupil comes, on unchanged data and under the shift with the largest difference."""
    from torchliquid.study import words

    metric, gain, worst = found.model.task.primary, found.gain, found.worst
    apart = f"On {found.samples:,} samples that it was not trained on {_apart(found, found.distance)}"
    lines = [apart + _scores(found, found) + "."]
    if gain is not None:
        if gain.known:
            lines.append(f"The pupil's gain over its teacher: {words.gain_interval(metric, gain)} (95 % interval).")
        else:
            lines.append(f"Its gain or loss is unknown: {words.unknown(gain)}.")
    lines.append(
        f"The largest difference is under {worst.shift} ({worst.described}): {_apart(found, worst.distance)}"
        f"{_scores(found, worst)}."
    )
    return lines


def _apart(found: Distilled, distance: float) -> str:
    from torchliquid.page.numbers import share, significant

    if found.model.task.kind == "classification":
        return f"{share(distance)} of its answers differ from its teacher's"
    return f"its answers differ from its teacher's by {significant(distance, 2)} target standard deviations (RMS)"


def _scores(found: Distilled, of: Distilled | Under) -> str:
    from torchliquid.page.glossary import metric_label
    from torchliquid.study import words

    if of.pupil is None or of.teacher is None:
        return ""
    metric = found.model.task.primary
    return f"; {metric_label(metric)} {words.score(metric, of.pupil)} against {words.score(metric, of.teacher)}"


def _costs(teacher: Predictor, pupil: Model, recording: Recording) -> Table:
    """The costs of both models as a table."""
    from torchliquid.page.numbers import count, duration, size
    from torchliquid.study.run.cost import cost
    from torchliquid.study.run.latency import live_step

    pair: list[Model | Tabular | Naive] = [cast("Model | Tabular | Naive", teacher), pupil]
    costs = [cost(model) for model in pair]
    rows = (
        ("Stored (float32)", *(size(one.bytes) for one in costs)),
        ("State", *(size(one.state_bytes) for one in costs)),
        ("Operations per sample", *(count(one.operations) for one in costs)),
        ("Live step here", *(duration(live_step(model, recording.series[0])[0] / 1e6) for model in pair)),
    )
    return table_of("What is saved", ("", "Teacher", "Pupil"), rows)
