"""Studies of published recordings: ``python -m benchmarks.studies`` (`make studies`) writes docs/studies.md.

Each study is what ``torchliquid assess NAME`` does. The studies are kept in build/studies, and a second run resumes
them. After a change of code that could change the figures they start again, in another folder. The page is written when
all are complete.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.fingerprint import code
from torchliquid import Model, Recording
from torchliquid.cli.progress import StudyProgress
from torchliquid.cli.terminal import Terminal
from torchliquid.datasets import Dataset, load
from torchliquid.files import write_atomically
from torchliquid.jobs import cores
from torchliquid.page import numbers
from torchliquid.page.glossary import metric_label
from torchliquid.study import words
from torchliquid.study.assess import assess
from torchliquid.study.reporting import tables
from torchliquid.study.reporting.tables import Table
from torchliquid.study.results import StudyResults

STUDIES = ("occupancy", "cmapss", "japanese_vowels", "skab")
FOLDER = Path("build/studies")
PAGE = Path("docs/studies.md")
HEAD = """# Studies of published recordings

Written by `python -m benchmarks.studies` (`make studies`). Each section shows the result of one command
with its defaults: nine contenders with four tuning trials and five seeds each, and about 2,500 live parameters per
network. "±" is half the width of the 95 % interval over seeds and test data. Verdicts are quoted from the report.
"""


def main() -> None:
    folder = FOLDER / code()
    sections = [HEAD]
    for name in STUDIES:
        dataset = load(name)
        results = run_study(
            dataset.train,
            folder / name,
            task=dataset.task,
            tests=dataset.tests,
            validation=dataset.validation,
            title=name,
            command=f"torchliquid assess {name}",
        )
        sections.append(section(results, dataset, folder / name))
    write_atomically(PAGE, lambda part: part.write_text("\n".join(sections), "utf-8"))


def run_study(recording: Recording, folder: Path, **settings: Any) -> StudyResults:
    """``assess`` on all cores, with its progress on the terminal."""
    with StudyProgress(Terminal()) as progress:
        return assess(recording, folder, jobs=cores(), listener=progress, **settings)


def section(results: StudyResults, dataset: Dataset, folder: Path) -> str:
    verdict = results.verdict
    assert verdict is not None
    chosen = results.contender(verdict.liquid)
    hyper = ", ".join(f"{k} {v}" for k, v in chosen.trials[0].hyper.items()) or "its defaults"
    lines = [
        f"## {results.title}",
        f"`{results.command}` on {results.machine}, {results.created[:10]}. Data: {dataset.source}, {dataset.licence}.",
        f"**{numbers.capital(verdict.answer)}.** {verdict.sentence}",
        "\n".join(f"* {finding.sentence}" for finding in verdict.findings),
        tables.main_table(results).markdown(),
        f"The recommended liquid model (`model.safetensors`: {chosen.label}, {hyper}):",
        recommended(dataset, folder).markdown(),
        "\n".join(f"* {sentence}" for sentence in (*results.split, *results.conditions, *dataset.notes)),
    ]
    return "\n\n".join(lines) + "\n"


def recommended(dataset: Dataset, folder: Path) -> Table:
    """The saved model's own figures on each test recording, the state carried."""
    model = Model.load(folder / "model.safetensors")
    parts = dict(dataset.tests)
    if len(parts) > 1:
        parts["all together"] = Recording.concat(list(parts.values()))
    found = {name: model.task.metrics(model.outputs(part), part) for name, part in parts.items()}
    metrics = list(next(iter(found.values())))
    rows = [(name, *(words.score(m, scores[m]) for m in metrics)) for name, scores in found.items()]
    return Table(("Test recording", *(numbers.capital(metric_label(m)) for m in metrics)), tuple(rows))


if __name__ == "__main__":
    main()
