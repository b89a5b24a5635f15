"""Contenders that are no network: what they see of a sequence, and what they find there."""

import numpy as np
import pytest
import torch

from torchliquid.reproduce import boosting, linear, threshold
from torchliquid.reproduce.features import summaries
from torchliquid.reproduce.metrics import score
from torchliquid.reproduce.protocol import Parts, Protocol, Sequences, Setting


def table(metric: str, **setting: float) -> Protocol:
    settings = dict.fromkeys(("Linear", "Boosting"), Setting(**setting))
    return Protocol("cheetah", "nobody", metric, {}, settings, parts=lambda split: None)


def test_a_summary_is_of_what_was_observed():
    values = torch.tensor([[1.0, 0.0, 8.0], [5.0, 0.0, 6.0], [3.0, 0.0, 7.0], [99.0, 99.0, 99.0]])
    mask = torch.tensor([[1, 0, 0], [1, 0, 1], [1, 0, 1], [1, 1, 1]])
    spans = torch.tensor([[9.0, 1.0, 2.5, 9.0]])
    found = summaries(Sequences(torch.cat([values, mask], 1)[None], spans, torch.zeros(1), torch.tensor([3])))
    nan = np.nan
    first, last, mean, least, greatest = [1, nan, 6], [3, nan, 7], [3, nan, 6.5], [1, nan, 6], [5, nan, 7]
    np.testing.assert_array_equal(found, [[*first, *last, *mean, *least, *greatest, 3, 0, 2, 3, 3.5]])


@pytest.mark.parametrize(("model", "least"), [(boosting, 0.95), (linear, 0.85)])
def test_one_label_a_series_is_found_in_the_summaries(model, least):
    """The label says whether the greatest value is large; some series have channels that were never observed."""
    torch.manual_seed(0)

    def draw(n: int) -> Sequences:
        values, observed = torch.rand(n, 6, 2), (torch.rand(n, 6, 2) < 0.7).float()
        observed[: n // 10, :, 1] = 0
        targets = ((values * observed)[..., 0].amax(1) > 0.85).long()
        return Sequences(torch.cat([values * observed, observed], 2), torch.ones(n, 6), targets, torch.full((n,), 6))

    parts = Parts(draw(400), draw(100), draw(100), outputs=2)
    validation, test, numbers = model.fit(table("AUC"), parts, 0)
    assert score("AUC", validation, parts.validation.targets) > least
    assert score("AUC", test, parts.test.targets) > least
    assert 0 < numbers <= 300 * (3 * 14 + 1)


def test_a_linear_model_looks_back_as_far_as_validation_says():
    """Values that are a sum over eight samples, and values that are of the current one alone; hand-made weights."""
    torch.manual_seed(1)
    wanted = torch.randn(8, 2)

    def draw(n: int, back: int) -> Sequences:
        x = torch.randn(n, 20, 2)
        before = torch.nn.functional.pad(x, (0, 0, 7, 0)).unfold(1, 8, 1).flip(-1)
        y = torch.einsum("ntck,kc->nt", before[..., :back], wanted[:back]).unsqueeze(2)
        return Sequences(x, torch.ones(n, 20), y + 0.01 * torch.randn_like(y))

    for back, weights in ((8, 25), (1, 4)):
        parts = Parts(*(draw(n, back) for n in (40, 20, 20)), outputs=1)
        _, test, numbers = linear.fit(table("squared error"), parts, 0)
        assert numbers == weights
        assert test.shape == parts.test.targets.shape
        assert score("squared error", test, parts.test.targets) < 0.001


def test_boosting_takes_values_sample_by_sample_and_stops_each_where_validation_says():
    """The first of two values is a step of the sample before, the second is noise."""
    torch.manual_seed(3)

    def draw(n: int) -> Sequences:
        x = torch.randn(n, 20, 2)
        before = torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :20, 0]
        return Sequences(x, torch.ones(n, 20), torch.stack([(before > 0.5).float(), torch.randn(n, 20)], 2))

    parts = Parts(*(draw(n) for n in (100, 40, 40)), outputs=2)
    _, test, numbers = boosting.fit(table("squared error"), parts, 0)
    errors = (test - parts.test.targets).square().mean((0, 1))
    assert errors[0] < 0.01
    assert 0.8 < errors[1] < 1.3
    assert numbers < 330 * (3 * 14 + 1)


def test_one_threshold_is_found_and_nothing_more():
    torch.manual_seed(4)

    def draw(n: int) -> Sequences:
        x = torch.randn(n, 16, 3)
        return Sequences(x, torch.ones(n, 16), ((x[..., 1] > 0.4) ^ (torch.rand(n, 16) < 0.1)).long())

    parts = Parts(draw(60), draw(20), draw(20), outputs=2)
    _, test, _ = threshold.fit(table("accuracy %"), parts, 0)
    assert (test == (parts.test.inputs[..., 1] > 0.4)).float().mean() > 0.99


def test_a_linear_model_is_held_back_where_inputs_are_many_and_sequences_few():
    torch.manual_seed(5)

    def draw(n: int) -> Sequences:
        x = torch.randn(n, 2, 30)
        return Sequences(x, torch.ones(n, 2), x[..., :1] + 3 * torch.randn(n, 2, 1))

    parts = Parts(draw(30), draw(300), draw(300), outputs=1)
    _, test, _ = linear.fit(table("squared error"), parts, 0)
    assert test.square().mean() < 1  # what fits thirty sequences without a penalty answers far more than that


def test_a_linear_model_weighs_classes_as_its_table_says():
    torch.manual_seed(2)

    def draw(n: int) -> Sequences:
        x = torch.randn(n, 16, 1)
        return Sequences(x, torch.ones(n, 16), (x[..., 0] + torch.randn(n, 16) > 1.5).long())

    parts = Parts(draw(60), draw(20), draw(20), outputs=2)
    plain, weighed = (linear.fit(table("F1", class_weight=w), parts, 0)[1].float().mean() for w in (1.0, 16.0))
    assert weighed > 2 * plain > 0
