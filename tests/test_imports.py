"""Who may import whom is what pyproject.toml states; a new circle or an import of a higher room fails `make lint`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import importlinter
import pytest

ROOT = Path(__file__).parents[1]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.mark.parametrize(
    ("planted", "line", "broken"),
    [
        (None, "", None),
        ("data/order.py", "from torchliquid import models", "A room imports only rooms below it"),
        ("layers/forms.py", "from torchliquid.files import load", "Layers know only tensors"),
        ("page/charts.py", "import torchliquid.page.document", "No circle, among rooms or within one"),
        ("wirings.py", "if TYPE_CHECKING: from torchliquid.layers import LTC", "No circle, among rooms or within one"),
        ("new_room/__init__.py", "", "A room imports only rooms below it"),
    ],
)
def test_a_line_that_breaks_the_rules_is_found(planted, line, broken, tmp_path):
    package = tmp_path / "torchliquid"
    shutil.copytree(ROOT / "src/torchliquid", package, ignore=lambda _, names: {n for n in names if "__py" in n})
    if planted:
        (package / planted).parent.mkdir(exist_ok=True)
        with (package / planted).open("a") as file:
            file.write(f"\n{line}\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    # Without `site`, which would put the installed package before the copy.
    command = [sys.executable, "-S", "-c", LINT, "--no-cache"]
    path = os.pathsep.join(map(str, (tmp_path, Path(importlinter.__file__).parents[1])))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (broken is not None), done.stdout + done.stderr
    assert broken is None or f"{broken} BROKEN" in " ".join(done.stdout.split())


def test_the_files_that_the_architecture_points_to_exist():
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    table = text.split("## Where do I look?")[1].split("\n## ")[0]
    named = re.findall(r"`([\w/]+(?:\.\w+|/))`", table)
    assert len(named) > 40
    assert [name for name in named if not ((ROOT / "src/torchliquid" / name).exists() or (ROOT / name).exists())] == []
