"""Trains one large network in several processes, and saves it as a model like any other.

    torchrun --nproc-per-node 2 examples/distributed.py plant.csv --target state --time when --out model.safetensors

All processes draw the same batches and take different rows of each. DDP gives every process the same weight, so each
loss is multiplied by the process's share of the scored samples. The updates then equal those of one process that trains
on the whole batches.
"""

from __future__ import annotations

from argparse import ArgumentParser

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import torchliquid as tl
from torchliquid.data import Preprocessing, Windows
from torchliquid.data.batch import batches
from torchliquid.models import build

parser = ArgumentParser()
parser.add_argument("recording")
parser.add_argument("--target", required=True)
parser.add_argument("--time")
parser.add_argument("--kind", default="cfc")
parser.add_argument("--parameters", type=int, default=200_000)
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--out", default="model.safetensors")
given = parser.parse_args()

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()

recording = tl.Recording.read(given.recording, target=given.target, time=given.time)
task = tl.Task.infer(recording).fit(recording)
preprocessing = Preprocessing.fit(recording)
windows = Windows.choose(recording, task)
labelled = task.with_targets(recording)

torch.manual_seed(0)
model = build(given.kind, task, preprocessing, given.parameters)
network = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(network.parameters(), lr=0.003)
rng = np.random.default_rng(0)

for epoch in range(given.epochs):
    for batch in batches(labelled, preprocessing, task, windows, 64, rng):
        if len(batch.lengths) < world:
            continue
        rows = slice(rank, None, world)
        outputs, _ = network(batch.inputs[rows], batch.timespans[rows], batch.lengths[rows])
        loss = task.loss(outputs, batch.targets[rows], batch.weights[rows])
        share = world * batch.weights[rows].sum() / batch.weights.sum()
        optimizer.zero_grad()
        (loss * share).backward()
        optimizer.step()
    if rank == 0:
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

if rank == 0:
    model.eval().save(given.out)
dist.destroy_process_group()
