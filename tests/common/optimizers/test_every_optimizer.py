"""One list of optimizers x functions x seeds: the contract that every method keeps."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from common.functions import make_function
from common.objective import BudgetExhausted, Objective, ObjectiveError
from common.optimizers import AskTellOptimizer, get_optimizer, methods, minimize

# Settings that make the slow ones quick; everything else is the method's default.
OPTIONS = {"gennes": {"width": 32, "lr": 3e-3}, "gradpie": {"hidden": (16, 16), "epochs": 4}}
SEEDS = [0, 1, 2]
# (function, d, box, budget), the regret that ends a run early (never on the first, so that every method has to go on
# after it has converged), and the median regret that every method must reach.
PROBLEMS = {
    "three_hump_camel": (2, (-5, 5), 2000, None, {"random": 0.1, "gradpie": 0.05, "default": 1e-3}),
    "levy": (4, (-10, 10), 4000, 1e-6, {"random": 3.0, "gradpie": 3.0, "default": 0.5}),
    "rosenbrock": (3, (-2, 2), 4000, 1e-6, {"random": 2.0, "gradpie": 2.0, "default": 0.7}),
}


def options(method: str) -> dict:
    return OPTIONS.get(method, {})


def ask_tell_methods() -> list[str]:
    return [method for method in methods() if get_optimizer(method).ask_tell]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("method", methods())
def test_reaches_the_stated_regret(method, problem):
    dim, bounds, budget, solved, goals = PROBLEMS[problem]
    function = make_function(problem, dim, bounds=bounds)
    regrets = []
    for seed in SEEDS:
        objective = Objective(function, bounds, dim=dim)
        target = function.optimal_value + solved if solved else None
        result = minimize(objective, method=method, budget=budget, rng=seed, target=target, **options(method))
        assert result.success
        assert result.nfev <= budget
        # the answer is a point of the box that has the stated value
        assert float(function(torch.from_numpy(result.x)[None])) == pytest.approx(result.fun, abs=1e-12)
        assert (np.diff(result.history[:, 1]) < 0).all()
        assert (np.diff(result.history[:, 0]) > 0).all()
        assert result.history[-1, 1] == result.fun
        regrets.append(result.fun - function.optimal_value)
    assert np.median(regrets) <= goals.get(method, goals["default"])


@pytest.mark.parametrize("method", methods())
def test_one_variable_will_do(method):
    for seed in SEEDS:
        result = minimize(lambda X: (X[:, 0] - 0.3).square(), (-1, 1), method, 100, seed, dim=1, **options(method))
        assert result.fun < 0.05


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_hold_in_a_box_with_unequal_sides(method, dtype):
    lower, upper = torch.tensor([-3.0, 1e-3, 5.0]), torch.tensor([-2.9, 1e3, 5.1])
    seen = []

    def corner(X):  # the minimum is in a corner, so every method leans on the bounds
        assert X.dtype is dtype
        seen.append(X.detach().double())
        return (X / (upper - lower).to(X)).sum(1)

    objective = Objective(corner, torch.stack([lower, upper]), dtype=dtype)
    result = minimize(objective, method=method, budget=300, rng=0, **options(method))
    queried = torch.cat(seen)
    slack = 1e-6 if dtype is torch.float32 else 0.0  # what rounding to float32 does to the number itself
    assert (queried >= lower.double() - slack * lower.abs()).all()
    assert (queried <= upper.double() + slack * upper.abs()).all()
    assert len(queried) == result.nfev <= 300


@pytest.mark.parametrize("method", methods())
def test_same_seed_same_trace_and_no_global_random_state(method):
    function = make_function("levy", 3)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 the global state is what is tested
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    runs = [minimize(function, (-10, 10), method, 300, seed, dim=3, **options(method)) for seed in (7, 7, 8)]
    np.testing.assert_array_equal(runs[0].history, runs[1].history)
    np.testing.assert_array_equal(runs[0].x, runs[1].x)
    assert runs[0].history.shape != runs[2].history.shape or (runs[0].history != runs[2].history).any()
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


CHILD = """
import sys
from common.functions import make_function
from common.optimizers import methods, minimize
options = {options!r}
for method in methods():
    result = minimize(make_function("levy", 3), (-10, 10), method, 200, 7, dim=3, **options.get(method, {{}}))
    print(method, result.nfev, result.fun.hex(), *(x.hex() for x in result.x.tolist()))
