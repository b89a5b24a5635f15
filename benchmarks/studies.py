"""Studies on published recordings, written to docs/studies.md: ``python -m benchmarks.studies`` (`make studies`).

Each is what ``torchliquid assess NAME`` does; the studies stay in build/studies and go on where they were stopped.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from torchliquid import Model, Recording
from torchliquid.cli.progress import StudyProgress
from torchliquid.data.datasets import Dataset, load
from torchliquid.page import numbers
from torchliquid.page.glossary import metric_label
from torchliquid.study import tables, words
from torchliquid.study.assess import assess
from torchliquid.study.results import StudyResults
from torchliquid.study.tables import Table
from torchliquid.study.workers import cores

STUDIES = ("occupancy", "cmapss", "japanese_vowels")
FOLDER = Path("build/studies")
PAGE = Path("docs/studies.md")
HEAD = """# Studies of published recordings

Written by `python -m benchmarks.studies` (`make studies`); not by hand. Each section is the command it names, with its
defaults: nine contenders, four tuning trials and five seeds each, about 2,500 live parameters a network. A "±" is half
of the 95 % interval over seeds and test data together. Verdicts are the program's own words.
"""


def main() -> None:
    sections = [HEAD]
    for name in STUDIES:
        dataset = load(name)
        with StudyProgress(Console()) as progress:
            results = assess(
                dataset.train,
                FOLDER / name,
                task=dataset.task,
                tests=dataset.tests,
                validation=dataset.validation,
                jobs=cores(),
                title=name,
                command=f"torchliquid assess {name}",
                listener=progress,
            )
        sections.append(section(results, dataset))
        PAGE.write_text("\n".join(sections))


def section(results: StudyResults, dataset: Dataset) -> str:
    verdict = results.verdict
    assert verdict is not None
    chosen = results.contender(verdict.liquid)
    hyper = ", ".join(f"{k} {v:g}" for k, v in chosen.trials[0].hyper.items()) or "its defaults"
    lines = [
        f"## {results.title}",
        f"`{results.command}` on {results.machine}, {results.created[:10]}. Data: {dataset.source}, {dataset.licence}.",
        f"**{numbers.capital(verdict.answer)}.** {verdict.sentence}",
        "\n".join(f"* {finding.sentence}" for finding in verdict.findings),
        markdown(tables.main_table(results)),
        f"The recommended liquid model (`model.safetensors`: {chosen.label}, {hyper}):",
        markdown(recommended(results, dataset)),
        "\n".join(f"* {sentence}" for sentence in (*results.split, *results.conditions, *dataset.notes)),
    ]
    return "\n\n".join(lines) + "\n"


def recommended(results: StudyResults, dataset: Dataset) -> Table:
    """The saved model's own figures on each test recording, the state carried."""
    model = Model.load(FOLDER / results.title / "model.safetensors")
    parts = dict(dataset.tests)
    if len(parts) > 1:
        parts["all together"] = Recording.concat(list(parts.values()))
    found = {name: model.task.metrics(model.outputs(part), part) for name, part in parts.items()}
    metrics = list(next(iter(found.values())))
    rows = [(name, *(words.score(m, scores[m]) for m in metrics)) for name, scores in found.items()]
    return Table(("Test recording", *(numbers.capital(metric_label(m)) for m in metrics)), tuple(rows))


def markdown(table: Table) -> str:
    lines = [table.head, tuple("---" for _ in table.head), *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


if __name__ == "__main__":
    main()
