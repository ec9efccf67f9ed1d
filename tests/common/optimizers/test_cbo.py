"""CBO against its equations written out in plain loops, and their invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.objective import Objective
from common.optimizers.cbo import CBO, effective_weights
from common.training.keys import torch_generator

BOX = [[-2.0, 0.0, 10.0], [2.0, 1.0, 30.0]]


def bowl(X):
    return ((X - torch.tensor([0.3, 0.6, 17.0])) ** 2 / torch.tensor([16.0, 1.0, 400.0])).sum(1)


def test_one_step_is_the_published_equations():
    alpha, drift, sigma, dt = 3.0, 0.8, 1.3, 0.05
    run = CBO(particles=7, drift=drift, sigma=sigma, step=dt, alpha=alpha).start(BOX, rng=4)
    X = run.ask()
    y = bowl(X)
    before = run.positions.numpy().copy()
    run.tell(X, y)
    noise = torch.randn(7, 3, generator=torch_generator(4, "cbo", "noise", 0), dtype=torch.float64).numpy()
    weights = [math.exp(-alpha * float(value)) for value in y]
    centre = [sum(w * x[k] for w, x in zip(weights, before, strict=True)) / sum(weights) for k in range(3)]
    expected = np.empty((7, 3))
    for i in range(7):
        for k in range(3):
            away = before[i, k] - centre[k]
            moved = before[i, k] - drift * away * dt + sigma * away * math.sqrt(dt) * noise[i, k]
            expected[i, k] = min(max(moved, 0.0), 1.0)
    np.testing.assert_allclose(run.positions.numpy(), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(run.ask().numpy(), np.array(BOX[0]) + np.ptp(BOX, axis=0) * expected, rtol=1e-12)


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=40), st.floats(0.05, 0.95))
def test_weights_have_the_effective_number_asked_for(values, effective):
    y = np.array(values, dtype=float)
    weights = effective_weights(y, effective)
    assert weights.max() == 1.0
    assert (np.diff(weights[np.argsort(y)]) <= 0).all()  # never more weight on a larger value
    number = weights.sum() ** 2 / (weights**2).sum()
    least = int((y == y.min()).sum())
    if effective * len(y) > least:
        assert number == pytest.approx(effective * len(y), rel=1e-6)
    else:  # no temperature gives fewer than the least values
        assert number == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize(("scale", "offset"), [(2.0**40, 0.0), (2.0**-30, 0.0), (1e6, 1e3), (1e-3, -5.0)])
def test_the_consensus_does_not_depend_on_units_and_offset_of_the_function(scale, offset):
    run = CBO(particles=30, effective=0.3).start(BOX, rng=0)
    y = bowl(run.ask())
    torch.testing.assert_close(run.consensus(scale * y + offset), run.consensus(y), rtol=1e-9, atol=0)


def test_a_run_does_not_depend_on_the_unit_of_the_function():
    a, b = (CBO().minimize(Objective(lambda X, s=s: s * bowl(X), BOX), 2000, 1) for s in (1.0, 2.0**30))
    np.testing.assert_array_equal(a.x, b.x)


def test_particles_that_have_met_stay_where_they_are_and_fresh_ones_begin():
    run = CBO(particles=5).start(BOX, rng=0)
    run.positions = torch.full((5, 3), 0.25, dtype=torch.float64)
    X = run.ask()
    torch.testing.assert_close(run.consensus(bowl(X)), torch.full((3,), 0.25, dtype=torch.float64))
    run.tell(X, bowl(X))
    assert run.restarts == 1
    assert len(run.positions.unique(dim=0)) == 5


def test_meets_in_the_minimum_again_and_again():
    """Each swarm of a smooth bowl comes close to its minimum before fresh particles begin."""
    optimizer = CBO(tolerance=1e-3)
    result = optimizer.minimize(Objective(bowl, BOX), 20_000, 0)
    assert (result.status, result.nfev) == (1, 20_000)
    assert optimizer.restarts >= 2
    np.testing.assert_allclose(result.x, [0.3, 0.6, 17.0], rtol=1e-2)


def test_a_flat_function_spends_the_budget():
    result = CBO().minimize(Objective(lambda X: torch.ones(len(X)), (0, 1), dim=2), 5000, 0)
    assert (result.status, result.nfev) == (1, 5000)


@pytest.mark.parametrize(
    "settings",
    [
        {"particles": 1},
        {"particles": 2.5},
        {"drift": 0},
        {"drift": 300},
        {"sigma": -1},
        {"step": 0},
        {"alpha": 0},
        {"effective": 1.0},
        {"tolerance": 0},
    ],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError):
        CBO(**settings)
