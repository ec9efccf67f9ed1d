"""Dual annealing by SciPy (generalized simulated annealing: Xiang, Sun, Fan and Gong, 1997; Xiang and Gong, 2000)."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import scipy.optimize
import torch
from scipy.optimize import OptimizeResult

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.training.keys import numpy_generator

RANGES = {
    "initial_temp": ("in (0.01, 5e4]", lambda value: 0.01 < value <= 5e4),
    "restart_temp_ratio": ("in (0, 1)", lambda value: 0 < value < 1),
    "visit": ("in (1, 3)", lambda value: 1 < value < 3),
    "accept": ("in (-1e4, -5]", lambda value: -1e4 < value <= -5),
    "maxiter": ("a positive integer", lambda value: isinstance(value, int) and value > 0),
}


class DualAnnealing(Optimizer):
    """Simulated annealing with heavy-tailed visits, and L-BFGS-B with gradients from what it finds.

    It reanneals for as long as the budget lasts. A visit is queried for its value, a point of a local search for value
    and gradient together. As in SciPy, the visits' lengths are in the variables' own units.

    Args:
        options: ``initial_temp``, ``restart_temp_ratio``, ``visit``, ``accept`` of ``scipy.optimize.dual_annealing``,
            by their names there; with ``maxiter`` it begins anew, with other draws, after so many iterations.

    Raises:
        ValueError: an unknown option, or one out of its range.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self.options = dict(options or {})
        for name, value in self.options.items():
            if name not in RANGES:
                raise ValueError(f"dual annealing has no option {name!r}; there are: {', '.join(RANGES)}")
            text, holds = RANGES[name]
            if not holds(value):
                raise ValueError(f"{name} must be {text}, not {value!r}")

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        lower, upper = objective.bounds.numpy()
        bounds = scipy.optimize.Bounds(lower, upper)

        @np.errstate(**np.geterr())  # the caller's settings hold in the objective
        def value(x: np.ndarray) -> float:
            return float(objective(torch.from_numpy(np.clip(x, lower, upper))[None]))  # a visit may be an ulp outside

        # Once cold, SciPy repeats the same search every few iterations, which would take a quarter of all queries.
        @lru_cache(maxsize=1024)
        @np.errstate(**np.geterr())
        def value_and_gradient(point: bytes) -> tuple[float, np.ndarray]:
            y, gradient = objective.value_and_gradient(torch.from_numpy(np.frombuffer(point).copy())[None])
            return float(y), gradient.numpy()[0]

        def search(_value: Any, x: np.ndarray, **_settings: Any) -> OptimizeResult:
            return scipy.optimize.minimize(
                lambda point: value_and_gradient(point.tobytes()),
                x,
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": min(max(6 * objective.dim, 100), 1000)},  # SciPy's own choice for these searches
            )

        # As a method of its own, the search can ask for value and gradient together; SciPy's `jac` would ask twice.
        settings = {"maxiter": sys.maxsize, "maxfun": np.inf, "minimizer_kwargs": {"method": search}, **self.options}
        start = 0
        while True:  # ends by the budget, a target or a callback
            generator = numpy_generator(seed, "annealing", start)
            with np.errstate(over="ignore"):  # of SciPy's acceptance rule, by values near the largest float
                scipy.optimize.dual_annealing(value, bounds, rng=generator, **settings)
            start += 1
