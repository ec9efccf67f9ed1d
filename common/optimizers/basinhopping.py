"""Basin hopping by SciPy (Li and Scheraga, 1987; Wales and Doye, 1997; monotonic: Leary, 2000)."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import numpy as np
import scipy.optimize
from scipy.optimize import OptimizeResult

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.optimizers.lbfgs import local_search
from common.training.keys import numpy_generator


class BasinHopping(Optimizer):
    """Random hops between local minima, each found by L-BFGS-B and accepted by Metropolis' rule, from a uniform start.

    Args:
        temperature: of Metropolis' rule, in units of the objective; 0 accepts no higher minimum (monotonic).
        step: largest hop of a variable, in widths of its side of the box; hops end inside the box.
        interval: hops between two adaptations of the step, which multiply or divide it by ``stepwise_factor``.
        target_accept_rate: share of accepted hops that the adaptation aims at.
        options: options of ``scipy.optimize.minimize(method="L-BFGS-B")``, by their names there.

    Raises:
        ValueError: a setting out of its range.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float = 1.0,
        step: float = 1 / 12,
        interval: int = 50,
        target_accept_rate: float = 0.5,
        stepwise_factor: float = 0.9,
        options: dict[str, Any] | None = None,
    ) -> None:
        if not 0 <= temperature < np.inf:
            raise ValueError(f"temperature must be finite and not negative, not {temperature!r}")
        if not 0 < step <= 1:
            raise ValueError(f"step must be in (0, 1], in widths of the box, not {step!r}")
        if interval != int(interval) or interval < 1:
            raise ValueError(f"interval must be a positive integer, not {interval!r}")
        if not 0 < target_accept_rate < 1 or not 0 < stepwise_factor < 1:
            raise ValueError("target_accept_rate and stepwise_factor must be in (0, 1)")
        self.temperature, self.step, self.options = temperature, step, dict(options or {})
        self.adaptation = {
            "interval": interval,
            "target_accept_rate": target_accept_rate,
            "stepwise_factor": stepwise_factor,
        }

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        generator = numpy_generator(seed, "basinhopping")
        hop = BoxHop(objective, self.step, generator)

        def search(_objective: Any, x: np.ndarray, **_settings: Any) -> OptimizeResult:
            return local_search(objective, x, self.options)

        found = scipy.optimize.basinhopping(
            objective,
            generator.uniform(hop.lower, hop.upper),
            niter=sys.maxsize,  # ends by the budget, a target or a callback
            T=self.temperature,
            take_step=hop,
            minimizer_kwargs={"method": search},
            rng=generator,
            **self.adaptation,
        )
        return {"hops": found.nit}


class BoxHop:
    """A hop uniform in ``stepsize`` widths of the box to either side of ``x``, clipped to the box.

    Attributes:
        stepsize: adapted by SciPy between calls; a width is the most that makes sense.
    """

    def __init__(self, objective: Objective, stepsize: float, generator: np.random.Generator) -> None:
        self.lower, self.upper = objective.bounds.numpy()
        self.stepsize, self.generator = stepsize, generator

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.stepsize = min(self.stepsize, 1.0)
        hop = self.generator.uniform(-self.stepsize, self.stepsize, x.shape)
        return np.clip(x + (self.upper - self.lower) * hop, self.lower, self.upper)
