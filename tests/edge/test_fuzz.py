"""A minute of fuzzing; ``python -m tests.edge.fuzz --seconds 3600`` is an hour of the same."""

from __future__ import annotations

import pytest
from tests.edge.fuzz import NETWORKS, fuzz
from tests.helpers.needed import needs


@pytest.mark.slow
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_breaks_it(name: str, int8: bool) -> None:
    needs("clang")
    assert int(fuzz(name, int8, 5)) > 1000
