"""What is compared: the same work by this package and by a peer."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import ncps.torch
import ncps.wirings
import numpy as np
import onnxruntime
import torch
from torch import nn

from torchliquid import backends, stream
from torchliquid.layers import LTC, CfC, MixtureOfLiquid
from torchliquid.wirings import AutoNCP

Run = Callable[[], object]


@dataclass
class Case:
    """One row: our run and the peer's, the ratios to reach and to aim for, and the multiply-adds of the work."""

    name: str
    peer: str
    ours: Run
    theirs: Run
    reach: float
    aim: float
    multiply_adds: float
    inner: tuple[int, int] = (1, 1)


def spans_of(uneven: int, batch: int, time: int) -> dict[str, torch.Tensor]:
    """Spans of 0 to 2, repeated for ``uneven`` units: the only form in which ncps accepts a span for each sample of a
    batch. For 0, no spans: all are 1."""
    return {"timespans": (2 * torch.rand(batch, time, 1)).expand(batch, time, uneven)} if uneven else {}


def trainer(layer: nn.Module, batch: int, time: int, uneven: int = 0) -> Run:
    """Forward, a loss, backward and a step of Adam."""
    x, spans = torch.randn(batch, time, 8), taken(layer, spans_of(uneven, batch, time))
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        layer(x, **spans)[0].square().mean().backward()
        optimizer.step()

    return step


