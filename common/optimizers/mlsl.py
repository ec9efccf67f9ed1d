"""Multi-level single-linkage with a low-discrepancy sequence and L-BFGS, by NLopt (Rinnooy Kan and Timmer, "Stochastic
global optimization methods", Mathematical Programming 39, 1987; Kucherenko and Sytsko, Computational Optimization and
Applications 30, 2005)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch

from common.objective import Objective
from common.optimizers.base import Optimizer, as_population
from common.training.keys import numpy_generator

SOBOL_DIMENSIONS = 1111  # beyond, NLopt falls back on random numbers, from a generator that all runs share


class MLSL(Optimizer):
    """Local searches from those points of a Sobol' sequence that are no part of a basin found already.

    NLopt's sequence is the same in every run. What a seed keys is the start point and a symmetry of the unit cube, the
    order and the directions of its axes: it maps low-discrepancy sequences to such and keeps distances, so NLopt sees
    an equally good problem. In few variables there are few symmetries (``2^d d!``), and runs are alike.

    A sample costs one evaluation, without gradient. Should NLopt give up, it begins anew with the next key.

    Args:
        population: Sobol' points between two rounds of local searches; default 4, NLopt's.
        tolerance: a local search ends when a step changes the value ``f`` by less than ``tolerance * max(|f|, 1)``;
            default that of SciPy's L-BFGS-B.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(self, population: int | None = None, tolerance: float = 2.220446049250313e-09) -> None:
        self.population = as_population(population, 4)
        if not 0 < tolerance < math.inf:  # without, a local search may never end
            raise ValueError(f"tolerance must be positive, not {tolerance!r}")
        self.tolerance = tolerance

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        if objective.dim > SOBOL_DIMENSIONS:
            raise ValueError(f"MLSL takes at most {SOBOL_DIMENSIONS} variables, not {objective.dim}")
        start = 0
        while True:  # ends by the budget, a target or a callback
            asked = objective.points
            code = self._search(objective, numpy_generator(seed, "mlsl", start))
            if objective.points == asked:  # or this would go on for ever
                raise RuntimeError(f"NLopt ended without a query, with result {code}")
            start += 1

    def _search(self, objective: Objective, generator: np.random.Generator) -> int:
        """Run NLopt until a query raises, or it ends by itself; then return its result code."""
        import nlopt

        order, flipped = generator.permutation(objective.dim), generator.uniform(size=objective.dim) < 0.5
        lower, upper = objective.bounds.numpy()
        width = upper - lower
        failure: list[BaseException] = []

        def query(unit: np.ndarray, gradient: np.ndarray) -> float:
            # An exception must not cross NLopt: it would come out as another one, or late.
            try:
                if failure:
                    return math.inf
                x = np.clip(lower + width * np.where(flipped, 1 - unit, unit)[order], lower, upper)
                evaluation = objective.evaluate(torch.from_numpy(x)[None], gradient=gradient.size > 0)
                if evaluation.grad is not None:
                    slope = np.empty_like(width)
                    slope[order] = width * evaluation.grad.numpy()[0]
                    gradient[:] = np.where(flipped, -slope, slope)
                return float(evaluation.y)
            except BaseException as error:
                failure.append(error)
                search.force_stop()
                return math.inf

        search, local = (nlopt.opt(name, objective.dim) for name in (nlopt.G_MLSL_LDS, nlopt.LD_LBFGS))
        local.set_ftol_rel(self.tolerance)
        local.set_ftol_abs(self.tolerance)
        search.set_local_optimizer(local)
        search.set_population(self.population)
        search.set_lower_bounds(np.zeros(objective.dim))
        search.set_upper_bounds(np.ones(objective.dim))
        search.set_min_objective(query)
        search.set_exceptions_enabled(False)
        search.optimize(generator.uniform(size=objective.dim))
        if failure:
            raise failure[0]
        return search.last_optimize_result()
