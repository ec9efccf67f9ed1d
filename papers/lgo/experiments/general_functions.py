"""Functions for local searches whose line search is not in closed form: smooth, most of them far from Gaussian."""

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


def log_sum_exp(d: int, seed: int, count: int) -> list[Search]:
    """Return log(sum_i exp(a_i'x + b_i)) for normal a_i and b_i, from normal starts; it is convex."""
    searches = []
    for i in range(count):
        a = torch.randn(TERMS * d, d + 1, generator=torch_generator(seed, "terms", i), dtype=torch.float64)

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


def _normal(d: int, seed: int, i: int) -> Tensor:
    return torch.randn(d, generator=torch_generator(seed, "start", i), dtype=torch.float64)


FUNCTIONS: dict[str, Callable[[int, int, int], Sequence[Search]]] = {
    "gaussian": gaussian,
    "quadratic 1e4": quadratic,
    "rosenbrock": rosenbrock,
    "log-sum-exp": log_sum_exp,
    "logistic regression": logistic_regression,
}
