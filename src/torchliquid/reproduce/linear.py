"""Linear and logistic regression: what needs no network, no start at random and no epochs."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from torchliquid.reproduce.metrics import score
from torchliquid.reproduce.protocol import Part, Parts, Protocol
from torchliquid.reproduce.summaries import summaries

SAMPLES = (1, 8)
"""How far back it looks: at the current sample, or at so many; the validation part chooses."""


def fit(protocol: Protocol, parts: Parts, seed: int) -> tuple[Tensor, Tensor, int]:
    """Answers on validation and test, and the number of weights.

    Answers for each sample see the inputs and timespans of the last samples of its sequence, 0 before the first; an
    answer for each sequence sees its summaries. The penalty is 1, as that of
    :class:`torchliquid.models.tabular.Tabular`.

    Args:
        seed: makes no difference.
    """
    found = [_fit(protocol, parts, samples) for samples in (SAMPLES if parts.train.lengths is None else (1,))]
    sign = 1 if protocol.higher_is_better else -1
    return max(found, key=lambda one: sign * score(protocol.metric, one[0], parts.validation.targets))


def _fit(protocol: Protocol, parts: Parts, samples: int) -> tuple[Tensor, Tensor, int]:
    targets = parts.train.targets
    if targets.is_floating_point():
        last, labels = Ridge(1.0), targets.flatten(0, 1).numpy()
    else:
        weight = protocol.settings["Linear"].class_weight
        last = LogisticRegression(C=1.0, max_iter=1000, class_weight={1: weight} if weight != 1 else None)
        labels = targets.flatten().numpy()
    model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), last)
    model.fit(_table(parts.train, samples), labels)
    ask = model.decision_function if protocol.metric == "AUC" else model.predict

    def answers(part: Part) -> Tensor:
        return torch.from_numpy(ask(_table(part, samples))).view(part.targets.shape)

    return answers(parts.validation), answers(parts.test), int(np.size(last.coef_) + np.size(last.intercept_))


def _table(part: Part, samples: int) -> Float[np.ndarray, "R F"]:
    if part.lengths is not None:
        return summaries(part)
    x = torch.cat([part.inputs, part.timespans.unsqueeze(2)], 2).double()
    earlier = [torch.nn.functional.pad(x, (0, 0, back, 0))[:, : x.shape[1]] for back in range(samples)]
    table: np.ndarray = torch.cat(earlier, 2).flatten(0, 1).numpy()
    return table
