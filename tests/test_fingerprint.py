"""The fingerprint of the benchmarks' code: words do not change it, code does."""

import re

import pytest
from benchmarks.fingerprint import code, meaning

PYTHON = '''"""A module."""

STEPS = 6  # solver steps
"""How many."""


class Cell:
    """A cell."""

    def step(self, x):
        """One step."""
        return x + STEPS, """a text that is a value"""
'''
C = """#include "math.h"
/* One step,
   over all units. */
static float step(float x) {
    return 6 * x;  // "six" times
}
static const char* text = "// no comment";
"""


@pytest.mark.parametrize(("kind", "text"), [(".py", PYTHON), (".cc", C)])
def test_comments_docstrings_and_layout_do_not_count(kind, text):
    reworded = text.replace("One step", "Another sentence, with a 7").replace("solver steps", "of the solver")
    reworded = reworded.replace("six", "6").replace("How many.", "The number.").replace("6 * x;", "6 *  x;\n")
    assert reworded != text
    assert meaning(reworded, kind) == meaning(text, kind)


@pytest.mark.parametrize(("kind", "text"), [(".py", PYTHON), (".cc", C)])
def test_numbers_names_and_values_count(kind, text):
    changes = [("6", "7"), ("step(", "steps("), ("is a value", "is a word"), ("no comment", "a comment")]
    changed = [text.replace(*change) for change in changes if change[0] in text]
    assert len(changed) == 3
    assert len({meaning(one, kind) for one in (text, *changed)}) == 4


def test_the_fingerprint_is_short_and_differs_with_what_counts():
    assert re.fullmatch("[0-9a-f]{8}", code())
    assert code() != code("edge")
