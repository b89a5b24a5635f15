"""Long work shows what runs and how long it still takes."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import TaskID as BarID
from rich.table import Column

from torchliquid.study.workers import Job


class StudyProgress:
    """A bar over all jobs of a study and a line for each that runs; quiet lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
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
        self.total = self.progress.add_task(f"[bold]{name}[/], {total} in all", total=total, completed=done)
        if not self.console.is_terminal:
            before = f", {total - done} to do" if done else ""
            self.console.print(f"{name}: {total} in all{before}", highlight=False)

    def waiting(self, reason: str) -> None:
        self.console.print(f"waiting for {reason}", highlight=False)

    def started(self, job: Job) -> None:
        self.bars[job.name] = self.progress.add_task(f"  {job.name}", total=100)

    def advanced(self, job: Job, share: float, note: str) -> None:
        self.progress.update(self.bars[job.name], completed=100 * share, description=f"  {job.name}  [dim]{note}")

    def finished(self, job: Job) -> None:
        self.progress.remove_task(self.bars.pop(job.name))
        if self.total is not None:
            self.progress.advance(self.total)
        if not self.console.is_terminal:
            self.console.print(f"  {job.name} done", highlight=False)
