"""Independent jobs on the processes of this machine.

Each job gets a fresh process, so that its peak memory and its end are its own. Jobs hand results over by
writing them to disk; only progress and errors come back through the pipe.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch

Progress = Callable[[float, str], None]
"""Called by a job with the share done (0 to 1) and a word on where it stands."""


@dataclass(frozen=True)
class Job:
    """One piece of independent work: a function that is called with ``args`` and ``progress``.

    The function stands at the top of a module, since it travels to another process.
    """

    name: str
    function: Callable[..., None]
    args: tuple[Any, ...]


class Listener(Protocol):
    """Is told how the jobs go on."""

    def started(self, job: Job) -> None: ...
    def advanced(self, job: Job, share: float, note: str) -> None: ...
    def finished(self, job: Job) -> None: ...


class JobError(RuntimeError):
    """A job's process ended without finishing."""


def run_jobs(jobs: Sequence[Job], processes: int, threads: int, listener: Listener) -> None:
    """Run the jobs, ``processes`` at a time with ``threads`` torch threads each; 1 process means this one.

    Raises:
        JobError: a job's process died (killed, out of memory).
        Exception: whatever a job raised; the other running jobs are ended first.
    """
    if processes == 1:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            for job in jobs:
                listener.started(job)
                job.function(*job.args, progress=_told(listener, job))
                listener.finished(job)
        finally:
            torch.set_num_threads(before)
        return
    _run_in_processes(list(jobs), processes, threads, listener)


def _told(listener: Listener, job: Job) -> Progress:
    return lambda share, note: listener.advanced(job, share, note)


def _run_in_processes(waiting: list[Job], processes: int, threads: int, listener: Listener) -> None:
    context = get_context("forkserver")
    # An optimiser imports torch._dynamo at its first step: better once here than in each process.
    context.set_forkserver_preload(["torch._dynamo", "torchliquid.study.trial"])
    running: dict[Connection, tuple[Job, Any]] = {}
    waiting.reverse()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, threads, sender), daemon=True, name=job.name)
                process.start()
                sender.close()
                running[receiver] = (job, process)
                listener.started(job)
            ready = connection.wait(list(running))
            for receiver in [r for r in running if r in ready]:
                job, process = running[receiver]
                try:
                    message = receiver.recv()
                except EOFError:
                    process.join()
                    raise JobError(
                        f"the process of {job.name} ended with code {process.exitcode} before it finished; if memory "
                        "ran out, give fewer --jobs"
                    ) from None
                if isinstance(message, BaseException):
                    raise message
                if message is None:
                    process.join()
                    del running[receiver]
                    listener.finished(job)
                else:
                    listener.advanced(job, *message)
    finally:
        for _, process in running.values():
            process.kill()


def _work(job: Job, threads: int, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        job.function(*job.args, progress=lambda share, note: sender.send((share, note)))
        sender.send(None)
    except Exception as error:
        sender.send(error)


def _end_with_parent() -> None:
    """A study killed with SIGKILL must not leave trials running behind it."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
