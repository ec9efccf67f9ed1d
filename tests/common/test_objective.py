from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.objective import (
    BudgetExhausted,
    CallbackStop,
    GradientUnavailable,
    Objective,
    ObjectiveError,
    TargetReached,
    as_bounds,
    as_budget,
)

BOX = [[-1.0, -2.0], [1.0, 2.0]]


def sphere(X: torch.Tensor) -> torch.Tensor:
    return (X**2).sum(-1)


def points(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_counts_every_point_once_with_or_without_gradient():
    objective = Objective(sphere, BOX)
    objective(points((0.5, 0.5), (0.1, 0.2)))
    objective.value_and_gradient(points((0.3, 0.3)))
    assert (objective.evaluations, objective.points, objective.gradients, objective.batches) == (3, 3, 1, 2)


def test_gradient_cost_is_paid_for_value_and_gradient_together():
    objective = Objective(sphere, BOX, gradient_cost=2)
    objective.start(budget=5)
    objective.value_and_gradient(points((0.5, 0.5), (0.1, 0.2)))
    assert objective.remaining == 1
    with pytest.raises(BudgetExhausted):
        objective.value_and_gradient(points((0.0, 0.0)))
    assert objective.evaluations == 4
    assert objective.best_value == pytest.approx(0.05)


@given(st.integers(1, 30), st.lists(st.integers(1, 7), min_size=1, max_size=12), st.integers(1, 3))
def test_budget_is_met_exactly_by_batches_of_any_size(budget, sizes, cost):
    seen = []

    def counted(X):
        seen.append(len(X))
        return sphere(X)

    objective = Objective(counted, BOX, gradient_cost=cost)
    objective.start(budget=budget)
    wanted = 0
    try:
        for size in sizes:
            wanted += size
            objective.value_and_gradient(torch.zeros(size, 2, dtype=torch.float64))
    except BudgetExhausted:
        assert wanted * cost > budget
        assert objective.remaining < cost
    assert sum(seen) == min(wanted, budget // cost)
    assert objective.evaluations == cost * sum(seen) <= budget


def test_cut_batch_keeps_the_affordable_points():
    objective = Objective(sphere, BOX)
    objective.start(budget=2)
    with pytest.raises(BudgetExhausted):
        objective(points((0.9, 0.0), (0.2, 0.0), (0.0, 0.0)))
    assert objective.best_value == pytest.approx(0.04)
    np.testing.assert_allclose(objective.history, [[1, 0.81], [2, 0.04]])


def test_history_is_the_running_minimum_within_batches():
    objective = Objective(lambda X: X[:, 0], BOX)
    objective(points((0.5, 0), (0.7, 0), (0.1, 0)))
    objective(points((0.3, 0), (-0.2, 0)))
    np.testing.assert_allclose(objective.history, [[1, 0.5], [3, 0.1], [5, -0.2]])


def test_gradient_by_autograd_equals_jac_in_every_form():
    X = points((0.5, -1.0), (0.2, 0.3))
    expected = 2 * X
    forms = [
        Objective(sphere, BOX),
        Objective(sphere, BOX, jac=lambda X: 2 * X),
        Objective(lambda X: (sphere(X), 2 * X), BOX, jac=True),
        Objective(lambda x: float(x @ x), BOX, jac=lambda x: 2 * x, vectorized=False),
        Objective(lambda x: (x @ x, 2 * x), BOX, jac=True, vectorized=False),
    ]
    for objective in forms:
        y, grad = objective.value_and_gradient(X)
        torch.testing.assert_close(y, sphere(X))
        torch.testing.assert_close(grad, expected)
        torch.testing.assert_close(objective(X), sphere(X))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_function_gets_its_dtype_and_the_caller_float64(dtype):
    def checked(X):
        assert X.dtype is dtype
        return sphere(X)

    y, grad = Objective(checked, BOX, dtype=dtype).value_and_gradient(points((0.5, 0.5)))
    assert y.dtype is grad.dtype is torch.float64


def test_scalarize_reduces_outputs_and_gives_gradient_and_outputs():
    objective = Objective(
        lambda X: torch.stack([X[:, 0], X[:, 1] ** 2], 1), BOX, scalarize=lambda outputs: outputs.sum(1)
    )
    evaluation = objective.evaluate(points((0.5, 1.0)), gradient=True)
    torch.testing.assert_close(evaluation.y, torch.tensor([1.5], dtype=torch.float64))
    torch.testing.assert_close(evaluation.grad, points((1.0, 2.0)))
    torch.testing.assert_close(evaluation.outputs, points((0.5, 1.0)))
    pointwise = Objective(lambda x: x, BOX, vectorized=False, scalarize=lambda outputs: outputs.sum(1))
    torch.testing.assert_close(pointwise.evaluate(points((0.5, 1.0))).outputs, points((0.5, 1.0)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_value_names_the_point_and_keeps_the_rest(value):
    def broken(X):
        return torch.where(X[:, 0] > 0.5, torch.tensor(value, dtype=X.dtype), sphere(X))

    objective = Objective(broken, BOX)
    with pytest.raises(ObjectiveError, match=r"non-finite value at x = \[0\.75") as caught:
        objective(points((0.1, 0.0), (0.75, 0.0), (0.0, 0.0)))
    np.testing.assert_allclose(caught.value.point, [0.75, 0.0])
    assert objective.best_value == 0.0


def test_non_finite_gradient_names_the_point():
    with pytest.raises(ObjectiveError, match="non-finite gradient"):
        Objective(lambda X: X[:, 0].sqrt(), BOX).value_and_gradient(points((0.0, 0.0)))


def test_raising_function_is_wrapped_and_names_the_point():
    def raising(x):
        if x[0] > 0.5:
            raise ZeroDivisionError("boom")
        return x @ x

    objective = Objective(raising, BOX, vectorized=False)
    with pytest.raises(ObjectiveError, match=r"ZeroDivisionError at x = \[0\.75") as caught:
        objective(points((0.1, 0.0), (0.75, 0.0), (0.0, 0.0)))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert objective.best_value == pytest.approx(0.01)
    assert objective.evaluations == 2


@pytest.mark.parametrize(
    ("fun", "kwargs", "message"),
    [
        (lambda X: X, {}, "values of shape 3 for"),
        (lambda X: X.sum(), {}, "values of shape 3 for"),
        (lambda X: X[:, :1], {}, "values of shape 3 for"),
        (sphere, {"jac": lambda X: X[:, :1]}, "gradients of shape 3 x 2"),
        (lambda X: X[:, 0], {"scalarize": lambda outputs: outputs.sum(1)}, "outputs of shape 3 x o"),
        (lambda x: x, {"vectorized": False, "jac": lambda x: x}, "values of shape 1 for"),
    ],
)
def test_wrong_shapes_say_what_is_wanted(fun, kwargs, message):
    objective = Objective(fun, BOX, **kwargs)
    with pytest.raises(ObjectiveError, match=message):
        objective.evaluate(torch.zeros(3, 2, dtype=torch.float64), gradient="jac" in kwargs)


def test_missing_gradient_is_its_own_error():
    with pytest.raises(GradientUnavailable, match="autograd"):
        Objective(lambda X: sphere(X.detach()), BOX).value_and_gradient(points((0.0, 0.0)))
    with pytest.raises(GradientUnavailable, match="jac="):
        Objective(lambda x: x @ x, BOX, vectorized=False).value_and_gradient(points((0.0, 0.0)))


@pytest.mark.parametrize(
    "X", [torch.zeros(2), torch.zeros(1, 3), torch.full((1, 2), 3.0), torch.full((1, 2), math.nan)]
)
def test_queries_outside_the_box_or_of_wrong_shape_are_refused_unpaid(X):
    objective = Objective(sphere, BOX)
    with pytest.raises(ValueError, match=r"shape|box"):
        objective(X)
    assert objective.evaluations == 0


def test_function_that_writes_into_its_argument_does_no_harm():
    def overwriting(X):
        with torch.no_grad():
            X *= 0.5
        return X.detach().sum(1)

    X = points((0.5, 0.5))
    objective = Objective(overwriting, BOX)
    objective(X)
    np.testing.assert_allclose(objective.best_x, [0.5, 0.5])
    torch.testing.assert_close(X, points((0.5, 0.5)))


def test_target_and_callback_stop_after_the_batch():
    objective = Objective(sphere, BOX)
    objective.start(target=0.1)
    objective(points((0.9, 0.9)))
    with pytest.raises(TargetReached):
        objective(points((0.1, 0.1), (0.0, 0.0)))
    seen = []
    objective.start(callback=lambda result: seen.append(result) or result.nfev >= 2)
    objective(points((0.9, 0.9)))
    with pytest.raises(CallbackStop):
        objective(points((0.1, 0.1)))
    assert [result.nfev for result in seen] == [1, 2]

    def stop_iteration(result):
        raise StopIteration

    objective.start(callback=stop_iteration)
    with pytest.raises(CallbackStop):
        objective(points((0.1, 0.1)))


def test_budget_holds_inside_scipys_line_search():
    objective = Objective(lambda X: 100 * (X[:, 1] - X[:, 0] ** 2) ** 2 + (1 - X[:, 0]) ** 2, BOX)
    objective.start(budget=7)

    def value_and_gradient(x):
        y, grad = objective.value_and_gradient(torch.from_numpy(x)[None])
        return float(y), grad.numpy()[0]

    bounds = scipy.optimize.Bounds(*BOX)
    with pytest.raises(BudgetExhausted):
        scipy.optimize.minimize(value_and_gradient, [-0.9, 1.5], jac=True, method="L-BFGS-B", bounds=bounds)
    assert objective.evaluations == 7
    assert objective.best_value < math.inf


@pytest.mark.parametrize(
    ("bounds", "dim", "message"),
    [
        ([[0, 0], [1, 0]], None, "not below"),
        ([[1], [0]], None, "not below"),
        ([[0], [math.inf]], None, "finite"),
        ([[math.nan], [1]], None, "finite"),
        ([(0, 1), (0, 1), (0, 1)], None, "transpose"),
        ([0, 1], None, "dim="),
        ([[0, 0], [1, 1]], 3, "dim says 3"),
        ("box", None, "numbers"),
        (None, None, "numbers|shape"),
        ([[], []], None, "shape"),
        ((0, 1), 0, "positive"),
    ],
)
def test_bad_bounds_are_refused(bounds, dim, message):
    with pytest.raises(ValueError, match=message):
        as_bounds(bounds, dim)


def test_bounds_in_every_form():
    expected = torch.tensor([[-1.0, -1.0], [2.0, 2.0]], dtype=torch.float64)
    for bounds in ([[-1, -1], [2, 2]], np.array([[-1, -1], [2, 2]]), torch.tensor([[-1, -1], [2, 2]])):
        torch.testing.assert_close(as_bounds(bounds), expected)
    torch.testing.assert_close(as_bounds((-1, 2), 2), expected)
    torch.testing.assert_close(as_bounds(scipy.optimize.Bounds([-1, -1], 2)), expected)


@pytest.mark.parametrize("budget", [0, -1, 2.5, math.inf, math.nan, "many", True, None])
def test_bad_budgets_are_refused(budget):
    with pytest.raises(ValueError, match="budget"):
        as_budget(budget)


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"fun": 3, "bounds": BOX}, TypeError),
        ({"fun": sphere, "bounds": BOX, "jac": 3}, TypeError),
        ({"fun": sphere, "bounds": BOX, "gradient_cost": 0}, ValueError),
        ({"fun": sphere, "bounds": BOX, "jac": True, "scalarize": sphere}, ValueError),
    ],
)
def test_bad_arguments_are_refused_at_once(kwargs, error):
    with pytest.raises(error):
        Objective(**kwargs)
