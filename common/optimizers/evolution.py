"""Differential evolution by SciPy (Storn and Price, 1997), polished by L-BFGS-B."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import scipy.optimize
import torch

from common.objective import Objective, ObjectiveError
from common.optimizers.base import Optimizer, as_population
from common.optimizers.lbfgs import local_search
from common.training.keys import numpy_generator

OPTIONS = ("strategy", "mutation", "recombination", "tol", "atol")
POLISH = 100  # queries of value and gradient, more than L-BFGS-B mostly takes


class DifferentialEvolution(Optimizer):
    """Differential evolution of whole populations, polished when it has converged and then begun anew.

    The polish uses gradients where the objective has them (one query finds out), else finite differences of values;
    a tenth of the budget, and at most what 100 gradients cost, is kept for the last one.

    Args:
        popsize: individuals per variable (at least 5 in all).
        polish: whether L-BFGS-B starts from the best of every last population.
        options: ``strategy``, ``mutation``, ``recombination``, ``tol`` and ``atol`` of
            ``scipy.optimize.differential_evolution``, by their names there.

    Raises:
        ValueError: an unknown option or one out of its range, ``popsize`` not a positive integer.
    """

    def __init__(self, popsize: int = 15, polish: bool = True, options: dict[str, Any] | None = None) -> None:
        self.popsize, self.polish, self.options = as_population(popsize, popsize), polish, dict(options or {})
        if unknown := set(self.options) - set(OPTIONS):
            raise ValueError(f"differential evolution has no option {unknown}; there are: {', '.join(OPTIONS)}")
        if not 0 <= self.options.get("recombination", 0.7) <= 1:
            raise ValueError("recombination must be in [0, 1]")
        if not self.options.get("tol", 0) >= 0 or not self.options.get("atol", 0) >= 0:
            raise ValueError("tol and atol must not be negative")

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        gradient = objective.vectorized or objective.jac is not None  # as far as one can know without a query
        start = 0
        while True:  # ends by the budget, a target or a callback
            x = self._evolve(objective, numpy_generator(seed, "evolution", start), gradient)
            if self.polish:
                gradient = gradient and polish_by_gradients(objective, x)
                if not gradient:
                    polish_by_values(objective, x)
            start += 1

    def _evolve(self, objective: Objective, generator: np.random.Generator, gradient: bool) -> np.ndarray:
        """Return the best point (``d``) of a new population that has converged or spent all but the polish's share."""
        lower, upper = objective.bounds.numpy()

        @np.errstate(**np.geterr())  # the caller's settings hold in the objective
        def values(X: np.ndarray) -> np.ndarray:  # d x n, and an individual may be an ulp outside
            try:
                return objective(torch.from_numpy(np.clip(X.T, lower, upper))).numpy()
            except (TypeError, ValueError) as error:  # of the callback; SciPy would take it for a fault of its map
                raised.append(error)
                raise

        raised: list[Exception] = []
        generations = sys.maxsize
        if objective.budget is not None:
            query = objective.gradient_cost if gradient else objective.dim + 1
            reserve = min(objective.budget // 10, POLISH * query) if self.polish else 0
            population = max(5, self.popsize * objective.dim)
            generations = max((int(objective.remaining) - reserve) // population - 1, 0)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # of the population's spread, by values above 1e154
                found = scipy.optimize.differential_evolution(
                    values,
                    scipy.optimize.Bounds(lower, upper),
                    popsize=self.popsize,
                    maxiter=generations,
                    polish=False,
                    updating="deferred",
                    vectorized=True,
                    rng=generator,
                    **self.options,
                )
        except RuntimeError:
            if raised:
                raise raised[0] from None
            raise
        return np.clip(found.x, lower, upper)


def polish_by_gradients(objective: Objective, x: np.ndarray) -> bool:
    """Run L-BFGS-B from ``x`` (``d``), or return False where the objective has no (finite) gradient."""
    try:
        local_search(objective, x)
    except ObjectiveError as error:
        if error.point is not None:
            objective(torch.from_numpy(error.point)[None])  # raises again if it is the value that fails
        return False
    return True


def polish_by_values(objective: Objective, x: np.ndarray) -> None:
    """Run L-BFGS-B from ``x`` (``d``) with forward differences by relative steps, all counted."""
    lower, upper = objective.bounds.numpy()

    def value(point: np.ndarray) -> float:
        return float(objective(torch.from_numpy(np.clip(point, lower, upper))[None]))  # a step may end an ulp outside

    bounds = scipy.optimize.Bounds(lower, upper)
    scipy.optimize.minimize(value, x, jac="2-point", method="L-BFGS-B", bounds=bounds)
