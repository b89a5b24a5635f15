"""Options that several commands share, and how they become a recording and a task."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from torchliquid.cli.amounts import amount, in_units, refusal, whole_numbers
from torchliquid.cli.loading import loading
from torchliquid.cli.progress import Working
from torchliquid.cli.terminal import Terminal
from torchliquid.errors import InputError

if TYPE_CHECKING:  # modules that import torch are imported by the commands that need them
    from torchliquid.cli.alarms import Deciding
    from torchliquid.data import Recording, Windows
    from torchliquid.models import Predictor
    from torchliquid.tasks import Task

FILES = "CSV and other text, Parquet, Arrow, JSON lines, a spreadsheet, ARFF or .ts; a folder; - for the standard input"
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE...",
        help=f"A table, or several, each one series: {FILES}. Or a data set's name (occupancy, cmapss, ...).",
    ),
]
New = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help=f"A table with the model's channels, or several: {FILES}."),
]
Window = Annotated[
    str | None,
    typer.Option(help="Training windows as LENGTH,STRIDE,BURN_IN in samples; default: chosen from the data."),
]
Horizon = Annotated[
    str | None,
    typer.Option(
        help="How far ahead to forecast the target: a number of samples (6) or a time with its unit (30min); several "
        "steps at once: 1,2,6 or 1-12, or 10min,20min,1h."
    ),
]
Interval = Annotated[
    str | None,
    typer.Option(help="For values: add intervals that cover this share of the truth, such as 0.9 or 90%."),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Parallel trainings, at most one per core; default: one per core, or one on a GPU."),
]
Ray = Annotated[
    str | None,
    typer.Option(help="Train on the Ray cluster at this address; auto: the cluster of this machine."),
]
Device = Annotated[str, typer.Option(help="Where networks are trained and scored; auto: a GPU if there is one.")]
Parameters = Annotated[int, typer.Option(min=50, help="Number of live parameters of each network.")]


Kind = StrEnum("Kind", ["classification", "regression"])
"""Values of --task."""


TaskKind = Annotated[Kind | None, typer.Option("--task", help="What to predict; default: inferred from the target.")]


@dataclass(frozen=True)
class Columns:
    """How a table is to be read. :func:`expanded` adds these options to a command."""

    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None
    time: Annotated[
        str | None, typer.Option(help="The column of times, or two as DATE,CLOCK; default: samples are one apart.")
    ] = None
    time_unit: Annotated[str | None, typer.Option(help="Unit of numeric times, e.g. ms, h, cycle.")] = None
    series: Annotated[str | None, typer.Option(help="The column that names the series, e.g. an engine's number.")] = (
        None
    )
    long: Annotated[
        str | None,
        typer.Option(help="For long tables: the columns of the parameter's name and its value, as NAME,VALUE."),
    ] = None
    ignore: Annotated[list[str] | None, typer.Option(help="A column to leave out; repeatable.")] = None
    missing: Annotated[
        list[str] | None, typer.Option(help="A value that means 'not observed', e.g. -1; repeatable.")
    ] = None
    time_format: Annotated[
        str | None, typer.Option(help="Format of dates, e.g. %d/%m/%Y %H:%M; default: detected.")
    ] = None
    group: Annotated[
        str | None,
        typer.Option(
            help="The column that names what series share, e.g. a person; a group is never split over two parts."
        ),
    ] = None
    keep: Annotated[
        list[str] | None,
        typer.Option(help="A column to use even if it looks like a row number or a clock; repeatable."),
    ] = None
    decimal: Annotated[
        str | None, typer.Option(help="Decimal mark in text, . or ,; default: inferred from the table.")
    ] = None
    on_restart: Annotated[
        str | None,
        typer.Option(help="What to do where a clock restarts: sort all rows by time, or split them into series."),
    ] = None
    date_order: Annotated[
        str | None,
        typer.Option(help="Order of dates such as 03/04/25: day-first, month-first or year-first; default: inferred."),
    ] = None
    skip: Annotated[int | None, typer.Option(min=0, help="Lines above the header to skip; default: detected.")] = None
    comment: Annotated[str | None, typer.Option(help="Prefix of comment lines; default: #.")] = None
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header", help="Whether columns have names; if not, they become column_1, column_2, ..."
        ),
    ] = None
    encoding: Annotated[str | None, typer.Option(help="Encoding of text, e.g. shift_jis; default: detected.")] = None

    def given(self) -> dict[str, Any]:
        """The given options, as arguments of :meth:`Recording.read`."""
        found = given(**asdict(self))
        if self.long is not None:
            found["parameter"], _, found["value"] = found.pop("long").partition(",")
            if not found["parameter"] or not found["value"]:
                raise refusal("--long", self.long, "two columns, the parameter's name and its value: NAME,VALUE")
        if self.date_order is not None:
            found["date_order"] = self.date_order.replace("-", " ")
        return found

    def of_a_test(self) -> Columns:
        """The same for a test table, which needs no series or groups, and may lack columns that are left out."""
        return replace(self, series=None, group=None, ignore=None, keep=None)

    def read(
        self,
        source: str | Sequence[str],
        channels: Sequence[str] | None = None,
        like: Mapping[str, Any] | None = None,
    ) -> Recording:
        """The recording in one or more files; ``channels`` and ``like`` as in :func:`torchliquid.read`."""
        from torchliquid.data import Recording

        files = [source] if isinstance(source, str) else list(source)
        with Working() as working:
            working(f"reading {name_of(files)}")
            one = files[0] if len(files) == 1 else files
            recording = Recording.read(one, **self.given(), channels=channels, like=like)
        print_notes(name_of(files), recording)
        return recording

    def read_for(self, model: Predictor, source: str | Sequence[str], labelled: bool = True) -> Recording:
        """The channels of a model, read like its training table except as the options say; also its target, if
        ``labelled`` and the table has this column."""
        like = dict(model.metadata.get("columns", {}))
        if labelled and model.task.horizon is None:
            like["target"] = model.task.target
        return self.read(source, model.preprocessing.channels, like)


def expanded(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorates a command: a parameter whose type is a dataclass becomes one option per field, except those named."""

    def options_of(kind: Any) -> list[Parameter]:
        types = get_type_hints(kind, include_extras=True)
        return [
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
            for field in fields(kind)
            if field.name not in without
        ]

    def changed(command: Callable[..., None]) -> Callable[..., None]:
        asked = signature(command, eval_str=True)
        kinds: dict[str, Any] = {n: p.annotation for n, p in asked.parameters.items() if is_dataclass(p.annotation)}

        @wraps(command)
        def run(**given: Any) -> None:
            made = {n: kind(**{o.name: given.pop(o.name) for o in options_of(kind)}) for n, kind in kinds.items()}
            command(**given, **made)

        every: list[Parameter] = []
        for parameter in asked.parameters.values():
            one = parameter.replace(kind=Parameter.KEYWORD_ONLY)
            every += options_of(parameter.annotation) if parameter.name in kinds else [one]
        run.__signature__ = asked.replace(parameters=every)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in every}
        return run

    return changed


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def name_of(files: Sequence[str]) -> str:
    """The name of a recording of these files."""
    first = "standard input" if files[0] in ("-", "/dev/stdin") else files[0]
    return first if len(files) == 1 else f"{first} and {len(files) - 1} more"


