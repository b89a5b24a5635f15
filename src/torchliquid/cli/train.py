"""``torchliquid train``: one model for a recording, without a comparison."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchliquid.cli import names, options
from torchliquid.cli.alarms import Deciding
from torchliquid.cli.amounts import part_of_one, whole_numbers
from torchliquid.cli.inspect import size
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal
from torchliquid.errors import InputError

if TYPE_CHECKING:
    from torchliquid.metrics import Metric
    from torchliquid.models import Model


@options.expanded()
def train(
    recording: options.Sources,
    columns: options.Columns,
    task: options.TaskKind = None,
    horizon: options.Horizon = None,
    *,
    deciding: Deciding,
    kind: Annotated[
        str | None,
        typer.Option(help=f"{names.listed(names.KINDS)}.", show_default="cfc"),
    ] = None,
    parameters: Annotated[
        int | None, typer.Option(min=50, help="Number of live parameters of the network.", show_default="2500")
    ] = None,
    solver: Annotated[str | None, typer.Option(help="fused (LTC only), euler, rk4, dopri5 or tsit5.")] = None,
    unfolds: Annotated[int | None, typer.Option(min=1, help="Solver steps per sample.")] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, help="Stacked layers of equal size.", show_default="1; transformer: 2")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="Dropout between layers in training.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Widths of dense layers in front, such as 16 or 32,16.", show_default="none")
    ] = None,
    expert: Annotated[
        str | None,
        typer.Option(
            help=f"What a mixture is made of: {names.listed(names.EXPERTS)}.",
            show_default="cfc",
            metavar="NAME",
            rich_help_panel="Network",
        ),
    ] = None,
    experts: Annotated[
        int | None, typer.Option(min=1, help="How many experts a mixture has.", show_default="4")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="How many of them are called at each sample.", show_default="1")
    ] = None,
    updates: Annotated[
        int | None, typer.Option(min=1, help="Maximum updates of the weights; default: 2000 or ten passes.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Maximum passes over the training part instead.")] = None,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.01,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the weights and the shuffling.")] = 0,
    window: options.Window = None,
    start: Annotated[Path | None, typer.Option(help="A saved model to train further, instead of a new one.")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Train weights that an export to int8 keeps exactly.")] = False,
    class_weights: Annotated[bool, typer.Option(help="Give rare classes a larger weight.")] = False,
    interval: options.Interval = None,
    device: options.Device = "cpu",
    sample: Annotated[bool, typer.Option(help="Keep a small scaled sample of the training inputs.")] = True,
    out: Annotated[Path, typer.Option(help="Where to save the model.")] = Path("model.safetensors"),
) -> None:
    """Train one network on a recording and save it. A fifth of the recording is held out to stop the training."""
    names.check("--kind", kind, names.KINDS)
    names.check("--solver", solver, names.SOLVERS)
    names.check("--expert", expert, names.EXPERTS)
    mixed = options.given(expert=expert, experts=experts, top_k=top_k)
    if mixed and start is None and kind != "mixture":
        raise InputError("--expert, --experts and --top-k are for a mixture: add --kind mixture")
    options.check_writable(out, *map(Path, recording))
    place = options.check_device(device)
    if out.is_file() and out.suffix != ".safetensors":
        raise InputError(f"--out {out} exists and is not a model; choose another name, such as model.safetensors")
    cut, share = options.windows(window), part_of_one("--interval", interval)
    wanted = "the widths of dense layers, such as 16 or 32,16"
    widths = None if encoder is None else whole_numbers("--encoder", encoder, wanted)
    if start is None:
        question, begun = options.question(recording, None, columns, task, horizon, deciding), None
    else:
        question, begun = _further(start, recording, columns)
        new = options.given(task=task, horizon=horizon, **asdict(deciding), kind=kind, parameters=parameters)
        new |= options.given(solver=solver, unfolds=unfolds, layers=layers, dropout=dropout, encoder=encoder) | mixed
        if new:
            option = next(iter(new)).replace("_", "-")
            raise InputError(f"--{option} is only for a new model; {start}, which is trained further, has its own")
    console = Terminal()
    options.print_understood(question, console)
    with loading():
        from torchliquid.models import KINDS
        from torchliquid.page.glossary import metric_label
        from torchliquid.page.numbers import length
        from torchliquid.solvers import ADAPTIVE
        from torchliquid.training import TrainingConfig, TrainingError, fit
    kind = begun.kind if begun else kind or "cfc"
    stepping = options.given(solver=solver, unfolds=unfolds)
    if stepping and kind in KINDS and "solver" not in KINDS[kind].defaults:
        solved = ", ".join(name for name, one in KINDS.items() if "solver" in one.defaults)
        raise InputError(f"--solver and --unfolds cannot be used with a {kind}; they are for {solved}")
    if unfolds is not None and solver in ADAPTIVE:
        raise InputError(f"--unfolds is for solvers with a fixed number of steps; {solver} chooses its own")
    settings = {"kind": kind, "task": question.task, "parameters": parameters or 2500}
    settings |= options.given(layers=layers, dropout=dropout, encoder=widths) | stepping | mixed
    with Working() as working:
        working(f"training {kind}")
        try:
            model = fit(
                question.recording,
                **({"start": begun} if begun else settings),
                validation=question.validation,
                windows=cut,
                interval=share,
                device=place,
                config=TrainingConfig(lr, updates, epochs, class_weights=class_weights, int8=int8, seed=seed),
                progress=lambda share, note: working(f"training {kind}", share, 1, note),
            )
        except TrainingError as error:
            if error.model is None:
                raise InputError(str(error)) from None
            error.model.save(out, sample)
            best = error.model.metadata["training"]["best_epoch"]
            raise InputError(f"{error}; {out} holds the best weights so far, those of epoch {best}") from None
    model.save(out, sample)
    scores = model.metadata["training"]["validation"]
    console.print(f"{out}: {size(model, out)}")
    if model.task.learnt:
        console.print(f"It predicts {model.task.learnt}: on the held-out part this is a better start than the mean.")
    naive = model.metadata["training"]["naive"]
    steps = [length(horizon, model.task.horizon_unit) for horizon in model.task.path]
    for words, figures in (("On the held-out part", scores), ("The naive answer there", naive)):
        shown = [f"{metric_label(name, steps).replace(',', '')} {value:.4g}" for name, value in figures.items()]
        console.print(f"{words}: " + ", ".join(shown))
    console.print(_conclusion(model.task.metric, scores[model.task.primary], naive[model.task.primary]))


def _conclusion(metric: Metric, own: float, naive: float) -> str:
    """The result, in a last line."""
    figures = f"{metric.label} {own:.3g}, and {naive:.3g} without a model"
    if (own - naive) * (1 if metric.higher_is_better else -1) >= metric.matters(naive):
        return f"It has learnt something: {figures}. Run assess to see whether a simpler model is as good."
    return f"It has not learnt anything useful: {figures}. More rows, other inputs or more --updates may help."


def _further(start: Path, sources: list[str], columns: options.Columns) -> tuple[options.Question, Model]:
    """A saved model, and the task on this recording."""
    options.check_tables(str(start), *sources)
    with loading():
        from torchliquid.models.storage import load_network
    model = load_network(start, "trained further")
    return options.Question(start.name, columns.read_for(model, sources), {}, model.task), model
