"""Which of nine speakers said /ae/? Twelve LPC cepstrum coefficients over 7 to 29 frames (Kudo et al., 1999)."""

from __future__ import annotations

from torchliquid.data.datasets.dataset import Dataset
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.tasks import Task


def load() -> Dataset:
    try:
        from aeon.datasets import load_japanese_vowels
    except ImportError:
        raise InputError("data set 'japanese_vowels' comes with aeon: pip install 'torchliquid[demo]'") from None
    channels = [f"coefficient_{i + 1}" for i in range(12)]
    parts = {}
    for split in ("train", "test"):
        values, speakers = load_japanese_vowels(split=split)
        parts[split] = Recording.from_aeon(values, speakers, channels=channels, target="speaker")
    return Dataset(
        name="japanese_vowels",
        train=parts["train"],
        tests={"test": parts["test"]},
        task=Task.infer(parts["train"], kind="classification", per="series"),
        notes=("The speakers' shares differ between training (30 series each) and test (24 to 88).",),
        source="https://timeseriesclassification.com/description.php?Dataset=JapaneseVowels (shipped with aeon)",
        licence="CC BY 4.0 (UCI 128)",
    )
