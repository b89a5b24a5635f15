"""Who does the jobs: the processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from torchliquid.jobs.job import Job, Listener
from torchliquid.jobs.processes import cores, run_jobs


@dataclass(frozen=True)
class Workers:
    """Called with jobs and a listener, runs the jobs to their end; what one of them raised ends the others and is
    raised. ``at_once`` is how many run at a time."""

    run: Callable[[Sequence[Job], Listener], None]
    at_once: int

    def __call__(self, jobs: Sequence[Job], listener: Listener) -> None:
        self.run(jobs, listener)


@contextmanager
def workers(processes: int, threads: int, ray: str | None = None) -> Iterator[Workers]:
    """Who does the jobs, each with so many threads: ``processes`` of this machine, or a Ray cluster.

    Args:
        processes: at a time; 1 means this one, and no more than :func:`cores` are started.
        threads: of each job, wherever it runs.
        ray: address of a cluster, ``host:port`` or ``auto``; ``processes`` does not matter then.

    Raises:
        InputError: no cluster can be reached there.
    """
    if ray is None:
        processes = min(processes, cores())
        yield Workers(partial(run_jobs, processes=processes, threads=threads), processes)
    else:
        from torchliquid.jobs.cluster import connected, places, run_on_cluster

        with connected(ray):
            yield Workers(partial(run_on_cluster, threads=threads), places(threads))
