"""Exports a saved model into a folder for a device: generates, checks and measures it, rejects what does not fit."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from torchliquid.data.recording import Recording, Series
from torchliquid.edge import bundle, emulator, footprint, onnx, parity, table, web
from torchliquid.edge.artifact import ENOUGH, Artifact, check_parity, make, root_mean_square
from torchliquid.edge.compilers import has_zig
from torchliquid.edge.footprint import Footprint, Limits
from torchliquid.edge.generate import Math, title
from torchliquid.edge.names import check_model_name
from torchliquid.edge.network import Network, describe
from torchliquid.edge.parity import Samples
from torchliquid.edge.plausible import CLIPPED
from torchliquid.edge.plausible import plausible as find_plausible
from torchliquid.edge.targets import Target
from torchliquid.errors import InputError
from torchliquid.explain.dynamics import largest_lyapunov_exponent
from torchliquid.files import to_plain, write_json
from torchliquid.models import Model
from torchliquid.models.conformal import Interval
from torchliquid.models.tabular import LABELS, Tabular

COARSE = 1e-3
"""Warn if single precision has larger steps than this, in standard deviations of the value."""

SAME_STATE = 1e-3
"""Reject exports that differ by more in a single step. Those of trained models differ by about 1e-6."""

PARTS = ("selftest.c", "live.c", "Makefile", "README.md", "footprint.json", "step.onnx", "sequence.onnx")
LOCK = ".lock"


def mine(name: str) -> set[str]:
    """The files of an export of this name, and the files that `make` makes from them."""
    return {*PARTS, "selftest", "live", *(f"{name}.{kind}" for kind in ("h", "c", "py", "html")), f"lib{name}.so"}


@dataclass
class Report:
    """The results of an export."""

    measured: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    costs: dict[str, Footprint] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)


def export(
    model: Model | Tabular,
    target: Target,
    out: Path,
    data: Recording | None = None,
    others: Mapping[str, Model | Tabular] | None = None,
    int8: bool = False,
    math: Math | None = None,
    limits: Limits | None = None,
    name: str = "this model",
    *,
    auto: bool = False,
    calibrate: Recording | None = None,
    error: float = ENOUGH,
    strict: bool = False,
    c_name: str = "model",
    plausible: Mapping[str, tuple[float, float]] | None = None,
    longest_gap: float | None = None,
    sample: bool = True,
    command: str | None = None,
    progress: Callable[[str], object] | None = None,
) -> Report:
    """Write a model into a folder: as C, as ONNX for the target ``onnx``, or for ``web`` as a page that runs it.

    Args:
        model: a trained model; for a linear model and trees there is only C.
        target: one of :data:`torchliquid.edge.targets.TARGETS`.
        out: the folder: new, empty, or holding an earlier export.
        data: a recording on which the export is checked. If it has targets, the task's metric is reported too.
        others: models to compare costs with, the best first.
        int8: use integers instead of single precision; for trees, without changing the path of a sample.
        math: use built-in exp and tanh, or those of the C library; None: the target's default.
        limits: the most that the model may cost.
        name: name of the model in tables.
        auto: with int8: use 16-bit weights in the layers where int8 weights cost too much accuracy.
        calibrate: a recording that sets the integers' scales; None: the model's own sample of its training part.
        error: with int8: the largest root mean square difference from PyTorch that integers may cause, as a share of
            the outputs' spread. Their widths are chosen by it; a larger error gives a warning.
        strict: reject an export with a larger error.
        c_name: name of the C's files, macros, types and functions, and of the Python module.
        plausible: smallest and largest plausible reading of channels; None: from the training part.
        longest_gap: longest plausible time between two samples, in the recording's unit; None: from the training part.
        sample: put recorded samples into the self-test, otherwise synthetic ones.
        command: the command line, repeated in a warning if something could not be run here.
        progress: called with the name of each stage before it starts.

    Raises:
        InputError: there is no export for the network, there are no samples to check or to scale by, the C differs
            from the model, or limits are exceeded. Nothing is written in these cases.
    """
    limits = limits or Limits()
    report_stage = progress or (lambda what: None)
    check_model_name(c_name)
    _check(target, out, int8, math, limits, bool(others), c_name)
    if isinstance(model, Tabular):
        _check_table(model, target, calibrate)
    lacking = emulator.missing(target)
    if not 0 < error < 1:
        raise InputError(f"--error {error:g} must be a share of the outputs' spread between 0 and 1, such as 1%")
    if calibrate is not None and not int8:
        raise InputError("--calibrate sets the scales of integers: add --quantize int8 or auto")
    if target.name == "onnx" and (plausible or longest_gap is not None or strict):
        raise InputError("--plausible, --longest-gap and --strict are for C, not for ONNX: leave them out")
    report = Report()
    _precision(model, report)
    if (interval := Interval.of(model)) is not None:
        half = f"half widths of the answers: {', '.join(f'{v:.3g}' for v in interval.half[:20])}"
        if "watch" in model.metadata:
            report.warnings.append(f"it gives forecasts of the next sample, no scores; {half}")
        elif target.name in ("onnx", "web"):
            what = "graph" if target.name == "onnx" else "page"
            report.warnings.append(f"the interval is in the C alone: this {what} gives the values; {half}")
    if target.name == "onnx":
        assert isinstance(model, Model)
        samples = _samples(model, data, report)
        report_stage("the graph, against PyTorch")
        with _filled(out) as folder:
            difference = onnx.write(model, folder, samples)
            report.measured.append(f"ONNX Runtime differs from PyTorch by up to {difference:.1e} of an output's spread")
            alarm = model.task.alarm
            if alarm is not None and (alarm.length or alarm.merge):
                report.warnings.append(
                    "the graph applies the alarm's threshold to each sample; "
                    "only the C applies the alarm's length and pauses"
                )
            report.plain = {"target": target.name, "difference": difference, "warnings": report.warnings}
            if data is not None:
                _metric(model, partial(onnx.run, folder), "ONNX Runtime", data, report)
            write_json(folder / "footprint.json", report.plain)
            (folder / "README.md").write_text(onnx.readme(model, report.measured), encoding="utf-8")
        return report

    def built(one: Model | Tabular, arithmetic: Math, of: Report) -> Artifact:
        within = find_plausible(one.preprocessing, plausible, longest_gap)
        if isinstance(one, Tabular):
            asked = int8 and (one is model or one.trees is not None)  # beside others a linear model is as it is
            seen = _samples(one, data, of)
            return make(one, target, arithmetic, asked, seen, table.describe(one, within, c_name, asked))
        described = describe(one, within, c_name)
        if not int8:
            return make(one, target, arithmetic, False, _samples(one, data, of), described)
        checked, scaled_by, chosen_on = _samples_int8(one, data, calibrate, of)
        return make(
            one, target, arithmetic, True, checked, described,
            calibration=scaled_by, choice=chosen_on, auto=auto, limit=error,
        )  # fmt: skip

    report_stage("the integers' widths" if int8 else "the C")
    artifact = built(model, math or target.math, report)
    report_stage("the C, against PyTorch")
    _prove(artifact, target, data, report)
    if calibrate is not None:
        _metric(model, partial(_run, artifact), "C", calibrate, report, "calibrated on")
    _within(report, error, auto, strict)
    if isinstance(model, Model):
        _lyapunov(artifact, model, data, report)
    if target.triple and not lacking:
        report_stage(f"flash, RAM and instructions on {target.name}")
        report.costs[name] = footprint.measure(artifact, target)
        for other, each in (others or {}).items():
            report_stage(f"what {other} costs on {target.name}")
            _compare(other, partial(built, each, artifact.math, Report()), target, error, report)
        if over := limits.exceeded(report.costs[name]):
            raise InputError(f"{target.name}: {'; '.join(over)}{_alternative(report.costs, name, limits)}")
        cost = report.costs[name]
        report.measured += [
            f"flash {cost.flash:,} bytes, RAM {cost.ram:,} bytes (state {cost.state:,}, deepest stack {cost.stack:,})",
            f"a step takes {cost.instructions:,} instructions, counted in emulation; instructions are not cycles: "
            f"about {cost.microseconds:,.1f} µs, assuming {target.assumption}",
        ]
    elif target.triple:
        _flash(artifact, target, limits, report)
        again = f"{lacking} && {command}" if command else f"{lacking}, then export again"
        report.warnings.append(
            f"not run here: the check on {target.name}, and counting RAM and instructions. To run them: {again}"
        )
    report.plain |= {
        "name": c_name,
        "model": title(artifact.network),
        "target": target.name,
        "math": artifact.math,
        "arithmetic": artifact.arithmetic,
        "assumption": target.assumption if target.triple else None,
        "models": {n: cost.plain() for n, cost in report.costs.items()},
        "warnings": report.warnings,
    }
    if target.name == "web":
        report_stage("the page")
    with _filled(out) as folder:
        if target.name == "web":
            file = folder / f"{c_name}.html"
            report.plain["wasm"] = web.write(artifact, file, sample)
            report.measured.append(
                f"{file.name} has {file.stat().st_size:,} bytes, of which the WebAssembly module "
                f"{report.plain['wasm']:,}; it needs no network connection"
            )
        else:
            costs = footprint.table(report.costs) if report.costs else ""
            bundle.write(artifact, target, folder, report.measured, costs, report.warnings, sample)
        write_json(folder / "footprint.json", report.plain)
    return report


def _check(target: Target, out: Path, int8: bool, math: Math | None, limits: Limits, others: bool, name: str) -> None:
    if target.bare and math == "libm":
        raise InputError(
            f"{target.name} has no C library here to check an export with expf and tanhf; "
            "use --math builtin, or --target c99 --math libm with your own tools"
        )
    for given, what in ((limits, "limits are measured"), (others, "--study compares costs")):
        if given and not target.triple:
            raise InputError(f"{what} on a machine, and --target {target.name} is not one: choose another target")
    if target.name in ("onnx", "web") and (int8 or math):
        what = "an ONNX model" if target.name == "onnx" else "a page's model"
        raise InputError(f"--quantize and --math are for C; {what} is always in single precision: leave them out")
    if target.name == "web" and not has_zig():
        raise InputError("a page's model is compiled by ziglang: pip install 'torchliquid[edge]'")
    lacking = emulator.missing(target)
    if lacking and (limits.ram is not None or limits.step is not None):
        raise InputError(f"RAM and steps are measured in {target.emulator}: {lacking}, or leave their limits out")
    if limits and not emulator.can_measure():
        raise InputError(f"limits are measured on programs that zig compiles: {lacking}, or leave them out")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; choose a new or empty folder with --out")
    ours = {*mine(name), *mine(_earlier(out)), "__pycache__", LOCK, *(part.name for part in _left(out))}
    if out.is_dir() and any(path.name not in ours for path in out.iterdir()):
        raise InputError(f"{out} holds other files; choose a new or empty folder with --out")
    nearest = next((folder for folder in (out, *out.parents) if folder.exists()), out)
    if not os.access(nearest, os.W_OK):
        raise InputError(f"{out} cannot be written (no permission in {nearest}); choose another folder with --out")


def _check_table(model: Tabular, target: Target, calibrate: Recording | None) -> None:
    kind = LABELS[model.kind]
    refused = {
        "onnx": "cannot be exported as ONNX, because its features of the last samples are written in C",
        "web": "has no circuit for a page to show",
    }
    if target.name in refused:
        raise InputError(f"{kind} {refused[target.name]}; use --target c99")
    if calibrate is not None:
        raise InputError(f"--calibrate is for networks; the integers of {kind} take their scale from the trees")


def _earlier(out: Path) -> str:
    """The name of the export in a folder."""
    try:
        name = json.loads((out / "footprint.json").read_bytes())["name"]
        check_model_name(name)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError):
        return "model"
    return str(name)


def _samples(model: Model | Tabular, data: Recording | None, report: Report) -> Samples:
    """The samples to check an export on."""
    if data is not None:
        return parity.samples_of(model, data)
    if isinstance(model, Model) and model.sample is not None:
        return parity.samples_of_model(model)
    report.warnings.append(
        "the model file holds no sample of the training data: the export was checked on synthetic readings"
    )
    return parity.made_up(model.preprocessing, 256)


def _samples_int8(
    model: Model, data: Recording | None, calibrate: Recording | None, report: Report
) -> tuple[Samples, Samples | None, Samples | None]:
    """The same for integers, and the samples that set their scales, and those that their widths are chosen on; None if
    there are no separate ones."""
    scales = model.preprocessing
    others = None if data is None else parity.samples_of(model, data)
    if calibrate is not None:
        scaled_by = parity.samples_covering(model, calibrate)
        if others is None and model.sample is not None:
            others = parity.samples_of_model(model)
    else:
        if scales.low is None:
            report.warnings.append(
                "an earlier version saved this model with only the beginning of its training data: "
                "give --calibrate a recording that covers all of it"
            )
        if others is not None:
            scaled_by = parity.samples_of_pieces(scales, parity.carried(model))
        else:
            pieces, rest = parity.split(model)
            scaled_by = parity.samples_of_pieces(scales, pieces)
            others = None if rest is None else parity.samples_of_pieces(scales, rest)
    if others is None:
        report.warnings.append(
            "the error was measured on the same samples that set the integers' scales and widths: "
            "give --data to measure it on others"
        )
        return scaled_by, None, None
    share = parity.repeated(scales, scaled_by, others)
    report.plain["repeated"] = share
    if share:
        report.warnings.append(
            f"{share:.0%} of the samples that set the integers' scales are also among those on which the error "
            "is measured: the error on others may be larger"
        )
    chosen_on, checked = parity.halves(others)
    return checked, scaled_by, chosen_on


def _precision(model: Model | Tabular, report: Report) -> None:
    """Warn of values far from zero: a device works in single precision, which is coarse there."""
    scales, task = model.preprocessing, model.task
    given = list(zip((repr(c) for c in scales.channels), scales.mean, scales.std, strict=True))
    if task.kind == "regression":
        given += [(f"the answer {task.target!r}", mean, std) for mean, std in zip(task.mean, task.std, strict=True)]
    for name, mean, std in given:
        step = float(np.spacing(np.float32(abs(mean)))) / std
        if step > COARSE:
            report.warnings.append(
                f"{name} lies around {mean:.3g}, where single precision has steps of {step:.2g} of its standard "
                "deviation: subtract a constant from it before training"
            )


def _prove(artifact: Artifact, target: Target, data: Recording | None, report: Report) -> None:
    machine = target if target.triple and not emulator.missing(target) else None
    where = "this machine" if machine is None else target.name
    steps = len(artifact.walked)
    if artifact.widths is None:
        difference, other = check_parity(artifact, machine, SAME_STATE)
        report.measured.append(
            f"on {where} a step differs from {artifact.by} by up to {difference:.1e} of the output's spread "
            f"({steps:,} rows)"
        )
        report.plain["difference_same_state"] = difference
        if other:
            report.measured.append(
                f"in {other:,} of the rows a tree went another way than in {artifact.by}: there a feature is at a "
                "threshold, as far as single precision can tell"
            )
            report.plain["other_ways"] = other
    else:
        found = artifact.run(machine, same_state=False)
        error, worst = root_mean_square(artifact.walked, found), parity.largest_difference(artifact.walked, found)
        apart = artifact.chosen_on is not artifact.walked
        apart_words = ", none of which set its scales or its widths" if apart and not report.plain["repeated"] else ""
        report.measured.append(
            f"on {where} outputs differ from PyTorch by {error:.2%} of their spread, RMS, and by {worst:.1%} at most "
            f"({steps:,} samples{apart_words})"
        )
        if apart and artifact.scaled_by is not None:
            own = artifact.error(artifact.scaled_by)
            report.measured.append(f"by {own:.2%} on the {len(artifact.scaled_by):,} samples that set its scales")
            report.plain["error_calibrated"] = own
        clipped = float((found.records["status"] & CLIPPED > 0).mean())
        if clipped:
            report.measured.append(f"in {clipped:.2%} of the samples a value exceeded its integer and was clipped")
        if isinstance(artifact.network, Network) and artifact.network.clocks:
            report.plain["same_experts"] = same = parity.agreement(artifact.walked, found)
            report.measured.append(f"at {same:.2%} of the samples it calls the experts that PyTorch calls")
        tried = ", ".join(f"{w.words}: {e:.2%}" for w, e in artifact.errors.items())
        on = f" on {len(artifact.chosen_on):,} others" if apart and artifact.chosen_on is not None else ""
        report.measured.append(f"widths chosen by measured error{on}: {artifact.widths.words} (tried: {tried})")
        report.plain |= {"error": error, "worst": worst, "clipped": clipped}
        report.plain |= {"tried": {w.words: e for w, e in artifact.errors.items()}}
    if data is not None:
        _metric(artifact.model, partial(_run, artifact), "C", data, report)


def _within(report: Report, limit: float, auto: bool, strict: bool) -> None:
    """Check that integers do not exceed the allowed error."""
    error = report.plain.get("error", 0.0)
    if error <= limit:
        return
    advice = "" if auto else "; --quantize auto uses 16 bits where they help"
    words = f"integers differ from PyTorch by {error:.2%} of the outputs' spread, more than {limit:.2%}{advice}"
    if strict:
        raise InputError(f"{words}: not exported (--strict)")
    report.warnings.append(words)


def _run(artifact: Artifact, inputs: np.ndarray, elapsed: np.ndarray, reset: np.ndarray) -> np.ndarray:
    """Outputs of the C for these samples, run on this machine."""
    unknown = parity.Walk(inputs, elapsed, reset, np.zeros((len(elapsed), artifact.model.task.n_outputs)))
    outputs: np.ndarray = replace(artifact, walked=unknown).run(None, same_state=False).records["outputs"]
    return outputs


def _metric(
    model: Model | Tabular, run: Callable[..., np.ndarray], where: str, data: Recording, report: Report, kind: str = ""
) -> None:
    """The task's metric on a whole recording, of PyTorch and of the export."""
    inputs, elapsed, reset = parity.samples_of(model, data, data.n_samples)
    parts = np.split(run(inputs, elapsed, reset).astype(np.float64), np.flatnonzero(reset)[1:])
    try:
        before = model.task.metrics(model.outputs(data), data)
        after = model.task.metrics([p[-1] for p in parts] if model.task.per == "series" else parts, data)
    except InputError as error:
        report.warnings.append(f"the recording has no metric: {error}")
        return
    primary = model.task.primary
    by = "PyTorch" if isinstance(model, Model) else "Python"
    report.measured.append(
        f"{primary} on the recording{f' {kind}' if kind else ''}: {before[primary]:.4f} in {by}, "
        f"{after[primary]:.4f} in {where} ({len(elapsed):,} samples)"
    )
    found = {"name": primary, "pytorch": before[primary], "export": after[primary]}
    report.plain["metric_calibrated" if kind else "metric"] = found


