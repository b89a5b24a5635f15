"""Runs jobs in processes of this machine or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torchliquid.errors import check_size
from torchliquid.jobs.job import Job, JobError, Listener
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
        InputError: there is no cluster at that address, or ``processes`` is less than 1.
    """
    if ray is None:
        check_size(jobs=processes)
        processes = min(processes, cores())
        yield Workers(partial(run_jobs, processes=processes, threads=threads), processes)
    else:
        from torchliquid.jobs.cluster import connected, places, run_on_cluster

        with connected(ray):
            yield Workers(partial(run_on_cluster, threads=threads), places(threads))


def run_all(jobs: Sequence[Job], run: Callable[[list[Job]], object], died: Callable[[str], object]) -> None:
    """Run jobs of one result each, also if processes die.

    Args:
        jobs: with different names.
        run: runs jobs, as :class:`Workers` do.
        died: called with the name of a job whose process ended before its result. Other jobs that were interrupted
            then run again.

    Raises:
        JobError: the process of an unknown job ended.
    """
    left = {job.name: job for job in jobs}

    def keep(job: Job, result: Any) -> None:
        job.keep(result)
        del left[job.name]

    while left:
        try:
            run([replace(job, keep=partial(keep, job)) for job in left.values()])
        except JobError as error:
            if error.job not in left:
                raise
            died(error.job)
            del left[error.job]
