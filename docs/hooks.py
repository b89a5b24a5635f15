"""Hooks of the site: the page of commands, and names that docstrings refer to."""

import re
from typing import Any

import click
import typer
from typer.cli import get_docs_for_click

from torchliquid.cli import app

ROLE = re.compile(r":(?:class|func|meth|data|mod|attr):<code>(?:~(?:\w+\.)*)?([\w.]+)</code>")
COMMANDS = "<!-- the commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the help of all commands where the page asks for it."""
    if COMMANDS not in markdown:
        return markdown
    group = typer.main.get_command(app)
    written = get_docs_for_click(obj=group, ctx=click.Context(group), name="torchliquid")
    for command in group.commands.values():  # type: ignore[attr-defined]
        written = written.replace(command.epilog, f"```sh\n{command.epilog}\n```")
    return markdown.replace(COMMANDS, written[written.index("\n## ") :].replace("\n## `torchliquid ", "\n## `"))


def on_page_content(html: str, **_: Any) -> str:
    """Replace references in the form of Sphinx, :class:`Name`, by the name."""
    return ROLE.sub(lambda found: f"<code>{found[1]}</code>", html)
