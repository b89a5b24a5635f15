"""A page from a template: one file with its style, its scripts, its charts and the tables behind them.

The same content always gives the same bytes. Templates escape everything that comes from the data. Data inside a script
tag are JSON in which no character can end the tag.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from torchliquid.errors import InputError, printable
from torchliquid.files import write_atomically
from torchliquid.page.charts import Figure


@dataclass(frozen=True)
class Table:
    """Rows of text below a head. The first cell names its row. ``kinds`` gives the CSS classes of rows."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...] = ()
    caption: str = ""

    def markdown(self) -> str:
        """The head and the rows as a Markdown table."""
        lines = [self.head, tuple("---" for _ in self.head), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


@dataclass(frozen=True)
class Chart:
    """A chart with a title and the table behind it; ``zoom``: whether it can be zoomed along time."""

    id: str
    title: str
    figure: Figure
    table: Table | None = None
    note: str = ""
    zoom: bool = False


def render(
    package: str,
    template: str,
    charts: Mapping[str, list[Chart]],
    glossary: Mapping[str, str],
    data: Any = None,
    style: str | None = None,
    scripts: Sequence[str] = (),
    **content: Any,
) -> str:
    """A page as text.

    Args:
        package: its ``templates`` folder holds ``template``, which extends ``page.html.j2``, and the files it names.
        template: name of the template.
        charts: by the part of the page that they are in.
        glossary: words and their meanings.
        data: plain data for ``scripts``, in the element ``data``.
        style, scripts: names of files beside the template that only this page needs.
        content: variables of the template.
    """
    loaders = [jinja2.PackageLoader(name, "templates") for name in (package, "torchliquid.page")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
    )
    environment.filters["word_id"] = lambda word: "word-" + word.replace(" ", "-").replace("%", "percent")
    # All markup here is the package's own, or was escaped.
    specifications = {chart.id: chart.figure for group in charts.values() for chart in group}
    own_style = _text(package, style) if style else ""
    own_scripts = "".join(_text(package, name) for name in scripts)
    return environment.get_template(template).render(
        charts=charts,
        glossary=glossary,
        specifications=Markup(script_json(specifications)),
        page_data=None if data is None else Markup(script_json(data)),
        plotly=Markup(get_plotlyjs()) if specifications else "",
        style=Markup(_text("torchliquid.page", "page.css") + own_style),
        script=Markup(_text("torchliquid.page", "page.js") + own_scripts),
        **content,
    )


def write_page(page: str, path: Path) -> None:
    """Write a page completely or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        write_atomically(path, lambda part: part.write_text(page, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"the page {path} cannot be written ({error.strerror}); choose another folder") from None


def shown(value: Any) -> Any:
    """Text, and all text in plain data, without invisible characters and those that change its direction. Markup is
    kept."""
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    return printable(value, keep="\n\t", longest=None) if type(value) is str else value


def script_json(data: Any) -> str:
    """JSON that is safe inside a script tag: without ``<``, ``>``, ``&`` and line separators that scripts reject."""
    text = json.dumps(shown(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _text(package: str, name: str) -> str:
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")
