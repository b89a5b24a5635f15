"""Tests and times the layers on this machine's GPU: ``python -m benchmarks.gpu`` writes ``docs/gpu.md``.

It needs PyTorch, Triton and this checkout. Answers and gradients are compared with float64 on the CPU. Then training
steps and inference are timed beside ``nn.LSTM``, this package's CPU kernels and, if installed, ``ncps``. Without a GPU
the page says so and lists only what the compiled kernels use of a GPU's chip.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "gpu.md"
FORWARD, BACKWARD = 1e-5, 1e-4


def _checkout() -> None:
    """Make the layers importable if only PyTorch is installed. Of the other packages they need only names of types."""
    if find_spec("torchliquid") is None:
        sys.path.insert(0, str(ROOT / "src"))
    if find_spec("jaxtyping") is None:
        names = types.ModuleType("jaxtyping")
        anything = type("Anything", (), {"__class_getitem__": classmethod(lambda cls, item: Any)})
        for name in ("Bool", "Float", "Int"):
            setattr(names, name, anything)
        sys.modules["jaxtyping"] = names


_checkout()

from torchliquid.backends import triton  # noqa: E402
from torchliquid.layers import CTGRU, CTRNN, LTC, ODELSTM, CfC, LrcSSM, NeuralODE  # noqa: E402
from torchliquid.wirings import AutoNCP  # noqa: E402

INTRODUCTION = """# On a GPU

Written by `python -m benchmarks.gpu`, in one run.

To train and score on an NVIDIA GPU, use `fit(..., device="cuda")`, or `torchliquid train`, `assess` or `reproduce` with
`--device cuda`. `auto` uses a GPU if there is one. The trained model is moved to the CPU, and its file loads on any
machine. A study on a GPU runs one training at a time unless `--jobs` asks for more.

**Kernels.** The layers run as Triton kernels. Each sequence is one program. It keeps its state on the chip over all
samples, and its weights too if they fit. Sums are float32, never TF32. The forward pass stores only the states; the
backward pass recomputes the rest for all samples at once.

**CUDA graphs.** After its first call a layer does not wait for the GPU, forward or backward, so it can be captured in a
CUDA graph. There are three exceptions: adaptive solvers; a mixture, which computes only the experts that are called;
and `over_time="parallel"`, which checks the remaining error (during capture, samples are stepped one by one instead).

**Parallel over time.** With `layer.over_time = "parallel"` the linear recurrences of Newton's method are Triton kernels
too, for all cells with up to 64 units and for diagonal Jacobians of any size. The gradient is such a recurrence too,
backwards in time. Until this page shows where it is faster, `"auto"` uses it on a GPU only for an LrcSSM that no kernel
runs (float64, or no Triton).

