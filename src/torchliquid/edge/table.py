"""Linear models and boosted trees as C99: the features of the last samples, updated at each sample, and the answer.

Trees can use integers. The bits of a float, compared as an integer, have the same order. So every tree takes the same
branches, without floating-point arithmetic in software. Leaves become int16 with a common scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from torchliquid.edge import text
from torchliquid.edge.generate import Field, Math, checksum, counted, frame, render, rendered, scale_constants
from torchliquid.edge.network import check_scales
from torchliquid.edge.parity import Walk, fed
from torchliquid.edge.plausible import Plausible, in_order, plausible
from torchliquid.edge.tabular import Table
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.tabular import Tabular
from torchliquid.models.trees import Trees

CLOSE = 2e-6
"""Relative distance of a feature to a threshold below which single precision may take the other branch."""


def describe(model: Tabular, limits: Plausible | None = None, name: str = "model", integers: bool = False) -> Table:
    """A linear model or trees for the export, checked.

    Args:
        model: the model.
        limits: limits of plausible values; None: from its training part.
        name: name of the C files, an identifier.
        integers: whether trees use integers.

    Raises:
        InputError: a number is too large for single precision, or ``integers`` without trees.
    """
    if integers and model.trees is None:
        raise InputError("a linear model is exported in single precision alone: leave --quantize out")
    check_scales(model.preprocessing, model.task)
    found = Table(model, limits or plausible(model.preprocessing), name, integers)
    arrays = [bias(found), *([] if model.linear is None else [weights(found)])]
    arrays += [] if model.trees is None else [model.trees.value, model.trees.threshold]
    if not all((np.abs(array) < 1e30).all() for array in arrays):
        raise InputError("a number of the model is larger than single precision holds; train it again")
    return found


def weights(table: Table) -> np.ndarray:
    """(K, F) weights of the raw features, with scales and temperature folded in."""
    linear = table.model.linear
    assert linear is not None
    return np.asarray(linear.weight / linear.scale / table.model.calibration.temperature)


def bias(table: Table) -> np.ndarray:
    """(K,) bias of the linear model and the trees together, with the calibration's shift."""
    model, found = table.model, np.zeros(table.raw)
    temperature = model.calibration.temperature
    if model.linear is not None:
        found += model.linear.bias / temperature - weights(table) @ model.linear.mean
    if model.trees is not None:
        found += model.trees.baseline / temperature
    if shift := model.calibration.shift:
        if table.raw == 1:
            found += shift if table.task.positive == 1 else -shift
        else:
            found[table.task.positive] += shift
    return found


def packed(trees: Trees) -> tuple[np.ndarray, ...]:
    """Trees in the order in which the C code walks them: the splits of each tree in preorder, left before right, and
    its leaves from left to right.

    Returns:
        (R * K,) the number of splits of each tree; (S,) each the feature, the threshold and the number of splits to the
        left of each split; (L,) values of the leaves.
    """
    below = np.zeros(len(trees.feature), dtype=np.int64)  # splits from a node on; children come after parents
    for node in np.flatnonzero(trees.feature >= 0)[::-1]:
        below[node] = 1 + below[trees.left[node]] + below[trees.right[node]]
    order, leaves = [], []
    for root in trees.roots.ravel():
        waiting = [int(root)]
        while waiting:
            node = waiting.pop()
            if trees.feature[node] < 0:
                leaves.append(node)
                continue
            order.append(node)
            waiting += [int(trees.right[node]), int(trees.left[node])]
    at = np.array(order, dtype=np.int64)
    each = trees.feature[at], trees.threshold[at], below[trees.left[at]], trees.value[leaves]
    # C has no empty arrays, so they get one number that is never read.
    return below[trees.roots.ravel()], *(array if len(array) else np.zeros(1, array.dtype) for array in each)


def fields(table: Table) -> list[Field]:
    """The fields of the state."""
    scales, config = table.preprocessing, table.model.config
    c = scales.n_channels
    found = [Field("float", "features", table.features, "the last good readings, scaled")]
    if table.task.per == "series":
        found.append(Field("float", "clock", 3, "since the first sample; the mean of that; the squares about it"))
        found.append(Field("float", "sums", 6 * c, "mean, squares about it, low, high, product with time, first"))
        if scales.with_mask:
            found.append(Field("uint32_t", "seen", c, "how often each reading was there"))
        if table.past.size:
            found.append(Field("float", "history", table.past.size, "the readings at chosen places"))
    elif table.remembers:
        kept = config["lookback"]
        found.append(Field("float", "history", c * kept, "the last samples of each reading, the newest first"))
        if table.timed:
            found.append(Field("float", "spans", kept, "the time before each"))
        found.append(Field("uint32_t", "kept", 0, "how many there are"))
        if table.task.change:
            found.append(Field("uint32_t", "known", 0, "whether there was a value of what is forecast"))
        if scales.with_mask:
            found.append(Field("uint8_t", "seen", c * kept, "whether each was there"))
    return [*found, *counted(table)]


