"""``--help``: options in groups, each with the type of its value, and examples that can be copied."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

GROUPS: dict[str, dict[str | None, tuple[str, ...]]] = {
    "Table": {
        "COLUMN": ("time", "series", "ignore", "group", "keep"),
        "UNIT": ("time_unit",),
        "NAME,VALUE": ("long",),
        "VALUE": ("missing",),
        "FORMAT": ("time_format",),
        "MARK": ("decimal", "comment"),
        "sort|split": ("on_restart",),
        "ORDER": ("date_order",),
        "N": ("skip",),
        None: ("header",),
        "NAME": ("encoding",),
        "FILE": ("test",),
        "time|rows": ("order",),
    },
    "Task": {
        "COLUMN": ("target",),
        "classification|regression": ("task",),
        "TIME": ("horizon", "alarm_length", "alarm_merge"),
        "NAME": ("metric",),
        "SHARE": ("interval", "level"),
        "RATE": ("false_alarms",),
        "SHARE|START:END": ("good",),
        "FILE": ("model",),
        None: ("class_weights", "augment"),
        "N": ("walk_forward",),
    },
    "World": {
        "MODULE:FUNCTION": ("expert",),
        "NAME": ("demonstrations",),
        "N": ("shown", "max_steps", "dagger"),
        None: ("full",),
    },
    "Network": {
        "NAME": ("kind", "solver"),
        "N": ("unfolds", "layers", "experts", "top_k"),
        "SHARE": ("dropout",),
        "WIDTHS": ("encoder",),
        "MODEL": ("start",),
        None: ("int8",),
    },
    "Study": {
        "NAME": ("contender", "split"),
        "N": ("seeds", "tuning", "tune", "parameters", "updates", "epochs", "seed", "samples"),
        "RATE": ("lr",),
        "N,N,N": ("window",),
        None: ("sample",),
        "X": ("error",),
        "PATH": ("out",),
        "MODEL": ("write",),
        "FILE": ("page",),
    },
    "Device": {
        "FILE": ("data", "calibrate"),
        "FOLDER": ("study",),
        "none|int8|auto": ("quantize",),
        None: ("strict",),
        "builtin|libm": ("math_",),
        "NAME": ("until_fits", "name"),
        "SIZE": ("flash_limit", "ram_limit"),
        "TIME": ("step_limit", "longest_gap"),
        "RANGE": ("plausible",),
    },
    "Server": {
        "NAME=MODEL,SOURCE": ("live",),
        "FOLDER": ("folder", "studies"),
        "PORT": ("http",),
        "FILE": ("token_file", "log"),
        None: ("allow_control",),
    },
    "Machine": {
        "N": ("jobs",),
        "HOST:PORT": ("ray",),
        "cpu|cuda|mps|auto": ("device",),
        "TIME": ("time_limit",),
    },
}
"""The options of each group, by the word for their values; None: flags."""

PLACES = {name: (group, word) for group, words in GROUPS.items() for word, names in words.items() for name in names}

ARGUMENTS = {"environment": "ENV", "model": "MODEL", "teacher": "MODEL", "recording": "FILE", "name": "TABLE"}


class _Examples:
    epilog: str | None

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Examples are not wrapped, so that they can be copied."""
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.splitlines():
                    formatter.write(f"  {line}\n")


class Command(_Examples, TyperCommand):
    """A command whose options are in groups."""

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        params: list[Any] = self.params
        for param in params:
            if param.param_type_name == "argument":
                param.metavar = ARGUMENTS[param.name or ""]
            elif not param.rich_help_panel and param.name in PLACES:
                group, metavar = PLACES[param.name]
                param.rich_help_panel, param.metavar = group, param.metavar or metavar

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The groups, in the order above; options without a group come last."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", *GROUPS, "Options")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            panel = getattr(param, "rich_help_panel", None) or "Options"
            if record is not None and param.param_type_name == "argument":
                more = "..." if param.nargs == -1 else ""
                groups["Arguments"].append((f"{param.metavar}{more}", record[1]))
            elif record is not None:
                groups[panel].append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


class Group(_Examples, TyperGroup):
    """The commands, with examples."""
