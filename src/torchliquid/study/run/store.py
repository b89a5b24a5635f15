"""What a study keeps on disk, so that it can be killed at any moment and go on where it was.

    OUT/study.json                  what is being studied; another study never mixes with it
    OUT/trials/ID/                  one trained contender: trial.json, model.safetensors
    OUT/evaluations/ID/             its figures on the test part: evaluation.json, scores.npz
    OUT/latency.json                times of one live step
    OUT/.lock                       held by the run that is at work

A folder or file appears under its name only once it is whole.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torchliquid.errors import InputError
from torchliquid.files import locked, read_json, write_json

STUDY = "study.json"
LOCK = ".lock"
MAY_GROW = ("seeds",)
"""What may be another number in the same study: what is on disk for other seeds is not done again."""


class Store:
    """The folder of one study, for one process at a time: a context, in which no other may write there.

    Raises:
        InputError: the folder cannot be written, holds another study, or holds files that no study wrote; on entering,
            another run is at work in it.
    """

    def __init__(self, folder: Path, study: dict[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise InputError(
                f"the output folder {folder} can't be written ({error.strerror}); choose another (--out)"
            ) from None
        path = folder / STUDY
        if path.exists():
            self._refuse_another(path, study)
        elif any(p.name != LOCK and not p.name.endswith(".part") for p in folder.iterdir()):
            raise InputError(f"the folder {folder} holds files that no study wrote; choose an empty one (--out)")
        self.study = study

    def __enter__(self) -> Store:
        with ExitStack() as held:
            busy = f"another run is at work in the folder {self.folder}; wait for its end, or choose another (--out)"
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
        different = [k for k in wanted if k not in MAY_GROW and found.get(k) != wanted[k]]
        if different:
            raise InputError(
                f"the folder {self.folder} holds another study (it differs in {', '.join(different)}); give the same "
                "command to go on with it, or choose another folder (--out)"
            )

    def trial(self, trial_id: str) -> Path:
        """Where a trained trial is, or will be."""
        return self.folder / "trials" / trial_id

    def evaluation(self, trial_id: str) -> Path:
        """Where a trial's figures on the test part are, or will be."""
        return self.folder / "evaluations" / trial_id
