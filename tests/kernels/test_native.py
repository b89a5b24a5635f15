"""The compiled kernels against the float64 reference, and what else is promised of them."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.helpers.needed import NO_KERNELS
from tests.helpers.recurrences import KINDS, Problem, problems, taken

from torchliquid import InputError, backends, kernels
from torchliquid.backends import autograd, native, reference
from torchliquid.cells import GRUD
from torchliquid.layers import LTC, CfC
from torchliquid.wirings import AutoNCP

if not native.available():
    pytest.skip(NO_KERNELS, allow_module_level=True)

import torchliquid._native as _native

drawing = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
FORWARD, BACKWARD = 1e-5, 1e-4


@pytest.fixture(params=_native.instruction_sets())
def instruction_set(request: pytest.FixtureRequest) -> Any:
    _native.use_instruction_set(request.param)
    yield request.param
    _native.use_instruction_set(_native.instruction_sets()[0])


def assert_as_reference(problem: Problem) -> None:
    outputs, gradients = problem.run(native)
    true_outputs, true_gradients = problem.run(reference, torch.float64)
    for one, true in zip(outputs, true_outputs, strict=True):
        # A CfC in pure mode has no bound: where its state grows, its rounding grows with it.
        assert (one - true).abs().max() <= FORWARD * max(1.0, float(true.abs().max()) if true.numel() else 1.0), problem
    # A tensor whose gradients cancel out to nothing is held to the scale of the others.
    least = 1e-2 * max(float(g.abs().max()) for g in true_gradients if g.numel())
    # Terms that cancel out leave their rounding, which grows with the square root of their number.
    batch, time = true_outputs[0].shape[:2]
    allowed = BACKWARD * max(1.0, (batch * time / 2000) ** 0.5)
    for one, true in zip(gradients, true_gradients, strict=True):
        if one.numel():
            assert (one - true).abs().max() <= allowed * max(float(true.abs().max()), least), problem


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_reference_in_double_precision(kind: str, instruction_set: str) -> None:
    @drawing
    @given(problems(kind))
    def check(problem: Problem) -> None:
        assert_as_reference(problem)

    check()


def test_a_state_space_agrees_with_the_reference_in_double_precision(instruction_set: str) -> None:
    @drawing
    @given(*[st.integers(1, n) for n in (4, 3, 5, 40, 2**16)])
    def check(batch: int, kinds: int, states: int, width: int, seed: int) -> None:
        torch.manual_seed(seed)
        sizes = torch.randint(0, batch + 1, (seed % 7,)).sort(descending=True).values
        which = torch.randint(kinds, (int(sizes.sum()),))
        fading, gain, read = 0.7 * torch.randn(kinds, 2, states, width), *torch.randn(2, 2, states, width)
        inputs, state = torch.randn(len(which), width), torch.randn(batch, 2, states, width)

        def run(code: Any, dtype: torch.dtype) -> list[torch.Tensor]:
            sources = [x.detach().to(dtype, copy=True).requires_grad_() for x in (fading, gain, inputs, read, state)]
            f, g, u, c, h = sources
            outputs, last = code.state_space(f, which, g, u, c, h, sizes)
            loss = outputs.square().sum() + last.sin().sum()
            grads = torch.autograd.grad(loss, sources, materialize_grads=True)
            return [outputs, last, *grads]

        for one, true in zip(run(native, torch.float32), run(reference, torch.float64), strict=True):
            scale = float(true.detach().abs().max()) if true.numel() else 0.0
            torch.testing.assert_close(one.double(), true, rtol=0, atol=BACKWARD * max(1.0, scale))

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_over_many_more_shapes(kind: str) -> None:
    @settings(drawing, max_examples=300)
    @given(problems(kind))
    def check(problem: Problem) -> None:
        assert_as_reference(problem)

    check()


@pytest.mark.parametrize("kind", ["ltc", "cfc", "ctgru"])
@drawing
@given(data=st.data())
def test_any_span_in_a_single_step(kind: str, data: st.DataObject) -> None:
    problem = data.draw(problems(kind))
    a = problem.arguments
    for name in ("inputs", "timespans", "memory_drive"):
        if a.get(name) is not None:
            a[name] = a[name][:, :1].clone()
    a["lengths"] = None
    if kind == "cfc":
        a["dropout_masks"] = []
        # The time gate sigmoid(a t + b) turns a's rounding into t times as much: weights that every format holds
        # exactly, and sums of them that do too, leave the span's own arithmetic to be judged.
        for name in ("inputs", "state", "memory_drive", "memory_weight", "cell"):
            if a[name] is not None:
                a[name] = (a[name] * 4).round() / 4
        a["memory_drive"] = a["memory_weight"] = a["cell"] = None
        a["backbone"] = []
        a["heads"] = _exact_heads(a)
    spans = data.draw(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=8))
    a["timespans"] = torch.tensor(spans).repeat(len(a["timespans"]))[: len(a["timespans"])].unsqueeze(1)
    with torch.no_grad():
        states, _ = native.run(*taken(kind, a))
        true, _ = reference.run(*taken(kind, {name: _doubled(value) for name, value in a.items()}))
    assert (states - true).abs().max() <= FORWARD, problem


def _doubled(value: Any) -> Any:
    if isinstance(value, list):
        return [_doubled(v) for v in value]
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _exact_heads(a: dict[str, Any]) -> list[torch.Tensor]:
    random, per_unit = torch.Generator().manual_seed(0), 1 if a["mode"] == "pure" else 4
    heads, below = [], a["inputs"].shape[2]
    for n in a["layer_sizes"][:1]:
        heads += [torch.randint(-2, 3, (per_unit * n, below + n), generator=random) / 8]
        heads += [torch.randint(-8, 9, (per_unit * n,), generator=random) / 8]
        heads += [torch.randint(-8, 9, (n,), generator=random) / 8 for _ in range(2)] if per_unit == 1 else []
    a["layer_sizes"] = a["layer_sizes"][:1]
    a["state"] = a["state"][:, : a["layer_sizes"][0]].clone()
    return heads


@pytest.mark.parametrize("kind", KINDS)
@settings(drawing, max_examples=10)
@given(data=st.data())
def test_extreme_inputs(kind: str, data: st.DataObject) -> None:
    problem = data.draw(problems(kind))
    a = problem.arguments
    scale = data.draw(st.sampled_from([1e3, 1e10, 1e30]))
    a["inputs"] = a["inputs"] * scale
    if kind == "cfc" and a["mode"] == "pure":
        a["inputs"] = a["inputs"].sign()  # the state itself would be as large as the inputs
    if kind == "cfc" and a["activation"] in ("relu", "silu", "gelu"):
        a["activation"] = "tanh"  # unbounded ones overflow in one precision before the other
    with torch.no_grad():
        states, cells = native.run(*taken(kind, a))
    assert torch.isfinite(states).all()
    assert torch.isfinite(cells).all()


@pytest.mark.parametrize("kind", KINDS)
@settings(drawing, max_examples=10)
@given(data=st.data())
def test_the_number_of_threads_changes_no_bit(kind: str, data: st.DataObject) -> None:
    problem = data.draw(problems(kind))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            outputs, gradients = problem.run(native)
            results.append([t.numpy().tobytes() for t in (*outputs, *gradients)])
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("layer", [LTC(3, AutoNCP(12, 2)), CfC(3, 9), CfC(3, 9, mode="pure", mixed_memory=True)])
def test_a_nan_stays_in_its_sample(layer: torch.nn.Module) -> None:
    x = torch.randn(37, 6, 3)
    clean, _ = layer(x)
    x[20, 2, 1] = torch.nan
    spoilt, _ = layer(x)
    others = torch.arange(37) != 20
    assert torch.equal(clean[others], spoilt[others])
    assert torch.equal(clean[20, :2], spoilt[20, :2])
    assert torch.isnan(spoilt[20, 3:]).any()


@settings(drawing, max_examples=10)
@given(problem=problems("cfc"), seed=st.integers(0, 99))
def test_what_stands_behind_a_length_reaches_nothing(problem: Problem, seed: int) -> None:
    a = problem.arguments
    batch, time, _ = a["inputs"].shape
    a["lengths"] = torch.randint(0, time + 1, (batch,), generator=torch.Generator().manual_seed(seed))
    outputs, gradients = problem.run(native)
    behind = torch.arange(time) >= a["lengths"].unsqueeze(1)
    for name in ("inputs", "timespans", "memory_drive"):
        if a[name] is not None:
            a[name][behind] = torch.nan
    spoilt_outputs, spoilt_gradients = problem.run(native)
    for one, other in zip([*outputs, *gradients], [*spoilt_outputs, *spoilt_gradients], strict=True):
        assert torch.equal(one, other)
    last = outputs[0][torch.arange(batch), (a["lengths"] - 1).clamp_min(0)]
    last = torch.where(a["lengths"].unsqueeze(1) > 0, last, a["state"])
    assert torch.equal(outputs[0][:, -1], last)


def _in_a_child(queue: Any) -> None:
    torch.manual_seed(0)
    layer, x = CfC(3, 20), torch.ones(80, 30, 3)
    layer(x)[0].sum().backward()
    queue.put(layer.rnn_cell.ff1.weight.grad.numpy())


@pytest.mark.parametrize("default", [torch.float64, torch.float16])
def test_torchs_defaults_change_nothing(default: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, x = LTC(3, 6), torch.randn(2, 5, 3)

    def answers() -> list[torch.Tensor]:
        layer.zero_grad()
        output, _ = layer(x)
        output.sum().backward()
        return [output.detach(), *(p.grad.clone() for p in layer.parameters() if p.grad is not None)]

    expected = answers()
    torch.set_default_dtype(default)
    try:
        found = answers()
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_works_after_a_fork() -> None:
    context = multiprocessing.get_context("fork")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        queue: Any = multiprocessing.Queue()
        _in_a_child(queue)  # the parent has used its threads
        torch.set_num_threads(1)  # what torch itself needs after a fork
        child = context.Process(target=_in_a_child, args=(queue,))
        child.start()
        results = [queue.get(timeout=60) for _ in range(2)]
        child.join()
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*results)


def test_works_in_a_fork_of_a_process_in_which_only_pytorch_had_threads() -> None:
    code = (
        "import os, torch; from torchliquid.layers import CfC\n"
        "torch.set_num_threads(2); torch.ones(4_000_000).mul(2)\n"
        "child = os.fork()\n"
        "if child: raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "CfC(3, 20)(torch.ones(80, 3, 3)); os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={**os.environ, "OMP_NUM_THREADS": "2"})


def test_second_derivatives_are_the_references(caplog: pytest.LogCaptureFixture) -> None:
    layer = CfC(2, 3, backbone_units=4, mixed_memory=True)
    other = copy.deepcopy(layer).double()
    autograd._said = False
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            results = []
            for one, dtype in ((layer, torch.float32), (other, torch.float64)):
                x = torch.linspace(-1, 1, 12, dtype=dtype).reshape(2, 3, 2).requires_grad_()
                (slope,) = torch.autograd.grad(one(x)[0].square().sum(), x, create_graph=True)
                results.append(torch.autograd.grad(slope.square().sum(), [x, *one.parameters()]))
            for a, b in zip(*results, strict=True):
                assert torch.allclose(a.double(), b, atol=1e-4 * max(1.0, float(b.abs().max())))
    assert sum("second derivatives" in r.message for r in caplog.records) == 1


def test_only_plain_float32_on_the_cpu_goes_to_the_kernels() -> None:
    x = torch.ones(2)
    assert native.supports(x, None, torch.ones(2, dtype=torch.int64))
    assert not native.supports(x.double())
    assert not native.supports(x.bfloat16())
    assert not native.supports(x.to("meta"))
    seen: list[bool] = []
    torch.func.vmap(lambda y: (seen.append(native.supports(y)), y)[1])(x)
    assert seen == [False]
    with backends.use("reference"):
        assert backends.chosen(None, [x]) is reference
        with backends.use("native"):
            assert backends.chosen(None, [x]) is native
            with pytest.raises(InputError, match="float32 on the CPU"):
                backends.chosen(None, [x.double()])
            # What has no kernel runs all the same.
            assert backends.chosen(GRUD(x, x, x, x, []), [x]) is reference
        assert backends.chosen() is reference
        with pytest.raises(InputError, match="'reference' or 'native' or 'triton', not 'cuda'"):
            backends.use("cuda")
    assert backends.chosen(None, [x]) is native
    kernels.use("reference")  # as a function, from now on
    try:
        assert backends.chosen() is reference
    finally:
        kernels.use(None)


@pytest.mark.parametrize("kind", KINDS)
@settings(drawing, max_examples=3)
@given(data=st.data())
def test_the_plain_functions_run_what_the_cells_do(kind: str, data: st.DataObject) -> None:
    arguments = data.draw(problems(kind)).arguments
    with torch.no_grad():
        for one, other in zip(
            getattr(kernels, kind)(*arguments.values()), backends.run(*taken(kind, arguments)), strict=True
        ):
            assert torch.equal(one, other)


def test_without_the_extension_the_reference_runs_and_says_so_once() -> None:
    code = (
        "import sys; sys.modules['torchliquid._native'] = None\n"
        "import torch; from torchliquid.layers import CfC; torch.manual_seed(0)\n"
        "for _ in range(3): CfC(2, 3)(torch.ones(1, 2, 2))[0].sum().backward()\n"
        "from torchliquid import kernels, InputError\n"
        "try: kernels.use('native')\n"
        "except InputError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("built without its kernels") == 1
    assert "compiler" in done.stdout


def test_a_wrong_shape_or_index_is_refused() -> None:
    def refused(**changes: Any) -> None:
        one = torch.ones
        a: dict[str, Any] = {
            "inputs": one(2, 3, 1),
            "timespans": one(2, 3),
            "state": one(2, 2),
            "lengths": None,
            "leak": [one(2)] * 3,
            "synapses": [one(2)] * 4,
            "synapse_index": torch.tensor([[0, 1], [0, 1]]),
            "sensory": [one(1)] * 4,
            "sensory_index": torch.tensor([[0], [1]]),
            "unfolds": 2,
            "epsilon": 1e-8,
        }
        memory = dict.fromkeys(("drive", "weight", "cell"))
        native.run(*taken("ltc", a | memory))
        with pytest.raises(ValueError, match=r"\w"):
            native.run(*taken("ltc", a | changes | memory))

    refused(timespans=torch.ones(2, 2))
    refused(lengths=torch.ones(3, dtype=torch.int64))
    refused(synapse_index=torch.tensor([[0, 2], [0, 1]]))
    refused(synapse_index=torch.tensor([[0, 1], [1, 0]]))
    refused(sensory_index=torch.tensor([[-1], [1]]))
    refused(leak=[torch.ones(2)] * 2)
    refused(unfolds=0)


@pytest.mark.parametrize("kind", ["ctgru", "ode_rnn"])
@settings(drawing, max_examples=5)
@given(data=st.data())
def test_any_tensor_that_is_too_short_is_refused(kind: str, data: st.DataObject) -> None:
    arguments = data.draw(problems(kind)).arguments
    for name, value in arguments.items():
        parts = value if isinstance(value, list) else [value]
        for i, part in enumerate(parts):
            if isinstance(part, torch.Tensor):
                cut = [*parts[:i], part[..., :-1], *parts[i + 1 :]]
                wrong = arguments | {name: cut if isinstance(value, list) else cut[0]}
                with pytest.raises(ValueError, match=r"\w"):
                    native.run(*taken(kind, wrong))
