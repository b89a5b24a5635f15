"""Measures boosted trees on a device, in single precision and as integers.

``python -m benchmarks.tables`` prints the rows of ``docs/edge.md`` in a minute. It needs ``TORCHLIQUID_DATA`` and QEMU.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from torchliquid.data import Preprocessing
from torchliquid.datasets import load
from torchliquid.edge import TARGETS, export
from torchliquid.models.tabular import Tabular


def main() -> None:
    found = load("occupancy")
    test = next(iter(found.tests.values()))
    model = Tabular.fit("boosting", found.task, Preprocessing.fit(found.train), found.train, found.train, lookback=16)
    assert model.trees is not None
    print(f"{model.trees.roots.size:,} trees, {model.trees.splits:,} splits")
    for target in ("cortex-m4", "cortex-m0"):
        for integers in (False, True):
            with TemporaryDirectory() as folder:
                report = export(model, TARGETS[target], Path(folder) / "c", test, int8=integers, name="trees")
            cost, metric = report.costs["trees"], report.plain["metric"]
            words = "integers" if integers else "float32"
            print(f"| `{target}`, {words} | {cost.flash:,} | {cost.ram:,} | {cost.instructions:,} |")
            print(f"  accuracy {metric['pytorch']:.4f}, in C {metric['export']:.4f}; {report.measured[0]}")


if __name__ == "__main__":
    main()
