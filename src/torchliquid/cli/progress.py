"""Progress of long work: what runs and how long it still takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import TaskID as BarID
from rich.table import Column
from rich.text import Text

from torchliquid.cli.terminal import Terminal
from torchliquid.errors import printable

if TYPE_CHECKING:
    from torchliquid.jobs import Job


SILENT, BETWEEN = 2.0, 10.0
"""Seconds after which work is reported if there is no terminal, and between further reports."""


class Working:
    """Reports on standard error what runs. It is called with a name, the finished amount and the whole. On a terminal
    it is a bar with elapsed and remaining time, which disappears at the end; elsewhere lines, only for work that takes
    longer than two seconds."""

    def __init__(self) -> None:
        self.console = Terminal(stderr=True)
        self.what, self.done, self.total, self.note = "", 0.0, 0.0, ""
        text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
        columns = (text, BarColumn(bar_width=20), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal, refresh_per_second=4
        )
        self.task = self.bar.add_task("", total=None)
        self.begun = self.next = 0.0
        self.ended = threading.Event()
        self.teller = threading.Thread(target=self._tell, daemon=True)

    def __call__(self, what: str, done: float = 0, total: float = 0, note: str = "") -> None:
        if what != self.what:
            self.begun = time.monotonic()
            self.next = self.begun + SILENT
        self.what, self.done, self.total, self.note = what, done, total, f": {note}" if note else ""
        self.bar.update(self.task, description=printable(what + self.note), completed=done, total=total or None)

    def __enter__(self) -> Working:
        if self.console.is_terminal:
            self.bar.start()
        else:
            self.teller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.bar.stop()
        if self.teller.is_alive():
            self.teller.join()

    def _tell(self) -> None:
        while not self.ended.wait(0.2):
            now = time.monotonic()
            if self.what and now >= self.next:
                share = f", {self.done / self.total:.0%} done" if self.total and self.done else ""
                taken = f", {now - self.begun:.0f} s so far" if now - self.begun > SILENT + BETWEEN / 2 else ""
                self.next = now + BETWEEN
                self.console.print(f"{self.what}{self.note}{share}{taken}")


class StudyProgress:
    """One bar for a whole study and a line for each running job; lines of text if there is no terminal."""

    def __init__(self, console: Terminal) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn(
                "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            _Times(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self.whole: BarID | None = None
        self.work: dict[str, float] = {}
        self.now = ""
        self.done, self.total = 0, 0
        self.running: dict[str, tuple[BarID, float]] = {}

    def __enter__(self) -> StudyProgress:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def planned(self, work: Mapping[str, float]) -> None:
        """Set the phases of a study, with the work left in each, in any unit; earlier phases stay."""
        past = [*self._phases_past(), self.now] if self.now else []
        self.work = {name: self.work[name] for name in past} | dict(work)

    def phase(self, name: str, done: int, total: int) -> None:
        """A new phase of ``total`` jobs begins; an earlier run finished ``done`` of them."""
        self.now, self.done, self.total = name, 0, max(total - done, 0)
        self.work.setdefault(name, 1.0)
        names = list(self.work)
        place = f"phase {names.index(name) + 1} of {len(names)}: " if len(names) > 1 else ""
        words = f"{place}{name}, {total} in all"
        if self.whole is None:
            self.whole = self.progress.add_task(words, total=1.0)
        self.progress.update(self.whole, description=words)
        self._move()
        if not self.console.is_terminal:
            before = f", {total - done} to do" if done else ""
            self.console.print(f"{words}{before}")

    def waiting(self, reason: str) -> None:
        self.console.print(f"waiting for {reason}")

    def started(self, job: Job) -> None:
        self.running[job.name] = (self.progress.add_task(f"  {job.name}", total=100), 0.0)

    def advanced(self, job: Job, share: float, note: str) -> None:
        bar, _ = self.running[job.name]
        self.running[job.name] = (bar, share)
        self.progress.update(bar, completed=100 * share, description=f"  {job.name}  {note}")
        self._move()

    def finished(self, job: Job) -> None:
        bar, _ = self.running.pop(job.name)
        self.progress.remove_task(bar)
        self.done += 1
        self._move()
        if not self.console.is_terminal:
            self.console.print(f"  {job.name} done")

    def _phases_past(self) -> list[str]:
        names = list(self.work)
        return names[: names.index(self.now)] if self.now in names else []

    def _move(self) -> None:
        """The bar: the share of all work that is done, estimated in the current phase by its jobs."""
        if self.whole is None:
            return
        share = (self.done + sum(share for _, share in self.running.values())) / max(self.total, 1)
        before = sum(self.work[name] for name in self._phases_past())
        done = before + min(share, 1.0) * self.work[self.now]
        self.progress.update(self.whole, completed=done / max(sum(self.work.values()), 1e-9))


class _Times(ProgressColumn):
    """Elapsed and estimated remaining time of a study; empty for a single job."""

    def render(self, task: Task) -> Text:
        if task.total != 1.0 or task.elapsed is None:
            return Text()
        gone = f"{_clock(task.elapsed)} gone"
        if not 0.01 < task.completed < 1:
            return Text(gone)
        return Text(f"{gone}, {_clock(task.elapsed * (1 / task.completed - 1))} left")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
