"""What can be refused is refused before PyTorch is loaded, which takes longer than all the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
