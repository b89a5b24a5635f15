"""``torchliquid explain``: what a saved model does inside, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torchliquid.cli import options
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal
from torchliquid.files import check_model_file


@options.expanded("target", "group", "ignore", "keep")
def explain(
    model: Annotated[Path, typer.Argument(help="A liquid model saved by assess or train.")],
    recording: Annotated[str, typer.Argument(help="A table with the model's channels, or the name of a data set.")],
    columns: options.Columns,
    out: Annotated[Path, typer.Option(help="The folder for explain.html and explain.json.")] = Path("explained"),
) -> None:
    """Show time constants, the circuit, the neurons' roles, the inputs behind the answers, and the stability.

    The table is read like the model's training table, except as the options say. If it contains the target's column,
    each neuron is rated by the model's loss without it.
    """
    from torchliquid.datasets import load, names

    check_model_file(model)
    options.check_folder(out)
    published = recording in names() and not Path(recording).exists()
    if not published:
        options.check_tables(recording)
    with loading():
        from torchliquid.explain.explanation import explanation
        from torchliquid.explain.neurons import liquid_layers
        from torchliquid.explain.report import write_explanation
        from torchliquid.models.storage import load_network
    loaded = load_network(model, "explained")
    liquid_layers(loaded)
    if published:
        dataset = load(recording)
        options.print_notes(recording, dataset.train)
        found = next(iter(dataset.tests.values()), dataset.train)
    else:
        found = columns.read_for(loaded, recording)
    console = Terminal(stderr=True)
    with Working() as working:
        explained = explanation(loaded, found, Path(recording).name, working)
        write_explanation(explained, out)
    for name, why in explained.left_out.items():
        console.print(f"not measured: {name}: {why}")
    Terminal().print(f"Page: {out / 'explain.html'}   results: {out / 'explain.json'}")
