"""Options that several commands share, and how they turn into a recording and a task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchliquid.cli import times
from torchliquid.cli.terminal import Terminal
from torchliquid.errors import InputError

if TYPE_CHECKING:  # what loads torch is imported by the commands that need it
    from torchliquid.cli.alarms import Deciding
    from torchliquid.data import Recording, Windows
    from torchliquid.models import Model
    from torchliquid.tasks import Task

FILES = "CSV and other text, Parquet, Arrow, JSON lines, a spreadsheet, ARFF or .ts; a folder; - for the standard input"
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help=f"A table, or several, a series each: {FILES}. Or a data set's name (occupancy, cmapss, ...).",
    ),
]
New = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help=f"A table with the channels the model knows, or several: {FILES}."),
]
Target = Annotated[str | None, typer.Option(help="The column to learn.")]
Time = Annotated[
    str | None,
    typer.Option(help="The column with each sample's time, or two as DATE,CLOCK; without it, samples are one apart."),
]
TimeUnit = Annotated[str | None, typer.Option(help="The unit of times that are numbers, e.g. ms, h, cycle.")]
Series = Annotated[str | None, typer.Option(help="The column that tells series apart, e.g. an engine's number.")]
Group = Annotated[
    str | None,
    typer.Option(help="The column that tells what series have in common, e.g. a person: never in two parts at once."),
]
Long = Annotated[
    str | None,
    typer.Option(help="For long tables: the columns of the parameter's name and its value, as NAME,VALUE."),
]
Ignore = Annotated[list[str] | None, typer.Option(help="A column to leave out; may be given again.")]
Missing = Annotated[
    list[str] | None, typer.Option(help="A value that stands for 'not observed', e.g. -1; may be given again.")
]
TimeFormat = Annotated[str | None, typer.Option(help="How dates are written, e.g. %d/%m/%Y %H:%M; else found out.")]
Keep = Annotated[
    list[str] | None,
    typer.Option(help="A column to learn from even where it looks like a row number or a clock; may be given again."),
]
Decimal = Annotated[
    str | None, typer.Option(metavar="MARK", help="The decimal mark, . or , in text; without it, as the table shows.")
]
OnRestart = Annotated[
    str | None,
    typer.Option(
        metavar="sort|split",
        help="What to do where a clock begins anew: put all rows in order of time, or make each stretch a series.",
    ),
]
Skip = Annotated[int | None, typer.Option(min=0, help="Lines above the header to leave out; without it, found out.")]
Comment = Annotated[str | None, typer.Option(help="What lines start with that are no data; without it, #.")]
Header = Annotated[
    bool, typer.Option("--header/--no-header", help="Whether columns have names; without, column_1, column_2, ...")
]
Encoding = Annotated[str | None, typer.Option(help="Of the text, e.g. shift_jis; without it, found out.")]
Window = Annotated[
    str | None,
    typer.Option(help="Training windows as LENGTH,STRIDE,BURN_IN in samples; without it, chosen from the data."),
]
Horizon = Annotated[
    str | None,
    typer.Option(help="Forecast the target so far ahead: a number of samples (6), or a time with its unit (30min)."),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Trainings at a time, no more than there are cores; without it, one a core."),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Train on the Ray cluster at this address; auto: on the one that this machine is in."
    ),
]
Parameters = Annotated[int, typer.Option(min=50, help="Live parameters of each neural contender.")]


class Kind(StrEnum):
    """What --task takes."""

    classification = "classification"
    regression = "regression"


TaskKind = Annotated[Kind | None, typer.Option("--task", help="What to learn; found from the target where not given.")]


@dataclass(frozen=True)
class Columns:
    """Which column is what, as the options say."""

    target: str | None
    time: str | None
    time_unit: str | None
    series: str | None
    long: str | tuple[str, str] | None
    ignore: list[str] | None
    missing: list[str] | None = None
    time_format: str | None = None
    group: str | None = None
    keep: list[str] | None = None
    decimal: str | None = None
    on_restart: str | None = None
    date_order: str | None = None
    skip: int | None = None
    comment: str | None = None
    header: bool = True
    encoding: str | None = None

    def read(
        self, source: str | Sequence[str], with_target: bool = True, channels: Sequence[str] | None = None
    ) -> Recording:
        """The recording in a file; ``channels`` None: every column of numbers that has no other meaning."""
        from torchliquid.data import Recording

        parameter, value = None, None
        if isinstance(self.long, tuple):
            parameter, value = self.long
        elif self.long is not None:
            parameter, _, value = self.long.partition(",")
            if not parameter or not value:
                raise InputError(
                    f"--long {self.long}: give two columns, the parameter's name and its value: NAME,VALUE"
                )
        files = [source] if isinstance(source, str) else list(source)
        recording = Recording.read(
            files[0] if len(files) == 1 else files,
            target=self.target if with_target else None,
            time=self.time,
            time_unit=self.time_unit,
            series=self.series,
            parameter=parameter,
            value=value,
            channels=channels,
            ignore=tuple(self.ignore or ()),
            missing=tuple(self.missing or ()),
            time_format=self.time_format,
            group=self.group,
            keep=tuple(self.keep or ()),
            decimal=self.decimal,
            on_restart=self.on_restart,
            date_order=self.date_order,
            skip=self.skip or 0,
            comment=self.comment,
            header=self.header,
            encoding=self.encoding,
        )
        tell(name_of(files), recording)
        return recording

    def read_for(self, model: Model, source: str) -> Recording:
        """A recording for a model, with the model's target where the table has that column."""
        from torchliquid.data.files import read_table

        task, channels = model.task, model.preprocessing.channels
        try:
            known = read_table(Path(source)).frame.columns
        except InputError:  # said below, with the file's name
            known = []
        labelled = task.horizon is None and self.long is None and task.target in known
        return replace(self, target=task.target if labelled else None).read(source, channels=channels)

    def given(self) -> dict[str, object]:
        """The options that were given."""
        header = {} if self.header else {"header": False}
        given = {name: value for name, value in asdict(self).items() if value is not None and name != "header"}
        return given | header


