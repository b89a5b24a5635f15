"""Some tests need more than Python: where it is missing they are skipped, and say what installs it.

A run ends with one line of all that was skipped and what to give to run it. ``--skipped`` runs what the last run
skipped. With ``TORCHLIQUID_REQUIRE_ALL`` set, as in CI, a test that is skipped fails, but for what no one can install.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

import pytest

PACKAGES = {
    "chromium": "chromium",
    "g++": "g++",
    "gcc": "gcc",
    "clang": "clang libclang-rt-dev",
    **dict.fromkeys(("qemu-x86_64", "qemu-aarch64", "qemu-arm", "qemu-riscv32"), "qemu-user"),
    "qemu-system-arm": "qemu-system-arm",
    "openssl": "openssl",
    "mosquitto": "mosquitto",
    "wine": "wine wine64",
}
"""Of Debian, by program."""

NO_DATA = "TORCHLIQUID_DATA is not set"
NO_KERNELS = "built without the kernels"
NO_GPU = "no GPU"
NO_TABLES = "the shared tables are not beside the recordings"

LAST = "torchliquid/skipped"


def needs(*programs: str) -> None:
    """Skip the test where a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install {PACKAGES[program]}")


def excused(reason: str) -> bool:
    """Whether a skip is right even where everything must run."""
    pure = bool(os.environ.get("TORCHLIQUID_PURE_PYTHON")) and NO_KERNELS in reason
    return (
        pure or NO_GPU in reason or NO_TABLES in reason or (NO_DATA in reason and "TORCHLIQUID_DATA" not in os.environ)
    )


def summary(reasons: list[str]) -> str:
    """One line: how many tests were skipped, and the command that runs them; empty where none was."""
    if not reasons:
        return ""
    text = "\n".join(reasons)
    commands = []
    if packages := sorted({p for words in re.findall(r"apt-get install (.+)", text) for p in words.split()}):
        commands.append(f"apt-get install {' '.join(packages)}")
    if "could not import" in text or "pip install" in text:
        commands.append(".venv/bin/pip install '.[dev]'")
    if commands or NO_DATA in text:
        commands.append("TORCHLIQUID_DATA=FOLDER_OF_RECORDINGS make test" if NO_DATA in text else "make test")
    count = f"{len(reasons)} test{'s were' if len(reasons) > 1 else ' was'} skipped"
    return f"{count}. To run them too: {' && '.join(commands)}" if commands else f"{count}: {', '.join({*reasons})}"


class Skips:
    """What a run skips: collected, kept for ``--skipped``, told at the end, and refused where all must run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker = hasattr(config, "workerinput")
        self.reasons: dict[str, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[None]:
        report = yield
        return self._refused(report)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self) -> Iterator[None]:
        report = yield
        return self._refused(report)

    def _refused(self, report: pytest.TestReport | pytest.CollectReport) -> pytest.TestReport | pytest.CollectReport:
        if _skipped(report) and os.environ.get("TORCHLIQUID_REQUIRE_ALL") and not excused(_reason(report)):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid} was skipped, and here all must run: {_reason(report)}"
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if _skipped(report):
            self.reasons[report.nodeid] = _reason(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if _skipped(report):
            self.reasons[report.nodeid] = _reason(report)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        cache = getattr(config, "cache", None)
        if not config.getoption("--skipped") or cache is None:
            return
        last = cache.get(LAST, [])
        # A document's blocks follow from each other, and of a file that was skipped whole its name is known.
        files = {nodeid for nodeid in last if "::" not in nodeid}
        files |= {nodeid.partition("::")[0] for nodeid in last if ".md::" in nodeid}
        chosen = [item for item in items if item.nodeid in last or item.nodeid.partition("::")[0] in files]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    def pytest_sessionfinish(self) -> None:
        cache = getattr(self.config, "cache", None)
        if not self.worker and cache is not None:
            cache.set(LAST, sorted(self.reasons))

    def pytest_unconfigure(self) -> None:
        line = summary(list(self.reasons.values()))
        if line and not self.worker:
            print(line)


def _skipped(report: pytest.TestReport | pytest.CollectReport) -> bool:
    return report.skipped and not hasattr(report, "wasxfail")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    return str(words).removeprefix("Skipped: ")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skipped", action="store_true", help="only the tests that the last run skipped")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Skips(config), "skips")
