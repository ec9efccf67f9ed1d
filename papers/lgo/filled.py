"""Filled functions: a minimum of f is their maximum, so to descend on them is to leave it (section IV-A, IV-B.2).

The paper's formulas are lost; those here are reconstructed from its words and from the literature that it cites.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

FORMS = ("quadratic", "linear")

ValueAndGradient = Callable[[Tensor], tuple[Tensor, Tensor]]


class Filled(ABC):
    """A function that fills the basin of a minimum x_0."""

    @abstractmethod
    def value_and_gradient(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``n`` values and ``n x d`` gradients at ``X`` (``n x d``)."""


class Quadratic(Filled):
    """-a ||x - x_0||^2, the simple filled function of section IV-B.2; its gradient is 0 at x_0 itself.

    Args:
        minimum: x_0, ``d``.
        control: a, the escaping length controller.
    """

    def __init__(self, minimum: Tensor, control: float | Tensor) -> None:
        self.minimum, self.control = minimum, control

    def value_and_gradient(self, X: Tensor) -> tuple[Tensor, Tensor]:
        away = X - self.minimum
        return -self.control * away.square().sum(-1), -2 * self.control * away


class Linear(Filled):
    """-a d^T (x - x_0), the other reading of the simple filled function.

    Args:
        minimum: x_0, ``d``.
        direction: the unit vector d, ``d``.
        control: a.
    """

    def __init__(self, minimum: Tensor, direction: Tensor, control: float | Tensor) -> None:
        self.minimum, self.direction, self.control = minimum, direction, control

    def value_and_gradient(self, X: Tensor) -> tuple[Tensor, Tensor]:
        return -self.control * ((X - self.minimum) @ self.direction), -self.control * self.direction.expand_as(X)


class _OfObjective(Filled):
    """A filled function that is made of f.

    Args:
        objective: maps ``n x d`` points to ``n`` values and ``n x d`` gradients of f, as
            `Objective.value_and_gradient` does, which counts them.
        minimum: x_0, ``d``.
        value: f(x_0).
        parameter: see the class.
    """

    parameter_default: ClassVar[float]

    def __init__(
        self, objective: ValueAndGradient, minimum: Tensor, value: float, parameter: float | None = None
    ) -> None:
        self.objective, self.minimum, self.value = objective, minimum, value
        self.parameter = self.parameter_default if parameter is None else parameter

    def value_and_gradient(self, X: Tensor) -> tuple[Tensor, Tensor]:
        y, gradient = self.objective(X)
        away = X - self.minimum
        value, by_rise, by_square = self._formula(y - self.value, away.square().sum(-1))
        return value, by_rise[:, None] * gradient + 2 * by_square[:, None] * away

    @abstractmethod
    def _formula(self, rise: Tensor, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return H (``n``) of f(x) - f(x_0) and ||x - x_0||^2, and its derivatives with respect to both."""


class GeQin(_OfObjective):
    """-(f(x) - f(x_0)) exp(a ||x - x_0||^2) (Ge and Qin, 1987); section IV-A. ``parameter`` is a."""

    parameter_default = 0.01

    def _formula(self, rise: Tensor, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        growth = (self.parameter * square).exp()
        return -rise * growth, -growth, -self.parameter * rise * growth


class Liu(_OfObjective):
    """1 / log(1 + f(x) - f(x_0)) - a ||x - x_0||^2 (Liu, 2001), perhaps the one in the note of section IV-D.

    ``parameter`` is a. It is for points above f(x_0): infinite where f(x) = f(x_0), and below it has no meaning.
    """

    parameter_default = 0.01

    def _formula(self, rise: Tensor, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logarithm = rise.log1p()
        by_rise = -1 / ((1 + rise) * logarithm.square())
        return 1 / logarithm - self.parameter * square, by_rise, torch.full_like(rise, -self.parameter)


class Tunneling(_OfObjective):
    """(f(x) - f(x_0)) / ||x - x_0||^(2 lambda) (Levy and Montalvo, 1985), below 0 exactly where f is below f(x_0).

    ``parameter`` is lambda.
    """

    parameter_default = 1.0

    def _formula(self, rise: Tensor, square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pole = square**-self.parameter
        return rise * pole, pole, -self.parameter * rise * pole / square


class Descent(NamedTuple):
    """A descent: its ``points`` (``k x d``, the first is the start), and why it ended.

    ``reason``: "stationary", "bounds" (the next point would leave the box), "steps", or "not finite" (the gradient).
    """

    points: Tensor
    reason: str


def descend(
    filled: Filled, start: Tensor, bounds: Tensor, rate: float, steps: int = 1000, tolerance: float = 1e-6
) -> Descent:
    """Descend on ``filled`` from ``start`` (``d``) by steps of ``rate`` along its unit negative gradient.

    The rate is halved when the gradient turns back, so the descent comes to rest. The filled functions of the
    literature differ by orders of magnitude from place to place, which is why a step has a length and not a factor.

    Args:
        bounds: the box, ``2 x d``.
        tolerance: the descent is stationary when the rate falls below it.
    """
    point, points, before = start, [start], torch.zeros_like(start)
    for _ in range(steps):
        gradient = filled.value_and_gradient(point[None])[1][0]
        if not torch.isfinite(gradient).all():
            return Descent(torch.stack(points), "not finite")
        if gradient @ before < 0:
            rate /= 2
        if rate < tolerance or not gradient.any():
            return Descent(torch.stack(points), "stationary")
        point = point - rate * gradient / gradient.norm()
        if ((point < bounds[0]) | (point > bounds[1])).any():
            return Descent(torch.stack(points), "bounds")
        points.append(point)
        before = gradient
    return Descent(torch.stack(points), "steps")


def ray_step(
    form: str, length: Tensor, sensitivity: Tensor, control: Tensor, rate: float, max_step: float
) -> tuple[Tensor, Tensor]:
    """Do one step of gradient descent on a simple filled function, which never leaves the ray x_0 + r d.

    Args:
        form: "quadratic" or "linear".
        length, sensitivity: r and J = dr/da of the point, any shape; they broadcast against ``control``, a.
        rate: alpha.
        max_step: a longer step is cut to it; the cut length does not depend on a.
    """
    if form == "quadratic":
        step, derivative = 2 * rate * control * length, 2 * rate * (control * sensitivity + length)
    else:
        step, derivative = rate * control, torch.full_like(sensitivity, rate)
    uncut = step <= max_step
    return length + step.clamp(max=max_step), sensitivity + uncut * derivative
