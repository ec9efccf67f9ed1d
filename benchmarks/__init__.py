"""Speed and memory as ratios measured in one run, each held against a floor: ``python -m benchmarks``."""
