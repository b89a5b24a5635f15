"""Tables that would fill the memory are refused early; wide ones are read."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from tests.helpers.hostile import (
    TABLES,
    binary_workbook,
    limited,
    old_workbook,
    opendocument,
    opendocument_row,
    workbook,
)

from torchliquid.data import Recording
from torchliquid.errors import InputError


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_would_fill_the_memory_is_refused_early(name, tmp_path):
    make, words = TABLES[name]
    path = tmp_path / "table.csv"
    path.write_bytes(make(np.random.default_rng(0)))
    with limited(), pytest.raises(InputError, match=words) as caught:
        Recording.read(path)
    assert len(str(caught.value)) < 1000


def test_a_wide_table_is_read(tmp_path):
    path, columns = tmp_path / "wide.csv", 5_000
    rows = np.arange(5 * columns).reshape(5, columns)
    np.savetxt(path, rows, "%d", ",", header=",".join(f"c{i}" for i in range(columns)), comments="")
    with limited():
        recording = Recording.read(path)
    assert len(recording.channels) == columns
    assert (recording.series[0].values == rows).all()


def test_what_packs_well_is_read(tmp_path):
    """A recording at rest packs thirty times smaller and more."""
    rows = "".join(f"{i},20.5,0,0,0,0,0\n" for i in range(200_000))
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"time,a,b,c,d,e,f\n" + rows.encode()))
    assert Recording.read(path, time="time").n_samples == 200_000


def test_a_workbook_of_numbers_is_read(tmp_path):
    path = tmp_path / "table.xlsx"
    path.write_bytes(workbook({f"A{i}": f'<c r="A{i}"><v>{i % 7}</v></c>' for i in range(1, 3000)}))
    assert Recording.read(path).n_samples >= 2998


@pytest.mark.parametrize("kind", ["ods", "xlsb", "xls"])
def test_other_workbooks_are_read(kind, tmp_path):
    """Made like the hostile ones, so that these are refused for what they claim alone."""
    rows = [[i * i % 97, round(i * i / 7 % 13, 3)] for i in range(300)]
    cells = {(r, c): float(value) for r, row in enumerate(rows) for c, value in enumerate(row)}
    made = {
        "ods": lambda: opendocument("".join(opendocument_row(f"{a} {b}") for a, b in rows)),
        "xlsb": lambda: binary_workbook(cells),
        "xls": lambda: old_workbook(cells),
    }
    path = tmp_path / f"table.{kind}"
    path.write_bytes(made[kind]())
    (tmp_path / "csv.py").write_text("raise SystemExit(7)")  # beside a file lies no code that runs
    recording = Recording.read(path)
    assert (recording.series[0].values[-299:] == rows[1:]).all()
