"""Measures exported models: a step beside ONNX Runtime on this machine, and footprints on every target.

``python -m benchmarks.export`` writes ``docs/edge-figures.md`` in a few minutes; the first time, zig also builds its C
libraries.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks import measure
from torchliquid.data import Preprocessing
from torchliquid.edge import TARGETS, Footprint, artifact, emulator, footprint, onnx
from torchliquid.edge.compilers import STRICT, host, run
from torchliquid.edge.generate import Math, sources
from torchliquid.edge.network import describe
from torchliquid.layers import LTC, CfC
from torchliquid.models import Model
from torchliquid.models.networks import Gated, Liquid, Network
from torchliquid.page import Table
from torchliquid.tasks import Task
from torchliquid.wirings import NCP

PAGE = Path(__file__).parents[1] / "docs" / "edge-figures.md"

LOOP = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "model.h"

int main(void)
{
    static model_state state;
    static float inputs[MODEL_INPUTS], outputs[MODEL_OUTPUTS];
    struct timespec from, to;
    model_init(&state);
    for (int round = 0; round < 15; round++) {
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (int i = 0; i < 20000; i++) {
            inputs[i % MODEL_INPUTS] = (float)(i % 17) * 0.1f;
            model_step(&state, inputs, 1.0f, outputs);
        }
        clock_gettime(CLOCK_MONOTONIC, &to);
        printf("%.9g\\n", ((double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec)) / 20000);
    }
    return 0;
}
"""


def model(network: Network, inputs: int) -> Model:
    rule = Preprocessing(
        tuple(f"c{i}" for i in range(inputs)), np.zeros(inputs), np.ones(inputs), 1.0, "s", with_mask=False
    )
    return Model("", {}, network, Task("regression", "step", "y", mean=(0.0,), std=(1.0,)), rule).eval()


def models() -> dict[str, Model]:
    torch.manual_seed(0)
    lane = LTC(32, NCP(12, 6, 1, 6, 4, 6, 6, seed=1), output_mapping=None)
    return {
        "LTC, NCP of 19 neurons, 32 inputs": model(Liquid(lane), 32),
        "CfC(8, 32), backbone 64": model(Liquid(CfC(8, 32, backbone_units=64)), 8),
        "CfC(8, 32), backbone 128 (default)": model(Liquid(CfC(8, 32)), 8),
        "LSTM, 8 inputs, 32 units": model(Gated("lstm", 8, 32), 8),
        "GRU, 8 inputs, 32 units": model(Gated("gru", 8, 32), 8),
    }


def walk(one: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    values = np.cumsum(rng.normal(size=(200, one.preprocessing.n_channels)) * 0.3, 0)
    return values.astype(np.float32), rng.exponential(1, 200).astype(np.float32), np.arange(200) == 0


def loop(folder: Path, one: Model, math: Math, flags: list[str]) -> Path:
    """A program that times steps of the C."""
    folder.mkdir()
    for name, content in sources(describe(one), math, "columns").items():
        (folder / name).write_text(content)
    (folder / "loop.c").write_text(LOOP)
    run([*host(), *STRICT, *flags, "loop.c", "model.c", "-o", "loop", "-lm"], folder)
    return folder / "loop"


def speed() -> str:
    """One step of the default CfC in C and in ONNX Runtime, in turn; medians."""
    import onnxruntime

    one = models()["CfC(8, 32), backbone 128 (default)"]
    with TemporaryDirectory() as name:
        folder = Path(name)
        onnx.write(one, folder, walk(one))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(folder / "step.onnx"), options)
        given = {"values": np.zeros((1, 8), np.float32), "elapsed": np.ones(1, np.float32)}
        given |= {n: np.zeros((1, s), np.float32) for n, s in onnx.state_sizes(describe(one)).items()}
        programs = {
            "built-in math, -O3 -march=native": loop(folder / "native", one, "builtin", ["-O3", "-march=native"]),
            "libm, -O3": loop(folder / "plain", one, "libm", ["-O3"]),
        }
        times: dict[str, list[float]] = {n: [] for n in ("runtime", *programs)}
        for _ in range(7):
            times["runtime"] += measure.together(lambda: session.run(None, given), inner=(300,))
            for n, program in programs.items():
                output = subprocess.run([program], capture_output=True, text=True, check=True).stdout
                times[n].append(float(np.median([float(line) for line in output.split()])))
    runtime = float(np.median(times["runtime"]))
    rows = [(f"ONNX Runtime {onnxruntime.__version__}, one thread, from Python", f"{runtime * 1e6:.2f}", "1", "")]
    for (n, found), aim in zip(list(times.items())[1:], ("1/10", "1/3"), strict=True):
        taken = float(np.median(found))
        rows.append((f"C, {n}", f"{taken * 1e6:.2f}", f"**1/{runtime / taken:.1f}**", aim))
        print(*rows[-1], sep=", ", flush=True)
    return Table(("one step of CfC(8, 32)", "µs", "of ONNX Runtime's time", "aim"), tuple(rows)).markdown()


def footprints() -> list[str]:
    """Every model on every target, in single precision and int8."""
    lines = []
    for target in TARGETS.values():
        if not target.triple or emulator.missing(target):
            continue
        costs: dict[str, Footprint] = {}
        for name, one in models().items():
            for int8 in (False, True):
                made = artifact.make(one, target, target.math, int8, walk(one))
                words = "float32" if made.widths is None else made.widths.words
                costs[f"{name}; {words}"] = footprint.measure(made, target)
        lines += [f"## {target.name}: {target.words}", "", f"Times assume {target.assumption}.", ""]
        lines += [footprint.table(costs), ""]
        print("\n".join(lines[-4:]), flush=True)
    return lines


HEAD = """# Exported models: figures

Written by `python -m benchmarks.export`. What do exported models cost on each target? The weights here are untrained.
The widths of int8 and the time of software floating point depend on the weights, so the export of a trained model
gives its own figures. ONNX Runtime runs `step.onnx` of the same export, with scaling and readout. The cell alone, timed
in [Performance](performance.md), takes less.

"""


def main() -> None:
    torch.set_num_threads(1)
    about = "\n".join(f"* {line}" for line in measure.machine())
    PAGE.write_text(f"{HEAD}{about}\n\n## A step on a PC\n\n{speed()}\n\n" + "\n".join(footprints()))


if __name__ == "__main__":
    main()
