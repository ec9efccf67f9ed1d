"""BFGS with virtual exact line searches: what it costs, and what it does with functions that misbehave."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from common.functions.gaussians import GaussianFamily, Quadratics
from common.objective import BudgetExhausted, Objective, ObjectiveError
from papers.lgo.virtual_search import Plateau, virtual_search

FAR = (-1e6, 1e6)


def problems(dim, count, quadratic=False, **law):
    functions, start = GaussianFamily(dim, **law).sample(300, range(count))
    if quadratic:
        functions = Quadratics(functions.centers, functions.matrices)
    return [(functions[i], start[i]) for i in range(count)]


def searched(function, start, bounds=FAR, **options):
    values = []

    def recorded(X):
        y = function(X)
        values.extend(y.tolist())
        return y

    objective = Objective(recorded, bounds, dim=len(start))
    found = virtual_search(objective, start, **options)
    assert found.evaluations == objective.gradients == len(values)
    assert found.value <= min(values) + 1e-14 * abs(found.value)
    assert found.value == float(function(found.x[None]))
    return found


def scipys(function, start):
    objective = Objective(function, FAR, dim=len(start))

    def fun(x):
        y, gradient = objective.value_and_gradient(torch.from_numpy(x[None]))
        return float(y), gradient[0].numpy()

    minimize(fun, start.numpy(), jac=True, method="BFGS", options={"gtol": 1e-6, "norm": 2})
    return objective.gradients


def test_steps_that_rounding_takes_away_end_the_search():
    # Between neighbours of 1e17 lie 16, which no step along a slope of 1 spans.
    found = searched(lambda X: X.sum(1), torch.full((2,), 1e17, dtype=torch.float64), bounds=(-1e18, 1e18))
    assert "no progress" in found.stop
    assert found.x.tolist() == [1e17, 1e17]


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_quadratics_end_in_as_many_steps_as_variables(dim):
    costs = []
    for function, start in problems(dim, 8, quadratic=True):
        found = searched(function, start)
        assert found.stop["gradient"] <= 1e-6
        assert found.value < 1e-10
        costs.append(found.evaluations)
    assert np.mean(costs) <= dim + 4


def test_gaussians_cost_less_than_by_scipys_bfgs():
    ratios = []
    for function, start in problems(5, 20):
        found = searched(function, start)
        assert found.stop["gradient"] <= 1e-6
        if found.value < -0.9:
            ratios.append(found.evaluations / scipys(function, start))
    assert len(ratios) >= 18
    assert np.exp(np.mean(np.log(ratios))) < 0.85


def test_rosenbrock_is_solved():
    def rosenbrock(X):
        return (100 * (X[:, 1:] - X[:, :-1] ** 2) ** 2 + (1 - X[:, :-1]) ** 2).sum(1)

    found = searched(rosenbrock, torch.tensor([-1.2, 1.0, -0.5], dtype=torch.float64))
    assert found.x.tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_the_plateau_of_a_gaussian_is_seen_in_two_steps():
    q, slope, plateau = [5.0, 3.0, 1.5], lambda q: math.exp(-q), Plateau()
    for before, now in pairwise(q):
        # q falls along a line of unit length, its slope from -a to -b with (a + b) / 2 = before - now
        a, b = 1.5 * (before - now), 0.5 * (before - now)
        ratio = (slope(now) - slope(before)) / (slope(before) * a)
        plateau.observe(ratio, slope(now) * b / (slope(before) * a), 2 - slope(before), 2 - slope(now))
    assert plateau.value == pytest.approx(2)
    assert plateau.tau(2 - slope(5.0), 2 - slope(1.0)) == pytest.approx(math.exp(4))


def test_it_keeps_to_the_box_and_ends_in_its_corner():
    bounds = torch.tensor([[-0.5, 0.1, 100.0], [0.7, 0.3, 900.0]], dtype=torch.float64)
    weights = torch.tensor([-1.0, 10.0, 1e-3], dtype=torch.float64)
    found = searched(
        lambda X: X @ weights, torch.tensor([0.2, 0.3, 500.0]).double().clamp(bounds[0], bounds[1]), bounds
    )
    assert found.x.tolist() == [0.7, 0.1, 100.0]
    assert found.stop == {"gradient": 0.0}


def test_a_variable_comes_free_again():
    found = searched(lambda X: (X[:, 0] - 3) ** 2 + (X.sum(1) - 2) ** 2, torch.tensor([0.0, 0.0]), (-2, 5))
    assert found.x.tolist() == pytest.approx([3, -1], abs=1e-5)


def test_a_function_without_minimum_ends_at_the_bounds():
    found = searched(lambda X: -(X**2).sum(1), torch.tensor([0.1, -0.2]), (-1e6, 1e6))
    assert found.x.abs().tolist() == [1e6, 1e6]
    assert found.evaluations < 100


@pytest.mark.parametrize("budget", [1, 2, 5, 9])
def test_budgets_are_kept_exactly(budget):
    function, start = problems(6, 1)[0]
    found = searched(function, start, max_evaluations=budget)
    assert (found.evaluations, found.stop) == (budget, {"evaluations": budget})
    objective = Objective(function, FAR, dim=6)
    objective.start(budget=budget)
    with pytest.raises(BudgetExhausted):
        virtual_search(objective, start)
    assert (objective.evaluations, objective.best_value) == (budget, found.value)


def test_what_is_not_finite_keeps_the_best_point():
    def broken(X):
        return torch.where(X[:, 0] < 1, torch.nan, (X**2).sum(1))

    objective = Objective(broken, FAR, dim=2)
    with pytest.raises(ObjectiveError, match="non-finite value at x"):
        virtual_search(objective, torch.tensor([3.0, 3.0]))
    assert objective.best_value <= 18


def test_kinks_and_plateaus_end_the_search():
    kink = searched(lambda X: X.abs().sum(1) + 1, torch.tensor([0.3, -0.7]), (-2, 2), max_evaluations=5000)
    assert kink.stop.keys() == {"no progress"}
    assert kink.value == pytest.approx(1, abs=1e-3)
    flat = searched(lambda X: 0 * X.sum(1) + 1, torch.tensor([0.3, -0.7]), (-2, 2))
    assert (flat.evaluations, flat.stop) == (1, {"gradient": 0.0})


@pytest.mark.parametrize("settings", [{"anchors": False}, {"scales": False}])
def test_both_parts_save_queries_on_gaussians(settings):
    cases = problems(5, 12)
    whole, without = (
        sum(searched(function, start, **options).evaluations for function, start in cases) for options in ({}, settings)
    )
    assert whole < 0.9 * without


def test_other_functions_are_not_taken_for_gaussians():
    def log_sum_exp(X):
        return (X @ terms[:, 1:].T + terms[:, 0]).logsumexp(-1)

    generator = torch.Generator().manual_seed(5)
    terms = torch.randn(24, 7, generator=generator, dtype=torch.float64)
    start = torch.randn(6, generator=generator, dtype=torch.float64)
    found, alone = searched(log_sum_exp, start), searched(log_sum_exp, start, scales=False)
    assert found.evaluations == alone.evaluations
    torch.testing.assert_close(found.x, alone.x)
