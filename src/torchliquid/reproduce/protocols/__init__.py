"""The published tables, one file each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from torchliquid.data.columns import nearest
from torchliquid.datasets import refuse_dropped
from torchliquid.errors import InputError

if TYPE_CHECKING:
    from torchliquid.reproduce.protocol import Protocol

NAMES = ("occupancy", "traffic", "cheetah", "walker", "physionet", "xor")


def check_name(name: str) -> None:
    """Check that there is a table of this name.

    Raises:
        InputError: there is none.
    """
    refuse_dropped(name)
    if name not in NAMES:
        raise InputError(f"there is no table {name!r}; {nearest(name, NAMES)}")


def protocol(name: str) -> Protocol:
    """The table of this name.

    Raises:
        InputError: there is none.
    """
    check_name(name)
    found: Protocol = import_module(f"torchliquid.reproduce.protocols.{name}").PROTOCOL
    return found
