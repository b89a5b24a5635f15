"""What every test may ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.helpers.needed import NO_DATA

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

if os.environ.get("CHECK_SHAPES"):  # `make test-shapes`
    from tests.helpers.shapes import check_annotations

    check_annotations()

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings, named by TORCHLIQUID_DATA."""
    folder = os.environ.get("TORCHLIQUID_DATA")
    if not folder:
        pytest.skip(f"{NO_DATA}: no real recordings to test on")
    return Path(folder)


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, object]]:
    """A real Ray cluster of two nodes with one core each, which can import what this process can; and the node that is
    not its head."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    size = {"num_cpus": 1, "object_store_memory": 80_000_000}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    try:
        yield cluster, cluster.add_node(**size)
    finally:
        cluster.shutdown()
