"""Does the LTC of the walker table reach its published error with more epochs? ``python -m benchmarks.walker_epochs``.

It trains one seed with twice the epochs and a learning rate that falls half as fast. The test error is that of the
weights that are best on validation so far. It needs the recording and an hour of one thread.
"""

from __future__ import annotations

import math

import torch

from torchliquid.reproduce.contenders import TableModel
from torchliquid.reproduce.protocols import protocol
from torchliquid.reproduce.trial import measure, train_epoch

TIMES, EVERY = 2, 10


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = protocol("walker")
    parts = table.parts("published")
    setting = table.settings["LTC"]
    model = TableModel(table, "LTC", parts.train.inputs.shape[2], parts.outputs, per_sequence=False)
    optimizer = torch.optim.AdamW(model.parameters(), setting.lr, weight_decay=setting.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, setting.decay ** (1 / TIMES))
    best, test = math.inf, math.nan
    print("epoch   best validation   test")
    for epoch in range(1, TIMES * setting.epochs + 1):
        train_epoch(model, optimizer, parts.train, setting)
        schedule.step()
        found = measure(table, model, parts.validation)
        if found < best:
            best, test = found, measure(table, model, parts.test)
        if epoch % EVERY == 0:
            print(f"{epoch:5d}{best:18.3f}{test:7.3f}", flush=True)


if __name__ == "__main__":
    main()
