"""Runs jobs in processes of this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from torchliquid.jobs.job import Job, Listener
from torchliquid.jobs.processes import cores, run_jobs


@dataclass(frozen=True)
class Workers:
    """Called with jobs and a listener, runs all jobs. An error in one of them ends the others and is raised.
    ``at_once`` is the number of parallel jobs."""

    run: Callable[[Sequence[Job], Listener], None]
    at_once: int

    def __call__(self, jobs: Sequence[Job], listener: Listener) -> None:
        self.run(jobs, listener)


@contextmanager
def workers(processes: int, threads: int, ray: str | None = None) -> Iterator[Workers]:
    """The workers for jobs with this number of threads: ``processes`` of this machine, or a Ray cluster.

    Args:
        processes: number of parallel processes, at most :func:`cores`; 1: this process.
        threads: number of threads of each job.
        ray: address of a cluster, ``host:port`` or ``auto``; then ``processes`` has no effect.

    Raises:
        InputError: there is no cluster at that address.
    """
    if ray is None:
        processes = min(processes, cores())
        yield Workers(partial(run_jobs, processes=processes, threads=threads), processes)
    else:
        from torchliquid.jobs.cluster import connected, places, run_on_cluster

        with connected(ray):
            yield Workers(partial(run_on_cluster, threads=threads), places(threads))
