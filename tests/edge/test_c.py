"""Generated C on this machine, against PyTorch, for every network there is."""

from __future__ import annotations

import contextlib
import ctypes
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from tests.helpers.exports import FLOAT_ONLY, HOST, NAMES, every_network, in_int8, make_model, readings, samples_of
from tests.helpers.layers import MIXTURES
from tests.helpers.needed import needs
from tests.helpers.small import small_model
from torch import nn

from torchliquid.alarms import Alarm
from torchliquid.data import Preprocessing, Recording
from torchliquid.edge import artifact, bundle, emulator, parity
from torchliquid.edge.compilers import STRICT, host, run, zig
from torchliquid.edge.generate import sources, state_fields
from torchliquid.edge.network import Network, describe
from torchliquid.edge.plausible import plausible
from torchliquid.edge.quantize import Widths
from torchliquid.edge.targets import TARGETS
from torchliquid.errors import InputError
from torchliquid.layers import LTC, CfC
from torchliquid.models import Model, build
from torchliquid.models.description import Ltc
from torchliquid.models.networks import Liquid
from torchliquid.tasks import Task
from torchliquid.wirings import AutoNCP

HELD, SPAN, KEPT, RANGE, GAP = 1, 2, 4, 16, 32


def compilers() -> list[list[str]]:
    found = [["gcc"]] if shutil.which("gcc") else []
    with contextlib.suppress(InputError):
        found.append(zig())
    return found


