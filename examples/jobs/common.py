"""What the jobs share: lists of their pages, and what a model costs on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torchliquid import Model, Recording
from torchliquid.edge.export import export
from torchliquid.edge.targets import TARGETS
from torchliquid.files import write_atomically
from torchliquid.models.tabular import Tabular

CONTENDERS = ("cfc", "cfc_ncp", "ltc_ncp", "lstm", "gru", "transformer", "linear", "boosting", "naive")
"""Those of a job's study: what people would take, in the time that a job may take."""


def bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"* {sentence}" for sentence in sentences)


def on_device(
    label: str, model: Model | Tabular, data: Recording, folder: Path, target: str = "cortex-m4"
) -> list[str]:
    """What the exported C costs on a device, and how it agrees with Python: sentences."""
    return [f"{label}: {sentence}" for sentence in export(model, TARGETS[target], folder, data=data).measured]


def write(page: Path, text: str) -> None:
    page.parent.mkdir(exist_ok=True)
    write_atomically(page, lambda part: part.write_text(text, "utf-8"))
    print(f"wrote {page}")
