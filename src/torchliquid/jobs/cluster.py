"""Jobs on a Ray cluster: one task each, which sends its results back as it yields them.

The nodes need only torchliquid, no shared disk and no data. If a node dies, its tasks are repeated on another one. A
repeated job yields the same results, so none is stored twice.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from torchliquid.errors import InputError
from torchliquid.jobs.job import Job, JobError, Listener, limited

RETRIES = 3
"""Number of times that a job is repeated after its node died."""

SAME = "install the same versions on every machine of the cluster"

SILENCE = 10.0
"""Seconds without a new job after which the reason is reported."""

QUICKLY = {"RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_py_gcs_connect_timeout_s": "5", "RAY_BACKEND_LOG_LEVEL": "fatal"}
"""Seconds for connecting. Ray itself would try for a quarter of an hour, and print all the time."""


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster. At the end of the block, running tasks are ended and the connection is closed.

    Args:
        address: ``host:port`` of its head, or ``auto`` for the cluster that this machine is in.

    Raises:
        InputError: Ray is not installed, or there is no cluster there, or this machine is not in it.
    """
    _check(address)
    for name, value in QUICKLY.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise InputError("a cluster needs Ray: pip install 'torchliquid[ray]'") from None
    try:
        with _nothing_on_stderr():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL)
        ray._private.worker._worker_logs_enabled = False  # pages of a dead node's log, which no option keeps away
    except Exception as error:
        reason = re.split(r"\.\s|\n", str(error).strip())[0].rstrip(".")
        raise InputError(
            f"no Ray cluster can be used at {address} ({reason}); give the address that `ray start --head` printed, on "
            "a machine that is in the cluster"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Raise errors at once that Ray would report late."""
    if address == "auto":
        return
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise InputError(
            f"{address!r} is not an address of a Ray cluster; give HOST:PORT, such as 10.0.0.1:6379, or auto"
        )
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), timeout=10).close()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"no Ray cluster answers at {address} ({reason}); give the address that `ray start --head` printed"
        ) from None


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """Ray's C++ core writes past Python."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def places(threads: int) -> int:
    """The number of jobs with this number of threads that the cluster can run in parallel, at least one."""
    import ray

    alive = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(1, sum(int(cpus // threads) for cpus in alive))


def run_on_cluster(jobs: Sequence[Job], listener: Listener, threads: int) -> None:
    """Run the jobs on the cluster, as many at a time as it has CPUs for their threads.

    Raises:
        InputError: no node has that many CPUs.
        JobError: the processes or nodes of a job died repeatedly.
        Exception: the error of a job; the others are ended first.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not any(node["Alive"] and node["Resources"].get("CPU", 0) >= threads for node in ray.nodes()):
        raise InputError(f"no node of the cluster offers {threads} CPU; start one with `ray start --num-cpus N`")
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    news: Any = ray.remote(News).options(num_cpus=0, scheduling_strategy=here).remote()
    task: Any = ray.remote(_work).options(num_cpus=threads, num_returns="streaming", max_retries=RETRIES)
    # Pickled here: arrays that Ray itself unpickles on a node cannot be written to.
    parts = {id(part): part for job in jobs for part in (job.function, *job.args)}
    sent = {place: ray.put(pickle.dumps(part)) for place, part in parts.items()}
    running: dict[Any, Job] = {
        task.remote(threads, _versions(), news, number, *(sent[id(part)] for part in (job.function, *job.args))): job
        for number, job in enumerate(jobs)
    }
    started: set[str] = set()
    quiet_until: float | None = time.monotonic() + SILENCE

    def tell() -> None:
        left = {job.name for job in running.values()}
        for number, share, note in ray.get(news.take.remote()):
            job = jobs[number]
            if job.name not in left:
                continue
            if job.name not in started:
                started.add(job.name)
                listener.started(job)
            listener.advanced(job, share, note)

    try:
        while running:
            ready: list[Any] = ray.wait(list(running), timeout=0.2)[0]
            tell()
            if started:
                quiet_until = None
            elif quiet_until and time.monotonic() > quiet_until:
                listener.waiting("a free CPU of the cluster")
                quiet_until = None
            for results in ready:
                job = running[results]
                try:
                    job.keep(ray.get(next(results)))
                except StopIteration:
                    del running[results]
                    if job.name not in started:
                        listener.started(job)
                    listener.finished(job)
                except ray.exceptions.RayTaskError as error:
                    if "failed to import on the worker" in str(error.cause):
                        reason = str(error.cause).strip().split("\n")[-1]
                        raise InputError(f"a node cannot load torchliquid ({reason}); {SAME}") from None
                    raise error.cause from None
                except ray.exceptions.RayError as error:
                    reason = str(error).strip().split("\n")[0]
                    raise JobError(f"{job.name} did not finish on the cluster: {reason}") from None
    finally:
        for results in running:
            ray.cancel(results, force=True)
        ray.kill(news)


class News:
    """The jobs' progress on its way to the process that started them: an actor beside that process."""

    def __init__(self) -> None:
        self.news: list[tuple[int, float, str]] = []

    def tell(self, job: int, share: float, note: str) -> None:
        self.news.append((job, share, note))

    def take(self) -> list[tuple[int, float, str]]:
        """All since the last time."""
        taken, self.news = self.news, []
        return taken


def _work(threads: int, versions: dict[str, str], news: Any, number: int, *parts: bytes) -> Iterator[Any]:
    """Run a job on its node; the parts are its function and its arguments."""
    if versions != _versions():
        raise InputError(f"{socket.gethostname()} has {_versions()}, not {versions}; {SAME}")

    def progress(share: float, note: str) -> None:
        news.tell.remote(number, share, note)

    progress(0.0, f"on {socket.gethostname()}")
    function, *args = (pickle.loads(part) for part in parts)
    with limited(threads):
        yield from function(*args, progress=progress)


def _versions() -> dict[str, str]:
    """The versions that must be the same on every machine, because results depend on them."""
    return {name: version(name) for name in ("torchliquid", "torch", "numpy", "scikit-learn")}
