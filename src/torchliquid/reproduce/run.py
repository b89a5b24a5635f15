"""Runs a table: starts processes for the missing trainings and writes results as they arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torchliquid.data.columns import nearest
from torchliquid.devices import device_of
from torchliquid.errors import InputError, check_size
from torchliquid.files import make_folder, write_json
from torchliquid.jobs import Job, Workers, workers
from torchliquid.jobs.lines import append, read
from torchliquid.page import write_page
from torchliquid.reproduce import tuning
from torchliquid.reproduce.picture import drawing
from torchliquid.reproduce.protocol import Parts, Protocol, Setting, Split
from torchliquid.reproduce.protocols import NAMES, protocol
from torchliquid.reproduce.summary import section, seeds_of, summary, tuning_trials
from torchliquid.reproduce.trial import FITTED, run_trial
from torchliquid.study.run.runner import THREADS, StudyListener

TRIAL = ("contender", "split", "seed")
"""What identifies a line of a table's trials."""

HEAD = """# Published tables, rerun

Written by `torchliquid reproduce NAME --page docs/results.md`; not by hand.

*Reached* compares our mean with the published one. A liquid contender that is not in the paper is compared with the
paper's best liquid one. In brackets is the 95 % interval of our advantage over the seeds; on PhysioNet it includes the
sampling error of the test patients.

* *short of it*: the whole interval is below zero.
* *reached*: the interval is not all below zero, and its lower end is a smaller disadvantage than what matters: a tenth
  of the published errors, or a twentieth of the root of a squared error, as in a study's verdict. *Better* if the
  whole interval is above zero.
* *can't tell*: anything else.

Networks train as the papers or the notes say. They stop when the validation score no longer improves, at the latest
after the epochs that the longest trainings show. A training uses one thread. *Linear* is ridge or logistic regression
and *Boosting* is gradient boosting of trees, both on the current sample or the last eight, whichever is better on
validation; a seed affects them only through the split. Seconds are per training; `python -m benchmarks.table_hours`
measures the cost of all trainings on an idle machine. `torchliquid reproduce NAME --contender NAME --tune N` tunes a
row with N settings on the validation part; the page marks such rows.
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
    ray: str | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Repeat a table, continuing an earlier run.

    Args:
        name: one of :data:`torchliquid.reproduce.protocols.NAMES`.
        folder: for ``NAME.trials.jsonl``, with a line per finished trial, and ``NAME.json``, their summary.
        listener: is informed of the progress.
        contenders, splits: only these; empty: all.
        seeds: number of trainings of each; None: five for liquid networks, LSTM and GRU, three for the others.
        jobs: number of parallel processes with one thread each, at most one per core.
        tune: number of tuning trials of each contender, kept in ``NAME.tuning.jsonl``, before it trains with the best
            setting; 0: all train with the published settings.
        ray: address of a Ray cluster that runs the trials instead, as in :func:`torchliquid.assess`.
        device: where networks are trained and scored, as in :func:`torchliquid.assess`.

    Raises:
        InputError: a name is unknown, a number is too small, data are missing, or there is no such device, or no
            cluster at that address.
        JobError: the process of a training was killed.
    """
    table, device = protocol(name), str(device_of(device))
    check_size(seeds=1 if seeds is None else seeds, tune=tune or 1)
    for contender in contenders:
        if contender not in table.settings:
            raise InputError(f"{name} has no contender {contender!r}; {nearest(contender, table.settings)}")
    for split in splits:
        if split not in table.splits:
            raise InputError(f"{name} has no split {split!r}; {nearest(split, table.splits)}")
    # Missing data, or a missing Optuna, raise before anything is written.
    parts = {split: table.parts(split) for split in table.splits if not splits or split in splits}
    if tune:
        tuning.space(Setting())
    file, pairs = folder / f"{table.name}.trials.jsonl", [(s, c) for s in parts for c in contenders or table.awaited]
    with workers(jobs, THREADS, ray) as run_jobs:
        make_folder(folder)
        listener.planned({"tuning": float(tune * tuning.EPOCHS), "training": 5.0} if tune else {"training": 1.0})
        tuned = _tune(table, parts, pairs, tune, folder, listener, run_jobs, device) if tune else {}
        wanted = [(*pair, seed, tuned.get(pair)) for pair in pairs for seed in range(seeds or seeds_of(table, pair[1]))]
        made_with = _fingerprints(table, parts, pairs)
        done = {
            (x["split"], x["contender"], x["seed"], tuning_trials(x)): x
            for x in read(file, *TRIAL)
            if x.get("made_with") == made_with.get((x["split"], x["contender"]))
        }
        work = []
        for split, contender, seed, choice in wanted:
            plain = done.get((split, contender, seed, 0))
            if (split, contender, seed, choice["trials"] if choice else 0) in done:
                continue
            if choice and plain and not choice["setup"]:  # the published setting was best and is trained already
                append(file, plain | {"tuned": choice})
                continue
            args = (table, parts[split], split, contender, seed, choice, device)
            keep = partial(_keep, file, made_with)
            work.append(Job(f"{contender}, {split} split, seed {seed}", run_trial, args, keep))
        listener.phase("training", len(wanted) - len(work), len(wanted))
        try:
            run_jobs(work, listener)
        finally:
            found = summary(table, read(file, *TRIAL))
            write_json(folder / f"{table.name}.json", found)
    return found


