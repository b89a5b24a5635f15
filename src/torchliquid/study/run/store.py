"""The files of a study, so that it can be killed at any moment and continued.

    OUT/study.json                  what is being studied; a folder holds only one study
    OUT/trials/ID/                  one trained contender: trial.json, model.safetensors
    OUT/evaluations/ID/             its results on the test part: evaluation.json, scores.npz
    OUT/latency.json                times of one live step
    OUT/.lock                       held by the current run

A folder or file gets its name only when it is complete.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torchliquid.errors import InputError
from torchliquid.files import locked, make_folder, read_json, write_json

STUDY = "study.json"
LOCK = ".lock"
MAY_GROW = ("seeds",)
"""Settings that may differ within the same study: the results on disk for other seeds are used again."""


class Store:
    """The folder of a study. As a context manager it locks the folder for one process.

    Raises:
        InputError: the folder cannot be written, holds another study, or holds files of no study; on entering, another
            run is using it.
    """

    def __init__(self, folder: Path, study: dict[str, Any]) -> None:
        self.folder = folder
        make_folder(folder)
        path = folder / STUDY
        if path.exists():
            self._refuse_another(path, study)
        elif any(p.name != LOCK and not p.name.endswith(".part") for p in folder.iterdir()):
            raise InputError(f"the folder {folder} holds files that are not of a study; choose an empty one (--out)")
        self.study = study

    def __enter__(self) -> Store:
        with ExitStack() as held:
            busy = f"another run is using the folder {self.folder}; wait until it ends, or choose another (--out)"
            held.enter_context(locked(self.folder / LOCK, busy))
            write_json(self.folder / STUDY, self.study)
            for name in ("trials", "evaluations"):
                (self.folder / name).mkdir(exist_ok=True)
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _refuse_another(self, path: Path, study: dict[str, Any]) -> None:
        try:
            found = read_json(path, dict)
        except (OSError, InputError):
            raise InputError(f"{path} is damaged; choose another folder (--out)") from None
        wanted = json.loads(json.dumps(study))
        different = [k for k in {**wanted, **found} if k not in MAY_GROW and found.get(k) != wanted.get(k)]
        if different:
            raise InputError(
                f"the folder {self.folder} holds another study (it differs in {', '.join(different)}); run the same "
                "command to continue it, or choose another folder (--out)"
            )

    def trial(self, trial_id: str) -> Path:
        """The folder of a trained trial."""
        return self.folder / "trials" / trial_id

    def evaluation(self, trial_id: str) -> Path:
        """The folder of a trial's results on the test part."""
        return self.folder / "evaluations" / trial_id
