"""Holds the Triton kernels against the float64 reference, by Triton's interpreter: ``interpret.py KIND EXAMPLES``.

Whether kernels are interpreted is decided when Triton is imported: a process of its own, with ``TRITON_INTERPRET=1``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.helpers.recurrences import Problem, problems, taken
from torch.utils._python_dispatch import TorchDispatchMode

from torchliquid import backends
from torchliquid.backends import reference, triton
from torchliquid.backends.triton import launch
from torchliquid.backends.triton import linear as kernels
from torchliquid.cells import linear
from torchliquid.layers import LTC, LrcSSM

FORWARD, BACKWARD = 1e-5, 1e-4
SCRATCH = launch.SCRATCH


class WithoutWaiting(TorchDispatchMode):
    """No operator may need the device's values on the host, or bring the host's to the device: a CUDA graph has
    neither."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = op._schema.name.removeprefix("aten::")
        assert name not in ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal", "lift_fresh"), name
        return op(*args, **kwargs or {})


def assert_as_reference(problem: Problem) -> None:
    with WithoutWaiting():
        outputs, gradients = problem.run(triton)
    true_outputs, true_gradients = problem.run(reference, torch.float64)
    for one, true in zip(outputs, true_outputs, strict=True):
        scale = max(1.0, float(true.abs().max())) if true.numel() else 1.0
        assert (one - true).abs().max() <= FORWARD * scale, problem
    least = 1e-2 * max(float(g.abs().max()) for g in true_gradients if g.numel())
    for one, true in zip(gradients, true_gradients, strict=True):
        if one.numel():
            assert (one - true).abs().max() <= BACKWARD * max(float(true.abs().max()), least), problem


def assert_is_an_operator(problem: Problem) -> None:
    """What ``torch.compile`` and ``torch.export`` call gives the same, and goes to the same kernels."""
    cell, over = taken(problem.kind, problem.arguments)
    assert backends.chosen(cell, [over.inputs]) is triton
    called, direct = backends.operators.call(cell, over), triton.run(cell, over)
    assert all(torch.equal(*pair) for pair in zip(called, direct, strict=True))


def assert_holds_a_half_precision_state_in_single(problem: Problem) -> None:
    half = {name: _half(value) for name, value in problem.arguments.items()}
    states, _ = triton.run(*taken(problem.kind, half))
    single = {name: _single(value) for name, value in half.items()}
    expected, _ = triton.run(*taken(problem.kind, single))
    assert states.dtype is torch.bfloat16
    assert torch.equal(states, expected.bfloat16())


def _half(value: object) -> object:
    if isinstance(value, list):
        return [_half(v) for v in value]
    return value.bfloat16() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _single(value: object) -> object:
    if isinstance(value, list):
        return [_single(v) for v in value]
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@st.composite
def chunks(draw: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices and a drive, in one chunk up to several levels of chunks."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    whole = draw(st.booleans())
    batch, units = draw(st.integers(1, 2)), draw(st.integers(1, 64 if whole else 40))
    time = draw(st.integers(1, 70))
    kernels.STEPS, kernels.MATRICES = draw(st.sampled_from([(4, 3), (128, 16)]))
    shape = (batch, time, units, units) if whole else (batch, time, units)
    matrices = random.normal(size=shape) / units ** (0.5 if whole else 0.0)
    return torch.from_numpy(matrices.clip(-1.1, 1.1)), torch.from_numpy(random.normal(size=(batch, time, units)))


def assert_solves(given: tuple[torch.Tensor, torch.Tensor], reverse: bool) -> None:
    assert backends.chosen(None, [each.float() for each in given]) is triton
    true = linear.solve_linear(*given, reverse)
    with WithoutWaiting():
        found = backends.solve_linear(*(each.float() for each in given), reverse)
    assert (found - true).abs().max() <= FORWARD * max(1.0, float(true.abs().max()))


def assert_layer_is_stepped_alike(way: str) -> None:
    """Newton's method over time with these kernels: states and gradients are those of stepping."""
    torch.manual_seed(0)
    layer = LrcSSM(3, 20, solver="exponential") if way == "diagonal" else LTC(3, 6, ode_unfolds=2)
    x, spans = torch.randn(1, 40, 3), torch.rand(1, 40)
    found = []
    for over_time in ("parallel", "sequential"):
        layer.over_time = over_time
        output = layer(x, timespans=spans)[0]
        found.append([output.detach(), *torch.autograd.grad(output.square().mean(), list(layer.parameters()))])
    assert layer.rnn_cell.solved is not None
    assert layer.rnn_cell.solved.converged
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def main(kind: str, examples: int) -> None:
    assert launch.INTERPRETED

    options = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}

    @settings(max_examples=examples, phases=[Phase.generate], **options)
    @given(problems(kind, most=(3, 4, 9, 70)), st.booleans(), st.booleans(), st.integers(0, 99))
    def check(problem: Problem, reset: bool, cut: bool, seed: int) -> None:
        shape = problem.arguments["timespans"].shape
        marks = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3
        problem.arguments["reset"] = marks if reset else None
        launch.SCRATCH = 1 if cut else SCRATCH  # one sample of each sequence after the other
        assert_as_reference(problem)
        if seed % 4 == 0:
            assert_is_an_operator(problem)
            assert_holds_a_half_precision_state_in_single(problem)

    @settings(max_examples=examples, phases=[Phase.generate], **options)
    @given(chunks(), st.booleans())
    def solve(given: tuple[torch.Tensor, torch.Tensor], reverse: bool) -> None:
        assert_solves(given, reverse)

    with np.errstate(all="ignore"):
        if kind == "linear":
            solve()
            for way in ("diagonal", "full"):
                assert_layer_is_stepped_alike(way)
        else:
            check()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
