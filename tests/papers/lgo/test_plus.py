"""LGOPlus as an optimizer; what every optimizer keeps is tested by the common list."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.functions import make_function
from common.objective import Objective
from common.optimizers import minimize
from common.optimizers.descent import Point, UnitBox
from papers.lgo.environments import Mixtures
from papers.lgo.plus import PLUS_ARMS, LGOPlus, TiltedHops, descend

UPPER = [0.9, 0.1]  # in the basin of the upper minimum of `two_basins`


def two_basins(X):
    return (X[:, 0] ** 2 - 1).square() + 0.3 * X[:, 0] + X[:, 1] ** 2


LOWEST = min(float(two_basins(torch.tensor([[r.real, 0.0]], dtype=torch.float64))) for r in np.roots([4, 0, -4, 0.3]))
PROBLEMS = {
    "three_hump_camel": (2, (-5, 5), 500, 1e-3),
    "levy": (4, (-10, 10), 1000, 0.5),
    "rosenbrock": (3, (-2, 2), 1000, 0.7),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_reaches_the_regret_of_every_optimizer(problem):
    dim, bounds, budget, goal = PROBLEMS[problem]
    function = make_function(problem, dim, bounds=bounds)
    target = function.optimal_value + 1e-6
    regrets = [minimize(function, bounds, LGOPlus(), budget, seed, dim=dim, target=target).fun for seed in range(3)]
    assert np.median(regrets) - function.optimal_value <= goal


@pytest.mark.parametrize("arm", ["tilt", "dense"])
def test_from_the_wrong_basin_it_finds_the_other_one(arm):
    optimizer = LGOPlus([arm], x0=UPPER)
    result = minimize(two_basins, (-2, 2), optimizer, 300, 0, dim=2)
    assert result.fun == pytest.approx(LOWEST, abs=1e-9)
    assert (result.status, result.njev) == (1, result.nfev)
    assert optimizer.portfolio.successes[arm] > 0


def test_a_tilted_hop_finds_a_deeper_well_in_ten_dimensions():
    objective = Mixtures.sample(10, [3], wells=5, distance=3.5).objective(0)
    narrow = Objective(objective.fun, (-6, 6), dim=10, jac=objective.jac)
    narrow.start()
    portfolio = TiltedHops(narrow, 0, ["tilt"], x0=np.full(10, 0.01))
    portfolio.start()
    shallow = portfolio.best.value
    hops = [portfolio.hop() for _ in range(30)]
    assert any(hops)
    assert portfolio.best.value < shallow - 0.3


@pytest.mark.parametrize("budget", [1, 7, 20, 300])
def test_budgets_are_spent_exactly_and_a_seed_is_a_run(budget):
    function = make_function("levy", 3)
    runs = [minimize(function, (-10, 10), LGOPlus(), budget, seed, dim=3) for seed in (7, 7, 8)]
    assert all((run.nfev, run.status) == (budget, 1) for run in runs)
    assert runs[0].history.tolist() == runs[1].history.tolist() != runs[2].history.tolist()


def test_neither_units_nor_scale_nor_offset_matter():
    plain = minimize(two_basins, (-2, 2), LGOPlus(), 150, 0, dim=2)
    stretched = minimize(
        lambda X: 1024 * two_basins(X / torch.tensor([8.0, 0.5])), [[-16.0, -1.0], [16.0, 1.0]], LGOPlus(), 150, 0
    )
    np.testing.assert_allclose(stretched.history[:, 0], plain.history[:, 0])
    np.testing.assert_allclose(stretched.history[:, 1] / 1024, plain.history[:, 1])


def test_it_keeps_to_a_box_with_unequal_sides_and_begins_at_x0():
    seen, bounds = [], torch.tensor([[-0.5, 0.1, 100.0], [0.7, 0.3, 900.0]], dtype=torch.float64)

    def fun(X):
        seen.append(X.detach().clone())
        return (X * torch.tensor([-1.0, 10.0, 1e-3])).sum(1)

    result = minimize(fun, bounds, LGOPlus(x0=[0.2, 0.3, 100.0]), 100, 0)
    queried = torch.cat(seen)
    torch.testing.assert_close(queried[0], torch.tensor([0.2, 0.3, 100.0]).double())
    assert ((queried >= bounds[0]) & (queried <= bounds[1])).all()
    assert result.x.tolist() == pytest.approx([0.7, 0.1, 100.0])


# --- local searches ---


def boxed(function, dim, bounds):
    objective = Objective(function, bounds, dim=dim)
    return objective, UnitBox(objective)


def test_a_search_on_its_way_to_the_known_minimum_is_given_up():
    objective, box = boxed(two_basins, 2, (-2, 2))
    nowhere = Point(np.zeros(2), math.inf)
    known = descend(box, np.array([0.6, 0.3]), nowhere)
    whole = objective.evaluations
    again = descend(box, np.array([0.6, 0.3]), known)
    assert objective.evaluations - whole < whole
    assert again.value >= known.value


def test_a_search_that_leads_below_the_known_minimum_is_not():
    objective, box = boxed(two_basins, 2, (-2, 2))
    upper = descend(box, np.array([0.6, 0.3]), Point(np.zeros(2), math.inf))
    lower = descend(box, np.array([-0.6, 0.3]), upper)
    assert lower.value == pytest.approx(LOWEST, abs=1e-10)
    assert objective.best_value == lower.value


@pytest.mark.parametrize("settings", [{"arms": []}, {"arms": ["hop"]}])
def test_bad_settings_are_refused_at_once(settings):
    with pytest.raises(ValueError, match=", ".join(PLUS_ARMS)):
        LGOPlus(**settings)


@pytest.mark.parametrize("x0", [[0.0], [3.0, 0.0]])
def test_a_start_outside_of_the_box_is_refused(x0):
    with pytest.raises(ValueError, match="point of the box"):
        minimize(two_basins, (-2, 2), LGOPlus(x0=x0), 10, 0, dim=2)
