"""Boosting: what it sees of an irregular series, and what it finds there."""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from torchliquid.reproduce.boosting import scores, summaries
from torchliquid.reproduce.protocol import Part, Parts


def test_a_summary_is_of_what_was_observed():
    values = np.array([[1.0, 0.0, 8.0], [5.0, 0.0, 6.0], [3.0, 0.0, 7.0], [99.0, 99.0, 99.0]])
    mask = np.array([[1, 0, 0], [1, 0, 1], [1, 0, 1], [1, 1, 1]])
    table = summaries(np.concatenate([values, mask], 1)[None], np.array([[9.0, 1.0, 2.5, 9.0]]), np.array([3]))
    nan = np.nan
    first, last, mean, least, greatest = [1, nan, 6], [3, nan, 7], [3, nan, 6.5], [1, nan, 6], [5, nan, 7]
    np.testing.assert_array_equal(table, [[*first, *last, *mean, *least, *greatest, 3, 0, 2, 3, 3.5]])


def test_it_finds_what_the_greatest_value_says_and_leaves_the_test_part_alone():
    torch.manual_seed(0)

    def draw(n: int) -> Part:
        values, observed = torch.rand(n, 6, 2), (torch.rand(n, 6, 2) < 0.7).float()
        targets = ((values * observed)[..., 0].amax(1) > 0.85).long()
        return Part(torch.cat([values * observed, observed], 2), torch.ones(n, 6), targets, torch.full((n,), 6))

    parts = Parts(draw(400), draw(100), draw(100), outputs=2)
    validation, test, numbers = scores(parts, seed=0)
    assert roc_auc_score(parts.validation.targets, validation) > 0.95
    assert roc_auc_score(parts.test.targets, test) > 0.95
    # The rounds do not depend on the test labels, and so many numbers fit in them.
    turned = Parts(parts.train, parts.validation, Part(*vars(parts.test).values()), outputs=2)
    turned.test.targets.neg_().add_(1)
    again = scores(turned, seed=0)
    np.testing.assert_array_equal(test, again[1])
    assert 0 < numbers == again[2] <= 300 * (3 * 14 + 1)
