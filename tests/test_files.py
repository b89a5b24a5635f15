"""Files and folders appear under their names when the disk holds all of them, in that order."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from torchliquid.errors import InputError
from torchliquid.files import read_json, write_folder, write_json


def recorded(monkeypatch) -> list[str]:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def kind(descriptor: int) -> str:
        return "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"

    monkeypatch.setattr(os, "fsync", lambda descriptor: (calls.append(kind(descriptor)), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("name"), replace(a, b))[1])
    return calls


def test_a_name_comes_after_what_it_names_is_on_the_disk(tmp_path, monkeypatch):
    calls = recorded(monkeypatch)
    write_json(tmp_path / "a.json", {"a": 1})
    assert calls == ["file", "name", "folder"]
    calls.clear()
    write_folder(tmp_path / "trial", {"a": b"1", "b": b"2"})
    assert calls == ["file", "file", "folder", "name", "folder"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "trial"]


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_what_breaks_off_leaves_what_was_there(at, tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"a": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, at, full)
    with pytest.raises(OSError, match="No space"):
        write_json(tmp_path / "a.json", {"a": 2})
    with pytest.raises(OSError, match="No space"):
        write_folder(tmp_path / "trial", {"a": b"1"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "a.json", dict) == {"a": 1}


def test_the_longest_names_can_be_written(tmp_path):
    write_json(tmp_path / ("n" * 255), [])
    write_folder(tmp_path / ("f" * 255), {"a": b"1"})


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", "", "\x00", "\ud800"])
def test_plain_data_that_is_none_is_one_line(text, tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"a\.json is damaged"):
        read_json(path, dict)


def test_the_tests_that_the_documents_name_are_there():
    root = Path(__file__).parents[1]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (root / "docs/trust.md").read_text(encoding="utf-8"))
    assert len(named) > 15
    for file, test in named:
        assert f"def {test}(" in (root / file).read_text(encoding="utf-8"), f"{file} has no {test}"
