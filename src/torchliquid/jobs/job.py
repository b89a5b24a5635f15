"""A job and its listener.

A job is a generator. Its results go to the process that started it as soon as they are there, and only that process
stores them. So a job is the same in one process, in many, and on a cluster without a shared disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Progress = Callable[[float, str], None]
"""Called by a job with the share done (0 to 1) and a note."""


@dataclass(frozen=True)
class Job:
    """One piece of independent work.

    Attributes:
        name: a unique name for progress messages.
        function: called with ``args`` and ``progress``, it yields results. It must be defined at the top of a module,
            because it is sent to another process.
        args: large arguments should be the same object in all jobs, because a cluster gets each object once.
        keep: called with each result, in the process that starts the jobs.
    """

    name: str
    function: Callable[..., Iterator[Any]]
    args: tuple[Any, ...]
    keep: Callable[[Any], object]


class Listener(Protocol):
    """Is informed of the jobs' progress; ``waiting`` gets the reason if none of them can start."""

    def waiting(self, reason: str) -> None: ...
    def started(self, job: Job) -> None: ...
    def advanced(self, job: Job, share: float, note: str) -> None: ...
    def finished(self, job: Job) -> None: ...


class Silent:
    """A listener that does nothing."""

    def waiting(self, reason: str) -> None: ...
    def started(self, job: Job) -> None: ...
    def advanced(self, job: Job, share: float, note: str) -> None: ...
    def finished(self, job: Job) -> None: ...


class JobError(RuntimeError):
    """A job's process ended without finishing; ``job`` is its name."""

    def __init__(self, message: str, job: str = "") -> None:
        super().__init__(message)
        self.job = job


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Set the number of threads of torch, BLAS and OpenMP."""
    before = torch.get_num_threads()
    with threadpool_limits(threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
