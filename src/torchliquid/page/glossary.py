"""Terms that several pages explain."""

from __future__ import annotations

from collections.abc import Sequence

from torchliquid import metrics

NETWORKS = {
    "liquid network": "A small recurrent network whose neurons are described by differential equations, so that it "
    "can process samples at uneven times. LTC is solved step by step, CfC has a solution in closed form. It learns "
    "in training only; what changes while it runs is its state, and how fast that state changes.",
    "NCP": "Neural circuit policy: a sparse wiring in layers (sensory, inter, command, motor neurons).",
}

METRICS = {m.label: m.meaning for m in metrics.METRICS.values()}


def metric_label(name: str, steps: Sequence[str] = ()) -> str:
    """The name of a metric in a sentence; any other word is returned as it is.

    Args:
        steps: of a forecast of several steps, how far ahead each value is, for ``RMSE, 6 samples ahead``.
    """
    whole, _, which = name.partition("[")
    if which and steps:
        return f"{metric_label(whole)}, {steps[int(which.rstrip(']')) - 1]} ahead"
    return metrics.find(name).label if whole in metrics.METRICS or name.startswith("pinball@") else name
