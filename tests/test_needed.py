"""Skips are counted, told with the command that ends them, run again alone, and refused where all must run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = """
import pytest
from tests.helpers.needed import NO_DATA, needs

def test_clang(): needs("clang")
def test_browser(): needs("chromium", "clang")
@pytest.mark.skipif(True, reason=NO_DATA)
def test_data(): pass
@pytest.mark.xfail(reason="known")
def test_known(): raise AssertionError
def test_plain(): pass
"""


@pytest.fixture
def run(tmp_path: Path):
    (tmp_path / "test_it.py").write_text(FILE)
    (tmp_path / "test_module.py").write_text('import pytest\npytest.importorskip("no_such_module")')
    (tmp_path / "pytest.ini").write_text("[pytest]")
    root = str(Path(__file__).parents[1])

    def run(*words: str, path: str = "", **variables: str) -> subprocess.CompletedProcess:
        mine = {key: value for key, value in os.environ.items() if not key.startswith(("TORCHLIQUID", "PYTEST"))}
        environment = {**mine, "PATH": path, "PYTHONPATH": root, **variables}
        command = [sys.executable, "-m", "pytest", "-p", "tests.helpers.needed", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_run_ends_with_one_line_of_what_it_skipped(run, workers):
    done = run(*workers)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, counts, line = done.stdout.splitlines()
    assert "1 passed, 4 skipped, 1 xfailed" in counts
    assert line == (
        "4 tests were skipped. To run them too: apt-get install chromium clang libclang-rt-dev && "
        ".venv/bin/pip install '.[dev]' && TORCHLIQUID_DATA=FOLDER_OF_RECORDINGS make test"
    )


def test_what_was_skipped_is_run_alone_once_it_is_there(run, tmp_path):
    run()
    (tmp_path / "clang").write_text("")
    (tmp_path / "clang").chmod(0o755)
    (tmp_path / "no_such_module.py").write_text("")
    (tmp_path / "test_module.py").write_text("def test_it(): pass")
    done = run("--skipped", path=str(tmp_path))
    assert "2 passed, 2 skipped, 2 deselected" in done.stdout
    assert done.stdout.endswith(
        "2 tests were skipped. To run them too: apt-get install chromium && "
        "TORCHLIQUID_DATA=FOLDER_OF_RECORDINGS make test\n"
    )


def test_where_all_must_run_a_skip_is_a_failure(run):
    done = run(TORCHLIQUID_REQUIRE_ALL="1")
    assert done.returncode == 2  # a module that was skipped whole
    done = run("test_it.py", TORCHLIQUID_REQUIRE_ALL="1")
    assert done.returncode == 1
    assert "2 failed, 1 passed, 1 skipped, 1 xfailed" in done.stdout
    assert "and here all must run: clang is not installed: apt-get install clang" in done.stdout
    with_data = run("test_it.py", TORCHLIQUID_REQUIRE_ALL="1", TORCHLIQUID_DATA="here")
    assert "2 failed, 1 passed, 1 xfailed, 1 error" in with_data.stdout
