"""Devices by name: where networks are trained and scored."""

from __future__ import annotations

import torch

from torchliquid.errors import InputError


def device_of(name: str) -> torch.device:
    """A device of this machine: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or another one that PyTorch knows; ``auto``: the
    machine's GPU, or the CPU if there is none.

    Raises:
        InputError: there is no such device.
    """
    here = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return here or torch.device("cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise InputError(f"{name!r} is not a device: give cpu, cuda, cuda:1, mps or auto") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if here is None or here.type != device.type:
        raise InputError(
            f"this machine has no device {name!r} that PyTorch {torch.__version__} can use: give cpu or auto"
        )
    count = torch.accelerator.device_count()
    if count <= (device.index or 0) or str(device) != str(name):  # PyTorch takes cuda:256 for cuda:0
        raise InputError(f"there is no device {name!r}: the last one is '{device.type}:{count - 1}'")
    return device


def called(device: torch.device) -> str:
    """A device's name, with the maker's where PyTorch tells it."""
    return f"{device.type} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type
