"""Docstrings refer as Sphinx does, :class:`Name`; the site shows the name."""

import re
from typing import Any

ROLE = re.compile(r":(?:class|func|meth|data|mod|attr):<code>(?:~(?:\w+\.)*)?([\w.]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    return ROLE.sub(lambda found: f"<code>{found[1]}</code>", html)