def _lyapunov(artifact: Artifact, model: Model, data: Recording | None, report: Report) -> None:
    exponent = largest_lyapunov_exponent(model, _recorded(artifact) if data is None else data)
    report.plain["lyapunov"] = to_plain(exponent)
    if exponent > 0:
        report.warnings.append(
            f"small differences in the state grow on these samples (Lyapunov exponent {exponent:.3f} per sample): "
            "with the state carried on, two machines that round differently drift apart, although each step is the "
            "same. In a CfC, gaps far longer than in training have this effect."
        )
    elif exponent <= 0:
        report.measured.append(f"differences in the state die out: Lyapunov exponent {exponent:.3f} per sample")
    else:
        report.warnings.append("too few samples to tell whether small differences in the state die out")


def _recorded(artifact: Artifact) -> Recording:
    """The samples that the export is checked on, as a recording."""
    walked, scales = artifact.walked, artifact.network.preprocessing
    starts = np.flatnonzero(walked.reset)[1:]
    times = [np.cumsum(np.maximum(part, 0.0), dtype=np.float64) for part in np.split(walked.elapsed, starts)]
    values = [part.astype(np.float64) for part in np.split(walked.inputs, starts)]
    series = tuple(Series(t, v, None, "") for t, v in zip(times, values, strict=True))
    return Recording(series, scales.channels, None, scales.time_unit)


