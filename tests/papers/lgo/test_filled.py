from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.objective import Objective
from papers.lgo.escape import FastEscape
from papers.lgo.filled import GeQin, Linear, Liu, Quadratic, Tunneling, descend, ray_step


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def wells(X, centers, depths, width):
    return -(vector(*depths) * (-(X[:, None] - centers).square().sum(-1) / (2 * width**2)).exp()).sum(1)


# Three humps in [0, 20]^2 on a line through (4, 13): the middle one is shallow.
CENTERS = torch.tensor([[4.0, 13.0], [10.0, 14.5], [16.0, 16.0]], dtype=torch.float64)
BOX = torch.tensor([[0.0, 0.0], [20.0, 20.0]], dtype=torch.float64)


def two_wells(X):
    """Equal wells at (-3, 0) and (3, 0): a mountain pass at 0, and nothing else."""
    return wells(X, torch.tensor([[-3.0, 0.0], [3.0, 0.0]], dtype=torch.float64), (1.0, 1.0), 1.5)


def minimum_of(function, start):
    x = start.clone()
    for _ in range(50):
        leaf = x.clone().requires_grad_()
        hessian = torch.autograd.functional.hessian(lambda z: function(z[None])[0], leaf)
        (gradient,) = torch.autograd.grad(function(leaf[None]).sum(), leaf)
        x = x - torch.linalg.solve(hessian, gradient)
    return x, float(function(x[None]))


def hessian(filled, x):
    """Differences of the gradient."""
    eye = 1e-5 * torch.eye(len(x), dtype=torch.float64)
    gradient = [filled.value_and_gradient(points)[1] for points in (x + eye, x - eye)]
    return (gradient[0] - gradient[1]) / 2e-5


def every_filled():
    objective = Objective(two_wells, (-10, 10), dim=2)
    minimum, value = minimum_of(two_wells, vector(-3.0, 0.0))
    of_f = {kind.__name__: kind(objective.value_and_gradient, minimum, value, 0.3) for kind in (GeQin, Liu, Tunneling)}
    return {"Quadratic": Quadratic(minimum, 0.7), "Linear": Linear(minimum, vector(0.6, 0.8), 0.7), **of_f}


@pytest.mark.parametrize("name", ["Quadratic", "Linear", "GeQin", "Liu", "Tunneling"])
def test_gradients_are_those_of_the_values(name):
    filled = every_filled()[name]
    points = torch.tensor([[-1.0, 1.0], [0.5, -2.0], [4.0, 3.0], [-2.5, 0.4]], dtype=torch.float64)
    values, gradients = filled.value_and_gradient(points)
    assert values.shape == (4,)
    for i in range(2):
        step = 1e-6 * torch.eye(2, dtype=torch.float64)[i]
        up, down = (filled.value_and_gradient(points + sign * step)[0] for sign in (1, -1))
        torch.testing.assert_close((up - down) / 2e-6, gradients[:, i], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["Quadratic", "GeQin"])
def test_the_minimum_is_their_maximum(name):
    filled = every_filled()[name]
    around = vector(0.1) * torch.tensor([[math.cos(t), math.sin(t)] for t in range(12)], dtype=torch.float64)
    top, gradient = filled.value_and_gradient(filled.minimum[None])
    assert (filled.value_and_gradient(filled.minimum + around)[0] < top).all()
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)


def test_known_values():
    minimum, d = vector(1.0, 2.0), vector(0.6, 0.8)
    at = minimum + 2 * d
    objective = lambda X: (torch.full((len(X),), 5.0, dtype=torch.float64), torch.zeros_like(X))  # noqa: E731
    for filled, value in [
        (Quadratic(minimum, 0.5), -2.0),
        (Linear(minimum, d, 0.5), -1.0),
        (GeQin(objective, minimum, 3.0, 0.25), -2 * math.e),
        (Liu(objective, minimum, 4.0, 0.25), 1 / math.log(2) - 1),
        (Tunneling(objective, minimum, 3.0, 1.0), 0.5),
    ]:
        assert filled.value_and_gradient(at[None])[0].item() == pytest.approx(value)


