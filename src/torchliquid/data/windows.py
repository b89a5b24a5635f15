"""Windows that training is done on: how long, how far apart, and how many first steps are not scored."""

from __future__ import annotations

from dataclasses import dataclass

from torchliquid.data.asked import Asked
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError


@dataclass(frozen=True)
class Windows:
    """A plan for cutting series into windows.

    Attributes:
        length: samples of a window; a shorter series is one window.
        stride: samples from a window's start to the next one's.
        burn_in: first samples of a window that are fed but not scored, while the state, which starts fresh, finds its
            way. Not in a window that starts with its series: the state starts fresh there in use as well.
    """

    length: int
    stride: int
    burn_in: int = 0

    def __post_init__(self) -> None:
        if self.length < 1 or self.stride < 1 or not 0 <= self.burn_in < self.length:
            raise InputError(
                f"windows of length {self.length}, stride {self.stride}, burn-in {self.burn_in}: length and stride "
                "must be 1 or more, the burn-in less than the length"
            )

    @classmethod
    def choose(cls, recording: Recording, task: Asked) -> Windows:
        """Windows that fit a training part.

        One target a series: the whole series up to 1,024 samples; a longer one is cut into pieces that each carry its
        target. One target a sample: the whole series where there are several and none is longer than 128; else 64
        samples, at least 4 horizons of a forecast, less where that would leave fewer than 32 windows' worth of samples.
        The first eighth is burn-in. Windows overlap by half, by three quarters where samples are few (under 20,000),
        and where they are many (100,000 or more) only by the burn-in, so that every sample is still scored.
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
        """(series, start, stop) of every window; none crosses two series, all together cover every sample (unless the
        stride is longer than the length).

        The last window of a series ends with it, nearer to the one before than the stride where it must.
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
        """How many first samples of the window that starts at ``start`` of its series are not scored."""
        return self.burn_in if start > 0 else 0
