"""``versions.py lowest``: each dependency in pyproject.toml, optional ones too, at its lower bound, as constraints for
pip; ``versions.py newest``: none."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for group in [project["dependencies"], *project["optional-dependencies"].values()] if sys.argv[1] == "lowest" else []:
    for requirement in group:
        if bound := re.match(r"([\w-]+)>=([\d.]+)", requirement):
            print("==".join(bound.groups()))
