"""CMA-ES restarted with two interlaced population sizes (Hansen, "Benchmarking a BI-population CMA-ES on the BBOB-2009
function testbed", GECCO 2009), around its author's library, ``cma``.

The restart schedule is written here, for the library's own (``cma.fmin2(bipop=True)``) draws from NumPy's global state.
It follows the paper; where the paper leaves it open, the library: the first run counts as a small one, and a small
run ends at half of what all large ones have spent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from common.optimizers.cmaes import CMAES, default_population, new_strategy
from common.training.keys import numpy_generator

Regime = Literal["small", "large"]


@dataclass
class Run:
    """One run of CMA-ES between two restarts; ``limit`` and ``spent`` are evaluations."""

    regime: Regime
    population: int
    sigma: float
    limit: float
    spent: int = 0


class BIPOP(CMAES):
    """BIPOP-CMA-ES, in units of the box: the regime that has spent less is next; restarts never end.

    Large runs double the population from run to run; small ones draw it between the default and half of the last
    large one, and start with a smaller standard deviation. Each run starts at a fresh uniform point.

    Args:
        sigma: initial standard deviation of the first and the large runs in widths of the box.
        options: further options of ``cma.CMAEvolutionStrategy`` of each run, by their names there; not ``popsize``.

    Attributes:
        runs: the runs so far, the last one unfinished.
    """

    runs: list[Run]

    def __init__(self, sigma: float = 0.25, options: dict[str, Any] | None = None) -> None:
        super().__init__(sigma=sigma, options=options)
        if "popsize" in self.options:
            raise ValueError("popsize is what BIPOP varies; CMAES takes a fixed one")

    def _start(self) -> None:
        self.runs = []
        self._restart()

    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        super()._tell(X, y, grad, outputs)
        run = self.runs[-1]
        run.spent += len(X)
        if run.spent >= run.limit or self._strategy.stop():
            self._restart()

    def _stop(self) -> dict[str, Any]:
        return {}

    def _restart(self) -> None:
        generator = numpy_generator(self.seed, "bipop", len(self.runs))
        run = self._next_run(generator)
        self._strategy = new_strategy(generator, self.dim, run.sigma, {**self.options, "popsize": run.population})
        self.runs.append(run)

    def _next_run(self, generator: np.random.Generator) -> Run:
        default = default_population(self.dim)
        if not self.runs:
            return Run("small", default, self.sigma, math.inf)
        large = [run for run in self.runs if run.regime == "large"]
        spent_large = sum(run.spent for run in large)
        spent_small = sum(run.spent for run in self.runs if run.regime == "small")
        if spent_small >= spent_large:
            return Run("large", default * 2 ** (len(large) + 1), self.sigma, math.inf)
        half = large[-1].population / 2
        population = math.floor(default * (half / default) ** (generator.uniform() ** 2))
        return Run("small", population, self.sigma * 10 ** (-2 * generator.uniform()), spent_large / 2)
