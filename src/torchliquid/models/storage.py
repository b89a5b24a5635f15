"""Saves and loads models: weights as safetensors, everything else as JSON in its header. Nothing from a file is run.

The header's metadata hold ``format`` ("torchliquid-model"), ``version`` (of this layout) and ``model``, a JSON text
with kind, config, task, preprocessing and metadata. The tensors of a network are its state dict's under ``model.`` and,
unless left out, the sample's under ``sample.``. For other models they are their arrays, see
:mod:`torchliquid.models.plain`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from torchliquid.data.preprocessing import Preprocessing
from torchliquid.errors import InputError
from torchliquid.files import check_model_file, write_atomically
from torchliquid.models import plain
from torchliquid.models.build import CHAINED, PICTURES, assemble
from torchliquid.models.checks import check_data, check_fitted, check_weights
from torchliquid.models.model import Model, Sample
from torchliquid.models.naive import Naive
from torchliquid.models.predictor import Predictor
from torchliquid.random import seeded
from torchliquid.tasks import Task

FORMAT = "torchliquid-model"
VERSION = 4
"""4: the kinds of :data:`LATER`. 3: models with pictures, or feed-forward ones. 2: other chains, of stacked layers or
with dense layers in front, and models that are not networks. All others are written as 1."""

LATER = ("cfc_mm", "grud", "minirocket", "mixture", "state_space")

Saved = Model | plain.Plain
"""The models that a file can hold."""

MAX_DESCRIPTION = 16_000_000
"""Maximum length of the JSON text in characters."""


def pack(model: Predictor, with_sample: bool) -> bytes:
    """The contents of the file. A sample without finite outputs is left out.

    Raises:
        InputError: the model could not be loaded again: its weights are not finite, its description is too long, or it
            is neither a network nor a kind of this package.
    """
    if not isinstance(model, Saved):
        raise InputError(f"a {type(model).__name__} cannot be saved; only networks, linear models, trees and Naive can")
    description = {
        "kind": model.kind,
        "config": model.config,
        "task": model.task.to_dict(),
        "preprocessing": model.preprocessing.to_dict(),
        "metadata": model.metadata,
    }
    if isinstance(model, Model):
        tensors, version = _tensors(model, with_sample), 1
        if CHAINED.keys() & model.config and len(model.network.chain) > 1:
            version = 2
        if PICTURES in model.config or model.kind == "feedforward":
            version = 3
        check_weights(model.state_dict())
    else:
        if not isinstance(model, Naive) and model.task.kind == "classification":
            description["metadata"] = {**model.metadata, "calibration": asdict(model.calibration)}
        tensors, version = {name: torch.from_numpy(array) for name, array in plain.arrays(model).items()}, 2
        check_weights(tensors)
    version = VERSION if model.kind in LATER else version
    check_data(description)
    text = json.dumps(description, allow_nan=False, ensure_ascii=False)
    if len(text) > MAX_DESCRIPTION:
        raise InputError(
            f"the model's description has {len(text):,} characters; at most {MAX_DESCRIPTION:,} can be saved"
        )
    return safetensors.torch.save(tensors, {"format": FORMAT, "version": str(version), "model": text})


def _tensors(model: Model, with_sample: bool) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    sample = model.sample if with_sample else None
    outputs = None if sample is None else model.on_sample()
    if sample is not None and outputs is not None and torch.isfinite(outputs).all():
        tensors |= {"sample.inputs": sample.inputs, "sample.timespans": sample.timespans}
        tensors |= {"sample.lengths": sample.lengths, "sample.outputs": outputs}
        tensors = {name: value.contiguous() for name, value in tensors.items()}
    return tensors


def save(model: Predictor, path: Path, with_sample: bool) -> None:
    """See :meth:`Model.save`."""
    data = pack(model, with_sample)
    try:
        write_atomically(path, lambda part: part.write_bytes(data))
    except OSError as error:
        raise InputError(f"the model cannot be written to {path}: {error.strerror or error}") from None


def load(path: Path) -> Saved:
    """See :meth:`Model.load`."""
    check_model_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            _check(header, path)
            description = _description(header["model"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _restore(description, tensors)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} is not a complete .safetensors file ({error}); it may be truncated: save or copy it again"
        ) from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check(header: dict[str, str], path: Path) -> None:
    if header.get("format") != FORMAT or "model" not in header:
        raise InputError("this is not a torchliquid model; give a file written by Model.save")
    version = header.get("version", "")
    if not version.isdecimal():
        raise InputError("this model's format has no version; save it again")
    if int(version[:9]) > VERSION:
        raise InputError(
            f"this model has format {version[:9]}, but this version of torchliquid reads up to {VERSION}: update "
            "torchliquid"
        )


def _description(text: str) -> dict[str, Any]:
    if len(text) > MAX_DESCRIPTION:
        raise InputError("the model's description is too long; this is not a model saved by torchliquid")
    try:
        description = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("the model's description is invalid; save it again") from None
    check_data(description if isinstance(description, dict) else {})
    try:
        json.dumps(description, ensure_ascii=False).encode()  # fails on half a surrogate pair
    except ValueError:
        raise InputError("the model's description is invalid; save it again") from None
    expected = {"kind": str, "config": dict, "task": dict, "preprocessing": dict, "metadata": dict}
    if not isinstance(description, dict) or any(not isinstance(description.get(k), t) for k, t in expected.items()):
        raise InputError("the model's description is invalid; save it again")
    if not _are_columns(description["metadata"].get("columns", {})):
        raise InputError("the model's columns are invalid; save it again")
    return description


def _are_columns(columns: Any) -> bool:
    """Whether these describe how a table's columns are read."""
    if not isinstance(columns, dict) or ("parameter" in columns) != ("value" in columns):
        return False
    marks = columns.get("missing") or []
    types = {"skip": int, "header": bool}
    return (
        isinstance(marks, list)
        and all(isinstance(mark, str | int | float) for mark in marks)
        and all(type(value) is types.get(name, str) for name, value in columns.items() if name != "missing")
    )


