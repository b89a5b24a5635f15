"""What can be refused is refused before PyTorch is loaded, which takes longer than all the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from torchliquid.cli import names
from torchliquid.edge.targets import TARGETS
from torchliquid.models import KINDS
from torchliquid.models.build import EXPERTS
from torchliquid.reproduce.protocols import NAMES, protocol
from torchliquid.solvers import ADAPTIVE, FIXED
from torchliquid.study.contenders import BY_NAME

SAY_IF_LOADED = """
import sys
from torchliquid.cli import main
sys.argv = ["torchliquid", *sys.argv[1:]]
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--help", 0, "predict"),
        ("predict --help", 0, "--order"),
        ("--version", 0, "torchliquid"),
        ("predict none.safetensors table.csv", 2, "none.safetensors"),
        ("predict model.safetensors none.csv", 2, "none.csv: no such file"),
        ("predict model.safetensors table.csv tabel.csv", 2, "did you mean 'table.csv'"),
        ("predict model.safetensors table.csv --out nowhere/a.csv", 2, "nowhere"),
        ("explain model.safetensors none.csv", 2, "none.csv: no such file"),
        ("solvers model.safetensors none.csv", 2, "none.csv: no such file"),
        ("export none.safetensors", 2, "none.safetensors"),
        ("export model.safetensors --data none.csv", 2, "none.csv: no such file"),
        ("inspect .", 2, "is a folder"),
        ("reproduce nothing", 2, "there is no table 'nothing'"),
        ("train table.csv", 2, "--target"),
        ("train table.csv --target none", 2, "none"),
        ("train table.csv --target y --window 3,x", 2, "--window 3,x"),
        ("train table.csv --target y --epochs many", 2, "--epochs"),
        ("assess table.csv --target y --test none.csv", 2, "none.csv: no such file"),
        ("assess table.csv --target y --metric none", 2, "none"),
        ("assess table.csv --target y --nothing", 2, "--nothing"),
        ("assess table.csv --target y --contender ltc_npc", 2, "did you mean 'ltc_ncp'"),
        ("train table.csv --target y --kind none", 2, "--kind none"),
        ("train table.csv --target y --solver none", 2, "--solver none"),
        ("train table.csv --target y --kind mixture --expert gru", 2, "--expert gru"),
        ("train table.csv --target y --kind mixture --top-k 0", 2, "--top-k"),
        ("train table.csv --target y --experts 3", 2, "add --kind mixture"),
        ("export model.safetensors --target cortex-m5", 2, "'cortex-m4'"),
        ("export model.safetensors --flash-limit much", 2, "--flash-limit much"),
        ("export model.safetensors --error much", 2, "--error much"),
        ("export model.safetensors --plausible t", 2, "--plausible"),
        ("export model.safetensors --out table.csv", 2, "is a file"),
        ("reproduce occupancy --contender none", 2, "--contender none"),
        ("reproduce occupancy --split none", 2, "--split none"),
        ("mcp", 2, "--live NAME=MODEL,SOURCE"),
        ("mcp --live pump", 2, "--live pump: give NAME=MODEL,SOURCE"),
        ("mcp --live pump=none.safetensors,tcp://host:1", 2, "none.safetensors"),
        ("mcp --live pump=model.safetensors,udp://host:1", 2, "udp://host:1"),
        ("mcp --folder . --http 0 --token-file none", 2, "none"),
        ("mcp --folder . --log nowhere/log", 2, "nowhere"),
    ],
)
def test_refused_or_answered_before_torch_is_loaded(words: str, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("x,y\n1,2\n2,3\n4,4\n")
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    done = subprocess.run(
        [sys.executable, "-c", SAY_IF_LOADED, *words.split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1] == "False"


def test_names_that_are_known_beforehand_are_those_of_the_library() -> None:
    tables = [protocol(name) for name in NAMES]
    assert set(names.KINDS) == set(KINDS)
    assert set(names.EXPERTS) == set(EXPERTS)
    assert set(names.CONTENDERS) == set(BY_NAME)
    assert set(names.TARGETS) == set(TARGETS)
    assert set(names.SOLVERS) == {"fused", *FIXED, *ADAPTIVE}
    assert set(names.ROWS) == {row for table in tables for row in table.settings}
    assert set(names.SPLITS) == {split for table in tables for split in table.splits}