def remembered(
    model: Model,
    target: str | None,
    time: str | None = None,
    time_unit: str | None = None,
    series: str | None = None,
    long: str | None = None,
    missing: list[str] | None = None,
    time_format: str | None = None,
    decimal: str | None = None,
    on_restart: str | None = None,
    skip: int | None = None,
    comment: str | None = None,
    header: bool = True,
    encoding: str | None = None,
) -> Columns:
    """Columns as of the table that a model was trained on; what was typed comes first."""
    known = model.metadata.get("columns", {})
    return Columns(
        target=target,
        time=time or known.get("time"),
        time_unit=time_unit or known.get("time_unit"),
        series=series or known.get("series"),
        long=long or ((known["parameter"], known["value"]) if "parameter" in known else None),
        ignore=None,
        missing=missing or [str(mark) for mark in known.get("missing", ())],
        time_format=time_format or known.get("time_format"),
        group=known.get("group") if series is None else None,
        decimal=decimal or known.get("decimal"),
        on_restart=on_restart or known.get("on_restart"),
        date_order=known.get("date_order"),
        skip=skip,
        comment=comment,
        header=header,
        encoding=encoding,
    )


def name_of(files: Sequence[str]) -> str:
    """What a recording of these files is called."""
    first = "standard input" if files[0] in ("-", "/dev/stdin") else files[0]
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"


@dataclass(frozen=True)
class Question:
    """What is to be learnt from what."""

    name: str
    recording: Recording
    tests: dict[str, Recording]
    task: Task
    validation: Recording | None = None
    sources: tuple[str, ...] = ()


def say_back(question: Question, console: Terminal) -> None:
    """Three lines on what was understood."""
    from torchliquid.data.summary import understood

    for line in understood(question.recording, question.task):
        console.print(line)


