"""Jobs in processes: they report, fail loudly, and never outlive the study."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from torchliquid.study.workers import Job, JobError, Progress, run_jobs


class Record:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def started(self, job: Job) -> None:
        self.events.append(("started", job.name))

    def advanced(self, job: Job, share: float, note: str) -> None:
        self.events.append((f"{share} {note}", job.name))

    def finished(self, job: Job) -> None:
        self.events.append(("finished", job.name))


def write_threads(path: Path, progress: Progress) -> None:
    progress(0.5, "half")
    path.write_text(f"{torch.get_num_threads()} {os.getpid()}")


def fail(message: str, progress: Progress) -> None:
    raise ValueError(message)


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_runs_with_its_threads_and_reports(tmp_path: Path, processes: int) -> None:
    record = Record()
    run_jobs([Job(str(i), write_threads, (tmp_path / str(i),)) for i in range(5)], processes, 1, record)
    threads, pids = zip(*((tmp_path / str(i)).read_text().split() for i in range(5)), strict=True)
    assert set(threads) == {"1"}
    assert len(set(pids)) == (1 if processes == 1 else 5)
    for i in range(5):
        assert [e for e, name in record.events if name == str(i)] == ["started", "0.5 half", "finished"]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_a_job_comes_back_as_it_was(processes: int) -> None:
    with pytest.raises(ValueError, match="row 7"):
        run_jobs([Job("a", fail, ("row 7",)), Job("b", fail, ("row 7",))], processes, 1, Record())


def test_a_killed_process_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="LSTM, seed 3 ended with code -9"):
        run_jobs([Job("LSTM, seed 3", die, ())], 2, 1, Record())


def test_jobs_end_with_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(
        textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from torchliquid.study.workers import Job, run_jobs

        class Silent:
            def started(self, job): pass
            def advanced(self, job, share, note): pass
            def finished(self, job): pass

        def endless(path, progress):
            path.write_text(str(os.getpid()))
            while True:
                time.sleep(0.05)

        if __name__ == "__main__":
            run_jobs([Job(str(i), endless, (Path(sys.argv[1]) / f"pid{i}",)) for i in range(2)], 2, 1, Silent())
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