def _tune(
    table: Protocol,
    parts: Mapping[Split, Parts],
    pairs: Sequence[tuple[Split, str]],
    trials: int,
    folder: Path,
    listener: StudyListener,
    run_jobs: Workers,
    device: str,
) -> dict[tuple[Split, str], dict[str, Any]]:
    """Run the missing tuning trials; returns the chosen setting of each split and contender, and the number of
    trials."""
    file = folder / f"{table.name}.tuning.jsonl"
    pairs = [pair for pair in pairs if pair[1] not in FITTED]
    made_with = _fingerprints(table, parts, pairs, with_test=False)

    def lines() -> dict[tuple[Split, str], list[dict[str, Any]]]:
        every = {
            (x["split"], x["contender"], x["trial"], x.get("made_with")): x
            for x in read(file, "contender", "split", "trial")
        }
        return {
            pair: [x for key, x in every.items() if (*key[:2], key[3]) == (*pair, made_with[pair])] for pair in pairs
        }

    work = [
        Job(
            f"{contender}, {split} split",
            tuning.tune,
            (table, parts[split], split, contender, trials, done, device),
            partial(_keep, file, made_with),
        )
        for (split, contender), done in lines().items()
        if len(done) < trials
    ]
    listener.phase("tuning", len(pairs) - len(work), len(pairs))
    run_jobs(work, listener)
    return {pair: {"trials": trials, "setup": tuning.best(table, done, trials)} for pair, done in lines().items()}


def _fingerprints(
    table: Protocol, parts: Mapping[Split, Parts], pairs: Sequence[tuple[Split, str]], with_test: bool = True
) -> dict[tuple[Split, str], str]:
    """For each split and contender the fingerprint of its setting, a dash, and that of the data."""
    data = {split: part.fingerprint(with_test) for split, part in parts.items()}
    return {(split, contender): f"{table.fingerprint(contender)}-{data[split]}" for split, contender in pairs}


def _keep(file: Path, made_with: Mapping[tuple[Split, str], str], line: dict[str, Any]) -> None:
    """Append a line with its fingerprint. A line with another one, of another setting or other data, is not used."""
    append(file, line | {"made_with": made_with[line["split"], line["contender"]]})


def write_tables(folder: Path, page: Path) -> None:
    """All tables of a folder as one page of Markdown, with a picture of each beside it.

    Raises:
        InputError: the page's folder can't be written.
    """
    sections = []
    for table in (protocol(name) for name in NAMES if (folder / f"{name}.json").exists()):
        trials = read(folder / f"{table.name}.trials.jsonl", *TRIAL)
        picture = page.with_name(f"{page.stem}-{table.name}.svg")
        rows = [row for row in summary(table, trials)["rows"] if row["split"] == "published"]
        if rows:
            write_page(drawing(table, rows), picture)
        sections.append(section(table, trials, picture.name if rows else None))
    write_page("\n".join([HEAD, *sections]), page)