def question(
    sources: Sequence[str],
    test: list[str] | None,
    columns: Columns,
    kind: Kind | None,
    horizon: str | None,
    deciding: Deciding,
) -> Question:
    """Read the recordings and settle the task.

    Raises:
        InputError: whatever cannot be used, in one line.
    """
    from torchliquid.data.columns import nearest
    from torchliquid.data.datasets import load, names
    from torchliquid.tasks import Task

    source = sources[0]
    if len(sources) == 1 and source in names() and not Path(source).exists():
        if columns.given() or test or kind or horizon:
            raise InputError(f"the data set {source} brings its own columns, tests and task; give only its name")
        dataset = load(source)
        tell(source, dataset.train)
        decided = deciding.change(dataset.task, dataset.train.time_unit)
        return Question(source, dataset.train, dict(dataset.tests), decided, dataset.validation, (source,))
    missing = next((s for s in sources if s != "-" and not Path(s).exists()), None)
    if columns.target is None and missing is not None:
        source = missing
        raise InputError(f"there is no file {source}, and no data set of that name; {nearest(source, names())}")
    if columns.target is None:
        raise InputError(f"say which column of {source} to learn, with --target")
    forecast = horizon is not None
    recording = columns.read(sources, with_target=not forecast)
    tests: dict[str, Recording] = {}
    for path in test or ():
        name = Path(path).name if Path(path).name not in tests else path
        tests[name] = columns.read(path, with_target=not forecast, channels=recording.channels)
    ahead, unit = _horizon(horizon, recording.time_unit) if horizon is not None else (None, "samples")
    task = Task.infer(
        recording,
        target=columns.target if forecast else None,
        kind=kind.value if kind else None,
        horizon=ahead,
        horizon_unit=unit,
    )
    name = Path(name_of(sources)).name
    return Question(name, recording, tests, deciding.change(task, recording.time_unit), sources=tuple(sources))


def tell(source: str, recording: Recording) -> None:
    """What reading found or mended."""
    for note in recording.notes:
        Terminal(stderr=True).print(f"Note: {source}: {note}")


def windows(text: str | None) -> Windows | None:
    """What --window says."""
    from torchliquid.data import Windows

    if text is None:
        return None
    parts = text.split(",")
    if not all(p.strip().isdigit() for p in parts) or not 1 <= len(parts) <= 3:
        raise InputError(
            f"--window {text}: give LENGTH or LENGTH,STRIDE or LENGTH,STRIDE,BURN_IN in samples, like 64,16,8"
        )
    length, *rest = (int(p) for p in parts)
    return Windows(length, rest[0] if rest else max(1, length // 4), rest[1] if len(rest) > 1 else 0)


def processes(jobs: int | None, ray: str | None, console: Terminal) -> int:
    """How many trainings run at a time on this machine."""
    from torchliquid.study.workers import cores

    if jobs is not None and ray is not None:
        raise InputError("--jobs is for this machine, --ray for a cluster; give one of them")
    if jobs is not None and jobs > cores():
        console.print(f"Note: this machine has {cores()} cores for it; so many trainings run at a time, not {jobs}.")
    return min(jobs or cores(), cores())


def check_writable(out: Path, *read: Path, option: str = "--out") -> None:
    """See before long work that a file can be written, and that it is none that was read.

    Raises:
        InputError: it can't, or it is.
    """
    if out.is_dir():
        raise InputError(f"{option} {out} is a folder; name a file")
    if out.exists() and not out.is_file():  # a pipe or a device is written to
        if not os.access(out, os.W_OK):
            raise InputError(f"{option} {out} cannot be written; choose another")
        return
    out = Path(os.path.realpath(out))
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(f"{option} {out}: there is no folder {out.parent} that can be written; choose another")
    if any(path.exists() and out.exists() and out.samefile(path) for path in read):
        raise InputError(f"{option} {out} is the file that is read; choose another name")


def check_folder(out: Path) -> None:
    """See before long work that a folder's name is no file's, and that the folder can be written where it is there.

    Raises:
        InputError: it is, or it can't.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if out.exists() and not os.access(out, os.W_OK):
        raise InputError(f"--out {out} cannot be written; choose another folder")


def _horizon(text: str, time_unit: str) -> tuple[float, str]:
    """``6`` is in samples; ``30min`` becomes the recording's own unit."""
    number, unit = times.amount("--horizon", text, "a number of samples, like 6, or a time with its unit, like 30min")
    if not unit:
        return number, "samples"
    return number * times.in_units("--horizon", text, unit, time_unit), time_unit
