"""The networks in a study's folder."""

from __future__ import annotations

import math
from pathlib import Path

from torchliquid.errors import InputError
from torchliquid.explain.neurons import weights_hash
from torchliquid.models import KINDS, Model
from torchliquid.models.storage import load_network
from torchliquid.study.results import StudyResults
from torchliquid.study.run.trial import MODEL, Spec


def trained(study: Path, but: Model) -> dict[str, Model]:
    """The network of each contender that is best on validation, the best one first, except ``but``, wherever its file
    is.

    Raises:
        InputError: there is no finished study.
    """
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
            if contender.name in KINDS and path.exists() and not math.isnan(trial.validation):
                found.append((sign * trial.validation, contender.name, path))
    best: dict[str, Model] = {}
    for _, name, path in sorted(found, key=lambda each: -each[0]):
        label = f"{name} of the study"
        if label not in best:
            best[label] = load_network(path, "compared")
    return {label: model for label, model in best.items() if weights_hash(model) != weights_hash(but)}
