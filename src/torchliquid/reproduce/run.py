"""A table rerun: what is not done yet, handed to processes, and the results written as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchliquid.data.columns import nearest
from torchliquid.errors import InputError
from torchliquid.files import write_atomically, write_json
from torchliquid.reproduce import tuning
from torchliquid.reproduce.protocol import Protocol, Setting
from torchliquid.reproduce.protocols import NAMES, protocol
from torchliquid.reproduce.summary import section, seeds_of, summary, tuning_trials
from torchliquid.reproduce.trial import run_trial
from torchliquid.reproduce.trials import append, read
from torchliquid.reproduce.tuning import UNTUNED
from torchliquid.study.runner import THREADS, StudyListener
from torchliquid.study.workers import Job, run_jobs

HEAD = """# Published tables, rerun

Written by `torchliquid reproduce NAME --page docs/results.md`; not by hand. *Reached* says whether the published mean
lies inside the 95 % interval of ours over the seeds. Networks train as the papers say, or as *settings* says, and stop
when validation no longer gets better; a training has one thread.
"""


def reproduce(
    name: str,
    folder: Path,
    listener: StudyListener,
    contenders: Sequence[str] = (),
    splits: Sequence[str] = (),
    seeds: int | None = None,
    jobs: int = 1,
    tune: int = 0,
) -> dict[str, Any]:
    """Rerun a table, going on where an earlier run stopped.

    Args:
        name: one of :data:`torchliquid.reproduce.protocols.NAMES`.
        folder: gets ``NAME.trials.jsonl``, a line a finished trial, and ``NAME.json``, what they add up to.
        listener: told how it goes on.
        contenders, splits: only these; empty: all.
        seeds: trainings of each; None: five of liquid networks, LSTM and GRU, three of the others.
        jobs: processes at a time, one thread each.
        tune: tuning trials of each contender before it trains with the best, kept in ``NAME.tuning.jsonl``; 0: all
            train with the published settings.

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
    table.parts("published")  # what is missing, data or Optuna, is said before anything is written
    if tune:
        tuning.space(Setting())
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.trials.jsonl"
    pairs = [(split, contender) for split in splits or table.splits for contender in contenders or table.settings]
    tuned = _tune(table, pairs, tune, folder, listener, jobs) if tune else {}
    wanted = [(*pair, seed, tuned.get(pair)) for pair in pairs for seed in range(seeds or seeds_of(pair[1]))]
    done = {(x["split"], x["contender"], x["seed"], tuning_trials(x)): x for x in read(file)}
    work = []
    for split, contender, seed, choice in wanted:
        plain = done.get((split, contender, seed, 0))
        if (split, contender, seed, choice["trials"] if choice else 0) in done:
            continue
        if choice and plain and not choice["setup"]:  # the published setting was best: it has been trained already
            append(file, plain | {"tuned": choice})
            continue
        work.append(
            Job(f"{contender}, {split} split, seed {seed}", run_trial, (name, split, contender, seed, choice, file))
        )
    listener.phase("training", len(wanted) - len(work), len(wanted))
    try:
        run_jobs(work, jobs, THREADS, listener)
    finally:
        found = summary(table, read(file))
        write_json(folder / f"{name}.json", found)
    return found


def _tune(
    table: Protocol, pairs: Sequence[tuple[str, str]], trials: int, folder: Path, listener: StudyListener, jobs: int
) -> dict[tuple[str, str], dict[str, Any]]:
    """Run the tuning trials that are missing; of each split and contender what was chosen, and from how many."""
    file = folder / f"{table.name}.tuning.jsonl"
    pairs = [pair for pair in pairs if pair[1] not in UNTUNED]

    def lines() -> dict[tuple[str, str], list[dict[str, Any]]]:
        every = read(file)
        return {pair: [x for x in every if (x["split"], x["contender"]) == pair] for pair in pairs}

    work = [
        Job(f"{contender}, {split} split", tuning.tune, (table.name, split, contender, trials, done, file))
        for (split, contender), done in lines().items()
        if len(done) < trials
    ]
    listener.phase("tuning", len(pairs) - len(work), len(pairs))
    run_jobs(work, jobs, THREADS, listener)
    return {pair: {"trials": trials, "setup": tuning.best(table, done, trials)} for pair, done in lines().items()}


def write_page(folder: Path, page: Path) -> None:
    """All tables of a folder as one page of Markdown."""
    sections = [
        section(protocol(n), read(folder / f"{n}.trials.jsonl")) for n in NAMES if (folder / f"{n}.json").exists()
    ]
    write_atomically(page, lambda part: part.write_text("\n".join([HEAD, *sections])))
