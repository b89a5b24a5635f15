"""What every test may ask for."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real recordings, named by TORCHLIQUID_DATA."""
    folder = os.environ.get("TORCHLIQUID_DATA")
    if not folder:
        pytest.skip("TORCHLIQUID_DATA is not set: no real recordings to test on")
    return Path(folder)