def taken(layer: nn.Module, spans: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The spans in the form of a layer: ours take one span per sample."""
    return {name: each[..., 0] if isinstance(layer, LTC | CfC) else each for name, each in spans.items()}


def inference(layer: nn.Module, batch: int, time: int, uneven: int = 0) -> Run:
    x, spans = torch.randn(batch, time, 8), taken(layer, spans_of(uneven, batch, time))

    def run() -> None:
        with torch.inference_mode():
            layer(x, **spans)

    return run


def cfc_multiply_adds(layer: CfC, equal_spans: bool = True) -> int:
    """Multiply-adds of a forward step: one per weight. If all spans are equal, the gate's two maps count as one."""
    weights = {name: p.numel() for name, p in layer.rnn_cell.named_parameters() if p.dim() == 2}
    return sum(n for name, n in weights.items() if not (equal_spans and "time_a" in name))


# A synapse's conductance: argument 2, exponential 6, reciprocal 2, its two sums 2. The backward pass: the conductance
# again, then 10 for four gradients of the synapse and one of its source.
SYNAPSE, SYNAPSE_BACK = 12, 22


def ltc_multiply_adds(layer: LTC, back: bool = False) -> int:
    cell = layer.rnn_cell
    synapses = cell.synapse_index.shape[1] * 6 + cell.sensory_index.shape[1]
    return synapses * (SYNAPSE + SYNAPSE_BACK if back else SYNAPSE)


def whole_sequences() -> list[Case]:
    pairs: list[tuple[str, nn.Module, nn.Module, int, int, tuple[float, float], tuple[float, float]]] = [
        ("CfC(8, 32)", CfC(8, 32), ncps.torch.CfC(8, 32), 64, 128, (4, 6), (5, 10)),
        ("CfC(8, 64)", CfC(8, 64), ncps.torch.CfC(8, 64), 128, 256, (4, 5), (5, 10)),
        (
            "CfC on AutoNCP(64, 4)",
            CfC(8, AutoNCP(64, 4)),
            ncps.torch.CfC(8, ncps.wirings.AutoNCP(64, 4)),
            64,
            128,
            (8, 15),
            (15, 40),
        ),
        ("LTC(8, 32) dense", LTC(8, 32), ncps.torch.LTC(8, 32), 64, 128, (8, 12), (5, 10)),
        ("LTC(8, 64) dense", LTC(8, 64), ncps.torch.LTC(8, 64), 64, 128, (9, 15), (5, 10)),
        (
            "LTC on AutoNCP(64, 4)",
            LTC(8, AutoNCP(64, 4)),
            ncps.torch.LTC(8, ncps.wirings.AutoNCP(64, 4)),
            64,
            128,
            (20, 50),
            (15, 40),
        ),
    ]
    cases = []
    for name, ours, theirs, batch, time, train, infer in pairs:
        steps = batch * time
        if isinstance(ours, LTC):
            forward, both = ltc_multiply_adds(ours) * steps, ltc_multiply_adds(ours, True) * steps
        else:
            assert isinstance(ours, CfC)
            forward = cfc_multiply_adds(ours) * steps
            both = 3 * forward
        for uneven in (0, 64) if "64" in name and "on" not in name else (0,):
            size = f"B {batch}, T {time}" + (", uneven spans" if uneven else "")
            if uneven and isinstance(ours, CfC):
                forward = cfc_multiply_adds(ours, equal_spans=False) * steps
                both = 3 * forward
            make = (trainer(ours, batch, time, uneven), trainer(theirs, batch, time, uneven))
            cases.append(Case(f"train step, {name}, {size}", "ncps", *make, *train, both))
            make = (inference(ours, batch, time, uneven), inference(theirs, batch, time, uneven))
            cases.append(Case(f"inference, {name}, {size}", "ncps", *make, *infer, forward))
    lstm = nn.LSTM(8, 64, batch_first=True)
    like = CfC(8, 64, backbone_units=57)  # 18,945 weights and biases beside the LSTM's 18,944
    cost = 3 * cfc_multiply_adds(like) * 64 * 128
    make = (trainer(like, 64, 128), trainer(lstm, 64, 128))
    cases.append(
        Case("train step, CfC with the parameters of LSTM(64), B 64, T 128", "nn.LSTM", *make, 1 / 1.5, 1, cost)
    )
    return cases


def live_steps() -> list[Case]:
    cfc, wired = CfC(8, 32), LTC(8, AutoNCP(32, 4))
    one_cfc, one_ltc, many = stream(cfc), stream(wired), stream(wired, 10_000)
    values, rows = np.random.default_rng(0).normal(size=8), np.random.default_rng(0).normal(size=(10_000, 8))
    peer = ncps.torch.LTC(8, ncps.wirings.AutoNCP(32, 4))
    x, state = torch.randn(1, 1, 8), torch.zeros(1, 32)

    def ncps_step() -> None:
        with torch.inference_mode():
            peer(x, state)

    def each_alone() -> None:
        for row in rows[:500]:
            one_ltc.step(row, 1.0)

    alone = ltc_multiply_adds(wired)
    mixture = MixtureOfLiquid([CfC(8, 32, backbone_units=32) for _ in range(4)], CfC(8, 8, backbone_layers=0))
    one_mixture = stream(mixture)
    with backends.use("reference"):
        through_pytorch = stream(mixture)
    called = sum(cfc_multiply_adds(each, equal_spans=False) for each in (mixture.experts[0], mixture.router))
    return [
        Case(
            "one live step, CfC(8, 32)",
            "ONNX Runtime",
            lambda: one_cfc.step(values, 1.0),
            onnx_step(),
            5,
            10,
            cfc_multiply_adds(cfc, equal_spans=False),
            (2000, 500),
        ),
        Case(
            "one live step, LTC on AutoNCP(32, 4)",
            "ncps",
            lambda: one_ltc.step(values, 1.0),
            ncps_step,
            40,
            100,
            alone,
            (1000, 10),
        ),
        Case(
            "one live step, one of four CfC(8, 32) with 32 backbone units",
            "PyTorch",
            lambda: one_mixture.step(values, 1.0),
            lambda: through_pytorch.step(values, 1.0),
            100,
            500,
            called,
            (2000, 10),
        ),
        Case(
            "500 of 10,000 streams, LTC on AutoNCP(32, 4), one step",
            "single steps of ours",
            lambda: many.step(rows, 1.0),
            each_alone,
            5,
            10,
            alone * 500,
        ),
    ]


def onnx_step() -> Run:
    """A step of the published CfC cell, exported and run on one thread."""
    cell = ncps.torch.CfCCell(8, 32)
    arguments = (torch.randn(1, 8), torch.zeros(1, 32), torch.ones(1, 1))
    file = io.BytesIO()
    torch.onnx.export(cell, arguments, file, input_names=["x", "h", "t"], output_names=["y", "h1"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    state = {"h": np.zeros((1, 32), np.float32)}
    x, t = np.ones((1, 8), np.float32), np.ones((1, 1), np.float32)

    def step() -> None:
        _, state["h"] = session.run(None, {"x": x, "h": state["h"], "t": t})

    return step


def memory_code(ours: bool) -> str:
    """A training step of LTC(8, 64), B 64, T 128, for :func:`benchmarks.measure.peak_memory`."""
    package = "from torchliquid.layers import LTC" if ours else "from ncps.torch import LTC"
    return (
        f"import torch\n{package}\ntorch.set_num_threads(2)\nlayer, x = LTC(8, 64), torch.randn(64, 128, 8)\n"
        "layer(x[:2, :2])[0].sum().backward()\n"
        "start()\nlayer(x)[0].square().mean().backward()"
    )
