"""Repeated L-BFGS-B from uniform starts, by SciPy (Byrd, Lu, Nocedal, Zhu, 1995)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import scipy.optimize
import torch
from scipy.optimize import OptimizeResult

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.training.keys import numpy_generator


class MultistartLBFGS(Optimizer):
    """L-BFGS-B with bounds and SciPy's default tolerances, from start after uniform start until the budget is spent.

    Args:
        options: options of ``scipy.optimize.minimize(method="L-BFGS-B")``, by their names there.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self.options = dict(options or {})

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        lower, upper = objective.bounds.numpy()
        start = 0
        while True:  # ends by the budget, a target or a callback
            x = numpy_generator(seed, "lbfgs", start).uniform(lower, upper)
            local_search(objective, x, self.options)
            start += 1


def local_search(objective: Objective, x: np.ndarray, options: dict[str, Any] | None = None) -> OptimizeResult:
    """Run L-BFGS-B on ``objective`` from ``x`` (``d``) inside its box, every call counted."""

    def value_and_gradient(point: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective.value_and_gradient(torch.from_numpy(point[None]))
        return float(value), gradient.numpy()[0]

    bounds = scipy.optimize.Bounds(*objective.bounds.numpy())
    return scipy.optimize.minimize(
        value_and_gradient, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options or {}
    )