def _flash(artifact: Artifact, target: Target, limits: Limits, report: Report) -> None:
    """Measure flash, the one cost that needs no emulator."""
    if not emulator.can_measure():
        return
    flash = report.plain["flash"] = footprint.flash(artifact, target)
    if over := footprint.beyond("flash", flash, limits.flash):
        raise InputError(f"{target.name}: {over[0]}")
    report.measured.append(f"flash {flash:,} bytes")


def _compare(name: str, built: Callable[[], Artifact], target: Target, limit: float, report: Report) -> None:
    try:
        made = built()
        report.costs[name] = footprint.measure(made, target)
    except InputError as failed:
        report.warnings.append(f"{name} is not compared: {failed}")
        return
    if made.widths is not None and (error := made.error(made.walked)) > limit:
        report.warnings.append(f"{name} differs in integers from PyTorch by {error:.2%}, more than {limit:.2%}")


def _alternative(costs: Mapping[str, Footprint], name: str, limits: Limits) -> str:
    for other, cost in costs.items():
        if other != name and not limits.exceeded(cost):
            return f". Of the study's contenders {other} would fit ({cost.flash:,} bytes of flash)"
    return ". No other contender of the study fits" if len(costs) > 1 else ""


def _left(out: Path) -> list[Path]:
    """Temporary files that a killed export left in a folder."""
    return list(out.glob(".*.part"))


@contextmanager
def _filled(out: Path) -> Iterator[Path]:
    """A temporary folder whose files move to ``out`` when all are complete."""
    lock = filelock.FileLock(out / LOCK)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        earlier = mine(_earlier(out))
        for part in _left(out):
            shutil.rmtree(part)
        part = Path(tempfile.mkdtemp(dir=out, prefix=".", suffix=".part"))
    except filelock.Timeout:
        raise InputError(
            f"another export is writing to {out}; wait until it ends, or choose another folder with --out"
        ) from None
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}); choose another folder with --out") from None
    try:
        yield part
        written = {file.name for file in part.iterdir()}
        for name in written:
            os.replace(part / name, out / name)
        for name in earlier - written:  # files of an earlier export, and those made from them, are of another model
            (out / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(part)
        with suppress(OSError):  # Windows cannot remove an open file; another export may start now
            (out / LOCK).unlink()
            if not any(out.iterdir()):
                out.rmdir()
        lock.release()
