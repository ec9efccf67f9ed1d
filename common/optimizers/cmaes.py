"""Covariance matrix adaptation by its author's library, ``cma`` (Hansen; active update: Hansen and Ros, 2010)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.optimizers.base import AskTellOptimizer, as_population
from common.training.keys import numpy_generator


class CMAES(AskTellOptimizer):
    """Active CMA-ES with the library's own bounds handling and stopping rules, in units of the box, no restarts.

    Args:
        population: samples an iteration; default ``4 + floor(3 ln d)``.
        sigma: initial standard deviation in widths of the box.
        options: further options of ``cma.CMAEvolutionStrategy``, by their names there.
    """

    def __init__(
        self, population: int | None = None, sigma: float = 0.25, options: dict[str, Any] | None = None
    ) -> None:
        if not sigma > 0:
            raise ValueError(f"sigma must be positive, not {sigma!r}")
        self.population, self.sigma, self.options = population, sigma, dict(options or {})

    def _start(self) -> None:
        population = as_population(self.population, default_population(self.dim))
        generator = numpy_generator(self.seed, "cmaes")
        self._strategy = new_strategy(generator, self.dim, self.sigma, {"popsize": population, **self.options})

    def _ask(self) -> Tensor:
        self._unit = self._strategy.ask()
        return self.bounds[0] + (self.bounds[1] - self.bounds[0]) * torch.from_numpy(np.array(self._unit))

    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        self._strategy.tell(self._unit, y.tolist())

    def _stop(self) -> dict[str, Any]:
        return dict(self._strategy.stop())


def default_population(dim: int) -> int:
    """Return the samples an iteration of CMA-ES in ``dim`` variables: ``4 + floor(3 ln d)``."""
    return 4 + math.floor(3 * math.log(dim))


def new_strategy(generator: np.random.Generator, dim: int, sigma: float, options: dict[str, Any]) -> Any:
    """Return a ``cma.CMAEvolutionStrategy`` in the unit box, from a uniform start; all its draws are `generator`'s."""
    import cma  # half a second; only who uses it pays

    settings = {
        "bounds": [0, 1],
        # In one dimension the library fails where it would cut sigma down to the box ("not yet initialized").
        **({"maxstd": math.inf} if dim == 1 else {}),
        "CMA_active": True,
        # NumPy's global state stays untouched: no seeding, and all draws come from our generator.
        "seed": math.nan,
        "randn": lambda *shape: generator.standard_normal(shape),
        "verbose": -9,
        "verb_log": 0,
        "verb_disp": 0,
        **options,
    }
    return cma.CMAEvolutionStrategy(generator.uniform(size=dim), sigma, settings)
