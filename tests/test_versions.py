"""What a report of a fault says of its machine."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch
import yaml

import torchliquid as tl
from torchliquid import backends


def said(capsys) -> dict[str, str]:
    tl.show_versions()
    lines = capsys.readouterr().out.splitlines()
    return {name.strip(): words for name, _, words in (line.partition(": ") for line in lines)}


def test_versions_kernels_and_threads_are_those_of_this_process(capsys):
    found = said(capsys)
    assert found["torchliquid"] == metadata.version("torchliquid")
    assert found["torch"] == torch.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["captum"] == metadata.version("captum")
    assert found["threads"].startswith(f"{torch.get_num_threads()} of PyTorch")
    assert "pytest" not in found
    with backends.use("reference"):
        assert said(capsys)["kernels"].startswith("PyTorch reference")
    if backends.native.available():
        sets = backends.native.instruction_sets()
        assert found["kernels"] == f"native, {sets[0]} (of {', '.join(sets)})"
    else:
        assert found["kernels"] == "PyTorch reference (built without kernels)"


def test_a_package_without_kernels_says_so_when_it_is_imported_and_once():
    code = (
        "import sys; sys.modules['torchliquid._native'] = None\n"
        "import torchliquid; from torchliquid.layers import CfC; import torch; CfC(2, 3)(torch.ones(1, 2, 2))"
    )
    for set_by_hand, times in ("", 1), ("true", 0):
        environment = {"TORCHLIQUID_PURE_PYTHON": set_by_hand, "PATH": ""}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stderr.count("built without its kernels") == times
        assert len(done.stderr.splitlines()) == times


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text())
    assert citation["version"] == metadata.version("torchliquid")
    assert {"cff-version", "title", "message", "authors"} <= set(citation)
