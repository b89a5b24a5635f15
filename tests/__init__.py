"""The tests; helpers that several share are in ``tests.helpers``."""
