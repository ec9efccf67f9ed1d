"""The restart schedule of BIPOP-CMA-ES against the rules of the paper; the runs themselves are the library's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.objective import Objective
from common.optimizers.bipop import BIPOP
from common.optimizers.cmaes import CMAES


def rastrigin(X):
    return (X**2 - 10 * torch.cos(2 * math.pi * X) + 10).sum(1)


@pytest.fixture(scope="module")
def finished():
    """A long run on a function with many basins, as (optimizer, result)."""
    optimizer = BIPOP()
    result = optimizer.minimize(Objective(rastrigin, (-5, 5), dim=4), 20_000, 0)
    return optimizer, result


def test_restarts_until_the_budget_is_spent(finished):
    optimizer, result = finished
    assert (result.status, result.nfev) == (1, 20_000)
    assert result.fun < 1e-9
    assert len(optimizer.runs) > 6
    # the last run's cut population was never told
    assert 0 <= 20_000 - sum(run.spent for run in optimizer.runs) < optimizer.runs[-1].population


def test_large_populations_double(finished):
    runs = finished[0].runs
    assert (runs[0].regime, runs[0].population, runs[0].sigma) == ("small", 8, 0.25)  # 4 + floor(3 ln 4)
    large = [run for run in runs if run.regime == "large"]
    assert [run.population for run in large] == [8 * 2**k for k in range(1, len(large) + 1)]
    assert {run.sigma for run in large} == {0.25}


def test_small_runs_draw_population_and_sigma_and_end_in_time(finished):
    runs = finished[0].runs
    seen = set()
    for i, run in enumerate(runs[1:], start=1):
        before = [earlier for earlier in runs[:i] if earlier.regime == "large"]
        if run.regime == "small":
            assert 8 <= run.population <= max(8, before[-1].population / 2)
            assert 0.25e-2 <= run.sigma <= 0.25
            limit = sum(earlier.spent for earlier in before) / 2
            assert run.spent < limit + run.population
            seen.add(run.sigma)
    assert len(seen) == sum(run.regime == "small" for run in runs[1:]) > 2


def test_the_regime_that_has_spent_less_is_next(finished):
    runs = finished[0].runs
    for i in range(1, len(runs)):
        spent = {name: sum(run.spent for run in runs[:i] if run.regime == name) for name in ("small", "large")}
        assert runs[i].regime == ("small" if spent["small"] < spent["large"] else "large")
        # so neither leads by more than its own last run
        leader = max(spent, key=spent.__getitem__)
        last = next(run for run in reversed(runs[:i]) if run.regime == leader)
        assert abs(spent["small"] - spent["large"]) <= last.spent


def test_a_run_alone_is_the_library_s():
    """Up to the first restart, the means of the search distribution are those of CMAES from the same draws."""
    import cma

    from common.training.keys import numpy_generator

    generator = numpy_generator(3, "bipop", 0)
    start = generator.uniform(size=2)
    options = {
        "bounds": [0, 1],
        "popsize": 6,
        "CMA_active": True,
        "seed": math.nan,
        "randn": lambda *shape: generator.standard_normal(shape),
        "verbose": -9,
    }
    reference = cma.CMAEvolutionStrategy(start, 0.25, options)
    run = BIPOP().start([[-5.0, -5.0], [5.0, 5.0]], rng=3)
    for _ in range(20):
        unit = np.array(reference.ask())
        X = run.ask()
        np.testing.assert_allclose(X.numpy(), 10 * unit - 5, rtol=1e-12, atol=1e-12)
        y = rastrigin(X)
        run.tell(X, y)
        reference.tell(list(unit), y.tolist())


def test_leaves_a_local_minimum_where_one_run_of_cmaes_stays():
    def stuck(X):  # a wide basin at 0.8 and the narrower global one at 0.2
        wide, narrow = ((X - 0.8) ** 2).sum(1), ((X - 0.2) ** 2).sum(1)
        return -torch.exp(-5 * wide) - 3 * torch.exp(-30 * narrow)

    def median(optimizer):
        return np.median([optimizer.minimize(Objective(stuck, (0, 1), dim=3), 4000, seed).fun for seed in range(5)])

    assert median(CMAES()) > -1.1
    assert median(BIPOP()) < -2.9


def test_a_flat_function_spends_the_budget():
    result = BIPOP().minimize(Objective(lambda X: torch.ones(len(X)), (0, 1), dim=2), 3000, 0)
    assert (result.status, result.nfev, result.fun) == (1, 3000, 1.0)


@pytest.mark.parametrize("settings", [{"sigma": 0}, {"sigma": -1.0}, {"options": {"popsize": 10}}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError):
        BIPOP(**settings)
