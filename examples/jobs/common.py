"""What the jobs share: parts of their pages, the costs of a model on a device, and the alarms that it raises there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from torchliquid import Model, Recording
from torchliquid.alarms import NOTHING, Counts, count
from torchliquid.data.preprocessing import aligned
from torchliquid.edge import compilers, emulator, parity
from torchliquid.edge.artifact import make
from torchliquid.edge.export import export
from torchliquid.edge.targets import TARGETS
from torchliquid.files import write_atomically
from torchliquid.models.tabular import Tabular
from torchliquid.page import Table, numbers
from torchliquid.study.reporting import tables
from torchliquid.study.results import ContenderResult, StudyResults
from torchliquid.study.shifts import GainOffsetDrift, LostSamples, SensorNoise, SilentSensor

CONTENDERS = ("cfc", "cfc_ncp", "ltc_ncp", "lstm", "gru", "transformer", "linear", "boosting", "naive")
"""Contenders of a job's study."""

FEW = ("cfc", "cfc_ncp", "gru", "linear", "boosting", "naive")
"""Contenders of a job with much data or many trials."""

SHIFTS = (
    SensorNoise(severities=(0.3,)),
    LostSamples(severities=(0.3,)),
    SilentSensor(severities=(1.0,)),
    GainOffsetDrift(severities=(0.3,)),
)
"""Shifts of a job that also has shifts of its own."""

DETECTOR = Path(__file__).parent / "detector.c"


def bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"* {sentence}" for sentence in sentences)


def judgement(results: StudyResults) -> dict[str, str]:
    """The verdict of a study, as the fields of a page: the answer, its sentence, and the findings behind it."""
    verdict = results.verdict
    assert verdict is not None
    findings = bullets([*(finding.sentence for finding in verdict.findings), *verdict.evidence])
    return {"answer": numbers.capital(verdict.answer), "sentence": verdict.sentence, "findings": findings}


def conditions(results: StudyResults, *more: str) -> str:
    """The conditions of a study, with further sentences of a page. The page leaves out the scores on windows."""
    own = (sentence.removesuffix(" Scores on windows are given too.") for sentence in results.conditions)
    return bullets([*results.split, *own, *more, f"{results.machine}."])


def winners(results: StudyResults, folder: Path) -> dict[str, tuple[ContenderResult, Model | Tabular]]:
    """The best contender and the best liquid one with their saved models, by a description."""
    assert results.verdict is not None
    best, liquid = results.best("liquid", "neural", "classical"), results.contender(results.verdict.liquid)
    assert best is not None
    found = {"best of all": (best, "best"), "best liquid one": (liquid, "model")}
    if best is liquid:
        del found["best liquid one"]
    models = {what: (one, Model.load(folder / f"{file}.safetensors")) for what, (one, file) in found.items()}
    assert all(isinstance(model, Model | Tabular) for _, model in models.values())
    return models  # type: ignore[return-value]


def on_device(
    label: str, model: Model | Tabular, data: Recording, folder: Path, target: str = "cortex-m4"
) -> list[str]:
    """Sentences on the costs of the exported C on a device, and on its differences from Python."""
    return [f"{label}: {sentence}" for sentence in export(model, TARGETS[target], folder, data=data).measured]


class Detected(NamedTuple):
    """A device's answers (T, K) and alarms (T,) for each series, and the instructions of each step."""

    answers: list[np.ndarray]
    on: list[np.ndarray]
    instructions: np.ndarray


def detect(model: Model | Tabular, recording: Recording, target: str = "cortex-m4") -> Detected:
    """Run a recording through the exported C of a detector, with its alarms, on an emulated device."""
    machine = TARGETS[target]
    recording = aligned(recording, model.preprocessing)
    inputs, elapsed, reset = parity.samples_of(model, recording, recording.n_samples)
    given = np.zeros(len(elapsed), [("reset", "<u4"), ("inputs", "<f4", inputs.shape[1:]), ("elapsed", "<f4")])
    given["reset"], given["inputs"], given["elapsed"] = reset, inputs, elapsed
    record = np.dtype([("answers", "<f4", (model.task.n_outputs,)), ("alarm", "<u4")])
    some = slice(min(len(elapsed), 64))
    artifact = make(model, machine, machine.math, False, (inputs[some], elapsed[some], reset[some]))
    with TemporaryDirectory() as name:
        folder = Path(name)
        artifact.write(folder)
        compilers.compile_program(machine, folder / "model.c", [str(DETECTOR)], folder / "detector")
        ran = emulator.replay(machine, folder / "detector", given, record, count=True)
    assert ran.instructions is not None
    ends = np.flatnonzero(reset)[1:]
    on = np.split(ran.records["alarm"] == 1, ends)
    return Detected(np.split(ran.records["answers"].astype(float), ends), on, ran.instructions)


def counted(model: Model | Tabular, recording: Recording, on: Sequence[np.ndarray]) -> Counts:
    """Events, false alarms and delays of the alarms in each series of a recording."""
    task, found = model.task, NOTHING
    for series, alarms in zip(task.with_targets(recording).series, on, strict=True):
        encoded, weights = task.encode(series)
        found += count(alarms, np.where(weights > 0, encoded == task.positive, np.nan), series.times)
    return found


EVENTS = ("events caught", "false alarms an hour", "first alarm after (median)", "90 % of them within")


def events(found: Counts) -> tuple[str, ...]:
    """Counts of a recording in seconds, as text under :data:`EVENTS`."""
    hours, delays = found.quiet / 3600, found.delays
    late = [numbers.span(float(np.quantile(delays, q)), "s") if delays else "–" for q in (0.5, 0.9)]
    rate = f"{found.false_alarms / hours:.1f} ({found.false_alarms:,} in {hours:.2g} hours)" if hours else "–"
    return (f"{found.caught} of {found.events}", rate, *late)


def event_table(head: Sequence[str], found: Mapping[tuple[str, ...], Counts]) -> str:
    """The events of each case as a table. The name of a case has one cell for each column in ``head``."""
    return Table((*head, *EVENTS), tuple((*case, *events(counts)) for case, counts in found.items())).markdown()


def metrics(results: StudyResults) -> str:
    """All metrics of the test recordings, with the state carried through each, as in use."""
    table = tables.metrics_table(results)
    scored = table.head.index("Scored")
    rows = [row for row in table.rows if row[scored] != "windows"]
    head, *kept = ([*row[:scored], *row[scored + 1 :]] for row in (table.head, *rows))
    return Table(tuple(head), tuple(map(tuple, kept))).markdown()


def write(page: Path, text: str) -> None:
    page.parent.mkdir(exist_ok=True)
    write_atomically(page, lambda part: part.write_text(text, "utf-8"))
    print(f"wrote {page}")
