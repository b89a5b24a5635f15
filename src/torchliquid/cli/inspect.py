"""``torchliquid inspect``: what a saved model is and what it expects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from torchliquid.cli.loading import loading
from torchliquid.cli.terminal import Terminal, cell, table_of
from torchliquid.files import check_model_file

if TYPE_CHECKING:
    from torchliquid.models import Predictor

SHOWN = 1000
"""Maximum number of channels, labels and entries that are printed."""


def inspect(model: Annotated[Path, typer.Argument(help="A model saved by assess or train.")]) -> None:
    """Show what a saved model is, what it was trained on, what it expects, and whether it still computes the same."""
    check_model_file(model)
    with loading():
        from torchliquid.models import KINDS, Model
        from torchliquid.models.conformal import Interval
        from torchliquid.models.plain import LABELS
        from torchliquid.page.glossary import metric_label
    loaded = Model.load(model)
    task, scales = loaded.task, loaded.preprocessing
    network = loaded if isinstance(loaded, Model) else None
    label = KINDS[loaded.kind].label if network else LABELS[loaded.kind]
    config = ", ".join(f"{name} {value}" for name, value in loaded.config.items())
    rows = {
        "kind": f"{label} ({config})" if config else label,
        "size": size(loaded, model),
        "task": f"{task.kind} of {task.target!r}, one answer per {task.per}",
    }
    if task.horizon is not None:
        rows["forecast"] = f"{task.ahead} {task.horizon_unit} ahead" + (task.learnt and f", as {task.learnt}")
    if task.labels:
        rows["labels"] = ", ".join(task.labels[:SHOWN])
        rows["decided by"] = metric_label(task.primary) + (f", since {task.reason}" if task.reason else "")
    if task.alarm is not None and task.alarm.threshold is not None:
        alarm = task.alarm
        rows["alarm"] = f"{task.labels[task.positive]!r} from a probability of {alarm.threshold:.3g} on"
        lasts = f", once it has lasted {alarm.length:g} {scales.time_unit}" if alarm.length else ""
        rows["alarm"] += lasts + (
            f"; pauses of up to {alarm.merge:g} {scales.time_unit} do not end it" if alarm.merge else ""
        )
    rows["time"] = (
        f"one unit of the model's time is {scales.time_scale:g} {scales.time_unit}, the usual gap in training"
    )
    masked = [name for name, untold in zip(scales.channels, scales.untold, strict=True) if not untold]
    of = "" if len(masked) == scales.n_channels else f" of {', '.join(masked[:SHOWN])}"
    rows["missing values"] = "replaced by the last value" + (f"; the model gets a mask{of}" if scales.with_mask else "")
    if (interval := Interval.of(loaded)) is not None:
        along = ", following the errors over time" if interval.adaptive else ""
        halves = " ".join(f"±{half:.4g}" for half in interval.half[:SHOWN])
        rows["interval"] = f"of {100 * interval.level:g} %: {halves}{along}"
    shown = {name: value for name, value in loaded.metadata.items() if name != "interval"}
    for name, value in list(shown.items())[:SHOWN]:
        rows[name] = plain(value)
    if len(loaded.metadata) > SHOWN:
        rows["and more"] = f"{len(loaded.metadata) - SHOWN:,} entries"
    if network is None:
        rows["self-test"] = "none: only networks carry a sample"
    elif network.sample is None:
        rows["self-test"] = "not possible: the model was saved without a sample"
    else:
        rows["self-test"] = f"passed: outputs on its sample differ by {network.self_test():.1g} from when it was saved"
    table = Table(show_header=False, box=None)
    for name, words in rows.items():
        table.add_row(cell(name, "bold"), cell(words))
    channels = (
        (channel, f"{mean:.4g}", "constant: ignored" if channel in scales.left_out else f"{std:.4g}")
        for channel, mean, std in list(zip(scales.channels, scales.mean, scales.std, strict=True))[:SHOWN]
    )
    console = Terminal()
    console.print(table)
    console.print(table_of("Inputs, in this order", ("channel", "training mean", "standard deviation"), channels))
    if scales.n_channels > SHOWN:
        console.print(f"and {scales.n_channels - SHOWN:,} more")


def size(model: Predictor, file: Path) -> str:
    """The size of a saved model, and the part of a network's sample in it."""
    from torchliquid.models import Model

    on_disk = file.stat().st_size
    sampled = isinstance(model, Model) and model.sample is not None
    sample = f", {on_disk - model.n_bytes():,} of them its sample" if sampled else ""
    return f"{model.live_parameters():,} live parameters, {on_disk:,} bytes on disk{sample}"


def plain(value: object, inside: bool = False) -> str:
    """Plain data in words: ``epochs 4, validation (accuracy 0.97, macro F1 0.96)``."""
    from torchliquid.page.glossary import metric_label

    if isinstance(value, dict):
        words = ", ".join(f"{metric_label(k).replace('_', ' ')} {plain(v, True)}" for k, v in value.items())
        return f"({words})" if inside else words
    if isinstance(value, list):
        return " ".join(plain(v, True) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
