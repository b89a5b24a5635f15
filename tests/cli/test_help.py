"""What ``--help`` shows, in a terminal of 80 columns."""

from __future__ import annotations

import shlex

import pytest
import typer
from typer.testing import CliRunner

from torchliquid.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def shown(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_80_columns_and_ends_in_examples_that_can_be_typed(name: str) -> None:
    text = shown(*name.split())
    assert max(map(len, text.splitlines())) <= 80
    examples = [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip()]
    assert len(examples) == 2
    for example in examples:
        program, command, *given = shlex.split(example)
        assert program == "torchliquid"
        assert name in ("", command)
        COMMANDS[command].make_context(command, given)  # fails on an option that is not there


def test_options_are_in_groups_and_say_in_a_word_what_they_take() -> None:
    heads = [line for line in shown("assess").splitlines() if line and not line.startswith(" ")]
    assert heads[1:] == ["Arguments:", "Table:", "Task:", "Study:", "Machine:", "Options:", "Examples:"]
    for name in COMMANDS:
        text = shown(name)
        own = text.partition("Options:\n")[2].partition("Examples:")[0]
        assert own.split() == ["-h,", "--help", "Show", "this", "message", "and", "exit."], name
        assert "INTEGER" not in text
        assert "<" not in text.replace("<=", "").replace("x>=", "")
