"""What the Triton kernels use on a GPU: they are compiled for it, and not run."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from torchliquid.backends import triton as backend
from torchliquid.cells import Sequences
from torchliquid.layers import CTGRU, CTRNN, LTC, CfC, LrcSSM, NeuralODE
from torchliquid.wirings import AutoNCP

POINTERS = {torch.float32: "*fp32", torch.int8: "*i8", torch.int32: "*i32"}


class Resources(NamedTuple):
    """Of one kernel: threads, registers per thread, bytes that spill to memory, bytes of shared memory."""

    kernel: str
    threads: int
    registers: int
    spilled: int
    shared: int


def resources(run: Callable[[], Any], capability: int) -> list[Resources]:
    """The resources of the kernels that a function launches, compiled for a GPU (80: A100, 90: H100) instead of run."""
    found: dict[str, Resources] = {}
    with _recorded() as launches:
        run()
    for kernel, arguments, options in launches:
        source = ASTSource(kernel, *_described(kernel, arguments))
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        name = kernel.__name__
        one = _of(name, compiled, 32 * options["num_warps"])
        found[name] = max(found.get(name, one), one, key=lambda r: (r.spilled, r.registers))
    return list(found.values())


@contextmanager
def _recorded() -> Iterator[list[tuple[Any, dict[str, Any], dict[str, Any]]]]:
    """Inside this context kernels do nothing; their arguments are recorded."""
    launches: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []

    def record(self: Any, *args: Any, grid: Any = None, warmup: bool = False, **kwargs: Any) -> None:
        names = [name for name in self.arg_names if name not in kwargs]
        arguments = dict(zip(names, args, strict=True))
        options = {name: kwargs[name] for name in kwargs if name not in self.arg_names}
        arguments |= {name: kwargs[name] for name in kwargs if name in self.arg_names}
        launches.append((self, {name: arguments[name] for name in self.arg_names}, options))

    before, JITFunction.run = JITFunction.run, record
    try:
        yield launches
    finally:
        JITFunction.run = before


def _described(kernel: Any, arguments: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any], dict[Any, Any]]:
    """Types, constants and the alignment of pointers, for :class:`triton.compiler.ASTSource`."""
    constant = {p.name for p in kernel.params if p.is_constexpr}
    types, constants, aligned = {}, {}, {}
    for i, (name, value) in enumerate(arguments.items()):
        if name in constant or value is None:
            types[name], constants[name] = "constexpr", value
        elif isinstance(value, Tensor):
            types[name], aligned[(i,)] = POINTERS[value.dtype], [["tt.divisibility", 16]]
        else:
            types[name] = "fp32" if isinstance(value, float) else "i32"
    return types, constants, aligned


def _of(name: str, compiled: Any, threads: int) -> Resources:
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        dump = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    used = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", dump.stdout)}
    return Resources(name, threads, used["REG"], used["STACK"] + used["LOCAL"], compiled.metadata.shared)


def layers() -> dict[str, Callable[[], Any]]:
    """A training step of each kind of layer of 64 units, with lengths and resets."""
    kinds: dict[str, tuple[Any, bool]] = {
        "LTC(8, 64)": (LTC(8, 64), False),
        "LTC(8, 64), mixed memory": (LTC(8, 64), True),
        "CfC(8, 64)": (CfC(8, 64), False),
        "CfC(8, 64), mixed memory": (CfC(8, 64), True),
        "CfC on AutoNCP(64, 4)": (CfC(8, AutoNCP(64, 4, seed=0)), False),
        "CfC on AutoNCP(64, 4), mixed memory": (CfC(8, AutoNCP(64, 4, seed=0)), True),
        "CfC(8, 64), pure": (CfC(8, 64, mode="pure"), False),
        "CTRNN(8, 64)": (CTRNN(8, 64), False),
        "NeuralODE(8, 64)": (NeuralODE(8, 64), False),
        "CTGRU(8, 64)": (CTGRU(8, 64), False),
        "LrcSSM(8, 64)": (LrcSSM(8, 64, solver="exponential"), False),
    }
    steps = {name: partial(_step, layer, mixed) for name, (layer, mixed) in kinds.items()}
    return steps | {
        "all samples at once, Jacobians of 64 units": partial(_scan, torch.ones(1, 300, 64, 64)),
        "all samples at once, diagonals of 64 units": partial(_scan, torch.ones(1, 300, 64)),
    }


def _scan(matrices: Tensor) -> None:
    for reverse in (False, True):
        backend.solve_linear(matrices, matrices[:, :, 0] if matrices.dim() > 3 else matrices, reverse)


@torch.no_grad()
def _step(layer: Any, mixed: bool) -> None:
    batch, samples, state = 2, 3, layer.state_size
    x = layer.rnn_cell.map_inputs(torch.ones(batch, samples, 8))
    reset = torch.zeros(batch, samples, dtype=torch.bool)
    memory = (torch.ones(batch, samples, 4 * state), torch.ones(4 * state, state), torch.ones(batch, state))
    over = Sequences(
        x, x[..., 0], torch.ones(batch, state), torch.ones(batch).long(), *(memory if mixed else (None,) * 3), reset
    )
    cell = layer.rnn_cell.recurrence(x)
    results = backend.run_forward(cell, over)
    backend.run_backward(cell, over, *results, (results[0], results[1]))
