"""LGOPlus as an optimizer; what every optimizer keeps is tested by the common list, once it is registered."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.functions import make_function
from common.objective import ObjectiveError
from common.optimizers import minimize
from papers.lgo.plus import LGOPlus

UPPER = [0.9, 0.1]  # in the basin of the upper minimum of `two_basins`


def two_basins(X):
    return (X[:, 0] ** 2 - 1).square() + 0.3 * X[:, 0] + X[:, 1] ** 2


LOWEST = min(float(two_basins(torch.tensor([[r.real, 0.0]], dtype=torch.float64))) for r in np.roots([4, 0, -4, 0.3]))
PROBLEMS = {
    "three_hump_camel": (2, (-5, 5), 500, None, 1e-3),
    "levy": (4, (-10, 10), 4000, 1e-6, 0.5),
    "rosenbrock": (3, (-2, 2), 4000, 1e-6, 0.7),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_reaches_the_regret_of_every_optimizer(problem):
    dim, bounds, budget, solved, goal = PROBLEMS[problem]
    function, regrets = make_function(problem, dim, bounds=bounds), []
    for seed in range(3):
        target = function.optimal_value + solved if solved else None
        result = minimize(function, bounds, LGOPlus(), budget, seed, dim=dim, target=target)
        assert result.success
        assert result.nfev <= budget
        regrets.append(result.fun - function.optimal_value)
    assert np.median(regrets) <= goal


def test_from_the_wrong_basin_it_finds_the_other_one():
    optimizer = LGOPlus(x0=UPPER, starts=1)
    result = minimize(two_basins, (-2, 2), optimizer, 2000, 0, dim=2)
    (chain,) = optimizer.chains
    assert chain.minima == sorted(chain.minima, reverse=True)
    assert chain.minima[0] > LOWEST + 0.5
    assert result.fun == pytest.approx(LOWEST, abs=1e-9)
    assert (result.status, result.njev) == (0, result.nfev)
    assert chain.stop == {"directions in vain": optimizer.patience}


@pytest.mark.parametrize("budget", [1, 7, 20, 300])
def test_budgets_are_spent_exactly_and_a_seed_is_a_run(budget):
    function = make_function("levy", 3)
    runs = [minimize(function, (-10, 10), LGOPlus(), budget, seed, dim=3) for seed in (7, 7, 8)]
    assert all((run.nfev, run.status) == (budget, 1) for run in runs)
    assert runs[0].history.tolist() == runs[1].history.tolist() != runs[2].history.tolist()


def test_it_keeps_to_a_box_with_unequal_sides_and_begins_at_x0():
    seen, bounds = [], torch.tensor([[-0.5, 0.1, 100.0], [0.7, 0.3, 900.0]], dtype=torch.float64)

    def fun(X):
        seen.append(X.detach().clone())
        return (X * torch.tensor([-1.0, 10.0, 1e-3])).sum(1)

    result = minimize(fun, bounds, LGOPlus(x0=[0.2, 0.3, 100.0]), 300, 0)
    queried = torch.cat(seen)
    torch.testing.assert_close(queried[0], torch.tensor([0.2, 0.3, 100.0]).double())
    assert ((queried >= bounds[0]) & (queried <= bounds[1])).all()
    assert result.x.tolist() == [0.7, 0.1, 100.0]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("boom")])
def test_interrupts_and_failures_keep_the_best_point(error):
    calls = []

    def fun(X):
        calls.extend(X.tolist())
        if len(calls) > 150:
            raise error
        return (X**2).sum(1)

    if isinstance(error, KeyboardInterrupt):
        result = minimize(fun, (-1, 1), LGOPlus(), 1000, 0, dim=2)
        assert (result.success, result.status) == (False, 4)
    else:
        with pytest.raises(ObjectiveError, match="ZeroDivisionError") as caught:
            minimize(fun, (-1, 1), LGOPlus(), 1000, 0, dim=2)
        result = caught.value.result
    assert result.fun == pytest.approx(float((result.x**2).sum()), abs=1e-12)


@pytest.mark.parametrize(
    "settings", [{"patience": 0}, {"starts": -1}, {"tolerance": -1.0}, {"tolerance": math.nan}]
)  # fmt: skip
def test_bad_settings_are_refused_at_once(settings):
    with pytest.raises(ValueError, match="must"):
        LGOPlus(**settings)