@dataclass(frozen=True)
class Question:
    """The recordings and the task of a command."""

    name: str
    recording: Recording
    tests: dict[str, Recording]
    task: Task
    validation: Recording | None = None
    why: str = ""


def print_understood(question: Question, console: Terminal) -> None:
    """Print what was understood: one line each on the times, the task, the inputs, and why it is this task."""
    from torchliquid.data.summary import understood
    from torchliquid.page.glossary import metric_label

    task = question.task
    for line in understood(question.recording, task):
        console.print(line)
    since = f", since {task.reason}" if task.reason else ""
    console.print(f"Why:    {question.why}{'; ' if question.why else ''}{metric_label(task.primary)} decides{since}")


def _why(recording: Recording, task: Task, given: Kind | None) -> str:
    """Why this task was chosen."""
    if task.horizon is not None:
        return "--horizon means a forecast"
    if given is not None:
        return f"--task {given.value}"
    if any(s.targets is not None and s.targets.dtype == object for s in recording.series):
        return f"{task.target!r} contains words"
    if task.kind == "classification":
        return f"{task.target!r} has only {len(task.labels)} different whole numbers (--task regression to change)"
    return f"{task.target!r} has many different numbers (--task classification to change)"


def question(
    sources: Sequence[str],
    test: list[str] | None,
    columns: Columns,
    kind: Kind | None,
    horizon: str | None,
    deciding: Deciding,
) -> Question:
    """Read the recordings and choose the task."""
    from torchliquid.data.columns import nearest
    from torchliquid.datasets import load, names, refuse_dropped

    source = sources[0]
    if len(sources) == 1 and source in names() and not Path(source).exists():
        if columns.given() or test or kind or horizon:
            raise InputError(f"the data set {source} has its own columns, tests and task; give only its name")
        with loading():
            dataset = load(source)
        print_notes(source, dataset.train)
        decided = deciding.change(dataset.task, dataset.train.time_unit)
        return Question(source, dataset.train, dict(dataset.tests), decided, dataset.validation)
    if columns.target is None:
        if missing := next((s for s in sources if s != "-" and not Path(s).exists()), None):
            refuse_dropped(missing)
            raise InputError(f"there is no file {missing}, and no data set of that name; {nearest(missing, names())}")
        raise InputError(f"give the column of {source} to predict with --target")
    reading = columns if horizon is None else replace(columns, target=None)
    check_tables(*sources, *(test or ()))
    deciding.check()
    recording = reading.read(sources)
    tests: dict[str, Recording] = {}
    for path in test or ():
        name = Path(path).name if Path(path).name not in tests else path
        tests[name] = reading.of_a_test().read(path, recording.channels, recording.columns)
    with loading():
        from torchliquid.tasks import Task
    forecast: dict[str, Any] = {}
    if horizon is not None:
        ahead, unit = _horizon(horizon, recording.time_unit)
        forecast = {"target": columns.target, "horizon": ahead, "horizon_unit": unit}
    task = Task.infer(recording, kind=kind.value if kind else None, **forecast)
    why = _why(recording, task, kind)
    task = deciding.change(task, recording.time_unit)
    return Question(Path(name_of(sources)).name, recording, tests, task, why=why)


