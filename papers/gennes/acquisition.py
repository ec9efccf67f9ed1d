"""Acquisition functions as counted objectives, and maximizers of them behind one contract."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import botorch
import numpy as np
import torch
from botorch.acquisition import (
    AcquisitionFunction,
    ExpectedImprovement,
    LogExpectedImprovement,
    UpperConfidenceBound,
)
from botorch.exceptions.warnings import NumericsWarning, OptimizationWarning
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from scipy.optimize import OptimizeResult
from torch import Tensor

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.optimizers.cmaes import CMAES
from common.optimizers.lbfgs import MultistartLBFGS, local_search
from common.optimizers.random import RandomSearch
from common.training.keys import key_seed, numpy_generator
from papers.gennes.hop import GennesHop
from papers.gennes.optimizer import Gennes
from papers.gennes.sigma import GennesSigma

UNLIMITED = 10**9


def expected_improvement(model: SingleTaskGP, best_f: Tensor) -> ExpectedImprovement:
    """Return EI itself, as in the paper, without BoTorch's advice to take its logarithm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericsWarning)
        return ExpectedImprovement(model, best_f)


ACQUISITIONS: dict[str, Callable[[SingleTaskGP, Tensor], AcquisitionFunction]] = {
    "ei": expected_improvement,
    "logei": LogExpectedImprovement,
    "ucb": lambda model, best_f: UpperConfidenceBound(model, beta=4.0),  # mean + 2 standard deviations
}
"""Name -> function of a model and of the best value so far, both to be maximized."""


class Maximum(NamedTuple):
    """What a maximizer found: point ``d``, value, queries; histories ``k x 2`` end with the best values.

    ``by_queries`` has the queries spent at every improvement, ``by_seconds`` the CPU seconds after every batch.
    """

    x: Tensor
    value: float
    queries: int
    by_queries: np.ndarray
    by_seconds: np.ndarray


def acquisition_objective(acquisition: AcquisitionFunction, bounds: Tensor) -> Objective:
    """Return the negative of an acquisition of single points as an objective: each row of a batch is one query."""
    return Objective(lambda X: -acquisition(X.unsqueeze(-2)), bounds)


def maximize(
    acquisition: AcquisitionFunction, bounds: Tensor, method: str, seed: int, budget: int = UNLIMITED, **options: Any
) -> Maximum:
    """Maximize an acquisition of single points in the box ``bounds`` (``2 x d``) with at most ``budget`` queries.

    A value costs one query, with its gradient too.

    Args:
        method: one of `MAXIMIZERS`; ``options`` are the arguments of its class.

    Raises:
        ObjectiveError: the acquisition is not finite somewhere; ``error.result`` holds what had been found.
    """
    times: list[tuple[float, float]] = []
    begin = time.process_time()

    def clock(result: OptimizeResult) -> None:
        times.append((time.process_time() - begin, -result.fun))

    objective = acquisition_objective(acquisition, bounds)
    result = MAXIMIZERS[method](**options).minimize(objective, budget, seed, callback=clock)
    clock(result)
    by_queries = result.history * [1, -1]
    return Maximum(torch.from_numpy(result.x), -result.fun, result.nfev, by_queries, np.array(times))


class RepeatedLBFGS(Optimizer):
    """L-BFGS-B from so many uniform starts, each until no coordinate of the projected gradient exceeds 1e-5 (A.3)."""

    needs_gradient: ClassVar[bool] = True

    def __init__(self, starts: int = 20) -> None:
        self.starts = starts

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        lower, upper = objective.bounds.numpy()
        for start in range(self.starts):
            x = numpy_generator(seed, "start", start).uniform(lower, upper)
            local_search(objective, x, {"gtol": 1e-5})
        return {"starts": self.starts}


class OptimizeAcqf(Optimizer):
    """BoTorch's `optimize_acqf` with its batched L-BFGS-B, again and again until the budget is spent.

    Args:
        restarts, raw_samples: its ``num_restarts`` and ``raw_samples``.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(self, restarts: int = 10, raw_samples: int = 100) -> None:
        self.restarts, self.raw_samples = restarts, raw_samples

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        call = 0
        while True:  # ends by the budget
            # The initial conditions are drawn from torch's global generator, whose state is put back.
            with botorch.manual_seed(key_seed(seed, "optimize_acqf", call)), warnings.catch_warnings():
                warnings.simplefilter("ignore", OptimizationWarning)
                optimize_acqf(
                    _Queries(objective), objective.bounds, q=1, num_restarts=self.restarts,
                    raw_samples=self.raw_samples, retry_on_optimization_warning=False,
                )  # fmt: skip
            call += 1


class _Queries(AcquisitionFunction):
    """An objective as the acquisition function that it is the negative of."""

    def __init__(self, objective: Objective) -> None:
        torch.nn.Module.__init__(self)  # there is no model
        self.objective = objective

    def forward(self, X: Tensor) -> Tensor:
        points = X.detach().squeeze(-2)
        if not (X.requires_grad and torch.is_grad_enabled()):
            return -self.objective(points)
        values, gradients = self.objective.value_and_gradient(points)
        slope = gradients.unsqueeze(-2) * (X - X.detach())  # zero, but for its gradient
        return -(values + slope.sum(dim=(-2, -1)))


MAXIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "gennes": Gennes,
    "gennes_sigma": GennesSigma,
    "gennes_hop": GennesHop,
    "repeated_lbfgs": RepeatedLBFGS,
    "lbfgs": MultistartLBFGS,
    "optimize_acqf": OptimizeAcqf,
    "cmaes": CMAES,
    "random": RandomSearch,
}