def stored(table: Table) -> tuple[dict[str, np.ndarray], float]:
    """The constants besides the scales, in their types, and the scale of integer leaves."""
    model, scale = table.model, 0.0
    made: dict[str, np.ndarray] = {"bias": bias(table).astype(np.float32)}
    if model.linear is not None:
        made["own_weight"] = weights(table)[:, table.own].astype(np.float32)
        if table.past.size:
            made["past_weight"] = weights(table)[:, table.past].astype(np.float32)
    if table.task.per == "series" and table.past.size:
        made["kept_at"] = _narrow(model.steps(1).places)
    if model.trees is not None:
        splits, feature, threshold, left, leaves = packed(model.trees)
        at, threshold = table.places()[feature], threshold.astype(np.float32)
        split = in_order(threshold).astype(np.int32) if table.integers else threshold
        leaves = leaves / model.calibration.temperature
        scale = float(np.abs(leaves).max(initial=0.0)) / 32767 or 1.0
        asked, which = np.unique(np.stack([at, in_order(threshold)]), axis=1, return_inverse=True)
        first = np.zeros(asked.shape[1], dtype=np.int64)
        first[which.ravel()[::-1]] = np.arange(len(at))[::-1]
        apart = {"split_feature": _narrow(at), "split_at": split}
        together = {
            "split": _narrow(which.ravel()),
            "split_feature": _narrow(at[first]),
            "split_at": split[first],
        }
        made["tree_splits"] = _narrow(splits)
        smaller = min(apart, together, key=lambda each: sum(array.nbytes for array in each.values()))
        made |= smaller
        made["splits_left"] = _narrow(left)
        made["leaf"] = np.round(leaves / scale).astype(np.int16) if table.integers else leaves.astype(np.float32)
    return made, scale


def _narrow(whole: np.ndarray) -> np.ndarray:
    """The array in the smallest unsigned type."""
    return whole.astype(np.min_scalar_type(int(whole.max(initial=0))))


REMARKS = {
    "bias": "Start of the sums.",
    "own_weight": "Coefficients of the linear model.",
    "past_weight": "Coefficients of past readings.",
    "kept_at": "Samples whose readings are kept.",
    "tree_splits": "Number of splits of each tree.",
    "split": "Index of each split's question.",
    "split_feature": "Feature of each question, and the largest value that goes left.",
    "splits_left": "Number of splits to the left of each split.",
    "leaf": "Values of the leaves.",
}


def sources(table: Table, math: Math) -> dict[str, str]:
    """The header and the source file."""
    model, n = table.model, len(table.own)
    arrays, scale = stored(table)
    made = scale_constants(table)
    for name, array in arrays.items():
        kind = "float" if array.dtype == np.float32 else f"{array.dtype}_t"
        made.append(Constant(text.array(name, array, kind), REMARKS.get(name, "")))
    held = fields(table)
    functions = {"sqrt"} if table.windows or table.task.per == "series" else set()
    if model.config["uneven"] or "silence" in table.groups:
        functions.add("log1p")
    context: dict[str, Any] = {
        **frame(table, made, held, math),
        "size_remark": "readings as they are fed, words of flags",
        "fingerprint": checksum(table.preprocessing, held, (table.integers,), "", tuple(model.numbers())),
        "arithmetic": arithmetic(table),
        "quantized": False,
        "uneven": False,
        "clips": False,
        "functions": functions,
        "calls": ["answer(state, span, outputs);"],
        "readout": "",
        "ordered": table.integers,
        "integers": table.integers,
        "shared": "split" in arrays,
        "leaf_scale": text.number(scale),
        "linear": model.linear is not None,
        "trees": 0 if model.trees is None else model.trees.roots.size,
        "past": bool(model.trees is not None and table.past.size),
        "past_columns": table.past.size,
        "own": n,
        "raw": table.raw,
        "remembers": table.remembers,
        "timed": table.timed,
        "lookback": model.config.get("lookback", 0) if table.task.per == "step" else 0,
        "lags": model.config.get("lags", 0),
        "windows": table.windows,
        "irregular": model.config["uneven"],
        "uses": {name: name in table.groups for name in ("span", "ages", "held", "silence")},
        "sums": [],
    }
    seen = rendered(f"table/{'series' if table.task.per == 'series' else 'step'}.c.j2", context)
    context["code"] = [seen, rendered("table/answer.c.j2", context)]
    return render(context)


def arithmetic(table: Table) -> str:
    """The arithmetic of the C code, in a sentence."""
    return "Trees in integers, all else in single precision." if table.integers else "Single precision."


def rounding(table: Table) -> np.ndarray:
    """(K,) largest error of the outputs from integer leaves: half a step per tree."""
    trees, scale = table.model.trees, stored(table)[1] if table.integers else 0.0
    most = 0.0 if trees is None else len(trees.roots) * scale / 2
    slope = np.array(table.task.std) if table.task.kind == "regression" else np.full(table.task.n_outputs, 0.5)
    return np.asarray(most * slope)


def undecided(table: Table, walked: Walk) -> np.ndarray:
    """(T,) True where a feature is so close to a threshold on its path that single precision may branch differently."""
    trees = table.model.trees
    if trees is None:
        return np.zeros(len(walked), dtype=bool)
    steps, rows = table.model.steps(1), []
    features, spans = fed(table.preprocessing, (walked.inputs, walked.elapsed, walked.reset), table.limits)
    for i in range(len(walked)):
        if walked.reset[i]:
            steps.reset(slice(None))
        rows.append(steps.rows(features[i : i + 1], spans[i : i + 1]))
    seen = np.concatenate(rows)
    node = np.tile(trees.roots.ravel(), (len(seen), 1))
    close = np.zeros(len(seen), dtype=bool)
    while (going := trees.feature[node] >= 0).any():
        feature = np.take_along_axis(seen, np.maximum(trees.feature[node], 0), 1)
        close |= (going & (np.abs(feature - trees.threshold[node]) <= CLOSE * (1 + np.abs(feature)))).any(1)
        further = np.where(feature <= trees.threshold[node], trees.left[node], trees.right[node])
        node = np.where(going, further, node)
    return close
