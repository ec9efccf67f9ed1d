"""Local search in units of the box, the funnel's bottom, and the portfolio of hops built of both."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
import torch

from common.functions import make_function
from common.objective import Objective
from common.optimizers import funnel, minimize
from common.optimizers.descent import Point, UnitBox, descend
from common.optimizers.funnel import REACH, funnel_step
from common.optimizers.hops import ARMS, HopPortfolio, Hops


def minima(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, d))


def size(offsets: np.ndarray) -> float:
    return math.sqrt((offsets**2).sum(1).mean())


@pytest.mark.parametrize(("n", "d"), [(10, 2), (60, 10)])
def test_the_funnel_of_a_round_quadratic_ends_at_its_minimum(n, d, monkeypatch):
    offsets, bottom = minima(n, d), 0.5 * np.ones(d) / math.sqrt(d)
    values = 3 * ((offsets - bottom) ** 2).sum(1) - 7
    np.testing.assert_allclose(funnel_step(offsets, values), bottom, rtol=0.05)
    monkeypatch.setattr(funnel, "RIDGE", 1e-12)
    np.testing.assert_allclose(funnel_step(offsets, values), bottom, rtol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(60, 10), (6, 10), (12, 10)])
def test_few_minima_or_many_the_step_is_that_of_ridge_regression(n, d):
    """Least squares with the ridge as further equations, which serves all n alike: the independent implementation."""
    offsets = minima(n, d)
    values = ((offsets - 0.3) ** 2).sum(1) + np.sin(9 * offsets).sum(1)
    unit = offsets / size(offsets)
    features = np.column_stack([unit * math.sqrt(d), (unit**2).sum(1) / 2])
    features -= features.mean(0)
    ridge = funnel.RIDGE * (features**2).sum(1).mean()
    rows = np.vstack([features, math.sqrt(ridge) * np.eye(d + 1)])
    weights = np.linalg.lstsq(rows, np.append(values - values.mean(), np.zeros(d + 1)))[0]
    step = -math.sqrt(d) * weights[:-1] / weights[-1] * size(offsets)
    step *= min(1, REACH * size(offsets) / np.linalg.norm(step)) * np.sign(weights[-1])
    np.testing.assert_allclose(funnel_step(offsets, values), step, rtol=1e-8)


def test_the_funnel_step_is_as_long_as_its_data_reach():
    offsets = minima(40, 3)
    far, slope = np.array([300.0, 0, 0]), np.array([0.0, 2.0, 0.0])
    for values, direction in [
        (((offsets - far) ** 2).sum(1), far / 300),
        (offsets @ slope - (offsets**2).sum(1), -slope / 2),  # concave: downhill, as far as allowed
    ]:
        step = funnel_step(offsets, values)
        assert np.linalg.norm(step) == pytest.approx(REACH * size(offsets))
        assert step @ direction > 0.99 * np.linalg.norm(step)


def test_minima_that_say_nothing_give_no_step():
    offsets, values = minima(5, 2), np.arange(5.0)
    assert funnel_step(offsets, np.ones(5)) is None
    assert funnel_step(np.zeros((5, 2)), values) is None
    assert funnel_step(np.ones((5, 2)), values) is None  # one place, as under noise
    assert funnel_step(offsets[:1], values[:1]) is None
    assert funnel_step(offsets, values) is not None


def test_the_funnel_step_has_no_units():
    offsets = minima(30, 4)
    values = (offsets**2).sum(1) + offsets[:, 0]
    np.testing.assert_array_equal(funnel_step(8 * offsets, values / 4), 8 * funnel_step(offsets, values))


def unit_box(function, bounds=None) -> UnitBox:
    objective = Objective(function, function.bounds if bounds is None else bounds)
    objective.start()
    return UnitBox(objective)


@pytest.mark.parametrize("start", [(-0.9, 0.9), (0.2, -0.7), (1.0, 1.0)])
def test_descend_finds_what_plain_lbfgs_finds(start):
    box = unit_box(make_function("rosenbrock", 2, bounds=(-2, 2)))
    found = descend(box, np.array(start))
    plain = scipy.optimize.minimize(
        lambda z: scipy.optimize.rosen(2 * z), start, jac=lambda z: 2 * scipy.optimize.rosen_der(2 * z),
        method="L-BFGS-B", bounds=[(-1, 1)] * 2, options={"ftol": 1e-15, "gtol": 1e-10},
    )  # fmt: skip
    np.testing.assert_allclose(found.z, plain.x, atol=1e-5)
    assert found.value < 1e-10
    assert found.value == box.objective.best_value
    np.testing.assert_array_equal(2 * found.z, box.objective.best_x)


def test_a_search_without_hope_against_its_rival_is_given_up():
    function, start = make_function("rosenbrock", 2, bounds=(-2, 2)), np.array([-0.9, 0.9])
    evaluations = {}
    for rival in (math.inf, 1e9, -1e9):
        box = unit_box(function)
        found = descend(box, start, rival)
        evaluations[rival] = box.objective.evaluations
        assert found.value == box.objective.best_value
    assert evaluations[-1e9] == 7  # the first time that it is asked
    assert evaluations[1e9] == evaluations[math.inf] > 20


@pytest.mark.parametrize("condition", [1e2, 1e6])
def test_an_ill_conditioned_valley_is_followed_to_its_end(condition):
    curvatures = torch.logspace(0, math.log10(condition), 10, dtype=torch.float64)
    box = unit_box(lambda X: (curvatures * (X - 0.1) ** 2).sum(1), [[-1.0] * 10, [1.0] * 10])
    assert descend(box, np.linspace(-0.9, 0.8, 10)).value < 1e-12 * condition
    assert box.objective.evaluations < 600


def test_a_flat_function_costs_one_evaluation():
    box = unit_box(lambda X: 0 * X.sum(1) + 2.5, [[0.0, 0.0], [1.0, 1.0]])
    assert descend(box, np.zeros(2)).value == 2.5
    assert box.objective.evaluations == 1


BOX = torch.tensor([[-3.0, -2.0, -3.0, -1.0], [2.0, 3.0, 3.0, 3.0]], dtype=torch.float64)


def test_runs_on_multiples_and_in_other_units_are_the_same_bit_for_bit(asked):
    run = partial(asked, "hops", budget=500, rng=4)
    function = make_function("rastrigin", 4, bounds=(-3, 3))
    X, y, _ = run(function, BOX)
    times_four = run(lambda X: 4 * function(X), BOX)
    np.testing.assert_array_equal(times_four[0], X)
    np.testing.assert_array_equal(times_four[1], 4 * y)
    in_other_units = run(lambda X: function(X / 8), 8 * BOX)
    np.testing.assert_array_equal(in_other_units[0], 8 * X)
    np.testing.assert_array_equal(in_other_units[1], y)


def test_runs_on_a_function_with_an_offset_are_the_same_bit_for_bit(asked):
    """Where adding the offset does not round: values on a grid of 2^-20, and no arm that takes means of them."""
    rough = make_function("rastrigin", 4, bounds=(-3, 3))

    def function(X):
        values = rough(X)
        return values + ((values * 2**20).round() / 2**20 - values).detach()

    run = partial(asked, "hops", budget=500, rng=4, arms=[arm for arm in ARMS if arm != "funnel"])
    X, y, _ = run(function, BOX)
    shifted = run(lambda X: function(X) + 2.0**12, BOX)
    np.testing.assert_array_equal(shifted[0], X)
    np.testing.assert_array_equal(shifted[1], y + 2.0**12)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_lowers_a_function_with_many_minima(arm):
    objective = Objective(make_function("rastrigin", 4, bounds=(-3, 3)), BOX)
    objective.start()
    portfolio = HopPortfolio(objective, 1, [arm])
    portfolio.start()
    first = portfolio.best.value
    for _ in range(50):
        before = portfolio.best.value
        assert portfolio.hop() == (portfolio.best.value < before)
    assert portfolio.best.value < first - 1
    assert portfolio.successes.keys() == {arm}
    assert portfolio.best.value == objective.best_value


class OneArmSucceeds(HopPortfolio):
    """`dense` always lowers the best value, the others never do; a hop of any costs ten evaluations."""

    def _dense(self, rng: np.random.Generator) -> Point:
        return Point(self._pay(), self.best.value - 1)

    def _sparse(self, rng: np.random.Generator) -> Point:
        return Point(self._pay(), self.best.value + 1)

    _restart = _coordinate = _sparse

    def _pay(self) -> np.ndarray:
        self.box.value_and_gradient(np.zeros((10, self.box.dim)))
        return np.zeros(self.box.dim)


def test_the_arm_that_succeeds_is_chosen_and_none_is_forgotten():
    objective = Objective(lambda X: X.sum(1), (-1, 1), dim=2)
    objective.start()
    portfolio = OneArmSucceeds(objective, 0, ["sparse", "dense", "restart", "coordinate"])
    portfolio.offer(Point(np.zeros(2), 0.0))
    lowered = [portfolio.hop() for _ in range(400)]
    assert sum(lowered[:10]) < 9
    assert sum(lowered[300:]) > 90  # but for 1% of the hops each
    assert not all(lowered[300:])
    assert portfolio.successes == {"sparse": 0, "dense": sum(lowered), "restart": 0, "coordinate": 0}
    assert objective.evaluations == 4000
    assert portfolio.hops == 400


def test_the_lowest_offer_is_where_hops_begin():
    objective = Objective(make_function("rastrigin", 2, bounds=(-3, 3)), (-3, 3), dim=2)
    objective.start()
    portfolio = HopPortfolio(objective, 0)
    offers = [3.0, 5.0, 1.0, 1.0]
    assert [portfolio.offer(Point(np.full(2, value / 10), value)) for value in offers] == [True, False, True, False]
    assert portfolio.best.value == 1.0
    np.testing.assert_array_equal(portfolio.best.z, [0.1, 0.1])


def test_rastrigin_is_solved():
    """6^5 minima, the lowest one off the centre; repeated L-BFGS-B rarely finds it with these budgets."""
    function = make_function("rastrigin", 5, bounds=(-3, 2))
    evaluations = [minimize(function, (-3, 2), "hops", 1500, seed, dim=5, target=1e-8).nfev for seed in range(8)]
    assert max(evaluations) < 1500
    assert np.median(evaluations) < 400


def test_history_is_as_long_as_the_budget_and_falls():
    result = minimize(make_function("levy", 3), (-10, 10), "hops", 777, 0, dim=3)
    assert result.nfev == 777
    assert all(later < earlier for earlier, later in pairwise(result.history[:, 1]))


@pytest.mark.parametrize("arms", [[], ["dense", "jump"], "dense"])
def test_bad_arms_are_refused(arms):
    with pytest.raises(ValueError, match="arms must be some of dense, sparse"):
        Hops(arms)
    assert Hops(["restart", "restart"]).arms == ("restart",)