@every_network
def test_each_step_agrees_with_pytorch_and_compiles_without_a_word(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    for math, target in (("builtin", "cortex-m4"), ("libm", "c99")):  # by rows and by columns
        made = artifact.make(model, TARGETS[target], math, False, samples_of(model, readings()))  # type: ignore[arg-type]
        assert np.isnan(made.walked.inputs).any()
        found = made.run(None, same_state=True)
        assert np.abs(found.records["state"]["hidden"] - made.walked.hidden).max() <= 3e-6
        if name in MIXTURES:
            np.testing.assert_allclose(found.records["state"]["waited"], made.walked.waited, rtol=1e-6)
        # Untrained readouts magnify rounding; of trained ones test_recordings.py asks for 1e-5.
        assert parity.largest_difference(made.walked, found) <= 1e-4
        assert parity.largest_difference(made.walked, made.run(None, same_state=False)) <= 1e-4
        made.write(tmp_path)
        for compiler in compilers() if math == "builtin" else compilers()[:1]:
            command = [*compiler, *STRICT, "-Wdouble-promotion", "-O1", "-c", "model.c", "-o", "model.o"]
            run(command, tmp_path)


@pytest.mark.parametrize("name", ["cfc", "ltc memory", "gru"])
def test_a_channel_that_was_constant_in_training_is_ignored(name: str) -> None:
    model = make_model(name)
    rule = model.preprocessing
    model.preprocessing = replace(rule, ignored=np.arange(rule.n_channels) == 1)
    inputs, elapsed, first = samples_of(model, readings(150))
    moved = inputs.copy()
    moved[:, 1] += 1000 * np.arange(len(moved), dtype=np.float32)
    still = parity.walk(model, inputs, elapsed, first)
    walked = parity.walk(model, moved, elapsed, first)
    np.testing.assert_array_equal(walked.outputs, still.outputs)
    for quantized in (False, True):
        made = artifact.make(model, HOST, "builtin", quantized, (inputs, elapsed, first))
        theirs = replace(made, walked=walked).run(None, same_state=False)
        np.testing.assert_array_equal(theirs.records["outputs"], made.run(None, same_state=False).records["outputs"])
        if not quantized:
            assert parity.largest_difference(walked, theirs) <= 1e-4


@every_network
def test_clang_compiles_it_without_a_word(name: str, tmp_path: Path) -> None:
    needs("clang")
    model = make_model(name)
    samples = samples_of(model, readings(20))
    single = artifact.make(model, HOST, "builtin", False, samples)
    int8 = [] if name in FLOAT_ONLY else [in_int8(model, single.walked, Widths(8, 8, 16))]
    for made in (single, *int8):
        made.write(tmp_path)
        run(["clang", *STRICT, "-Wdouble-promotion", "-O1", "-c", "model.c", "-o", "model.o"], tmp_path)


@every_network
def test_int8_stays_near(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    walked = parity.walk(model, *samples_of(model, readings()))
    if name in FLOAT_ONLY:
        with pytest.raises(
            InputError,
            match=r"int8 steps an LTC by the solver fused",
        ):
            in_int8(model, walked, Widths(16, 16, 16))
        return
    # The "lrcssm" has probabilities that hardly move, by 0.017: eight bits of a weight are much beside that.
    few = 0.35 if name == "lrcssm" else 0.15
    for widths, error in ((Widths(16, 16, 16), few), (Widths(8, 8, 16), max(few, 0.3))):
        made = in_int8(model, walked, widths)
        made.write(tmp_path)
        for compiler in compilers() if widths.input == 8 else []:
            run([*compiler, *STRICT, "-O1", "-c", "model.c", "-o", "model.o"], tmp_path)
        assert artifact.root_mean_square(walked, made.run(None, same_state=False)) <= error


def test_int8_keeps_sigmoids_that_lie_far_off_and_long_time_constants() -> None:
    model = make_model("ltc ncp")
    cell = model.network.layer.rnn_cell
    with torch.no_grad():
        cell.sensory_mu.fill_(2.0)
        cell.sensory_sigma.fill_(12.0)
    far = in_int8(model, parity.walk(model, *samples_of(model, readings())), Widths(16, 16, 16))
    assert "int32_t offset" in far.files["model.c"]
    pure = make_model("cfc pure")
    with torch.no_grad():
        pure.network.layer.rnn_cell.w_tau.fill_(4.0)
    slow = in_int8(pure, parity.walk(pure, *samples_of(pure, readings())), Widths(16, 16, 16))
    for made in (far, slow):
        assert artifact.root_mean_square(made.walked, made.run(None, same_state=False)) < 0.2


def test_int8_shifts_no_more_than_a_register_has_bits() -> None:
    """A neuron that hardly anything drives."""
    model = make_model("ltc ncp")
    cell, core = model.network.layer.rnn_cell, describe(model).stages[-1].core.data
    with torch.no_grad():
        for weight, synapses in ((cell.w, core.synapses), (cell.sensory_w, core.sensory)):
            weight[torch.from_numpy(synapses.target == core.synapses.target[0])] = -20.0
    made = in_int8(model, parity.walk(model, *samples_of(model, readings())), Widths(16, 16, 16))
    for name in ("conductance_shift", "pull_down"):
        numbers = re.search(rf"{name}\[\d+\] = {{(.*?)}}", made.files["model.c"], re.S)
        assert numbers is not None
        assert max(map(int, re.findall(r"\d+", numbers[1]))) <= 31
    assert artifact.root_mean_square(made.walked, made.run(None, same_state=False)) < 0.2


def test_the_state_is_wider_where_the_error_asks_for_it() -> None:
    model = make_model("ltc ncp")
    made = artifact.make(model, HOST, "builtin", True, samples_of(model, readings()))
    assert made.widths is not None
    assert made.widths.state == 16
    assert made.errors[Widths(8, 8, 8)] > 2 * made.errors[made.widths]


@pytest.mark.parametrize("name", ["ltc ncp", "cfc", "lstm"])
def test_faults_do_what_python_does(name: str) -> None:
    model = make_model(name, with_mask=name == "cfc")
    inputs, elapsed, reset = samples_of(model, readings(holes=0.0))
    rng = np.random.default_rng(0)
    bad = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38], dtype=np.float32)
    where = rng.random(inputs.shape) < 0.2
    inputs[where] = rng.choice(bad, where.sum())
    times = np.array([0, -1, np.nan, np.inf, -np.inf, 604800.0, 1e9], dtype=np.float32)
    odd = rng.random(len(elapsed)) < 0.3
    elapsed[odd] = rng.choice(times, odd.sum())
    made = artifact.make(model, HOST, "builtin", False, (inputs, elapsed, reset))
    found = made.run(None, same_state=True).records
    # The same through the live stream: the rule is Python's, not the walk's.
    stream = model.live()
    for i in range(200):
        if reset[i]:
            stream.reset()
        expected = stream.step(inputs[i], float(elapsed[i]))
        assert np.abs(expected - made.walked.outputs[i]).max() <= 1e-5
    assert parity.largest_difference(made.walked, made.run(None, same_state=True)) <= 1e-5
    held = (where & ~np.isnan(inputs)).sum(1)  # NaN was not sampled, which is no fault
    impossible = ~((elapsed >= 0) & np.isfinite(elapsed)) & ~reset
    long = np.isfinite(elapsed) & (elapsed > 10 * model.preprocessing.longest_gap) & ~reset
    expected = np.where(held > 0, HELD, 0) | np.where(impossible, SPAN, 0) | np.where(long, GAP, 0)
    np.testing.assert_array_equal(found["status"], expected)
    first = np.flatnonzero(reset)[1]
    assert found["faults"][first - 1] == (held + impossible + long)[:first].sum()


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("channels", [3, 40])
def test_holes_and_faults_are_told_apart_and_which_channel(channels: int, int8: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (300, channels))
    recording = Recording.from_arrays(x, np.arange(300.0), x[:, 0] * x[:, 1], time_unit="ms")
    rule = Preprocessing.fit(recording)
    torch.manual_seed(0)
    model = build("cfc", Task.infer(recording).fit(recording), rule, 900)
    by_hand = plausible(rule, {rule.channels[1]: (-0.5, 2.0)}, longest_gap=5.0)
    network = describe(model, by_hand, "pump")
    made = artifact.make(model, HOST, "builtin", False, parity.samples_of(model, recording, 50), network)
    if int8:
        made = in_int8(model, made.walked, Widths(16, 16, 16), network)
    bundle.write(made, HOST, tmp_path, [], "", [])
    done = subprocess.run(["make", "check", "libpump.so"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    far, nan, inf = 4.0, float("nan"), float("inf")  # the training part is 2 wide: up to 3 is plausible
    last = channels - 1
    script = f"""
import json, pump
m, said = pump.Model(), []
def step(changes, elapsed=1.0):
    values = [0.0] * {channels}
    for place, value in changes.items():
        values[place] = value
    answer = m.step(values, elapsed)
    said.append([m.status & ~pump.CLIPPED, [pump.INPUTS.index(name) for name in m.faulty], m.faults, answer])
nan, inf = float("nan"), float("inf")
step({{}}); step({{0: nan}}); step({{{last}: inf}}); step({{0: {far}, 2: nan}}); step({{1: {far}}}); step({{1: -0.75}})
step({{}}, 6.0); step({{}}, -1.0); step({{}}, 5.0); step({{i: nan for i in range({channels})}}, 0.0)
print(json.dumps(said))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert [one[:2] for one in said] == [
        [0, []],
        [0, []],
        [HELD, [last]],
        [RANGE, [0]],
        [HELD | RANGE, [1]],
        [HELD | RANGE, [1]],
        [SPAN | GAP, []],
        [SPAN, []],
        [0, []],
        [0, []],
    ]
    assert said[-1][2] == 1 + 1 + 2 + 2 + 1 + 1
    # What is held is what Python makes of a hole, what is far is what it makes of any reading.
    stream, hole = model.live(), float("nan")
    every = dict.fromkeys(range(channels), nan)
    rows = [{}, {0: nan}, {last: inf}, {0: far, 2: nan}, {1: hole}, {1: hole}, {}, {}, {}, every]
    for changes, elapsed, one in zip(rows, [1, 1, 1, 1, 1, 1, nan, -1, 5, 0], said, strict=True):
        values = np.zeros(channels)
        values[list(changes)] = list(changes.values())
        expected = stream.step(values, float(elapsed))
        assert np.abs(expected - one[3]).max() <= (0.2 if int8 else 1e-5) * made.walked.spread.max()


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("name", ["ltc ncp", "cfc", "cfc ncp pure memory"])
def test_a_time_of_minus_zero_is_zero(name: str, int8: bool) -> None:
    model = make_model(name)
    inputs, elapsed, reset = samples_of(model, readings(60))
    answers = []
    for zero in (0.0, -0.0):
        elapsed[1::2] = zero
        made = artifact.make(model, HOST, "builtin", False, (inputs, elapsed, reset))
        if int8:
            made = in_int8(model, made.walked, Widths(8, 8, 16))
        answers.append(made.run(None, same_state=False).records)
    for field in ("outputs", "status"):
        np.testing.assert_array_equal(answers[0][field], answers[1][field])


def test_an_ltc_stays_within_its_bounds_whatever_comes() -> None:
    model = make_model("ltc ncp")
    rng = np.random.default_rng(1)
    n = 3000
    inputs = (rng.standard_cauchy((n, 3)) * 10.0 ** rng.uniform(-3, 30, (n, 1))).astype(np.float32)
    elapsed = (10.0 ** rng.uniform(-40, 38, n)).astype(np.float32)
    network = describe(model)
    assert isinstance(network.stages[-1].core.data, Ltc)
    low, high = (bound.numpy() for bound in model.network.layer.rnn_cell.potential_bounds())
    walked = parity.walk(model, inputs[:2], elapsed[:2], np.array([True, False]))
    for made in (
        artifact.make(model, HOST, "builtin", False, (inputs[:2], elapsed[:2], np.array([True, False]))),
        in_int8(model, walked, Widths(16, 16, 16)),
    ):
        given, found = emulator.record_types(3, made.walked.outputs.shape[1], made.fields)
        records = np.zeros(n, dtype=given)
        records["inputs"], records["elapsed"] = inputs, elapsed
        hidden = _replay(made, records, found)["state"]["hidden"].astype(float)
        if made.widths is not None:
            hidden /= 2.0**15 / 2 ** np.ceil(np.log2(max(np.abs(low).max(), np.abs(high).max()) * 1.01))
        assert np.isfinite(hidden).all()
        slack = 1e-5 if made.widths is None else 0.02
        assert (hidden >= low - slack).all()
        assert (hidden <= high + slack).all()


def _replay(made: artifact.Artifact, records: np.ndarray, found: np.dtype) -> np.ndarray:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return emulator.replay(None, made.compile(None, Path(folder)), records, found).records


def _run(model: Model, inputs: np.ndarray, elapsed: np.ndarray, reset: np.ndarray) -> np.ndarray:
    """What the C of a model does with samples that PyTorch was not asked about."""
    network = describe(model)
    fields = state_fields(network, "float", "float")
    walked = parity.Walk(inputs, elapsed, reset, np.zeros((len(elapsed), model.task.n_outputs)))
    made = artifact.Artifact(model, network, "builtin", sources(network, "builtin", "rows"), fields, walked)
    given, found = emulator.record_types(inputs.shape[1], model.task.n_outputs, fields)
    records = np.zeros(len(elapsed), dtype=given)
    records["inputs"], records["elapsed"] = inputs, elapsed
    return _replay(made, records, found)


def test_a_step_that_would_overflow_keeps_the_state() -> None:
    model = make_model("cfc ncp pure memory")
    with torch.no_grad():
        for cell in model.network.layer.rnn_cell.cells:
            cell.A.fill_(1e14)
    inputs, elapsed, reset = samples_of(model, readings(40))
    elapsed[:] = 0.0  # then nothing decays, and each step multiplies
    ran = _run(model, inputs, elapsed, reset)
    assert (ran["status"] & KEPT).any()
    assert np.isfinite(ran["state"]["hidden"]).all()
    assert np.isfinite(ran["state"]["cell"]).all()


@pytest.mark.parametrize(("name", "gap"), [("ltc euler", 100), ("ltc ncp rk4", 30)])
def test_an_explicit_solver_comes_back_from_gaps_that_were_too_long_for_it(name: str, gap: int) -> None:
    model = make_model(name)
    usual = model.preprocessing.time_scale
    inputs, _, _ = samples_of(model, readings(40))
    inputs = np.resize(inputs, (1000, inputs.shape[1]))
    elapsed = np.full(1000, usual, dtype=np.float32)
    reset = np.arange(1000) == 0
    undisturbed = _run(model, inputs, elapsed, reset)
    assert not (undisturbed["status"] & KEPT).any()
    elapsed[20:320] = gap * usual
    ran = _run(model, inputs, elapsed, reset)
    assert (ran["status"] & KEPT).any()
    assert np.isfinite(ran["outputs"]).all()
    assert not (ran["status"][-100:] & KEPT).any()
    hidden = (found["state"]["hidden"][-1] for found in (ran, undisturbed))
    np.testing.assert_allclose(*hidden, atol=1e-4)


def test_a_saved_state_is_of_the_weights_and_their_steps_whatever_the_machine() -> None:
    def mark(network: Network, layout: Literal["rows", "columns"] = "rows") -> str:
        return re.findall(r"fingerprint = (\w+);", sources(network, "builtin", layout)["model.c"])[0]

    cfc, ltc = describe(make_model("cfc")), describe(make_model("ltc euler"))
    assert mark(cfc) == mark(cfc, "columns")
    core = ltc.stages[-1].core.data
    assert isinstance(core, Ltc)

    def changed(**other: object) -> Network:
        return ltc.with_cores({0: replace(core, **other)})

    slower = replace(ltc.described, preprocessing=replace(ltc.preprocessing, time_scale=7.0))
    others = [changed(unfolds=core.unfolds + 1), changed(solver="rk4"), replace(ltc, described=slower)]
    assert len({mark(cfc), mark(ltc), *map(mark, others)}) == 5


@pytest.mark.parametrize("int8", [False, True])
def test_the_mean_of_a_long_series_moves_on(int8: bool, tmp_path: Path) -> None:
    """Single precision stops counting at 2^24, and adding long before: as if 20 million samples had been seen."""
    model = next(model for model in map(make_model, NAMES) if model.task.per == "series")
    artifact.make(model, HOST, "builtin", int8, samples_of(model, readings())).write(tmp_path)
    seen, more = 20_000_001, 1_000_000
    (tmp_path / "long.c").write_text(
        f"""
        #include <stdio.h>
        #include "model.h"
        int main(void)
        {{
            model_state s;
            float x[MODEL_INPUTS] = {{0}}, y[MODEL_OUTPUTS], constant;
            model_init(&s);
            for (int i = 0; i < 1000; i++)
                model_step(&s, x, 1.0f, y);
            s.samples = 0; /* what comes next is its own mean */
            model_step(&s, x, 1.0f, y);
            constant = s.mean[0];
            s.samples = {seen};
            s.mean[0] = constant + 1.0f;
            for (int i = 0; i < {more}; i++)
                model_step(&s, x, 1.0f, y);
            printf("%.9g %u", (double)(s.mean[0] - constant), (unsigned)s.samples);
            return 0;
        }}"""
    )
    run([*host(), "-O2", "long.c", "model.c", "-lm", "-o", "long"], tmp_path)
    moved, samples = subprocess.run(["./long"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert int(samples) == seen + more
    np.testing.assert_allclose(float(moved), seen / (seen + more), atol=1e-4)


USE = """
float use_{name}(void);
float use_{name}(void)
{{
    {name}_state s;
    float x[{upper}_INPUTS] = {{0}}, y[{upper}_OUTPUTS];
    {name}_init(&s);
    return {name}_step(&s, x, 1.0f, y) & {upper}_HELD ? -1.0f : y[0];
}}
"""


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_two_models_are_in_one_program(language: str, int8: bool, tmp_path: Path) -> None:
    """Both headers in one file, all linked with the one-definition rule checked; they answer as they do alone."""
    alone, calls, every, includes = [], "", [], ""
    for name, kind in (("pump", "cfc"), ("valve", "ltc ncp")):
        model = make_model(kind, with_mask=False)
        made = artifact.make(
            model, HOST, "builtin", False, samples_of(model, readings(20)), describe(model, None, name)
        )
        if int8:
            made = in_int8(model, made.walked, Widths(8, 8, 16), made.network)
        made.write(tmp_path)
        reset = np.ones(1, dtype=bool)
        inputs = np.zeros((1, model.preprocessing.n_channels), dtype=np.float32)
        one = replace(made, walked=parity.walk(model, inputs, np.ones(1, dtype=np.float32), reset))
        alone.append(float(one.run(None, same_state=False).records["outputs"][0, 0]))
        includes += f'#include "{name}.h"\n'
        every.append(USE.format(name=name, upper=name.upper()))
        calls += f'    printf("%.9g\\n", (double)use_{name}());\n'
    sizes = "    char a[PUMP_INPUTS + 1], b[VALVE_INPUTS + 1];\n    (void)a, (void)b;\n"
    body = "int main(void)\n{\n" + sizes + calls + "    return 0;\n}\n"
    main = "#include <stdio.h>\n" + includes + "".join(every) + body
    suffix = "cc" if language == "c++" else "c"
    (tmp_path / f"main.{suffix}").write_text(main)
    lto = ["-O2", "-flto", "-Wodr", "-Werror"]
    compiler = "g++" if language == "c++" else "gcc"
    needs("gcc", compiler)
    for source in ("pump", "valve"):
        run(["gcc", *STRICT, *lto, "-c", f"{source}.c", "-o", f"{source}.o"], tmp_path)
    run([compiler, "-Wall", *lto, f"main.{suffix}", "pump.o", "valve.o", "-lm", "-o", "both"], tmp_path)
    if language == "c++":  # and the C itself taken for C++
        sources = ["-x", "c++", "pump.c", "valve.c"]
        run([compiler, *lto, "-Drestrict=__restrict", "main.cc", *sources, "-lm", "-o", "taken"], tmp_path)
    for program in ("both", "taken")[: 2 if language == "c++" else 1]:
        said = subprocess.run([f"./{program}"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        np.testing.assert_allclose([float(a) for a in said.split()], alone, rtol=1e-6)


def test_the_built_in_functions_are_as_exact_as_they_say(tmp_path: Path) -> None:
    model = make_model("cfc memory")  # gelu
    made = artifact.make(model, HOST, "builtin", False, samples_of(model, readings(20)))
    made.write(tmp_path)
    lstm = make_model("lstm")
    log = artifact.make(lstm, HOST, "builtin", False, samples_of(lstm, readings(20))).files["model.c"]
    log = log[log.index("static float model_log1p") : log.index("/* A count")].replace("model_log1p", "our_log1p")
    (tmp_path / "check.c").write_text(
        '#include "model.c"\n#include <math.h>\n#include <stdio.h>\n'
        + log
        + """
static double worst[4];
static void see(int which, double error) { if (!(error <= worst[which])) worst[which] = error; }
int main(void)
{
    for (uint32_t bits = 0; bits < 0xff800000u; bits += 97) {
        word each;
        each.bits = bits;
        float x = each.value;
        if (!(x == x)) continue;
        if (x > -87.0f && x < 88.0f) see(0, fabs(model_exp(x) / exp(x) - 1));
        see(1, fabs(model_tanh(x) - tanh(x)));
        see(2, fabs(model_normal(x) - 0.5 * erfc(-x / sqrt(2.0))));
        if (x >= 0 && x < 1e30f) see(3, fabs(our_log1p(x) - log1p(x)) / (1 + log1p(x)));
    }
    printf("%g %g %g %g\\n", worst[0], worst[1], worst[2], worst[3]);
    return 0;
}
"""
    )
    run([*host(), "-O2", "check.c", "-o", "check", "-lm"], tmp_path)
    worst = [float(v) for v in subprocess.run(["./check"], cwd=tmp_path, capture_output=True, text=True).stdout.split()]
    assert worst[0] <= 2.2e-7
    assert worst[1] <= 1.9e-7
    assert worst[2] <= 4e-7
    assert worst[3] <= 3e-7


def test_names_from_a_hostile_file_stay_names(tmp_path: Path) -> None:
    nasty = [
        'a"; system("touch owned"); //',
        "b */ int owned = 1; /*",
        "c\\\n#error owned",
        "d??/\n??'%s%n",
        "é\u202e\x00\x7f",
        "{{ 7 * 7 }}{% raw %}",
        "'''); import os; os.system('touch owned') #",
    ]
    rule = Preprocessing(tuple(nasty), np.zeros(len(nasty)), np.ones(len(nasty)), 1.0, "*/ #error owned\n", False)
    task = Task("classification", "step", "*/ int owned; /*\n#error", labels=tuple(nasty[::-1]))
    torch.manual_seed(0)
    model = build("cfc", task, rule, 300)
    from torchliquid.edge.export import export

    export(model, HOST, tmp_path / "out")
    folder = tmp_path / "out"
    done = subprocess.run(["make", "check", "libmodel.so"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(folder / "libmodel.so"))
    for symbol, names in (("model_channels", nasty), ("model_labels", nasty[::-1])):
        strings = (ctypes.c_char_p * len(names)).in_dll(library, symbol)
        assert [bytes(s) for s in strings] == [n.encode().split(b"\0")[0] for n in names]
    script = "import model; print(ascii((model.INPUTS, model.LABELS))); model.Model().step([0.0] * 7, 1.0)"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == ascii((nasty, nasty[::-1])), done.stderr
    assert not list(tmp_path.rglob("owned"))


class Strange(CfC):
    """A layer that the generator cannot know."""


def test_unknown_arithmetic_is_refused_by_name() -> None:
    model = make_model("cfc")
    task, rule = model.task, model.preprocessing
    with pytest.raises(InputError, match="Transformer"):
        describe(build("transformer", task, rule, 3000))
    with pytest.raises(InputError, match="Strange"):
        describe(Model("cfc", {}, Liquid(Strange(rule.n_inputs, 4)), task, rule))
    wired = Model("cfc", {}, Liquid(CfC(rule.n_inputs, AutoNCP(8, 2))), task, rule)
    wired.network.layer.rnn_cell.mode = "explicit"
    with pytest.raises(InputError, match="explicit"):
        describe(wired)
    broken = Model("ltc", {}, Liquid(LTC(rule.n_inputs, 4)), task, rule)
    nn.init.constant_(broken.readout.bias, float("nan"))
    with pytest.raises(InputError, match="finite"):
        describe(broken)


@pytest.mark.parametrize("name", NAMES[::4])
def test_a_state_is_saved_and_restored_and_others_are_refused(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    walked = parity.walk(model, *samples_of(model, readings(40)))
    float32 = artifact.make(model, HOST, "builtin", False, samples_of(model, readings(40)))
    int8 = [] if name in FLOAT_ONLY else [in_int8(model, walked, Widths(8, 8, 16))]
    for i, made in enumerate((float32, *int8)):
        folder = tmp_path / str(i)
        folder.mkdir()
        bundle.write(made, HOST, folder, [], "", [])
        subprocess.run(["make", "libmodel.so"], cwd=folder, capture_output=True, check=True)
        script = (
            "from model import *\nm, n = Model(), Model()\n"
            "for i in range(20): m.step([i % 3, -20.0 + i, 300.0], 1.5)\n"
            "saved = m.save(); n.restore(saved); assert n.save() == saved\n"
            "assert [m.step([1, -2, 3], 1) for i in range(5)] == [n.step([1, -2, 3], 1) for i in range(5)]\n"
            "before = n.save()\n"
            "for at in range(0, len(saved)):\n"
            "    wrong = bytearray(saved); wrong[at] ^= 0x10\n"
            "    try: n.restore(bytes(wrong))\n"
            "    except ValueError: continue\n"
            "    raise SystemExit('a damaged state was taken')\n"
            "assert n.save() == before\n"
        )
        subprocess.run([sys.executable, "-c", script], cwd=folder, check=True)


@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
def test_alarms_are_those_of_predict_on_a_recording(int8: bool, tmp_path: Path) -> None:
    """A threshold in the model, a length and a pause: the C raises the same alarms, sample by sample."""
    model, recording = small_model("cfc"), readings(600)
    outputs = np.concatenate(model.outputs(recording))
    model.task = replace(model.task, alarm=Alarm(3.0, 4.0, threshold=float(np.median(outputs[:, 1]))))
    expected = model.predict(recording)
    made = artifact.make(model, HOST, "builtin", False, samples_of(model, recording), describe(model, None, "pump"))
    if int8:
        made = in_int8(model, made.walked, Widths(16, 16, 16), made.network)
    bundle.write(made, HOST, tmp_path, [], "", [])
    run([*host(), "-O2", "-shared", "-fPIC", "pump.c", "-lm", "-o", "libpump.so"], tmp_path)
    rows = [
        (values.tolist(), float(span))
        for series in recording.series
        for values, span in zip(series.values, np.diff(series.times, prepend=np.nan), strict=True)
    ]
    use = (
        "import json, sys\nfrom pump import Model\nmodel, said = Model(), []\n"
        "for values, elapsed in json.load(sys.stdin):\n"
        "    model.reset() if elapsed != elapsed else None\n"
        "    label = model.label(model.step(values, elapsed))\n"
        "    said.append((label, model.alarm))\n"
        "print(json.dumps(said))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", use], cwd=tmp_path, input=json.dumps(rows), capture_output=True, text=True, check=True
    )
    said = json.loads(answer.stdout)
    agree = np.mean(
        [
            [label, on] == [p, a]
            for (label, on), p, a in zip(said, expected["prediction"], expected["alarm"], strict=True)
        ]
    )
    assert 0.1 < expected["alarm"].mean() < 0.9
    assert agree == 1 if not int8 else agree > 0.97