def print_notes(source: str, recording: Recording) -> None:
    """Print notes from reading a table."""
    for note in recording.notes:
        Terminal(stderr=True).print(f"Note: {source}: {note}")


def windows(text: str | None) -> Windows | None:
    """The value of --window."""
    from torchliquid.data import Windows

    if text is None:
        return None
    wanted = "LENGTH or LENGTH,STRIDE or LENGTH,STRIDE,BURN_IN in samples, such as 64,16,8"
    length, *rest = whole_numbers("--window", text, wanted, 3)
    return Windows(length, rest[0] if rest else max(1, length // 4), rest[1] if len(rest) > 1 else 0)


def check_device(name: str, ray: str | None = None, jobs: int | None = None) -> str:
    """The full name of a device, which must be there. With a cluster, nothing of this machine may be asked for."""
    if jobs is not None and ray is not None:
        raise InputError("--jobs is for this machine, --ray for a cluster; give only one of them")
    if name == "cpu":
        return name
    with loading():
        from torchliquid.devices import device_of
    try:
        device = str(device_of(name))
    except InputError as error:
        raise InputError(f"--device {name}: {error}") from None
    if ray is not None and device != "cpu":
        raise InputError("--device is for this machine, --ray for a cluster; give only one of them")
    return device


def processes(jobs: int | None, console: Terminal, device: str = "cpu") -> int:
    """The number of parallel trainings on this machine."""
    from torchliquid.jobs import cores

    if jobs is not None and jobs > cores():
        console.print(f"Note: there are only {cores()} cores, so {cores()} trainings run in parallel, not {jobs}.")
    if jobs is None and device != "cpu":
        console.print(f"Note: networks train on {device}, one after the other; --jobs N trains N of them at once.")
        return 1
    return min(jobs or cores(), cores())


def check_tables(*files: str | Path) -> None:
    """Check that tables exist, before PyTorch is imported."""
    from torchliquid.data.files import check_there

    for name in files:
        try:
            check_there(Path(name))
        except InputError as error:
            raise InputError(f"{name}: {error}") from None


def check_writable(out: Path, *read: Path, option: str = "--out") -> None:
    """Check, before long work, that a file can be written and is not one of the input files."""
    if out.is_dir():
        raise InputError(f"{option} {out} is a folder; name a file")
    if out.exists() and not out.is_file():  # a pipe or a device is written to
        if not os.access(out, os.W_OK):
            raise InputError(f"{option} {out} cannot be written; choose another")
        return
    out = Path(os.path.realpath(out))
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputError(f"{option} {out}: there is no writable folder {out.parent}; choose another")
    if any(path.exists() and out.exists() and out.samefile(path) for path in read):
        raise InputError(f"{option} {out} is an input file; choose another name")


def check_folder(out: Path) -> None:
    """Check, before long work, that a folder is not a file, and can be written if it exists."""
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if out.exists() and not os.access(out, os.W_OK):
        raise InputError(f"--out {out} cannot be written; choose another folder")


def _horizon(text: str, time_unit: str) -> tuple[float | list[float], str]:
    """``6`` is in samples; ``30min`` is converted to the recording's unit. ``1,2,6``, ``1-12`` and ``10min,1h`` are
    several steps."""
    wanted = (
        "a number of samples such as 6, or a time with its unit such as 30min; several steps as 1,2,6 or 1-12, or as "
        "10min,20min,1h"
    )
    steps, units = list[float](), set[str]()
    for piece in text.split(","):
        if several := re.fullmatch(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*", piece):
            first, last = map(int, several.groups())
            if not first < last <= first + 10_000:
                raise refusal("--horizon", text, wanted)
            steps += range(first, last + 1)
            units.add("samples")
            continue
        try:
            number, unit = amount("--horizon", piece, wanted)
        except InputError:
            raise refusal("--horizon", text, wanted) from None
        steps.append(number * in_units("--horizon", text, unit, time_unit) if unit else number)
        units.add(time_unit if unit else "samples")
    if len(units) > 1:
        raise InputError(f"--horizon {text}: give all steps in samples, or all with a unit of time")
    return steps if len(steps) > 1 else steps[0], units.pop()
