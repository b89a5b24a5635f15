"""How the cost of a training step grows with time, batch and synapses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmarks import measure
from benchmarks.cases import Run, trainer
from torchliquid.layers import LTC, CfC
from torchliquid.wirings import AutoNCP, Random


@dataclass
class Curve:
    """Milliseconds of a training step at each size."""

    name: str
    axis: str
    sizes: list[int]
    milliseconds: list[float]


def measure_curves() -> list[Curve]:
    curves = []
    layers: dict[str, nn.Module] = {"CfC(8, 32)": CfC(8, 32), "LTC on AutoNCP(64, 4)": LTC(8, AutoNCP(64, 4))}
    sizes = [64, 128, 256, 512]
    for name, layer in layers.items():
        runs = [trainer(layer, 64, time) for time in sizes]
        curves.append(Curve(f"{name}, B 64", "T", sizes, milliseconds(runs)))
        runs = [trainer(layer, batch, 128) for batch in sizes]
        curves.append(Curve(f"{name}, T 128", "B", sizes, milliseconds(runs)))
    torch.manual_seed(0)
    wired = [LTC(8, Random(128, 4, sparsity_level=s)) for s in (0.95, 0.9, 0.8, 0.6)]
    synapses = [layer.rnn_cell.synapse_index.shape[1] for layer in wired]
    runs = [trainer(layer, 64, 64) for layer in wired]
    curves.append(Curve("LTC of 128 units, B 64, T 64", "synapses", synapses, milliseconds(runs)))
    return curves


def milliseconds(runs: list[Run]) -> list[float]:
    return [1e3 * seconds for seconds in measure.together(*runs, of_rounds=min)]


@dataclass
class Line:
    """Milliseconds = fixed + slope * size; the largest relative deviation; the exponent of a fit without ``fixed``."""

    fixed: float
    slope: float
    deviation: float
    exponent: float


def line(curve: Curve) -> Line:
    """The line with the least squares of relative deviations, so that each size has the same weight."""
    sizes, times = np.array(curve.sizes, float), np.array(curve.milliseconds)
    terms = np.stack([np.ones_like(sizes), sizes], 1) / times[:, None]
    fixed, slope = np.linalg.lstsq(terms, np.ones_like(times), rcond=None)[0]
    deviation = np.abs((fixed + slope * sizes) / times - 1).max()
    return Line(float(fixed), float(slope), float(deviation), float(np.polyfit(np.log(sizes), np.log(times), 1)[0]))


def drawing(curves: list[Curve]) -> str:
    """The curves as an SVG with logarithmic axes, each relative to its first point; the dashed line is linear."""
    width, height, left, bottom = 640, 400, 60, 40
    colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555"]
    span = max(np.log2(max(c.sizes) / c.sizes[0]) for c in curves)

    def at(x: float, y: float) -> str:
        return f"{left + x / span * (width - left - 20):.0f},{height - bottom - y / span * (height - bottom - 20):.0f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<polyline points="{at(0, 0)} {at(span, span)}" stroke="#999" stroke-dasharray="5 4" fill="none"/>',
    ]
    for i in range(int(span) + 1):
        x, y = at(i, 0).split(","), at(0, i).split(",")
        parts.append(f'<text x="{x[0]}" y="{height - bottom + 18}" text-anchor="middle">×{2**i}</text>')
        parts.append(f'<text x="{left - 8}" y="{y[1]}" text-anchor="end">×{2**i}</text>')
    for i, (curve, colour) in enumerate(zip(curves, colours, strict=True)):
        logs = zip(np.log2(curve.sizes) - np.log2(curve.sizes[0]), np.log2(curve.milliseconds), strict=True)
        points = " ".join(at(x, y - np.log2(curve.milliseconds[0])) for x, y in logs)
        parts.append(f'<polyline points="{points}" stroke="{colour}" stroke-width="2" fill="none"/>')
        parts.append(f'<text x="{left + 12}" y="{30 + 18 * i}" fill="{colour}">{curve.name}, over {curve.axis}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 6}" text-anchor="middle">size</text>')
    parts.append(
        f'<text x="14" y="{height / 2}" transform="rotate(-90 14 {height / 2})" text-anchor="middle">time</text>'
    )
    return "\n".join([*parts, "</svg>"])