def test_tunneling_is_negative_exactly_where_f_is_lower():
    objective = Objective(lambda X: wells(X, CENTERS, (1.0, 0.5, 2.0), 1.0), BOX)
    minimum, value = minimum_of(objective.fun, CENTERS[0])
    points = 20 * torch.rand(200, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = torch.cat([points, CENTERS])
    values = Tunneling(objective.value_and_gradient, minimum, value).value_and_gradient(points)[0]
    assert torch.equal(values < 0, objective.fun(points) < value)
    assert (values < 0).any()


def test_every_gradient_of_a_filled_function_is_counted():
    objective = Objective(two_wells, (-10, 10), dim=2)
    minimum, value = minimum_of(two_wells, vector(-3.0, 0.0))
    descent = descend(
        GeQin(objective.value_and_gradient, minimum, value), minimum + vector(0.1, 0), objective.bounds, 0.1
    )
    assert objective.gradients == objective.evaluations == len(descent.points)


def test_a_filled_function_ends_in_a_saddle_point_where_the_ray_goes_on():
    """Figure 3: on the way from (-3, 0) along the line of the wells the pass between them holds the descent."""
    objective = Objective(two_wells, (-10, 10), dim=2)
    minimum, value = minimum_of(two_wells, vector(-3.0, 0.0))
    filled = GeQin(objective.value_and_gradient, minimum, value, 0.01)
    d = vector(1.0, 0.0)
    descent = descend(filled, minimum + 0.1 * d, objective.bounds, 0.05)
    assert descent.reason == "stationary"
    end = descent.points[-1]
    eigenvalues = torch.linalg.eigvalsh(hessian(filled, end))
    assert eigenvalues[0] < 0 < eigenvalues[1]
    assert filled.value_and_gradient(end[None])[1].abs().max() < 1e-4
    escape = FastEscape(bound=10.0)(objective, minimum, value, d[None])
    assert escape.promising.all()
    assert escape.points[0, 0] > end[0] > 0


@pytest.mark.parametrize("kind", [GeQin, Liu])
def test_theorem_4_towards_a_stationary_point_of_a_filled_function_f_falls(kind):
    """Of both, grad f = -(something positive) (x - x_0) where grad H = 0, so the direction there is promising."""
    objective = Objective(two_wells, (-10, 10), dim=2)
    minimum, value = minimum_of(two_wells, vector(-3.0, 0.0))
    filled = kind(objective.value_and_gradient, minimum, value, 0.02)
    for start in (vector(0.1, 0.02), vector(0.1, -0.05), vector(0.1, 0.0)):
        descent = descend(filled, minimum + start, objective.bounds, 0.05, steps=3000, tolerance=1e-9)
        if descent.reason != "stationary":
            continue
        end = descent.points[-1]
        away = end - minimum
        for point in (end, end + 0.01 * vector(0.6, -0.8), end - 0.01 * vector(0.6, 0.8)):  # a neighbourhood
            leaf = point.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(two_wells(leaf[None]).sum(), leaf)
            assert -(gradient @ (point - minimum)) > 0
        escapes = FastEscape(control=0.1, bound=12.0)(objective, minimum, value, (away / away.norm())[None])
        assert escapes.promising.all()
        break
    else:
        pytest.fail("no descent came to rest")


def test_a_descent_ends_at_the_box_after_its_steps_or_where_nothing_is_finite():
    objective = Objective(lambda X: X.square().sum(1), (-2, 2), dim=2)
    filled = GeQin(objective.value_and_gradient, vector(0.0, 0.0), 0.0)
    left = descend(filled, vector(0.1, 0.1), objective.bounds, 0.1)
    assert left.reason == "bounds"
    assert ((left.points >= -2) & (left.points <= 2)).all()
    assert descend(filled, vector(0.1, 0.1), objective.bounds, 0.1, steps=3).reason == "steps"
    at_pole = Tunneling(objective.value_and_gradient, vector(0.0, 0.0), 0.0)
    assert descend(at_pole, vector(0.0, 0.0), objective.bounds, 0.1).reason == "not finite"


@given(
    a=st.floats(0.01, 2), rate=st.floats(0.01, 0.3), delta=st.floats(0.01, 0.5), steps=st.integers(1, 20),
    form=st.sampled_from(["quadratic", "linear"]),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_the_recursion_is_gradient_descent_on_the_simple_form_and_its_derivative_autograds(a, rate, delta, steps, form):
    minimum, d = vector(1.0, -2.0, 0.5), vector(2 / 3, -1 / 3, 2 / 3)
    control = vector(a)[0].requires_grad_()
    filled = Quadratic(minimum, control) if form == "quadratic" else Linear(minimum, d, control)
    x = (minimum + delta * d)[None]
    length, sensitivity = vector(delta)[0], vector(0)[0]
    for _ in range(steps):
        x = x - rate * filled.value_and_gradient(x)[1]
        length, sensitivity = ray_step(form, length, sensitivity, control.detach(), rate, math.inf)
    torch.testing.assert_close(x.detach()[0], minimum + length * d, rtol=1e-12, atol=1e-12)
    (derivative,) = torch.autograd.grad((x[0] - minimum) @ d, control)
    torch.testing.assert_close(sensitivity, derivative, rtol=1e-10, atol=1e-12)
    if form == "quadratic":
        assert length.item() == pytest.approx(delta * (1 + 2 * rate * a) ** steps)
    else:
        assert length.item() == pytest.approx(delta + steps * rate * a)


def test_a_cut_step_does_not_depend_on_a():
    length, sensitivity = ray_step("quadratic", vector(3.0), vector(2.0), vector(1.0), 0.1, 0.25)
    torch.testing.assert_close(length, vector(3.25))
    torch.testing.assert_close(sensitivity, vector(2.0))
