"""Which of nine speakers said /ae/? Twelve LPC cepstrum coefficients over 7 to 29 frames (Kudo et al., 1999)."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import numpy as np

from torchliquid.data.recording import Recording
from torchliquid.datasets.dataset import Dataset
from torchliquid.errors import InputError
from torchliquid.tasks import Task

VALUES = "1116bd7815efa15c71d4807b9058dd289df34bc9b66c1f73df6ad097572fce64"
"""SHA-256 of the coefficients, in double precision, and the speakers. Editions write the same values differently."""


def load() -> Dataset:
    try:
        from aeon.datasets import load_from_ts_file
    except ImportError:
        raise InputError("data set 'japanese_vowels' comes with aeon: pip install 'torchliquid[demo]'") from None
    channels = [f"coefficient_{i + 1}" for i in range(12)]
    # aeon's load_japanese_vowels also makes a folder in the user's home.
    folder = files("aeon.datasets") / "data" / "JapaneseVowels"
    parts, found = {}, hashlib.sha256()
    for split in ("train", "test"):
        values, speakers = load_from_ts_file(str(folder / f"JapaneseVowels_{split.upper()}.ts"))
        for value, speaker in zip(values, speakers, strict=True):
            found.update(np.ascontiguousarray(value, dtype="<f8").tobytes() + str(speaker).encode())
        parts[split] = Recording.from_aeon(values, speakers, channels=channels, target="speaker")
    if found.hexdigest() != VALUES:
        raise InputError(
            f"{folder} does not hold the published values of japanese_vowels; reinstall aeon: "
            "pip install --force-reinstall aeon"
        )
    return Dataset(
        name="japanese_vowels",
        train=parts["train"],
        tests={"test": parts["test"]},
        task=Task.infer(parts["train"], kind="classification", per="series"),
        notes=("The speakers' shares differ between training (30 series each) and test (24 to 88).",),
        source="https://timeseriesclassification.com/description.php?Dataset=JapaneseVowels (shipped with aeon)",
        licence="CC BY 4.0 (UCI 128)",
    )
