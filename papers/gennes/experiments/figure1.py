"""Figure 1: the search distribution of CMA-ES on 2-D Rosenbrock, iteration by iteration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.optimizers.cmaes import new_strategy
from common.reporting.rows import Row
from common.training.keys import numpy_generator
from papers.gennes.problems import benchmark_problem, fold_seeds


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Record populations of the first replicate, and of all the ``anisotropy`` of the distribution.

    The box only places the start; the iterates are free, so that the distribution is a Gaussian. ``anisotropy`` is the
    ratio of its longest to its shortest standard deviation, ``spread`` their geometric mean.
    """
    problem = benchmark_problem("rosenbrock", 2, [0], shift=0.0).fold(0)
    lower, upper = problem.bounds.numpy()
    rows: list[Row] = []
    for replicate, seed in enumerate(fold_seeds(params["seed"], params["replicates"])):
        options = {"popsize": params["population"], "bounds": None}
        strategy = new_strategy(numpy_generator(seed, "cmaes"), 2, params["sigma"], options)
        for iteration in range(max(params["iterations"]) + 1):
            unit = strategy.ask()
            points = lower + (upper - lower) * np.array(unit)
            if iteration in params["iterations"]:
                key = {"experiment": "figure1", "problem": "rosenbrock", "d": 2,
                       "evaluations": iteration * params["population"]}  # fmt: skip
                lengths = strategy.sigma * np.sqrt(np.linalg.eigvalsh(strategy.C))  # of a box with equal sides
                described = {"anisotropy": lengths[1] / lengths[0], "spread": np.sqrt(lengths.prod())}
                rows += [
                    {**key, "method": "cmaes", "replicate": replicate, "metric": metric, "value": float(value)}
                    for metric, value in described.items()
                ]
                if replicate == 0:
                    rows += [
                        {**key, "method": "population", "replicate": i, "metric": axis, "value": float(value)}
                        for i, point in enumerate(points)
                        for axis, value in zip(("x1", "x2"), point, strict=True)
                    ]
            strategy.tell(unit, problem(torch.from_numpy(points)).tolist())
    return rows
