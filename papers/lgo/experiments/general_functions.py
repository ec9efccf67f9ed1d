"""Functions for local searches whose line search is not in closed form: smooth, most of them far from Gaussian.

Beale's, Powell's and the trigonometric function, and Brown's, are those of J. J. Moré, B. S. Garbow, K. E. Hillstrom,
Testing unconstrained optimization software, ACM Transactions on Mathematical Software 7, 1981 (numbers 5, 13, 26, 27),
from normal starts about theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor

from common.functions.gaussians import GaussianFamily, Quadratics
from common.functions.synthetic import Rosenbrock
from common.training.keys import torch_generator

Function = Callable[[Tensor], Tensor]  # n x d points to n values, which autograd sees through

CONDITION = 1e4  # of the quadratic
TERMS = 5  # of log-sum-exp, times d
PENALTY = 1e-3  # of logistic regression


class Search(NamedTuple):
    """A function and where to start, ``d``."""

    function: Function
    start: Tensor


def gaussian(d: int, seed: int, count: int) -> list[Search]:
    """Return functions of the training's law, for ``d`` variables."""
    functions, start = GaussianFamily(d).sample(seed, range(count))
    return [Search(functions[i], start[i]) for i in range(count)]


def quadratic(d: int, seed: int, count: int) -> list[Search]:
    """Return quadratics of condition number 1e4."""
    functions, start = GaussianFamily(d, CONDITION).sample(seed, range(count))
    return [Search(Quadratics(functions.centers, functions.matrices)[i], start[i]) for i in range(count)]


def rosenbrock(d: int, seed: int, count: int) -> list[Search]:
    """Return Rosenbrock's function from starts that are uniform on [-2, 2]^d."""
    starts = 4 * torch.rand(count, d, generator=torch_generator(seed, "start"), dtype=torch.float64) - 2
    return [Search(Rosenbrock(d), start) for start in starts]


def log_sum_exp(d: int, seed: int, count: int, terms: int | None = None) -> list[Search]:
    """Return log(sum_i exp(a_i'x + b_i)) for normal a_i and b_i, by default 5 d, from normal starts; it is convex."""
    searches = []
    for i in range(count):
        a = torch.randn(terms or TERMS * d, d + 1, generator=torch_generator(seed, "terms", i), dtype=torch.float64)

        def function(X: Tensor, a: Tensor = a) -> Tensor:
            return (X @ a[:, 1:].T + a[:, 0]).logsumexp(-1)

        searches.append(Search(function, _normal(d, seed, i)))
    return searches


def logistic_regression(d: int, seed: int, count: int) -> list[Search]:
    """Return the mean log loss, with an l2 penalty, of a classifier of breast cancers, from normal starts.

    Raises:
        ValueError: ``d`` is not the number of its features, 30, and an intercept.
    """
    signed = _signed_features()
    if d != signed.shape[1]:
        raise ValueError(f"the data have {signed.shape[1] - 1} features and an intercept, not {d} variables")

    def function(X: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-X @ signed.T).mean(-1) + PENALTY / 2 * X.square().sum(-1)

    return [Search(function, _normal(d, seed, i)) for i in range(count)]


@cache
def _signed_features() -> Tensor:
    """Return the standardised features and a 1, each row times its label of -1 or 1 (Wolberg, 1995)."""
    data = load_breast_cancer()
    features = torch.as_tensor(data.data, dtype=torch.float64)
    features = (features - features.mean(0)) / features.std(0, correction=0)
    labels = 2 * torch.as_tensor(data.target, dtype=torch.float64) - 1
    return labels[:, None] * torch.cat([features, torch.ones_like(features[:, :1])], dim=1)


def beale(d: int, seed: int, count: int) -> list[Search]:
    """Return Beale's function of 2 variables, minimum 0 at (3, 1/2), and starts about (1, 1).

    Raises:
        ValueError: ``d`` is not 2.
    """
    if d != 2:
        raise ValueError(f"Beale's function has 2 variables, not {d}")
    powers, sides = torch.arange(1, 4), torch.tensor([1.5, 2.25, 2.625], dtype=torch.float64)

    def function(X: Tensor) -> Tensor:
        return (sides - X[:, :1] * (1 - X[:, 1:] ** powers)).square().sum(-1)

    return [Search(function, 1 + _normal(d, seed, i) / 4) for i in range(count)]


def powell(d: int, seed: int, count: int) -> list[Search]:
    """Return Powell's singular function, minimum 0 at 0 without curvature, and starts about (3, -1, 0, 1, 3, ...).

    Raises:
        ValueError: ``d`` is not a multiple of 4.
    """
    if d % 4:
        raise ValueError(f"Powell's function has a multiple of 4 variables, not {d}")
    usual = torch.tensor([3.0, -1.0, 0.0, 1.0], dtype=torch.float64).repeat(d // 4)

    def function(X: Tensor) -> Tensor:
        a, b, c, e = X.unflatten(-1, (d // 4, 4)).unbind(-1)
        return ((a + 10 * b) ** 2 + 5 * (c - e) ** 2 + (b - 2 * c) ** 4 + 10 * (a - e) ** 4).sum(-1)

    return [Search(function, usual + _normal(d, seed, i)) for i in range(count)]


def trigonometric(d: int, seed: int, count: int) -> list[Search]:
    """Return the trigonometric function, minimum 0 at 0 among others, and starts about 1/d."""
    numbers = torch.arange(1, d + 1)

    def function(X: Tensor) -> Tensor:
        versines = 1 - X.cos()
        return (versines.sum(-1, keepdim=True) + numbers * versines - X.sin()).square().sum(-1)

    return [Search(function, (1 + _normal(d, seed, i)) / d) for i in range(count)]


def brown(d: int, seed: int, count: int) -> list[Search]:
    """Return Brown's almost linear function, minimum 0 at 1 among others, and starts about 1/2."""

    def function(X: Tensor) -> Tensor:
        linear = X[:, :-1] + X.sum(-1, keepdim=True) - (d + 1)
        return linear.square().sum(-1) + (X.prod(-1) - 1).square()

    return [Search(function, (1 + _normal(d, seed, i) / 4) / 2) for i in range(count)]


def _normal(d: int, seed: int, i: int) -> Tensor:
    return torch.randn(d, generator=torch_generator(seed, "start", i), dtype=torch.float64)


FUNCTIONS: dict[str, Callable[[int, int, int], Sequence[Search]]] = {
    "gaussian": gaussian,
    "quadratic 1e4": quadratic,
    "rosenbrock": rosenbrock,
    "log-sum-exp": log_sum_exp,
    "logistic regression": logistic_regression,
    "beale": beale,
    "powell": powell,
    "trigonometric": trigonometric,
    "brown": brown,
}
