"""Versions of this package and of those it uses, for bug reports."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata


def show_versions() -> None:
    """Print the versions of torchliquid, Python and all packages that it can use, the kernels in use with their
    instruction set, and the number of threads. Include the output in bug reports."""
    for name, words in _facts().items():
        print(f"{name:>20}: {words}")  # noqa: T201  (what it is for)


def _facts() -> dict[str, str]:
    import torch
    from joblib import cpu_count

    from torchliquid import backends

    sets = backends.native.instruction_sets()
    runs = f"native, {sets[0]}" if backends.chosen(None, [torch.ones(1)]) is backends.native else "PyTorch reference"
    there = f"of {', '.join(sets)}" if sets else "built without kernels"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    threads = f"{torch.get_num_threads()} of PyTorch, {cpu_count()} cores"
    if "OMP_NUM_THREADS" in os.environ:
        threads += f", OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}"
    return {
        "torchliquid": metadata.version("torchliquid"),
        "python": sys.version.split()[0],
        "system": f"{platform.platform()}, {platform.machine()}",
        "kernels": f"{runs} ({there})",
        "threads": threads,
        "gpu": ", ".join(gpus) or "none",
        **{name: _version(name) for name in _packages()},
        "torch": str(torch.__version__),  # with its build, such as +cpu or +cu130
    }


def _packages() -> list[str]:
    """The packages that torchliquid needs or can use, except those for development."""
    needed = (r for r in metadata.requires("torchliquid") or () if not re.search(r"extra == .(dev|docs)\b", r))
    names = (re.match(r"[\w-]+", requirement)[0] for requirement in needed)  # type: ignore[index]
    return sorted({name for name in names if name != "torchliquid"})


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
