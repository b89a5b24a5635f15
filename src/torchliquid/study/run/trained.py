"""The models in a study's folder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from torchliquid.errors import InputError
from torchliquid.models import Model
from torchliquid.models.storage import Saved, load
from torchliquid.models.tabular import Tabular
from torchliquid.study.results import StudyResults
from torchliquid.study.run.trial import MODEL, Spec


def trained(study: Path, but: Model | Tabular) -> dict[str, Model | Tabular]:
    """The model of each contender that is best on validation, the best one first, except ``but``, wherever its file
    is.

    Raises:
        InputError: there is no finished study.
    """
    try:
        results = StudyResults.from_json((study / "results.json").read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{study} holds no results of a study ({reason}); give the folder of assess") from None
    found: list[tuple[float, str, Path]] = []
    for contender in results.contenders:
        for trial in contender.trials:
            path = study / "trials" / Spec(contender.name, trial.hyper, trial.seed).id / MODEL
            if path.exists() and not math.isnan(trial.validation):
                found.append((results.task.sign * trial.validation, contender.name, path))
    best: dict[str, Model | Tabular] = {}
    for _, name, path in sorted(found, key=lambda each: -each[0]):
        label = f"{name} of the study"
        if label not in best:
            model = load(path)
            if isinstance(model, Model | Tabular):
                best[label] = model
    return {label: model for label, model in best.items() if not _same(model, but)}


def _same(one: Saved, other: Saved) -> bool:
    """Whether all their numbers are."""
    mine, theirs = list(one.numbers()), list(other.numbers())
    return len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))
