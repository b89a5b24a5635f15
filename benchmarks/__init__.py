"""Speed and memory of the liquid layers against their peers: ``python -m benchmarks``."""
