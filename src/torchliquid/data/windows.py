"""Windows for training: length, stride and burn-in."""

from __future__ import annotations

from dataclasses import dataclass

from torchliquid.data.asked import Asked
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError


@dataclass(frozen=True)
class Windows:
    """How series are cut into windows.

    Attributes:
        length: samples per window; a shorter series is one window.
        stride: samples from the start of a window to the start of the next.
        burn_in: number of samples at the start of a window that are not scored, while the state, which is reset,
            adapts. Not used at the start of a series, where the state is also reset in use.
    """

    length: int
    stride: int
    burn_in: int = 0

    def __post_init__(self) -> None:
        if self.length < 1 or self.stride < 1 or not 0 <= self.burn_in < self.length:
            raise InputError(
                f"windows of length {self.length}, stride {self.stride}, burn-in {self.burn_in}: length and stride "
                "must be 1 or more, and the burn-in less than the length"
            )

    @classmethod
    def choose(cls, recording: Recording, task: Asked) -> Windows:
        """Choose windows for a training part.

        * One target per series: whole series, cut into pieces of 1,024 samples if they are longer. * One target per
        sample: whole series if there are several and none is longer than 128 samples. Otherwise windows of 64 samples,
        at least 4 horizons of a forecast, but shorter if there were fewer than 32 of them. The burn-in is an eighth of
        a window. Windows overlap by half, with fewer than 20,000 samples by three quarters, and with 100,000 or more by
        the burn-in only, so that every sample is scored.
        """
        longest = max(len(s) for s in recording.series)
        if task.per == "series":
            length = min(longest, 1024)
            return cls(length, length)
        if longest <= 128 and recording.n_series > 1:
            return cls(longest, longest)
        horizon = 0.0
        if task.horizon is not None:
            horizon = task.horizon if task.horizon_unit == "samples" else task.horizon / recording.median_gap()
        length = max(64, min(int(4 * horizon), 256))
        length = min(longest, max(16, min(length, recording.n_samples // 32)))
        burn_in = length // 8
        if recording.n_samples >= 100_000:
            stride = length - burn_in
        else:
            stride = max(1, length // (2 if recording.n_samples >= 20_000 else 4))
        return cls(length, stride, burn_in)

    def cut(self, recording: Recording) -> list[tuple[int, int, int]]:
        """(series, start, stop) of every window.

        Windows cover every sample, unless the stride is longer than the length. The last window of a series ends with
        it, and may start less than a stride after the previous one.
        """
        windows = []
        for i, series in enumerate(recording.series):
            n = len(series)
            if n == 0:
                continue
            last = max(n - self.length, 0)
            windows += [(i, start, start + self.length) for start in range(0, last, self.stride)]
            windows.append((i, last, n))
        return windows

    def scored_from(self, start: int) -> int:
        """Number of samples that are not scored in a window that starts at ``start`` of its series."""
        return self.burn_in if start > 0 else 0
