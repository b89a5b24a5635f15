"""Jobs in processes: they report, fail loudly, and never outlive the study."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_info

from torchliquid.jobs import Job, JobError, Progress, cores, run_jobs, workers

ROOT = str(Path(__file__).parents[2])


class Record:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def waiting(self, reason: str) -> None:
        self.events.append(("waiting", reason))

    def started(self, job: Job) -> None:
        self.events.append(("started", job.name))

    def advanced(self, job: Job, share: float, note: str) -> None:
        self.events.append((f"{share} {note}", job.name))

    def finished(self, job: Job) -> None:
        self.events.append(("finished", job.name))


def threads(number: int, progress: Progress) -> Iterator[tuple[int, int, set[int], int]]:
    progress(0.5, "half")
    pools = {pool["num_threads"] for pool in threadpool_info()}
    yield number, torch.get_num_threads(), pools, os.getpid()


def fail(message: str, progress: Progress) -> Iterator[str]:
    yield "one"
    raise ValueError(message)


def die(progress: Progress) -> Iterator[None]:
    os.kill(os.getpid(), signal.SIGKILL)
    yield


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("each", [1, 2])
def test_every_job_runs_with_its_threads_and_reports(processes: int, each: int) -> None:
    record, kept = Record(), []
    run_jobs([Job(str(i), threads, (i,), kept.append) for i in range(5)], record, processes, each)
    numbers, of_torch, of_pools, pids = zip(*sorted(kept), strict=True)
    assert numbers == (0, 1, 2, 3, 4)
    assert set(of_torch) == {each}
    assert all(pools == {each} for pools in of_pools), "of BLAS and OpenMP as well"
    assert len(set(pids)) == (1 if processes == 1 else 5)
    for i in range(5):
        assert [e for e, name in record.events if name == str(i)] == ["started", "0.5 half", "finished"]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_a_job_comes_back_as_it_was(processes: int) -> None:
    kept: list[str] = []
    with pytest.raises(ValueError, match="row 7"):
        run_jobs([Job(name, fail, ("row 7",), kept.append) for name in "ab"], Record(), processes, 1)
    assert kept, "what it had yielded before was kept"


def test_a_killed_process_is_named() -> None:
    with pytest.raises(JobError, match="LSTM, seed 3 ended with code -9"):
        run_jobs([Job("LSTM, seed 3", die, (), print)], Record(), 2, 1)


def test_no_more_processes_than_cores() -> None:
    kept: list[tuple[int, int, set[int], int]] = []
    events = Record()
    with workers(1000, 1) as run:
        run([Job(str(i), threads, (i,), kept.append) for i in range(2 * cores() + 1)], events)
    running = most = 0
    for event, _ in events.events:
        running += {"started": 1, "finished": -1}.get(event, 0)
        most = max(most, running)
    assert most <= cores()
    assert len(kept) == 2 * cores() + 1


def test_jobs_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from torchliquid.jobs import Job, run_jobs

        class Silent:
            def started(self, job): pass
            def advanced(self, job, share, note): pass
            def finished(self, job): pass

        def endless(path, progress):
            path.write_text(str(os.getpid()))
            while True:
                time.sleep(0.05)
            yield

        if __name__ == "__main__":
            jobs = [Job(str(i), endless, (Path(sys.argv[1]) / f"pid{i}",), print) for i in range(2)]
            run_jobs(jobs, Silent(), 2, 1)
        """)
    )
    parent = subprocess.Popen([sys.executable, str(tmp_path / "endless.py"), str(tmp_path)])
    pids = [tmp_path / "pid0", tmp_path / "pid1"]
    _until(lambda: all(p.exists() and p.read_text() for p in pids))
    parent.kill()
    parent.wait()
    _until(lambda: not any(_alive(int(p.read_text())) for p in pids))


def _until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


class Silent:
    def started(self, job): ...
    def advanced(self, job, share, note): ...
    def finished(self, job): ...


def _own_process(progress):
    yield os.getpid()


def _pids(_: int) -> tuple[int, list[int]]:
    found: list[int] = []
    run_jobs([Job(str(i), _own_process, (), found.append) for i in range(3)], Silent(), 2, 1)
    return os.getpid(), found


def test_inside_a_pool_and_from_the_standard_input_jobs_run_in_this_process(tmp_path):
    with get_context("spawn").Pool(1) as pool:
        ((own, found),) = pool.map(_pids, [0])
    assert found == [own] * 3
    code = f"import sys\nsys.path.insert(0, {ROOT!r})\nfrom tests.study import test_workers as t\n"
    code += "own, found = t._pids(0)\nprint(found == [own] * 3)"
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() == "True"
    assert "one after the other" in done.stderr


def test_a_program_without_its_guard_is_told_of_it(tmp_path):
    (tmp_path / "unguarded.py").write_text(
        f"import sys; sys.path.insert(0, {ROOT!r})\nfrom tests.study import test_workers as t\nt._pids(0)\n"
    )
    done = subprocess.run([sys.executable, "unguarded.py"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode
    assert "call it under if __name__" in done.stderr.splitlines()[-1]
