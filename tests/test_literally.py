"""The script that does what a document says: it fails where a block does, or where the verdict is another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci/literally.py"
STUDY = """
# A page

```sh
pip install .
torchliquid --version
mkdir study
```

```python
import json
from pathlib import Path
sentence = "A liquid network is not worth it here: CfC is the best liquid one, and Linear is more accurate."
```

```python
Path("study/results.json").write_text(json.dumps({"verdict": {"sentence": sentence}}))
```

```text
rm -rf this is not run
```

The verdict: "A liquid network is not worth it here: CfC is the best liquid one, and
Linear is more accurate".
"""


def literally(page: str, folder: Path, *more: Path) -> subprocess.CompletedProcess[str]:
    (folder / "page.md").write_text(page)
    command = [sys.executable, SCRIPT, folder / "page.md", *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_blocks_run_in_order_and_the_quoted_verdict_is_the_one_that_came_out(tmp_path: Path) -> None:
    done = literally(STUDY, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torchliquid 0." in done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("mkdir study", "mkdir study\nfalse", "returned non-zero"),
        ("torchliquid --version", "torchliquid predict study/none.safetensors new.csv", "there is no model file"),
        ("import json", "import json\nassert 1 == 2", "AssertionError"),
        (
            "is not worth it here: CfC is the best liquid one, and\n",
            "is worth it here: CfC, and\n",
            "the document says",
        ),
    ],
)
def test_a_block_that_fails_or_another_verdict_is_a_failure(right: str, wrong: str, said: str, tmp_path: Path) -> None:
    assert right in STUDY
    done = literally(STUDY.replace(right, wrong), tmp_path)
    assert done.returncode != 0
    assert said in done.stderr


def test_a_page_is_held_against_a_study_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/results.json").write_text('{"verdict": {"sentence": "A liquid network is worth it here."}}')
    assert literally(STUDY, tmp_path, tmp_path / "demo").returncode == 1
    assert literally('"A liquid network is worth it"', tmp_path, tmp_path / "demo").returncode == 0
