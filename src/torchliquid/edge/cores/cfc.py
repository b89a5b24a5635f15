"""Closed-form continuous-time neurons (arXiv 2106.13898), wired or behind a backbone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from torchliquid.cells.cfc import ACTIVATIONS
from torchliquid.edge import text
from torchliquid.edge.cores.core import Core, Layout, Needs, Ranges, largest, peak
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers, Widths, wires
from torchliquid.edge.text import Constant
from torchliquid.models.description import Cfc, CfcLayer, Dense


class CfcCore(Core[Cfc]):
    label = "CfC"
    template = "cfc"

    @property
    def pure(self) -> bool:
        return self.data.mode == "pure"

    @property
    def activation(self) -> str:
        return self.data.activation if self.data.backbone else ""

    @property
    def smooth(self) -> bool:
        return "tanh" in self.data.activation

    @property
    def functions(self) -> set[str]:
        return {
            name
            for name, used in (
                ("tanh", not self.pure or "tanh" in self.activation),
                ("sigmoid", not self.pure or self.activation == "silu"),
                ("gelu", self.activation == "gelu"),
                ("sparse", any(layer.mask is not None for layer in self.data.layers)),
            )
            if used
        }

    @property
    def tables(self) -> set[str]:
        found = self.functions & {"tanh", "sigmoid"}
        found |= {"tanh"} if "sigmoid" in found else set()  # sigmoid uses tanh's table
        return found | ({"exp"} if self.pure else set()) | ({"normal"} if self.activation == "gelu" else set())

    @property
    def clips(self) -> bool:
        return self.pure or (bool(self.data.backbone) and not self.smooth)

    @property
    def has_hidden(self) -> bool:
        return bool(self.data.backbone)

    @property
    def steps(self) -> Any:
        return self.data.mode

    @property
    def bounded(self) -> bool:
        return not self.pure

    def peaks(self, source: float) -> list[float]:
        found = []
        for dense in self.data.backbone:
            found.append(peak(dense, source))
            source = 2.0 if self.smooth else found[-1]
        return found + [peak(layer.heads, source) for layer in self.data.layers]

    @property
    def masked(self) -> int:
        """Number of heads that a wiring masks: f, or f and g."""
        return 1 if self.pure else 2

    @property
    def wire_type(self) -> str:
        """The C type for the indices of a wired CfC's sources and for their counts."""
        wired = [wires(layer.mask) for layer in self.data.layers if layer.mask is not None]
        return text.index_type(max((int(w.max(initial=0)) for both in wired for w in both), default=0))

    def context(self) -> dict[str, Any]:
        """Where each layer reads and writes its values."""
        cfc = self.data
        layers, at, before = [], 0, "x"
        for layer in cfc.layers:
            here = f"h + {at}" if at else "h"
            layers.append(
                {
                    "units": layer.units,
                    "inputs": layer.inputs,
                    "rows": len(layer.heads.bias),
                    "synapses": None if layer.mask is None else int(layer.mask.sum()),
                    "masked_heads": self.masked,
                    "x": before,
                    "h": here,
                }
            )
            before, at = here, at + layer.units
        return {
            "mode": cfc.mode,
            "activation_name": cfc.activation,
            "backbone": [len(dense.bias) for dense in cfc.backbone],
            "layers": layers,
            "widest_heads": max(len(layer.heads.bias) for layer in cfc.layers),
            "wire_type": self.wire_type,
            "liquid_clips": self.clips,
        }

    def constants(self, layout: Layout) -> list[Constant]:
        made: list[Constant] = []
        for i, dense in enumerate(self.data.backbone):
            made += self.named(f"backbone{i}", dense, layout, f"Backbone, layer {i + 1}.")
        for i, layer in enumerate(self.data.layers):
            made += self._layer(i, layer, layout)
        return made

    def _layer(self, i: int, layer: CfcLayer, layout: Layout) -> list[Constant]:
        made: list[Constant] = []
        heads, n, u, q = layer.heads, layer.inputs, layer.units, self.prefix
        where = f"layer {i + 1}"
        if layer.mask is None:
            names = "Head f" if self.pure else "Heads f, g, a, b"
            made += [self.weight(f"head{i}", heads.weight, layout, f"{names}, {where}.")]
        else:
            masked = self.masked * u
            weight = heads.weight[:masked, :n][np.tile(layer.mask, (self.masked, 1))]
            source, count = wires(layer.mask)
            ends = f"Synapses into {where}, by the neuron they end at: weights of {'f' if self.pure else 'f and g'}"
            made += [
                Constant(text.array(f"{q}wire{i}_weight", weight if len(weight) else [0.0]), f"{ends}, sources."),
                Constant(text.array(f"{q}wire{i}_source", source if len(source) else [0], self.wire_type)),
                Constant(text.array(f"{q}wire{i}_count", count, self.wire_type)),
                self.weight(f"head{i}", heads.weight[:masked, n:], layout, "And inside the layer."),
            ]
            if not self.pure:
                made += [self.weight(f"gate{i}", heads.weight[masked:], layout, "The time gates a and b.")]
        made += [Constant(text.array(f"{q}head{i}_bias", heads.bias))]
        if layer.rate is not None and layer.amplitude is not None:
            made += [Constant(text.array(f"{q}rate{i}", layer.rate))]
            made += [Constant(text.array(f"{q}amplitude{i}", layer.amplitude))]
        return made

    # -- in integers

    def weights(self) -> dict[str, int]:
        found = {f"backbone{i}": dense.weight.size for i, dense in enumerate(self.data.backbone)}
        for i, layer in enumerate(self.data.layers):
            found[f"head{i}"] = layer.heads.weight.size
            if layer.mask is not None:
                found[f"head{i}"] = self.masked * (int(layer.mask.sum()) + layer.units**2)
                if not self.pure:
                    found[f"gate{i}"] = layer.heads.weight[self.masked * layer.units :].size
        return found

    def measure(self, seen: Ranges, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        import torch

        activation, at = ACTIVATIONS[self.data.activation], 0
        for layer in self.data.layers:
            own = slice(at, at + layer.units)
            z = np.concatenate([x, before[:, own]], 1)
            for dense in self.data.backbone:
                drive = dense(z)
                z = activation(torch.from_numpy(drive)).numpy()
                seen.drive.append(largest(drive))
                seen.hidden.append(largest(z))
            heads = layer.heads(z)
            if self.pure:
                seen.head = max(seen.head, largest(heads))
            else:
                seen.gate = max(seen.gate, largest(heads[:, 2 * layer.units : 3 * layer.units]))
            x, at = after[:, own], at + layer.units

    def needs(self, seen: Ranges, widths: Widths) -> Needs:
        hidden = tuple((1.0, True) if self.smooth else (h, False) for h in seen.hidden)
        if not self.pure:
            return Needs(2.0 if self.data.mode == "no_gate" else 1.0, True, hidden)
        rate = max(float(layer.rate.max()) for layer in self.data.layers if layer.rate is not None)
        return Needs(seen.state, False, hidden, rate)

    def integers(self, made: Integers) -> None:
        cfc, chosen = self.data, made.formats
        tanh, sigmoid = made.units("tanh", "sigmoid")
        gain = {"lecun_tanh": (0.666, 1.7159)}.get(cfc.activation, (1.0, 1.0))
        for i, dense in enumerate(cfc.backbone):
            # The two factors of LeCun's tanh are multiplied into the weights before and after it.
            inner = Dense(dense.weight * (gain[1] if i else 1.0), dense.bias)
            unit = tanh * gain[0] if self.smooth else 2.0**chosen.drive
            only = f"hidden{i - 1}" if i else ""
            made.dense(f"backbone{i}", inner, 0 if i else self.inputs, unit, f"Backbone, layer {i + 1}.", only)
        for i, layer in enumerate(cfc.layers):
            rows = [2.0**chosen.head] if self.pure else [tanh, tanh, 2.0**chosen.gate, sigmoid]
            unit = np.repeat(rows, layer.units)
            where = f"layer {i + 1}"
            if cfc.backbone:
                heads = Dense(layer.heads.weight * gain[1], layer.heads.bias)
                made.dense("head0", heads, 0, unit, f"Heads, {where}.", f"hidden{len(cfc.backbone) - 1}")
            elif layer.mask is None:
                made.dense(f"head{i}", layer.heads, layer.inputs, unit, f"Heads, {where}.")
            else:
                masked = self.masked * layer.units
                source = "state" if i else "input"
                part = Dense(layer.heads.weight[:masked], layer.heads.bias[:masked])
                made.wires(i, part, layer.mask, unit[:masked], self.wire_type, source, where)
                if not self.pure:
                    rest = Dense(layer.heads.weight[masked:], layer.heads.bias[masked:])
                    remark = "The time gates a and b."
                    made.dense(f"gate{i}", rest, layer.inputs, unit[masked:], remark, source=source)
            if layer.rate is not None and layer.amplitude is not None:
                rate = np.minimum(np.round(layer.rate * 2.0**chosen.head), 65535)
                made.array(f"rate{i}", rate, "uint16_t")
                most = max(float(np.abs(layer.amplitude).max()), 1e-6)
                shift = min(math.floor(math.log2(32767 / most)), 30)
                shift = max(shift, chosen.state - chosen.head + 1)
                amplitude = np.clip(np.round(layer.amplitude * 2.0**shift), -(2**30), 2**30)
                made.array(f"amplitude{i}", amplitude, "int32_t")
                made.context["shifts"][f"amplitude{i}"] = shift + chosen.head - chosen.state

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        cfc, parts = self.data, []
        for layer, own in zip(cfc.layers, g.slices(h, [layer.units for layer in cfc.layers]), strict=True):
            z = g.concat(x, own)
            for dense in cfc.backbone:
                z = _activation(g, cfc.activation, g.dense(z, dense))
            heads = g.dense(z, layer.heads)
            if layer.rate is not None and layer.amplitude is not None:
                rate = g.mul(span, g.add(g.constant(layer.rate), g.call("Abs", heads)))
                decayed = g.mul(g.call("Exp", g.call("Neg", rate)), heads)
                x = g.mul(g.constant(layer.amplitude), g.sub(1.0, decayed))
            else:
                f, k, a, b = g.slices(heads, [layer.units] * 4)
                f, k = g.call("Tanh", f), g.call("Tanh", k)
                s = g.call("Sigmoid", g.add(g.mul(a, span), b))
                x = g.add(f, g.mul(s, k if cfc.mode == "no_gate" else g.sub(k, f)))
            parts.append(x)
        return g.concat(*parts), c


def _activation(g: Graph, name: str, x: str) -> str:
    if name == "lecun_tanh":
        return g.mul(g.call("Tanh", g.mul(x, 0.666)), 1.7159)
    if name == "silu":
        return g.mul(x, g.call("Sigmoid", x))
    if name == "gelu":
        share = g.mul(g.add(g.call("Erf", g.mul(x, float(np.sqrt(0.5)))), 1.0), 0.5)
        return g.mul(x, share)
    return g.call({"tanh": "Tanh", "relu": "Relu"}[name], x)