"""


def test_same_trace_in_another_process():
    code = CHILD.format(options=OPTIONS)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for line in child.stdout.splitlines():
        method, nfev, fun, *x = line.split()
        here = minimize(make_function("levy", 3), (-10, 10), method, 200, 7, dim=3, **options(method))
        assert (here.nfev, here.fun.hex(), [v.hex() for v in here.x.tolist()]) == (int(nfev), fun, x)
    assert len(child.stdout.splitlines()) == len(methods())


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("budget", [1, 7, 20])
def test_tiny_budgets_are_spent_and_not_exceeded(method, budget):
    calls = []
    function = make_function("rastrigin", 2)

    def counted(X):
        calls.append(len(X))
        return function(X)

    result = minimize(counted, (-3, 3), method, budget, 0, dim=2, **options(method))
    assert sum(calls) == result.nfev == budget
    assert result.status == 1
    assert math.isfinite(result.fun)


@pytest.mark.parametrize("method", methods())
def test_interrupts_and_failures_keep_the_best_point(method):
    def failing(error):
        calls = []

        def fun(X):
            calls.extend(X.detach().tolist())
            if len(calls) > 150:
                raise error
            return (X**2).sum(1)

        return fun

    result = minimize(failing(KeyboardInterrupt()), (-1, 1), method, 1000, 0, dim=2, **options(method))
    assert (result.success, result.status) == (False, 4)
    assert result.fun == pytest.approx(float((result.x**2).sum()))
    with pytest.raises(ObjectiveError, match="ZeroDivisionError") as caught:
        minimize(failing(ZeroDivisionError("boom")), (-1, 1), method, 1000, 0, dim=2, **options(method))
    np.testing.assert_array_equal(caught.value.result.x, result.x)
    assert caught.value.result.fun == result.fun


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_values_stop_with_the_point_named(method, value):
    def fun(X):
        return torch.where(X[:, 0] > 0, torch.tensor(value, dtype=X.dtype), (X**2).sum(1))

    with pytest.raises(ObjectiveError, match="non-finite value at x"):
        minimize(fun, (-1, 1), method, 1000, 0, dim=2, **options(method))


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bounds": [[1, 1], [0, 0]]}, ValueError),
        ({"bounds": [[0, 0], [1, math.inf]]}, ValueError),
        ({"bounds": [[0, 0], [1, 1]], "dim": 3}, ValueError),
        ({"budget": 0}, ValueError),
        ({"budget": -5}, ValueError),
        ({"rng": "seed"}, TypeError),
        ({"no_such_setting": 1}, TypeError),
        ({"fun": lambda X: X}, ObjectiveError),
        ({"fun": None}, TypeError),
    ],
)
def test_bad_input_is_a_clear_error(method, changes, error):
    arguments = {"fun": lambda X: (X**2).sum(1), "bounds": [[0, 0], [1, 1]], "budget": 50, "rng": 0} | changes
    with pytest.raises(error):
        minimize(method=method, **options(method), **arguments)


@pytest.mark.parametrize("method", [m for m in methods() if get_optimizer(m).needs_gradient])
def test_gradients_are_missed_by_name(method):
    with pytest.raises(
        ObjectiveError, match=r"without: auto, bipop, cbo, cmaes, evolution, gradpie, gradpie_plus, random, snes$"
    ):
        minimize(lambda x: float(x @ x), (-1, 1), method, 50, 0, dim=2, vectorized=False)


@pytest.mark.parametrize("method", methods())
def test_target_ends_the_run(method):
    result = minimize(lambda X: (X**2).sum(1), (-1, 1), method, 3000, 0, dim=2, target=0.2, **options(method))
    assert (result.status, result.success) == (2, True)
    assert result.fun <= 0.2


@pytest.mark.parametrize("method", ask_tell_methods())
def test_ask_and_tell_equal_minimize(method):
    function = make_function("levy", 3)
    by_hand = get_optimizer(method)(**options(method))
    assert isinstance(by_hand, AskTellOptimizer)
    by_hand.start(function.bounds, budget=400, rng=3)
    objective = Objective(function, function.bounds)
    objective.start(budget=400)
    with contextlib.suppress(BudgetExhausted):  # the last population may be larger than what is left
        while not by_hand.stop():
            X = by_hand.ask()
            assert by_hand.ask() is X
            y, grad, _ = objective.evaluate(X, gradient=by_hand.needs_gradient)
            by_hand.tell(X, y, grad)
    result = minimize(function, function.bounds, method, 400, 3, **options(method))
    np.testing.assert_array_equal(objective.history, result.history)


@pytest.mark.parametrize("method", ask_tell_methods())
def test_tell_refuses_what_was_not_asked(method):
    run = get_optimizer(method)(**options(method)).start([[0.0, 0.0], [1.0, 1.0]], budget=100, rng=0)
    with pytest.raises(ValueError, match="last ask"):
        run.tell(torch.zeros(1, 2), torch.zeros(1))
    X = run.ask()
    grad = torch.zeros_like(X)
    y = torch.zeros(len(X))
    for bad_X, bad_y, bad_grad in [
        (X + 1, y, grad),
        (X, y[:-1], grad),
        (X, torch.full_like(y, math.nan), grad),
        (X, y, grad[:, :1]),
    ]:
        with pytest.raises(ValueError, match=r"last ask|shape|finite"):
            run.tell(bad_X, bad_y, bad_grad)
    if run.needs_gradient:
        with pytest.raises(ValueError, match="gradients"):
            run.tell(X, y)
    run.tell(X, torch.arange(len(X)).double(), grad)
    assert run.iteration == 1
