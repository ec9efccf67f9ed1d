"""GradPIE as an optimizer; what every optimizer keeps is in tests/common/optimizers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.functions import make_function
from common.objective import Objective
from common.optimizers import minimize
from papers.gradpie import GradPIE
from papers.gradpie.simulators.oscillators import deviation, sample_oscillators, sample_target

SMALL = {"hidden": (16, 16), "epochs": 4}


@pytest.mark.parametrize("budget", [1, 3, 30, 101])
def test_the_budget_is_spent_exactly_and_the_answer_was_measured(budget):
    function, sizes = make_function("levy", 3), []

    def counted(X):
        assert not X.requires_grad  # no gradient is asked for
        sizes.append(len(X))
        return function(X)

    result = minimize(counted, function.bounds, GradPIE(**SMALL), budget, 0)
    assert sum(sizes) == result.nfev == budget
    assert (result.njev, result.status) == (0, 1)
    assert float(function(torch.from_numpy(result.x)[None])) == result.fun


def test_starts_grow_with_the_budget_and_shrink_with_the_dimension():
    def starts(dim, budget):
        run = GradPIE(**SMALL).start([[0.0] * dim, [1.0] * dim], budget, rng=0)
        return len(run.descent.seeds)

    assert [starts(2, budget) for budget in (50, 1000, 4000, 10**6)] == sorted(
        starts(2, budget) for budget in (50, 1000, 4000, 10**6)
    )
    assert starts(2, 50) == starts(20, 400) == 1
    assert starts(2, 4000) > starts(8, 4000) > 1
    assert starts(2, None) > 1
    run = GradPIE(starts=3, initial=4, local_samples=2, **SMALL).start([[0.0], [1.0]], 100, rng=0)
    assert run.ask().shape == (12, 1)
    run.tell(run.ask(), run.ask().sum(1))
    assert run.ask().shape == (9, 1)


def test_units_of_values_and_variables_do_not_matter():
    function = make_function("levy", 2)

    def history(scale, offset, width):
        box = width * function.bounds
        result = minimize(lambda X: scale * function(X / width) + offset, box, GradPIE(**SMALL), 120, 3)
        return (result.history[:, 1] - offset) / scale, result.x / width

    plain, other = history(1.0, 0.0, 1.0), history(2.0**-20, 0.0, 2.0**10)
    np.testing.assert_allclose(plain[0], other[0], rtol=1e-3)
    np.testing.assert_allclose(plain[1], other[1], rtol=1e-3)


def test_outputs_are_learnt_one_by_one_where_the_objective_has_them():
    network, target = sample_oscillators(0, 6), sample_target(0, 6)

    def loss(outputs):
        return deviation(outputs, target)

    options = {"starts": 2, "window": 30, "hidden": (32, 32)}
    vector = Objective(network, (-0.5, 1.5), dim=6, scalarize=loss)
    result = minimize(vector, method=GradPIE(**options), budget=242, rng=0)
    assert result.nfev == 242
    optimizer = GradPIE(**options)
    scalar = minimize(lambda X: loss(network(X)), (-0.5, 1.5), optimizer, 242, 0, dim=6)
    assert result.fun < scalar.fun

    by_hand = GradPIE(scalarize=loss, **options).start(vector.bounds, 242, 0)
    vector.start(242)
    while not by_hand.stop():
        evaluation = vector.evaluate(by_hand.ask())
        by_hand.tell(by_hand.ask(), evaluation.y, outputs=evaluation.outputs)
    np.testing.assert_array_equal(vector.history, result.history)
    again = GradPIE(scalarize=loss, **options).start(vector.bounds, 242, 0)
    with pytest.raises(ValueError, match="outputs"):
        again.tell(again.ask(), torch.zeros(len(again.ask())))


def test_an_optimizer_that_minimized_outputs_minimizes_values_next():
    optimizer = GradPIE(**SMALL)
    vector = Objective(lambda X: X**2, (-1, 1), dim=2, scalarize=lambda outputs: outputs.sum(1))
    first = minimize(vector, method=optimizer, budget=30, rng=0)
    second = minimize(lambda X: (X**2).sum(1), (-1, 1), optimizer, 30, 0, dim=2)
    fresh = minimize(lambda X: (X**2).sum(1), (-1, 1), GradPIE(**SMALL), 30, 0, dim=2)
    np.testing.assert_array_equal(second.history, fresh.history)
    assert first.nfev == 30


def test_it_finds_the_bottom_of_a_bowl_better_than_chance():
    centre = torch.linspace(-0.5, 0.5, 8, dtype=torch.float64)

    def bowl(X):
        return (X - centre).square().sum(1)

    found = minimize(bowl, (-1, 1), GradPIE(hidden=(32, 32)), 400, 0, dim=8).fun
    chance = minimize(bowl, (-1, 1), "random", 400, 0, dim=8).fun
    assert found < 0.1 * chance


@pytest.mark.parametrize(
    "settings",
    [
        {"starts": 0}, {"initial": 1}, {"local_samples": -1}, {"sigma": -1.0}, {"step_size": 0.0}, {"loss": "mse"},
        {"norm": "l3"}, {"neighbours": 0}, {"window": 1}, {"epochs": -1}, {"lr": -1.0},
    ],
)  # fmt: skip
def test_bad_settings_are_refused_at_once(settings):
    with pytest.raises(ValueError):
        GradPIE(**settings)
