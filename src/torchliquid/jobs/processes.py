"""Jobs in this process, or in processes of this machine."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Sequence
from functools import partial
from multiprocessing import (
    connection,
    current_process,
    forkserver,
    get_all_start_methods,
    get_context,
    parent_process,
    resource_tracker,
    util,
)
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from joblib import cpu_count

from torchliquid.errors import InputError
from torchliquid.jobs.job import Job, JobError, Listener, limited
from torchliquid.signals import waiting

LONGEST_FOLDER = 60
"""Maximum length in bytes of the path of the folder for temporary files, which leaves room for a socket's name."""
log = logging.getLogger(__name__)


def cores() -> int:
    """The number of cores that this process may use, by its affinity and its container."""
    return int(cpu_count())


def run_jobs(jobs: Sequence[Job], listener: Listener, processes: int, threads: int) -> None:
    """Run the jobs, ``processes`` at a time with ``threads`` threads each; 1 process means this one.

    Raises:
        JobError: a job's process died (killed, out of memory).
        Exception: whatever a job raised; the other running jobs are ended first.
    """
    if processes > 1 and (reason := _no_processes()):
        log.warning("%s: the trials run one after the other in this process", reason)
        processes = 1
    if processes == 1:
        with limited(threads):
            for job in jobs:
                listener.started(job)
                for result in job.function(*job.args, progress=partial(listener.advanced, job)):
                    job.keep(result)
                listener.finished(job)
    else:
        _run_in_processes(list(jobs), listener, processes, threads)


def _no_processes() -> str:
    """Why no processes can be started here; empty if they can."""
    if current_process().daemon:
        return "a process of a pool cannot start others"
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is not None and not Path(path).exists():  # the standard input
        return "the program is not a file that other processes could read"
    return ""


def _run_in_processes(waiting: list[Job], listener: Listener, processes: int, threads: int) -> None:
    """Each job gets a fresh process, so that its peak memory and its end are its own."""
    context = _context(waiting)
    running: dict[Connection, tuple[Job, Any]] = {}
    waiting.reverse()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                # Pickled here, since multiprocessing would move torch's tensors to shared memory, often too small.
                work = pickle.dumps((job.function, job.args))
                process = context.Process(target=_work, args=(work, threads, sender), daemon=True, name=job.name)
                process.start()
                sender.close()
                running[receiver] = (job, process)
                listener.started(job)
            ready = connection.wait(list(running))
            for receiver in [r for r in running if r in ready]:
                job, process = running[receiver]
                try:
                    kind, content = receiver.recv()
                except EOFError:
                    process.join()
                    code = process.exitcode or 0
                    raise JobError(
                        f"the process of {job.name} ended with code {code} before it finished; "
                        + (
                            'call it under if __name__ == "__main__":, or with jobs=1'
                            if code > 0
                            else "if memory ran out, give fewer --jobs"
                        ),
                        job.name,
                    ) from None
                if kind == "error":
                    raise content
                if kind == "result":
                    job.keep(content)
                elif kind == "progress":
                    listener.advanced(job, *content)
                else:
                    process.join()
                    del running[receiver]
                    listener.finished(job)
    finally:
        for _, process in running.values():
            process.kill()


def _context(jobs: Sequence[Job]) -> Any:
    """How processes are started: from a server that has imported everything, or separately if there is none, as on
    Windows."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    _talk_over_short_paths()
    context = get_context("forkserver")
    # An optimiser imports torch._dynamo at its first step: better once here than in each process.
    ours = {job.function.__module__ for job in jobs if job.function.__module__.startswith("torchliquid.")}
    context.set_forkserver_preload(["torch._dynamo", *sorted(ours)])
    resource_tracker.ensure_running()  # whose own start would let Ctrl-C through
    with waiting(signal.SIGINT):  # which comes to all of a terminal
        forkserver.ensure_running()
    return context


def _talk_over_short_paths() -> None:
    """Processes talk over sockets in the folder of temporary files; the path of a socket has at most 107 bytes."""
    if len(os.fsencode(tempfile.gettempdir())) <= LONGEST_FOLDER:
        return
    before, tempfile.tempdir = tempfile.tempdir, "/tmp"
    try:
        util.get_temp_dir()  # made once for this process and all that it starts
    except OSError as error:
        raise InputError(
            f"the folder of temporary files has too long a path for processes to talk in, and /tmp cannot be written "
            f"({error.strerror}); set TMPDIR to a shorter one, or give --jobs 1"
        ) from None
    finally:
        tempfile.tempdir = before


def _work(work: bytes, threads: int, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, about numbers that are checked afterwards
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        function, args = pickle.loads(work)
        with limited(threads):
            for result in function(*args, progress=lambda share, note: sender.send(("progress", (share, note)))):
                sender.send(("result", result))
        sender.send(("end", None))
    except Exception as error:
        error.add_note(f"In the process of the job:\n{traceback.format_exc()}")
        sender.send(("error", error))


def _end_with_parent() -> None:
    """A study killed with SIGKILL must not leave trials running behind it."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
