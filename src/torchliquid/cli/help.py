"""``--help``: options in groups, each with the type of its value, and examples that can be copied."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

GROUPS: dict[str, dict[str, str | None]] = {
    "Table": {
        "time": "COLUMN",
        "time_unit": "UNIT",
        "series": "COLUMN",
        "long": "NAME,VALUE",
        "ignore": "COLUMN",
        "missing": "VALUE",
        "time_format": "FORMAT",
        "group": "COLUMN",
        "keep": "COLUMN",
        "decimal": "MARK",
        "on_restart": "sort|split",
        "date_order": "ORDER",
        "skip": "N",
        "comment": "MARK",
        "header": None,
        "encoding": "NAME",
        "test": "FILE",
        "order": "time|rows",
    },
    "Task": {
        "target": "COLUMN",
        "task": "classification|regression",
        "horizon": "TIME",
        "metric": "NAME",
        "interval": "SHARE",
        "false_alarms": "RATE",
        "good": "SHARE|START:END",
        "model": "FILE",
        "level": "SHARE",
        "alarm_length": "TIME",
        "alarm_merge": "TIME",
        "class_weights": None,
        "augment": None,
        "walk_forward": "N",
    },
    "World": {
        "expert": "MODULE:FUNCTION",
        "demonstrations": "NAME",
        "shown": "N",
        "max_steps": "N",
        "dagger": "N",
        "full": None,
    },
    "Network": {
        "kind": "NAME",
        "solver": "NAME",
        "unfolds": "N",
        "layers": "N",
        "dropout": "SHARE",
        "encoder": "WIDTHS",
        "experts": "N",
        "top_k": "N",
        "start": "MODEL",
        "int8": None,
    },
    "Study": {
        "contender": "NAME",
        "split": "NAME",
        "seeds": "N",
        "tuning": "N",
        "tune": "N",
        "parameters": "N",
        "updates": "N",
        "epochs": "N",
        "lr": "RATE",
        "seed": "N",
        "window": "N,N,N",
        "sample": None,
        "samples": "N",
        "error": "X",
        "out": "PATH",
        "write": "MODEL",
        "page": "FILE",
    },
    "Device": {
        "data": "FILE",
        "study": "FOLDER",
        "quantize": "none|int8|auto",
        "calibrate": "FILE",
        "strict": None,
        "math_": "builtin|libm",
        "until_fits": "NAME",
        "flash_limit": "SIZE",
        "ram_limit": "SIZE",
        "step_limit": "TIME",
        "name": "NAME",
        "plausible": "RANGE",
        "longest_gap": "TIME",
    },
    "Server": {
        "live": "NAME=MODEL,SOURCE",
        "folder": "FOLDER",
        "studies": "FOLDER",
        "http": "PORT",
        "token_file": "FILE",
        "allow_control": None,
        "log": "FILE",
    },
    "Machine": {"jobs": "N", "ray": "HOST:PORT", "device": "cpu|cuda|mps|auto", "time_limit": "TIME"},
}
"""The options of each group, with the types of their values."""


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
            for group, options in GROUPS.items():
                if param.param_type_name == "option" and param.name in options and not param.rich_help_panel:
                    param.rich_help_panel, param.metavar = group, param.metavar or options[param.name]

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
