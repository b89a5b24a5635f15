"""A table rerun: what is not done yet, handed to processes, and the results written as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchliquid.data.columns import nearest
from torchliquid.errors import InputError
from torchliquid.files import write_atomically, write_json
from torchliquid.reproduce.protocols import NAMES, protocol
from torchliquid.reproduce.summary import section, seeds_of, summary
from torchliquid.reproduce.trial import run_trial
from torchliquid.reproduce.trials import read
from torchliquid.study.runner import THREADS, StudyListener
from torchliquid.study.workers import Job, run_jobs

HEAD = """# Published tables, rerun

Written by `torchliquid reproduce NAME --page docs/tables.md`; not by hand. *Reached* says whether the published mean
lies inside the 95 % interval of ours over the seeds. Networks train as the papers say and stop when validation no
longer gets better; a training has one thread.
"""


def reproduce(
    name: str,
    folder: Path,
    listener: StudyListener,
    contenders: Sequence[str] = (),
    splits: Sequence[str] = (),
    seeds: int | None = None,
    jobs: int = 1,
) -> dict[str, Any]:
    """Rerun a table, going on where an earlier run stopped.

    Args:
        name: one of :data:`torchliquid.reproduce.protocols.NAMES`.
        folder: gets ``NAME.trials.jsonl``, a line a finished trial, and ``NAME.json``, what they add up to.
        listener: told how it goes on.
        contenders, splits: only these; empty: all.
        seeds: trainings of each; None: five of liquid networks, LSTM and GRU, three of the others.
        jobs: processes at a time, one thread each.

    Raises:
        InputError: an unknown name, data that is not there.
    """
    table = protocol(name)
    for contender in contenders:
        if contender not in table.settings:
            raise InputError(f"{name} has no contender {contender!r}; {nearest(contender, table.settings)}")
    for split in splits:
        if split not in table.splits:
            raise InputError(f"{name} has no split {split!r}; {nearest(split, table.splits)}")
    table.parts("published")  # data that is missing is said before anything is written
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.trials.jsonl"
    done = {(x["contender"], x["split"], x["seed"]) for x in read(file)}
    wanted = [
        (split, contender, seed)
        for split in splits or table.splits
        for contender in contenders or table.settings
        for seed in range(seeds or seeds_of(contender))
    ]
    waiting = [w for w in wanted if (w[1], w[0], w[2]) not in done]
    listener.phase("training", len(wanted) - len(waiting), len(wanted))
    work = [Job(f"{c}, {s} split, seed {n}", run_trial, (name, s, c, n, file)) for s, c, n in waiting]
    try:
        run_jobs(work, jobs, THREADS, listener)
    finally:
        found = summary(table, read(file))
        write_json(folder / f"{name}.json", found)
    return found


def write_page(folder: Path, page: Path) -> None:
    """All tables of a folder as one page of Markdown."""
    sections = [
        section(protocol(n), read(folder / f"{n}.trials.jsonl")) for n in NAMES if (folder / f"{n}.json").exists()
    ]
    write_atomically(page, lambda part: part.write_text("\n".join([HEAD, *sections])))
