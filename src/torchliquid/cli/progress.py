"""Long work shows what runs and how long it still takes."""

from __future__ import annotations

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import TaskID as BarID
from rich.table import Column

from torchliquid.cli.terminal import Terminal
from torchliquid.study.workers import Job


def one_bar(console: Terminal) -> Progress:
    """A bar for one piece of work, gone when it is done; nothing where there is no terminal."""
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class StudyProgress:
    """A bar over all jobs of a study and a line for each that runs; quiet lines where there is no terminal."""

    def __init__(self, console: Terminal) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn(
                "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self.total: BarID | None = None
        self.bars: dict[str, BarID] = {}

    def __enter__(self) -> StudyProgress:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def phase(self, name: str, done: int, total: int) -> None:
        """A new phase of ``total`` jobs begins, ``done`` of which an earlier run finished."""
        if self.total is not None:
            self.progress.remove_task(self.total)
        self.total = self.progress.add_task(f"{name}, {total} in all", total=total, completed=done)
        if not self.console.is_terminal:
            before = f", {total - done} to do" if done else ""
            self.console.print(f"{name}: {total} in all{before}")

    def waiting(self, reason: str) -> None:
        self.console.print(f"waiting for {reason}")

    def started(self, job: Job) -> None:
        self.bars[job.name] = self.progress.add_task(f"  {job.name}", total=100)

    def advanced(self, job: Job, share: float, note: str) -> None:
        self.progress.update(self.bars[job.name], completed=100 * share, description=f"  {job.name}  {note}")

    def finished(self, job: Job) -> None:
        self.progress.remove_task(self.bars.pop(job.name))
        if self.total is not None:
            self.progress.advance(self.total)
        if not self.console.is_terminal:
            self.console.print(f"  {job.name} done")
