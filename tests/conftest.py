from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent / "smoke"))

from smoke_clone import SmokeClone

from common.optimizers import minimize

signal.signal(signal.SIGINT, signal.default_int_handler)  # the background jobs of a shell ignore it; tests interrupt


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """One small clone for all tests of a worker; those that need each other's results belong to one xdist group."""
    return SmokeClone(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def asked():
    """Return a function that runs a method: all points that it queries, their values, and the sizes of the batches."""

    def run(method, function, bounds, budget, rng, **options):
        X, y = [], []

        def recorded(points):
            values = function(points)
            X.append(points.detach().clone())
            y.append(values.detach().clone())
            return values

        assert minimize(recorded, bounds, method, budget, rng, **options).nfev == budget
        return torch.cat(X).numpy(), torch.cat(y).numpy(), [len(points) for points in X]

    return run
