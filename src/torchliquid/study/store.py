"""What a study keeps on disk, so that it can be killed at any moment and go on where it was.

    OUT/study.json                  what is being studied; another study never mixes with it
    OUT/trials/ID/                  one trained contender: trial.json, model.safetensors where it has weights
    OUT/evaluations/ID/             its figures on the test part: evaluation.json, scores.npz
    OUT/latency.json                times of one live step

A folder or file appears under its name only once it is whole.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from torchliquid.errors import InputError
from torchliquid.files import write_json

STUDY = "study.json"


class Store:
    """The folder of one study.

    Raises:
        InputError: the folder cannot be written, holds another study, or holds files that no study wrote.
    """

    def __init__(self, folder: Path, study: dict[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise InputError(
                f"the output folder {folder} can't be written ({error.strerror}); choose another with --out"
            ) from None
        path = folder / STUDY
        if path.exists():
            self._refuse_another(path, study)
        elif any(not p.name.endswith(".part") for p in folder.iterdir()):
            raise InputError(f"the folder {folder} holds files that no study wrote; choose an empty one with --out")
        else:
            write_json(path, study)
        for name in ("trials", "evaluations"):
            (folder / name).mkdir(exist_ok=True)

    def _refuse_another(self, path: Path, study: dict[str, Any]) -> None:
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            raise InputError(f"{path} is damaged; choose another folder with --out") from None
        wanted = json.loads(json.dumps(study))
        different = [k for k in wanted if found.get(k) != wanted[k]] if isinstance(found, dict) else ["its form"]
        if different:
            raise InputError(
                f"the folder {self.folder} holds another study (it differs in {', '.join(different)}); give the same "
                "command to go on with it, or choose another folder with --out"
            )

    def trial(self, trial_id: str) -> Path:
        """Where a trained trial is, or will be."""
        return self.folder / "trials" / trial_id

    def evaluation(self, trial_id: str) -> Path:
        """Where a trial's figures on the test part are, or will be."""
        return self.folder / "evaluations" / trial_id
