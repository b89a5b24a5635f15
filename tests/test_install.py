"""The package as people get it: an sdist from a checkout that can't be written, the wheel made from it, and the main
job in an empty folder with a space and an umlaut in its path, without a home."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.helpers.needed import NO_DATA

ROOT = Path(__file__).parents[1]
PARTS = ("src", "native", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "tests", "docs")
ORDINARY = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
"""Takes from root what lets it write where it may not."""

pytestmark = pytest.mark.slow


class Installed:
    def __init__(self, folder: Path) -> None:
        self.dist, self.empty, self.home = folder / "dist", folder / "an empty folder", folder / "home"
        self.python = folder / "environment" / "bin" / "python"
        self.empty.mkdir()
        self.home.mkdir()

    def __call__(self, *words: str | Path, at: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
        kept = {key: os.environ[key] for key in ("PATH", "TORCHLIQUID_DATA", "TMPDIR") if key in os.environ}
        return subprocess.run(
            [*ORDINARY, str(self.python), *map(str, words)],
            cwd=at or self.empty,
            env={**kept, "OMP_NUM_THREADS": "1", **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def torchliquid(self, line: str, **variables: str) -> str:
        done = self("-m", "torchliquid", *line.split(), **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("von Größe")
    checkout = folder / "checkout"
    checkout.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
        copy(ROOT / part, checkout / part)
    subprocess.run(["chmod", "-R", "a-w", checkout], check=True)
    it = Installed(folder)
    build = [*ORDINARY, sys.executable, "-m", "build", "--no-isolation", "--outdir", str(it.dist), str(checkout)]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    subprocess.run(["chmod", "-R", "u+w", checkout], check=True)
    # All that the package needs comes from the environment that runs the tests.
    subprocess.run([sys.executable, "-m", "venv", it.python.parents[1]], check=True)
    (wheel,) = it.dist.glob("*.whl")
    subprocess.run([it.python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    said = it("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout
    Path(said.strip(), "others.pth").write_text(sysconfig.get_path("purelib"))
    tables = re.search(r"```python\n(.*?)```", (ROOT / "docs/start.md").read_text(), re.S)
    assert tables is not None
    assert it("-c", tables[1]).returncode == 0
    return it


def test_sdist_and_wheel_hold_the_package_and_no_more(installed: Installed) -> None:
    (sdist,) = installed.dist.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        tops = {name.split("/")[1] for name in opened.getnames() if "/" in name}
    assert {"src", "native", "CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE"} <= tops
    assert not tops & {"tests", "docs", "benchmarks", "examples", "results", ".ci"}
    (wheel,) = installed.dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    files = (path for path in (ROOT / "src/torchliquid").rglob("*") if path.is_file() and path.suffix != ".so")
    missing = {str(path.relative_to(ROOT / "src")) for path in files if "__pycache__" not in path.parts} - names
    assert not missing
    assert any(re.search(r"torchliquid/_native\S*\.so$", name) for name in names)


def test_it_is_the_wheel_that_runs_and_with_its_kernels(installed: Installed) -> None:
    done = installed("-c", "import torchliquid as tl; print(tl.__file__); tl.show_versions()")
    assert Path(done.stdout.splitlines()[0]).is_relative_to(installed.python.parents[1])
    assert "kernels: native" in done.stdout
    assert done.stderr == ""


def test_the_main_job_without_a_home(installed: Installed) -> None:
    small = "--seeds 2 --tuning 1 --epochs 2 --contender cfc --contender linear"
    said = installed.torchliquid(f"assess plant.csv --target state --time when {small} --out study")
    assert "Report: study/report.html" in said
    assert (installed.empty / "study" / "report.html").stat().st_size > 100_000
    installed.torchliquid("predict study/model.safetensors new.csv --out answers.csv")
    assert (installed.empty / "answers.csv").read_text().count("\n") > 10


def test_explanations_and_exports_leave_nothing_in_a_home_but_the_cache(installed: Installed) -> None:
    installed.torchliquid("train plant.csv --target state --time when --epochs 2 --out m.safetensors")
    home = {"HOME": str(installed.home)}
    installed.torchliquid("explain m.safetensors plant.csv --out explained", **home)
    installed.torchliquid("export m.safetensors --out device", **home)
    installed.torchliquid("export m.safetensors --target onnx --out graph", **home)
    code = """from pathlib import Path; from torchliquid.edge import compilers, TARGETS
Path("a.c").write_text("int a(void) { return 1; }")
compilers.run([*compilers.zig(), *compilers.arguments(TARGETS["cortex-m4"]), "-c", "a.c", "-o", "a.o"])"""
    assert installed("-c", code, **home).returncode == 0
    installed.torchliquid("assess japanese_vowels --seeds 1 --tuning 1 --epochs 1 --contender linear --out v", **home)
    assert [path.name for path in installed.home.iterdir()] == [".cache"]
    assert [path.name for path in (installed.home / ".cache").iterdir()] == ["torchliquid"]
    for name in ("explained/explain.html", "device/README.md", "graph/step.onnx"):
        assert (installed.empty / name).is_file()


@pytest.mark.skipif("TORCHLIQUID_DATA" not in os.environ, reason=NO_DATA)
def test_a_published_table(installed: Installed) -> None:
    said = installed.torchliquid("reproduce occupancy --contender Linear --split published --seeds 1 --out tables")
    assert "Linear" in said


def test_a_folder_that_cannot_be_written_is_named_in_one_line(installed: Installed) -> None:
    shut = installed.empty / "shut"
    shut.mkdir(mode=0o555)
    done = installed("-m", "torchliquid", "train", installed.empty / "plant.csv", "--target", "state", at=shut)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("torchliquid:")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