def load_network(path: Path, what: str) -> Model:
    """Load a model that must be a network.

    Args:
        what: what is to be done with it, for the message, such as ``"explained"``.

    Raises:
        InputError: as :func:`load`, or the model is not a network.
    """
    model = load(path)
    if not isinstance(model, Model):
        raise InputError(f"{path} holds a {plain.words(model.kind)} model: only a network can be {what}")
    return model


def _restore(description: dict[str, Any], tensors: dict[str, Tensor]) -> Saved:
    task = Task.from_dict(description["task"])
    preprocessing = Preprocessing.from_dict(description["preprocessing"])
    check_fitted(task, preprocessing)
    if description["kind"] in plain.LABELS:
        return plain.restore(description, task, preprocessing, tensors)
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    check_weights(weights)
    size = sum(t.numel() for t in weights.values())
    with seeded():  # random weights are drawn, then replaced by the file's
        model = assemble(description["kind"], description["config"], task, preprocessing, at_most=size)
    own = model.state_dict()
    try:
        if any(n in own and own[n].dtype != t.dtype for n, t in weights.items()):
            raise RuntimeError("another precision")
        model.load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"the weights do not fit a {model.kind} of this description; save the model again") from None
    model.metadata = description["metadata"]
    if "sample.inputs" in tensors:
        model.sample = _sample(model, tensors)
    return model.eval()


def _sample(model: Model, tensors: dict[str, Tensor]) -> Sample:
    try:
        parts = [tensors[f"sample.{name}"] for name in ("inputs", "timespans", "lengths", "outputs")]
    except KeyError as error:
        raise InputError(f"the model's sample lacks {error}; save the model again") from None
    inputs, spans, lengths, outputs = parts
    n, time = spans.shape if spans.ndim == 2 else (-1, -1)
    k = model.task.n_outputs
    fits = (
        inputs.shape == (n, time, model.preprocessing.n_inputs)
        and lengths.shape == (n,)
        and outputs.shape == ((n, time, k) if model.task.per == "step" else (n, k))
        and lengths.dtype == torch.int64
        and all(t.dtype == torch.float32 and bool(torch.isfinite(t).all()) for t in (inputs, spans, outputs))
        and (n == 0 or (int(lengths.min()) >= 1 and int(lengths.max()) <= time))
        and bool((spans >= 0).all())
    )
    if not fits:
        raise InputError("the model's sample does not fit the model; save the model again")
    return Sample(*parts)
