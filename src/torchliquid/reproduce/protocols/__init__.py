"""One published table a file."""

from __future__ import annotations

from importlib import import_module

from torchliquid.data.columns import nearest
from torchliquid.errors import InputError
from torchliquid.reproduce.protocol import Protocol

NAMES = ("occupancy", "traffic", "cheetah", "walker", "physionet", "person", "har", "power", "gesture", "ozone")


def protocol(name: str) -> Protocol:
    """The table of that name.

    Raises:
        InputError: there is none.
    """
    if name not in NAMES:
        raise InputError(f"there is no table {name!r}; {nearest(name, NAMES)}")
    found: Protocol = import_module(f"torchliquid.reproduce.protocols.{name}").PROTOCOL
    return found