"""


def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "LTC(8, 32)": LTC(8, 32),
        "LTC(8, 100)": LTC(8, 100),
        "LTC on AutoNCP(64, 4), mixed memory": LTC(8, AutoNCP(64, 4), mixed_memory=True),
        "CfC(8, 64)": CfC(8, 64),
        "CfC(8, 32), pure, mixed memory": CfC(8, 32, mode="pure", mixed_memory=True),
        "CfC(8, 200), no gate": CfC(8, 200, mode="no_gate"),
        "CfC on AutoNCP(64, 4)": CfC(8, AutoNCP(64, 4)),
        "CTRNN(8, 32)": CTRNN(8, 32),
        "NeuralODE(8, 32)": NeuralODE(8, 32),
        "ODELSTM(8, 32)": ODELSTM(8, 32),
        "CTGRU(8, 32)": CTGRU(8, 32),
        "LrcSSM(8, 64)": LrcSSM(8, 64, elastance="symmetric", block=True),
    }


def errors(layer: nn.Module, device: str, batch: int, samples: int) -> tuple[float, float]:
    """The largest errors compared with float64: of the answers, and of the gradients relative to the largest value of
    their tensor."""
    x, spans = torch.randn(batch, samples, 8), torch.rand(batch, samples)
    found = []
    for one, place, dtype in ((layer, device, torch.float32), (copy.deepcopy(layer), "cpu", torch.float64)):
        one = one.to(place, dtype)
        inputs = x.to(place, dtype).requires_grad_()
        output = one(inputs, timespans=spans.to(place, dtype))[0]
        parameters = [p for p in one.parameters() if p.requires_grad]
        grads = torch.autograd.grad(output.square().mean(), [inputs, *parameters], materialize_grads=True)
        found.append([output.detach().double().cpu(), *(g.double().cpu() for g in grads)])
    (one, *grads), (true, *true_grads) = found
    least = 1e-2 * max(float(g.abs().max()) for g in true_grads if g.numel())
    shares = [
        float((a - b).abs().max()) / max(float(b.abs().max()), least)
        for a, b in zip(grads, true_grads, strict=True)
        if b.numel()
    ]
    return float((one - true).abs().max()), max(shares)


def correctness(device: str, batch: int = 37, samples: int = 50) -> str:
    """A table of the errors on the device.

    Raises:
        SystemExit: an error is larger than allowed, so that times would mean nothing.
    """
    rows, wrong = [], []
    for name, layer in models().items():
        forward, backward = errors(layer, device, batch, samples)
        rows.append(f"| {name} | {forward:.0e} | {backward:.0e} |")
        if not (forward <= FORWARD and backward <= BACKWARD):
            wrong.append(rows[-1])
    table = "\n".join(["| layer | answers | gradients |", "|---|---|---|", *rows])
    if wrong:
        raise SystemExit(f"wrong on this device (allowed {FORWARD:.0e}, {BACKWARD:.0e}):\n" + "\n".join(wrong))
    return (
        f"## Errors\n\nThe largest error compared with float64 on the CPU, for a batch of {batch} sequences of "
        f"{samples} samples with uneven spans. Errors of gradients are relative to the largest value of the tensor. "
        f"Allowed are {FORWARD:.0e} for the answers and {BACKWARD:.0e} for the gradients.\n\n{table}\n\n"
    )


Run = Callable[[], object]


def trainer(layer: nn.Module, x: torch.Tensor) -> Run:
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        layer(x)[0].square().mean().backward()
        optimizer.step()

    return step


def inference(layer: nn.Module, x: torch.Tensor) -> Run:
    def run() -> None:
        with torch.inference_mode():
            layer(x)

    return run


def seconds(run: Run, device: str, rounds: int) -> tuple[float, float]:
    """The median time of a call, and the largest additional memory of one in MB (0 on the CPU)."""
    gpu = device == "cuda"
    wait = torch.cuda.synchronize if gpu else lambda: None
    run()
    wait()
    before = torch.cuda.memory_allocated() if gpu else 0
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20 if gpu else 0.0
    return statistics.median(times), peak


def lstm_of(parameters: int) -> nn.Module:
    """``nn.LSTM`` with about as many parameters."""
    sizes = range(4, 1000)
    units = min(sizes, key=lambda h: abs(4 * h * (8 + h + 2) - parameters))
    return nn.LSTM(8, units, batch_first=True)


def peers(name: str, layer: nn.Module) -> dict[str, nn.Module]:
    """Other layers for the same work."""
    found: dict[str, nn.Module] = {
        f"nn.LSTM of {sum(p.numel() for p in layer.parameters())} parameters": lstm_of(
            sum(p.numel() for p in layer.parameters())
        )
    }
    if find_spec("ncps") is not None:
        import ncps.torch
        import ncps.wirings

        units = ncps.wirings.AutoNCP(64, 4) if "AutoNCP" in name else 32 if "32" in name else 64
        kind = ncps.torch.LTC if name.startswith("LTC") else ncps.torch.CfC
        found["ncps"] = kind(8, units, batch_first=True)
    return found


CASES: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "LTC(8, 32)": (lambda: LTC(8, 32), 64, 128),
    "LTC on AutoNCP(64, 4)": (lambda: LTC(8, AutoNCP(64, 4)), 64, 128),
    "CfC(8, 64)": (lambda: CfC(8, 64), 128, 256),
    "CfC on AutoNCP(64, 4)": (lambda: CfC(8, AutoNCP(64, 4)), 64, 128),
}


def times(device: str, rounds: int = 10, shrink: int = 1) -> str:
    """A table of times on the device, and of the same layer on the CPU."""
    rows = []
    for name, (make, batch, samples) in CASES.items():
        batch, samples = max(1, batch // shrink), max(1, samples // shrink)
        ours = make()
        x = torch.randn(batch, samples, 8)
        for work, of in (("train step", trainer), ("inference", inference)):
            taken, memory = seconds(of(copy.deepcopy(ours).to(device), x.to(device)), device, rounds)
            rows.append(f"| {work}, {name}, B {batch}, T {samples} | this | {1e3 * taken:.3g} ms | | {memory:.0f} MB |")
            on_cpu, _ = seconds(of(copy.deepcopy(ours), x), "cpu", 3)
            rows.append(f"| | this, on the CPU | {1e3 * on_cpu:.3g} ms | {on_cpu / taken:.3g} × | |")
            for peer, layer in peers(name, ours).items():
                other, memory = seconds(of(layer.to(device), x.to(device)), device, max(2, rounds // 3))
                rows.append(f"| | {peer} | {1e3 * other:.3g} ms | {other / taken:.3g} × | {memory:.0f} MB |")
    table = "\n".join(["| work | layer | time | ratio | memory |", "|---|---|---|---|---|", *rows])
    return (
        "## Times\n\nMedian times. A training step is a forward pass, a loss, a backward pass and a step of Adam. "
        "*Ratio* is the time divided by ours. *Memory* is the largest additional memory during a call."
        f"\n\n{table}\n\n"
    )


LONG: dict[str, Callable[[], Any]] = {
    "LrcSSM(8, 64)": lambda: LrcSSM(8, 64),
    "LTC on AutoNCP(32, 4)": lambda: LTC(8, AutoNCP(32, 4)),
}


def crossover(device: str, rounds: int = 5, lengths: tuple[int, ...] = (256, 1024, 8192, 65_536)) -> str:
    """A table of training steps of one long sequence, one sample after the other and all at once."""
    rows = []
    for name, make in LONG.items():
        for samples in lengths:
            layer, x = make().to(device), torch.randn(1, samples, 8, device=device)
            taken = []
            for layer.over_time in ("sequential", "parallel"):
                taken.append(seconds(trainer(layer, x), device, rounds)[0])
            one, all_ = taken
            how = layer.rnn_cell.solved
            said = f"{one / all_:.3g} × | {how.iterations}" if how.converged else "does not converge | –"
            rows.append(f"| {name} | {samples:,} | {1e3 * one:.3g} ms | {1e3 * all_:.3g} ms | {said} |")
    heads = "| layer | T | one after the other | all at once | speed-up | iterations |"
    table = "\n".join([heads, "|---|---|---|---|---|---|", *rows])
    return (
        "## One sequence, all samples at once\n\nA training step with a batch of 1: with the kernels that take one "
        f'sample after the other, and with `over_time = "parallel"`.\n\n{table}\n\n'
    )


def chip() -> str:
    """A table of what the kernels use on an A100 and an H100."""
    from benchmarks.gpu_resources import layers, resources

    rows = []
    for name, run in layers().items():
        for capability in (80, 90):
            for one in resources(run, capability):
                rows.append(
                    f"| {name} | {one.kernel} | sm_{capability} | {one.threads} | {one.registers} | {one.spilled} B "
                    f"| {one.shared} B |"
                )
    heads = "| layer | kernel | for | threads | registers | spilled | shared memory |"
    table = "\n".join([heads, "|---|---|---|---|---|---|---|", *rows])
    return (
        "## On the chip\n\nWhat the kernels use when Triton compiles them for an A100 (sm_80) and an H100 (sm_90): "
        "threads per program, registers\nper thread, bytes that spill to memory, and shared memory. This table needs "
        f"no GPU. Triton {sys.modules['triton'].__version__}.\n\n{table}\n"
    )


def page(device: str | None, small: bool = False) -> str:
    """The page, measured on a device; None: without measurements."""
    if device is None:
        measured = "**Not measured yet**: this page was written on a machine without a GPU.\n\n"
        return INTRODUCTION + measured + chip()
    named = torch.cuda.get_device_name() if device == "cuda" else "Triton's interpreter: times mean nothing"
    head = f"* {named}\n* PyTorch {torch.__version__}, Triton {sys.modules['triton'].__version__}\n\n"
    right = correctness(device, 2, 3) if small else correctness(device)
    fast = times(device, 1, shrink=64) if small else times(device)
    long = crossover(device, 1, (20,)) if small else crossover(device)
    return INTRODUCTION + head + right + fast + long + ("" if small else chip())


def main() -> None:
    if not triton.available():
        raise SystemExit("Triton is not installed: pip install triton")
    import triton as compiler  # noqa: F401  (its version is printed)

    PAGE.write_text(page("cuda" if torch.cuda.is_available() else None))
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
