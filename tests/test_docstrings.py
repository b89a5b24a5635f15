"""What docstrings say of parameters is held against the signatures: the site's builder is told not to."""

import importlib
import inspect
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PAGES = sorted((Path(__file__).parents[1] / "docs/api").glob("*.md"))
NAMES = [name for page in PAGES for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)]


def documented(thing: Any) -> Iterator[tuple[str, Any]]:
    """A function, or a class and its own public methods, or those of a module; each with its docstring."""
    if inspect.ismodule(thing):
        for one in vars(thing).values():
            if getattr(one, "__module__", None) == thing.__name__ and not one.__name__.startswith("_"):
                yield from documented(one)
        return
    yield inspect.getdoc(thing) or "", thing
    if inspect.isclass(thing):
        for name, one in vars(thing).items():
            if not name.startswith("_") and (isinstance(one, staticmethod | classmethod) or inspect.isfunction(one)):
                yield inspect.getdoc(one) or "", getattr(thing, name)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_that_a_docstring_names_exist(name: str) -> None:
    home, _, last = name.rpartition(".")
    try:
        thing = getattr(importlib.import_module(home), last)
    except ModuleNotFoundError:  # a method
        thing = getattr(pydoc.locate(home), last)
    except AttributeError:  # a module that the package does not import
        thing = importlib.import_module(name)
    for text, one in documented(thing):
        section = re.search(r"^Args:\n((?:    .*\n|\n)*)", text + "\n", re.M)
        if section is None:
            continue
        named = re.findall(r"^    (\w+(?:, \w+)*):", section[1], re.M)
        takes = set(inspect.signature(one).parameters)
        missing = {word for entry in named for word in entry.split(", ")} - takes
        assert not missing, f"{one.__qualname__} has no parameter {', '.join(sorted(missing))}"
