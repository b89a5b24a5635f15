import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from torchliquid.data import Preprocessing, Recording
from torchliquid.edge import table
from torchliquid.models import build
from torchliquid.models.tabular import Tabular
from torchliquid.study.results import Interval
from torchliquid.study.run.cost import cost
from torchliquid.study.stats.decide import what_would_decide
from torchliquid.tasks import Task


@pytest.fixture(scope="module")
def fitted() -> SimpleNamespace:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3))
    recording = Recording.from_arrays(x, targets=np.where(x[:, 0] + x[:, 1] ** 2 > 1, "yes", "no"))
    task = Task.infer(recording).fit(recording)
    return SimpleNamespace(recording=recording, task=task, preprocessing=Preprocessing.fit(recording))


@pytest.mark.parametrize("kind", ["linear", "boosting"])
@pytest.mark.parametrize("lookback", [1, 16])
def test_linear_models_and_trees_cost_what_their_c_holds(fitted, kind, lookback):
    model = Tabular.fit(kind, fitted.task, fitted.preprocessing, fitted.recording, fitted.recording, lookback=lookback)
    found, described = cost(model), table.describe(model)
    text = table.sources(described, "builtin")["model.c"]
    sizes = {"float": 4, "int32_t": 4, "uint32_t": 4, "uint16_t": 2, "uint8_t": 1, "int16_t": 2}
    arrays = re.findall(r"static const (\w+) (\w+)\[(\d+)\]", text)
    scales = {"input_shift", "input_scale", "lowest", "highest"}
    assert found.bytes == sum(sizes[kind] * int(n) for kind, name, n in arrays if name not in scales)
    kept = {field.name: field.size for field in table.fields(described)}
    assert found.state_bytes == sum(kept.get(name, 0) for name in ("history", "spans", "kept"))
    assert 0 < found.operations < 20 * max(model.live_parameters(), model.n_features)


@pytest.mark.parametrize(
    "kind", ["cfc", "cfc_ncp", "ltc", "ltc_ncp", "lstm", "gru", "grud", "transformer", "state_space"]
)
def test_a_network_is_its_live_weights_and_its_state(fitted, kind):
    model = build(kind, fitted.task, fitted.preprocessing, 1500)
    found = cost(model)
    assert found.bytes == 4 * model.live_parameters()
    spans = torch.ones(1, 1)
    _, state = model(torch.zeros(1, 1, fitted.preprocessing.n_inputs), spans)
    assert found.state_bytes == 4 * sum(s.numel() for s in state)
    assert found.operations >= 2 * sum(p.numel() for p in model.readout.parameters())


def test_an_ltcs_operations_grow_with_its_steps(fitted):
    one, six = (cost(build("ltc", fitted.task, fitted.preprocessing, 1500, unfolds=n)).operations for n in (1, 6))
    assert 3 < six / one < 6


@pytest.mark.parametrize("expert", ["cfc", "ltc", "lrcssm"])
def test_an_expert_that_is_not_called_costs_bytes_and_no_operations(fitted, expert):
    made = {"expert": expert, "units": 12}
    two, eight = (build("mixture", fitted.task, fitted.preprocessing, experts=n, **made) for n in (2, 8))
    both = build("mixture", fitted.task, fitted.preprocessing, experts=8, top_k=2, **made)
    few, many, called = cost(two), cost(eight), cost(both)
    assert many.bytes > 3 * few.bytes
    assert many.operations < 1.3 * few.operations
    assert called.bytes == many.bytes
    assert 1.3 < called.operations / many.operations < 2


def test_what_would_decide_follows_from_the_variances():
    data = Interval(0.02, -0.02, 0.06, 30, "series", data=4e-4)
    said = what_would_decide(data, 0.01, 1, 0.0)
    assert "120 test series for 30" in said  # half the reach takes four times the data
    seeds = Interval(0.02, -0.02, 0.06, 200, "stretches", seeds=4e-4)
    assert "20 seeds for 5" in what_would_decide(seeds, 0.01, 5, 60.0)
    assert "15 min" in what_would_decide(seeds, 0.01, 5, 60.0)
    both = Interval(0.03, -0.01, 0.07, 200, "stretches", data=2e-4, seeds=2e-4)
    assert "seeds are the cheapest" in what_would_decide(both, 0.01, 5, 60.0)
    few = Interval(0.02, -np.inf, np.inf, 3, "series", reason="few")
    assert what_would_decide(few, 0.01, 5, 60.0) == "To decide it, test on 12 test series or more; there are 3."
    close = Interval(0.0099, -0.02, 0.04, 200, "stretches", data=4e-4)
    assert "would not be enough" in what_would_decide(close, 0.01, 5, 60.0)
