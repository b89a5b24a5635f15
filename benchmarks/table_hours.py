"""How long the published tables take on an idle machine: ``python -m benchmarks.table_hours``.

The seconds in ``results/`` come from trainings that shared their machine. Here the processor time of a few batches of
each network is measured. An epoch is extrapolated from it, and counted as often as in ``results/``, or as the setting
allows if there is no result. For models that are not networks, the seconds in ``results/`` count. Prints hours of one
core for each table. It needs the recordings, fetched or in ``TORCHLIQUID_DATA``, and some minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import torch

from torchliquid.jobs.lines import read
from torchliquid.reproduce.contenders import TableModel
from torchliquid.reproduce.protocol import Parts, Protocol
from torchliquid.reproduce.protocols import protocol
from torchliquid.reproduce.summary import counting, outdated, seeds_of
from torchliquid.reproduce.trial import FITTED, measure, train_epoch

TABLES = ("occupancy", "traffic", "cheetah", "walker", "physionet")
BATCHES, MEASURED = 8, 256


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def epoch_seconds(table: Protocol, parts: Parts, contender: str) -> float:
    """Seconds of one core for an epoch and its validation, after a short run that is not measured."""
    setting, train, validation = table.settings[contender], parts.train, parts.validation
    model = TableModel(table, contender, train.inputs.shape[2], parts.outputs, train.targets.dim() == 1)
    optimizer = torch.optim.AdamW(model.parameters(), setting.lr, fused=True)
    few = train.pick(torch.randperm(len(train))[: BATCHES * setting.batch])
    some = validation.pick(torch.randperm(len(validation))[:MEASURED])
    train_epoch(model, optimizer, few.pick(torch.arange(min(len(few), setting.batch))), setting)
    trained = seconds(lambda: train_epoch(model, optimizer, few, setting)) * len(train) / len(few)
    return trained + seconds(lambda: measure(table, model, some)) * len(validation) / len(some)


def main() -> None:
    torch.set_num_threads(1)
    total = 0.0
    for name in TABLES:
        table, hours = protocol(name), 0.0
        lines = counting(read(Path("results") / f"{name}.trials.jsonl"))
        for split in table.splits:
            parts = table.parts(split)
            if table.redraw:
                parts = table.redraw(parts, 0)
            for contender, setting in table.settings.items():
                own = [x for x in lines.get((contender, split), []) if not outdated(table, x)]
                if contender in FITTED:
                    one = mean(x["seconds"] for x in own)
                else:
                    epochs = mean(x["epochs"] for x in own) if own else setting.epochs
                    one = epochs * epoch_seconds(table, parts, contender)
                hours += one * seeds_of(table, contender) / 3600
                print(f"{name}, {split}: {contender} {one / 60:.1f} min a training", flush=True)
        print(f"{name}: {hours:.1f} hours of one core")
        total += hours
    print(f"all: {total:.1f} hours of one core, {total / 2:.1f} hours of two")


if __name__ == "__main__":
    main()
