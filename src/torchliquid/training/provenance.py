"""The metadata of a saved model about its training."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from torchliquid.data.recording import Recording
from torchliquid.training.history import History


def provenance(training: Recording, history: History, seed: int) -> dict[str, Any]:
    """Plain data for a model's metadata: version and date, how the recording's columns were read (so that the next file
    is read in the same way), and how the training went."""
    epochs, updates, best = history.epochs, history.updates, history.best
    course = {"epochs": epochs[-1], "best_epoch": epochs[best], "updates": updates[best]} if updates[-1] else {}
    columns = dict(training.columns)
    if not training.dated and training.time_unit not in ("samples", "units"):
        columns["time_unit"] = training.time_unit
    return {
        "torchliquid": version("torchliquid"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "columns": columns,
        "training": {
            **course,
            "validation": {k: v for k, v in history.validation[best].items() if np.isfinite(v)},
            "samples": training.n_samples,
            "series": training.n_series,
            "seed": seed,
        },
    }
