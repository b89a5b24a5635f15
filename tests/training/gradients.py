"""Under ``torchrun``: the gradients of every layer from this process's rows, averaged by DDP; rank 0 writes them."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import torchliquid as tl
from torchliquid.wirings import NCP, AutoNCP

WORLD = 2
LENGTHS = torch.tensor([10, 10, 3, 10, 7, 1, 10, 5])


def layers() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "LTC": tl.LTC(3, 8),
        "LTC on a circuit": tl.LTC(3, NCP(6, 4, 2, 3, 3, 2, 3)),
        "LTC with memory": tl.LTC(3, AutoNCP(12, 2), mixed_memory=True),
        "CfC": tl.CfC(3, 8, backbone_units=16),
        "CfC on a circuit": tl.CfC(3, AutoNCP(12, 2)),
        "CfC pure": tl.CfC(3, 8, mode="pure", backbone_units=16),
        "CfC with memory": tl.CfC(3, 8, mixed_memory=True, backbone_units=16),
        "CT-RNN": tl.CTRNN(3, 8),
        "neural ODE": tl.NeuralODE(3, 8),
        "CT-GRU": tl.CTGRU(3, 8),
        "GRU-D": tl.GRUD(3, 8),
        "ODE-LSTM": tl.ODELSTM(3, 8),
    }


def gradients(layer: nn.Module, called: nn.Module, rows: slice, padded: bool) -> dict[str, Tensor]:
    """Of the mean over all scored samples of all processes; without padding, that is the mean of the means."""
    source = torch.Generator().manual_seed(1)
    inputs, spans = (torch.rand(8, 10, *more, generator=source) for more in ((3,), ()))
    lengths = LENGTHS if padded else torch.full((8,), 10)
    scored = (torch.arange(10) < lengths[:, None]).float()
    outputs, _ = called(inputs[rows], timespans=spans[rows], lengths=lengths[rows])
    mean = (outputs.square().mean(2) * scored[rows]).sum() / scored[rows].sum()
    processes = 8 // len(inputs[rows])
    layer.zero_grad()
    (mean * processes * scored[rows].sum() / scored.sum()).backward()
    return {name: parameter.grad.clone() for name, parameter in layer.named_parameters() if parameter.grad is not None}


if __name__ == "__main__":
    dist.init_process_group("gloo")
    assert dist.get_world_size() == WORLD
    mine = slice(4 * dist.get_rank(), 4 * dist.get_rank() + 4)
    found = {}
    for name, layer in layers().items():
        called = DistributedDataParallel(layer)
        for padded in (False, True):
            for parameter, gradient in gradients(layer, called, mine, padded).items():
                found[f"{name}/{padded}/{parameter}"] = gradient
    if dist.get_rank() == 0:
        save_file(found, sys.argv[1])
    dist.destroy_process_group()
