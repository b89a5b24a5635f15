"""Repairs a study's folder: what was lost or changed since it was made is removed, made again, and reported."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid.errors import InputError, printable
from torchliquid.files import read_json, read_plain, write_json
from torchliquid.models import Model
from torchliquid.study.run.cost import Cost
from torchliquid.study.run.probes import PROBE, Chosen
from torchliquid.study.run.store import Store
from torchliquid.study.run.trial import COST, MODEL, SCORES, Measured, Spec, Trained
from torchliquid.study.stats.scores import DAMAGED

log = logging.getLogger(__name__)

MADE_ANEW = "made-anew.json"


def mend(store: Store, specs: Sequence[Spec]) -> None:
    """Remove incomplete files of these trials, and everything that was measured with them."""
    for spec in specs:
        trial, evaluation = store.trial(spec.id), store.evaluation(spec.id)
        if wrong := _wrong_trial(trial):
            shutil.rmtree(trial)
            shutil.rmtree(evaluation, ignore_errors=True)
            _forget_latency(store, spec.id)
            _tell(store, f"{spec.words}, was trained and measured again: {wrong}.")
        elif wrong := _wrong_evaluation(evaluation, COST, Cost):
            shutil.rmtree(evaluation)
            _tell(store, f"{spec.words}, was measured again: {wrong}.")


def mend_evaluation(store: Store, name: str) -> None:
    """The same for a probe, which is measured without a trial."""
    evaluation = store.evaluation(name)
    if wrong := _wrong_evaluation(evaluation, PROBE, Chosen):
        shutil.rmtree(evaluation)
        _tell(store, f"{name} was measured again: {wrong}.")


def made_again(store: Store) -> tuple[str, ...]:
    """A sentence for each trial that was made again, in this run and earlier ones."""
    path = store.folder / MADE_ANEW
    return tuple(map(str, read_json(path, list))) if path.exists() else ()


def latencies(store: Store) -> dict[str, list[float]]:
    """Median and 99th percentile of a live step, for each trial that was timed.

    Raises:
        InputError: the file is damaged.
    """
    path = store.folder / "latency.json"
    known: dict[str, Any] = read_json(path, dict) if path.exists() else {}
    for pair in known.values():
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(v, int | float) for v in pair)):
            raise InputError(f"{path} is damaged; remove it, and run the same command again")
    return known


def _wrong_trial(folder: Path) -> str:
    """What is wrong with a trained trial; empty if nothing is, or if there is none."""
    if not folder.exists():
        return ""
    try:
        trained = Trained.read(folder)
        found = hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()
        if not trained.sha256:  # written by an earlier version
            Model.load(folder / MODEL)
        elif found != trained.sha256:
            return "its model is not the one that was measured"
    except (OSError, InputError) as error:
        return _reason(error, folder)
    return ""


def _wrong_evaluation(folder: Path, name: str, kind: type) -> str:
    if not folder.exists():
        return ""
    try:
        Measured.read(folder)
        read_plain(folder / name, kind)
        with np.load(folder / SCORES, allow_pickle=False) as scores:
            for name in scores.files:
                scores[name]
    except (InputError, *DAMAGED) as error:
        return _reason(error, folder)
    return ""


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{Path(error.filename).name} was missing"
    return f"its files were damaged ({str(error).replace(f'{folder}/', '')})"


def _forget_latency(store: Store, name: str) -> None:
    known = latencies(store)
    if known.pop(name, None) is not None:
        write_json(store.folder / "latency.json", known)


def _tell(store: Store, sentence: str) -> None:
    log.warning("%s", printable(sentence))
    write_json(store.folder / MADE_ANEW, [*made_again(store), sentence])
