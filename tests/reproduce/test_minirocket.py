"""MiniRocket: irregular samples on its grid, and what it finds there."""

import numpy as np
import pytest
import torch

from torchliquid.reproduce.minirocket import on_grid, scores


def test_a_grid_holds_what_was_last_observed():
    values = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [99.0, 99.0]])
    mask = np.array([[1, 0], [0, 1], [1, 1], [1, 1]])
    inputs = np.concatenate([values, mask], 1)[None]
    grid = on_grid(inputs, np.array([[0.0, 1.0, 2.0, 0.0]]), np.array([3]), end=4.0, bins=4)
    np.testing.assert_array_equal(grid, [[[1, 1, 1, 3], [0, 6, 6, 7]]])


@pytest.mark.slow
def test_it_tells_shapes_apart_and_a_seed_repeats_it():
    pytest.importorskip("aeon")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    series = rng.normal(size=(60, 1, 40)).astype(np.float32)
    series[labels == 1, 0, 10:20] += np.sin(np.arange(10)).astype(np.float32) * 3
    before = torch.get_num_threads()
    found = scores(series[:40], labels[:40], series[40:], seed=0, kernels=200)
    assert torch.get_num_threads() == before
    assert ((found > 0) == labels[40:]).mean() > 0.9
    np.testing.assert_array_equal(found, scores(series[:40], labels[:40], series[40:], seed=0, kernels=200))
