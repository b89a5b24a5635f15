"""Every code block of README.md and docs/ runs as a test, in its document's order, in a folder of its own.

In the folder lie the tables that ``docs/start.md`` makes with its first block. ``python`` blocks run as they stand,
``c`` blocks are compiled against the model that the document exported, ``sh`` blocks run line by line:

* ``torchliquid`` runs, with the settings in ``SMALL`` where the document gives none of its own: a study in seconds.
  ``torchliquid reproduce`` takes hours, ``control`` a quarter of one, ``--ray`` a cluster, ``--http`` no end: their
  options are read, and they are not run.
* ``make TARGET`` must be in the Makefile, ``pip install 'torchliquid[EXTRA]'`` in pyproject.toml. Neither is run.
* ``NOT_RUN`` lists what changes the machine or takes an hour; the script that a line names must exist.
* ``<!-- needs PROGRAM -->`` on the line before a block: it is skipped, and says so, where that is not installed.
* any other command, and any other language than these and ``text``, is a failure.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

pytest_plugins = ["tests.helpers.needed"]

ROOT = Path(__file__).parent
SLOW = ("edge.md",)  # exports for other processors are compiled and emulated
SMALL = {
    "assess": "--seeds 2 --tuning 1 --epochs 2 --jobs 1 --contender ltc_ncp --contender linear",
    "train": "--epochs 2",
    "distil": "--updates 20",
}
NOT_RUN = ("apt-get", "python", "ray", "torchrun")
python = PythonEvaluator()


def blocks(document: Document) -> Iterator[Region]:
    """Every fenced block, in whatever language."""
    for region in FencedCodeBlockLexer(language=r"\S*", mapping={"language": "language", "source": "source"})(document):
        language = region.lexemes["language"]
        if language != "text":
            needed = re.search(r"<!-- needs ([\w -]+) -->\s*$", document.text[: region.start])
            region.parsed = region.lexemes["source"]
            run = {"python": python, "sh": shell, "c": compiled}.get(language, unknown)
            region.evaluator = partial(where_installed, needed[1].split(), run) if needed else run
            yield region


def where_installed(programs: list[str], run: Callable[[Example], str | None], example: Example) -> str | None:
    from tests.helpers.needed import needs

    needs(*programs)
    return run(example)


def unknown(example: Example) -> str:
    return f"{example.path.name}:{example.line}: a block in a language that no test can run"


def shell(example: Example) -> str | None:
    for line in example.parsed.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "torchliquid":
            command(words[1:])
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), f"make has no target {words[1]}"
        elif words[:2] == ["pip", "install"]:
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            named = re.findall(r"\[(.*?)\]", line)
            assert all(extra in extras for group in named for extra in group.split(",")), f"{line}: no such extra"
        elif words[0] in NOT_RUN:
            for script in (word for word in words if word.endswith(".py")):
                assert (ROOT / script).exists(), f"there is no {script}"
        else:
            return f"{example.path.name}: {line!r} is neither run nor among what is not"
    return None


def command(words: list[str]) -> None:
    """One ``torchliquid`` command, in this process: PyTorch is loaded already."""
    from typer.testing import CliRunner

    from torchliquid.cli import app

    small = SMALL.get(words[0], "").split()
    given = {word for word in words if word.startswith("--")}
    words = [*words, *(w for pair in zip(small[::2], small[1::2], strict=True) if pair[0] not in given for w in pair)]
    if words[0] in ("control", "reproduce") or "--ray" in words or "--http" in words:
        words.append("--help")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"torchliquid {shlex.join(words)}\n{done.output}"


def compiled(example: Example) -> None:
    """A block of C inside a function, against ``device/model.c`` where the document exported one."""
    source = f"""#include <math.h>
    #include "device/model.h"
    int main(void) {{ float inputs[MODEL_INPUTS], outputs[MODEL_OUTPUTS], elapsed = 1.0f;
    for (int i = 0; i < MODEL_INPUTS; i++) inputs[i] = NAN; /* not sampled: no reading is out of range */
    {example.parsed}
    return status; }}"""
    Path("snippet.c").write_text(source)
    subprocess.run(["cc", "-std=c99", "-Wall", "snippet.c", "device/model.c", "-lm", "-o", "snippet"], check=True)
    subprocess.run(["./snippet"], check=True)


def registries() -> list[dict[Any, Any]]:
    """What a document adds to and no other test may see."""
    from torchliquid.edge.cores import CORES
    from torchliquid.models.build import KINDS
    from torchliquid.models.description import CELLS, LAYERS

    return [KINDS, CELLS, LAYERS, CORES]


def enter(namespace: dict[str, Any]) -> None:
    """A folder with the tables of ``docs/start.md``, and short studies and trainings in it."""
    from torchliquid.study.assess import assess
    from torchliquid.training import TrainingConfig

    before = Path.cwd(), assess.__kwdefaults__, TrainingConfig.__init__.__defaults__, [dict(t) for t in registries()]
    folder = Path(tempfile.mkdtemp(prefix="document-"))
    namespace["_leave"] = (folder, *before)
    os.chdir(folder)
    few = {"seeds": 2, "tuning": 1, "epochs": 2, "contenders": ["ltc_ncp", "linear"]}
    assess.__kwdefaults__ = {**(assess.__kwdefaults__ or {}), **few}
    lr, _, *rest = TrainingConfig.__init__.__defaults__ or ()
    TrainingConfig.__init__.__defaults__ = (lr, 4, *rest)
    first = re.search(r"```python\n(.*?)```", (ROOT / "docs/start.md").read_text(), re.S)
    assert first is not None
    exec(first[1], {})


def leave(namespace: dict[str, Any]) -> None:
    from torchliquid.study.assess import assess
    from torchliquid.training import TrainingConfig

    folder, home, defaults, init, tables = namespace["_leave"]
    assess.__kwdefaults__, TrainingConfig.__init__.__defaults__ = defaults, init
    for registry, table in zip(registries(), tables, strict=True):
        registry.clear()
        registry.update(table)
    os.chdir(home)
    shutil.rmtree(folder)
    namespace.clear()


documents = Sybil([blocks], patterns=["README.md", "docs/*.md", "docs/*/*.md"], setup=enter, teardown=leave)
pytest_collect_file = documents.pytest()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)
