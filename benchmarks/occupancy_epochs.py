"""Why is occupancy's test accuracy chance after the first epochs? ``python -m benchmarks.occupancy_epochs``.

The LTC of the occupancy table is trained from three seeds, and measured on validation and on the test part after each
epoch. It needs the recording, fetched or in ``TORCHLIQUID_DATA``, and a few minutes.
"""

from __future__ import annotations

import numpy as np
import torch

from torchliquid.reproduce.contenders import TableModel
from torchliquid.reproduce.protocol import Parts, Protocol
from torchliquid.reproduce.protocols import protocol
from torchliquid.reproduce.trial import measure, train_epoch

EPOCHS, SEEDS = 50, 3
SHOWN = ((1, 1), (2, 5), (6, 10), (11, 20), (21, 30), (31, 40), (41, 50))


def accuracies(table: Protocol, parts: Parts, seed: int) -> list[tuple[float, float]]:
    """On validation and on the test part after each epoch, in %."""
    setting = table.settings["LTC"]
    torch.manual_seed(seed)
    model = TableModel(table, "LTC", parts.train.inputs.shape[2], parts.outputs, per_sequence=False)
    optimizer = torch.optim.Adam(model.parameters(), setting.lr, fused=True)
    found = []
    for epoch in range(EPOCHS):
        train_epoch(model, optimizer, parts.train, setting)
        found.append((measure(table, model, parts.validation), measure(table, model, parts.test)))
        print(f"seed {seed}, epoch {epoch + 1} of {EPOCHS}", end="\r", flush=True)
    return found


def main() -> None:
    torch.set_num_threads(1)
    table = protocol("occupancy")
    parts = table.parts("published")
    found = np.array([accuracies(table, parts, seed) for seed in range(SEEDS)])
    print("epochs    validation, mean %   test, mean %   test, deviation over epochs and seeds")
    for first, last in SHOWN:
        validation, test = found[:, first - 1 : last].reshape(-1, 2).T
        print(f"{first:2d} to {last:2d}{validation.mean():17.2f}{test.mean():17.2f}{test.std():17.2f}")
    late = found[:, 10:].reshape(-1, 2)
    print(f"correlation of the two after epoch 10: {np.corrcoef(late.T)[0, 1]:.2f}")


if __name__ == "__main__":
    main()
