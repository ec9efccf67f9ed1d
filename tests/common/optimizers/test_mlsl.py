"""MLSL: what NLopt must not change (exceptions, counting, keys), and that it finds what one local search does not."""

from __future__ import annotations

import math
import os
import signal

import greenlet
import numpy as np
import pytest
import torch

from common.functions import make_function
from common.objective import Objective
from common.optimizers.lbfgs import local_search
from common.optimizers.mlsl import MLSL


def double_well(X):
    """Basins at -1 (value about -0.3) and +1 (about +0.3) of the first coordinate."""
    return (X[:, 0] ** 2 - 1) ** 2 + 0.3 * X[:, 0] + (X[:, 1:] ** 2).sum(1)


def test_finds_the_deeper_of_two_basins():
    bounds = torch.tensor([[-2.0, -1.0], [2.0, 3.0]])
    objective = Objective(double_well, bounds)
    objective.start()
    local = local_search(objective, np.array([0.9, 0.0]))
    assert local.fun > 0.2
    root = np.roots([4, 0, -4, 0.3]).real.min()  # of the derivative
    for seed in range(5):
        result = MLSL().minimize(Objective(double_well, bounds), 300, seed)
        np.testing.assert_allclose(result.x, [root, 0], atol=1e-4)


def test_gradients_are_those_of_the_mapped_box():
    """A linear function in unequal sides: only right signs, order and widths lead to the corner at once."""
    slopes = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    bounds = torch.tensor([[-1.0, 0.0, 10.0], [1.0, 1e-3, 1e3]], dtype=torch.float64)
    for seed in range(6):
        result = MLSL().minimize(Objective(lambda X: X @ slopes, bounds), 60, seed)
        np.testing.assert_allclose(result.x, [-1.0, 1e-3, 10.0], rtol=1e-12)


def test_samples_cost_one_evaluation_without_gradient():
    objective = Objective(make_function("levy", 3), (-10, 10), dim=3, gradient_cost=4)
    result = MLSL().minimize(objective, 400, 0)
    values = objective.points - result.njev
    assert values >= 5
    assert result.nfev == values + 4 * result.njev
    assert 396 < result.nfev <= 400


@pytest.mark.parametrize("after", [0, 3, 5, 6, 17, 60, 141])
@pytest.mark.parametrize("error", [KeyError("a", 1), KeyboardInterrupt("b"), SystemExit(3), greenlet.GreenletExit()])
def test_what_a_query_raises_comes_out_at_once_and_intact(after, error):
    class Raising(Objective):
        asked = 0

        def evaluate(self, X, gradient=False):
            self.asked += 1
            if self.asked > after:
                raise error
            return super().evaluate(X, gradient)

    objective = Raising(make_function("levy", 3), (-10, 10), dim=3)
    objective.start()
    with pytest.raises(type(error)) as caught:
        MLSL()._run(objective, 0)
    assert caught.value is error
    assert objective.asked == after + 1


def test_a_real_interrupt_keeps_the_best_point():
    calls = 0

    def fun(X):
        nonlocal calls
        calls += 1
        if calls == 100:
            os.kill(os.getpid(), signal.SIGINT)
        return (X**2).sum(1)

    result = MLSL().minimize(Objective(fun, (-1, 1), dim=2), 1000, 0)
    assert (result.status, calls) == (4, 100)
    assert result.fun < 1e-6


@pytest.mark.parametrize("fun", [lambda X: 0 * X.sum(1), lambda X: X.abs().sum(1), lambda X: 1e300 * (X**2).sum(1)])
@pytest.mark.parametrize("dim", [1, 2])
def test_flat_kinked_and_huge_functions_spend_the_budget(fun, dim):
    result = MLSL().minimize(Objective(fun, (-1, 2), dim=dim), 500, 1)
    assert (result.status, result.nfev) == (1, 500)


def test_begins_anew_with_the_next_key_when_nlopt_gives_up(monkeypatch):
    import nlopt

    class GivesUp(nlopt.opt):
        def optimize(self, x):
            self.set_maxeval(10)  # which makes NLopt end
            return super().optimize(x)

    seen = []

    def fun(X):
        seen.append(X.detach().clone())
        return (X**2).sum(1)

    monkeypatch.setattr(nlopt, "opt", GivesUp)
    result = MLSL().minimize(Objective(fun, (-1, 1), dim=2), 35, 0)
    assert (result.status, result.nfev) == (1, 35)
    starts = torch.cat(seen)[::10]
    assert len(starts.unique(dim=0)) == 4


def test_an_nlopt_that_asks_nothing_is_an_error_not_an_endless_loop(monkeypatch):
    import nlopt

    monkeypatch.setattr(nlopt.opt, "optimize", lambda self, x: x)
    with pytest.raises(RuntimeError, match="NLopt"):
        MLSL().minimize(Objective(double_well, (-1, 1), dim=2), 10, 0)


def test_the_state_of_nlopt_s_random_numbers_plays_no_part():
    import nlopt

    function = make_function("levy", 3)
    histories = []
    for state in (1, 2):
        nlopt.srand(state)
        histories.append(MLSL().minimize(Objective(function, (-10, 10), dim=3), 300, 5).history)
    np.testing.assert_array_equal(*histories)


def test_interleaved_in_greenlets_it_equals_one_run_after_the_other():
    functions = [make_function(name, dim) for name, dim in (("levy", 3), ("rosenbrock", 2), ("rastrigin", 4))]
    budgets = [400, 500, 600]

    def alone(function, budget, seed):
        return MLSL().minimize(Objective(function, function.bounds), budget, seed)

    hub = greenlet.getcurrent()
    order = []

    def interleaved(i):
        def fun(X):
            order.append(i)
            gradients = torch.is_grad_enabled()
            y = hub.switch(X)
            torch.set_grad_enabled(gradients)  # torch keeps this for the thread, where the others have changed it
            return y

        return MLSL().minimize(Objective(fun, functions[i].bounds), budgets[i], i)

    def resume(i, value):
        with torch.enable_grad():
            return tasks[i].switch(value)

    tasks = [greenlet.greenlet(interleaved) for _ in functions]
    waiting = {i: resume(i, i) for i in range(len(tasks))}
    results = {}
    while waiting:
        for i, X in list(waiting.items()):
            out = resume(i, functions[i](X))
            if tasks[i].dead:
                results[i] = out
                del waiting[i]
            else:
                waiting[i] = out
    assert order[:6] == [0, 1, 2, 0, 1, 2]
    for i, function in enumerate(functions):
        expected = alone(function, budgets[i], i)
        np.testing.assert_array_equal(results[i].history, expected.history)
        np.testing.assert_array_equal(results[i].x, expected.x)
        assert results[i].nfev == expected.nfev == budgets[i]


@pytest.mark.parametrize("settings", [{"population": 0}, {"tolerance": 0}, {"tolerance": math.inf}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError):
        MLSL(**settings)


def test_too_many_variables_are_refused():
    with pytest.raises(ValueError, match="1111"):
        MLSL().minimize(Objective(double_well, (-1, 1), dim=1112), 10, 0)
