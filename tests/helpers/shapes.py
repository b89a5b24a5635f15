"""Annotations, shapes among them, are checked at every call of the packages in ``PACKAGES`` while tests run."""

import jaxtyping
import torch
from beartype import BeartypeConf, beartype

PACKAGES = ("layers", "cells", "scan", "parallel", "backends", "solvers", "runtime", "models")

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


class Untraced(type(jaxtyping.config)):
    """Checks are off where PyTorch traces a function: its sizes are symbols there, and the checks would be traced."""

    @property
    def jaxtyping_disable(self) -> bool:
        return torch.compiler.is_compiling() or torch.jit.is_tracing()

    @jaxtyping_disable.setter
    def jaxtyping_disable(self, value: bool) -> None:
        pass


def check_annotations() -> None:
    jaxtyping.config.__class__ = Untraced
    jaxtyping.install_import_hook([f"torchliquid.{name}" for name in PACKAGES], "tests.helpers.shapes.checked")
