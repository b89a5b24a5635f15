"""A job, and who is told of it.

A job is a generator: what it yields travels back to the process that handed it out, which alone keeps it, as soon as
it is there. So a job is the same in one process, in many, and on a cluster whose machines share no disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Progress = Callable[[float, str], None]
"""Called by a job with the share done (0 to 1) and a word on where it stands."""


@dataclass(frozen=True)
class Job:
    """One piece of independent work.

    Attributes:
        name: for a person who waits, and no other job's.
        function: called with ``args`` and ``progress``, it yields results. It stands at the top of a module, since
            it travels to another process.
        args: what is large should be the same object in all jobs: it is sent to a cluster once.
        keep: called with each result, in the process that hands the jobs out.
    """

    name: str
    function: Callable[..., Iterator[Any]]
    args: tuple[Any, ...]
    keep: Callable[[Any], object]


class Listener(Protocol):
    """Is told how the jobs go on; ``waiting`` says what for, when none of them can start."""

    def waiting(self, reason: str) -> None: ...
    def started(self, job: Job) -> None: ...
    def advanced(self, job: Job, share: float, note: str) -> None: ...
    def finished(self, job: Job) -> None: ...


class Silent:
    """A listener that says nothing."""

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
    """So many threads for all that computes: torch, BLAS, OpenMP."""
    before = torch.get_num_threads()
    with threadpool_limits(threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
