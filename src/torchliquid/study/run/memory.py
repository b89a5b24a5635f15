"""Peak memory of a piece of work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STATUS = Path("/proc/self/status")


@dataclass
class Peak:
    """``mb``: the maximum memory of the work beyond what the process used before; NaN if it cannot be measured."""

    mb: float = math.nan


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak of resident memory inside the block, above its start (Linux; elsewhere NaN)."""
    peak = Peak()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _kilobytes("VmRSS")
    except OSError:
        yield peak
        return
    yield peak
    peak.mb = max(_kilobytes("VmHWM") - before, 0.0) / 1024


def _kilobytes(field: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return float(line.split()[1])
