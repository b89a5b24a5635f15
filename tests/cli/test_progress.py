"""Long work says what it is at: in lines where there is no terminal, and as a bar where there is one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from torchliquid.cli import progress
from torchliquid.cli.progress import Working


def test_what_takes_long_is_named_with_its_share_and_what_is_quick_is_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SILENT", 0.4)
    monkeypatch.setattr(progress, "BETWEEN", 60.0)
    with Working() as working:
        working("quick")
        working("reading a table")
        time.sleep(1.5)
        for done in range(3):
            working("the \x1b[31mtrees", done, 4, "gini 0.3")
            time.sleep(0.5)
    out, said = capfd.readouterr()
    assert out == ""
    lines = said.splitlines()
    assert lines[0] == "reading a table"
    assert len(lines) == 2
    assert lines[1].startswith(r"the \x1b[31mtrees: gini 0.3")


def test_a_terminal_gets_a_bar_that_goes_when_the_work_is_done() -> None:
    code = """
import time
from torchliquid.cli.progress import Working
with Working() as working:
    for done in range(4):
        working("the roles of neurons", done, 4)
        time.sleep(0.3)
print("done")
"""
    parent, child = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=child, stderr=child, env=env) as process:
        os.close(child)
        said = b""
        while True:
            try:
                part = os.read(parent, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            said += part
    os.close(parent)
    assert process.returncode == 0
    words = said.decode()
    assert "the roles of neurons" in words
    assert "50%" in words
    assert words.rstrip().endswith("done")
    assert "\x1b[2K" in words  # the bar's line is cleared
