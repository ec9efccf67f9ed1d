"""Figure 1: the search distribution of CMA-ES on 2-D Rosenbrock, iteration by iteration."""

from __future__ import annotations

from collections.abc import Iterator
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

    ``anisotropy`` is the ratio of its longest to its shortest standard deviation, ``spread`` their geometric mean.
    """
    rows: list[Row] = []
    for replicate, seed in enumerate(fold_seeds(params["seed"], params["replicates"])):
        for iteration, (points, lengths) in enumerate(populations(params, seed, max(params["iterations"]))):
            if iteration not in params["iterations"]:
                continue
            key = {"experiment": "figure1", "problem": "rosenbrock", "d": 2,
                   "evaluations": iteration * params["population"]}  # fmt: skip
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
    return rows


def populations(params: dict[str, Any], seed: int, last: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the populations (``N x 2``) of iterations 0 to ``last`` and the distribution's two standard deviations.

    The standard deviations are in widths of the box and rise. The box only places the start; the iterates are free, so
    that the distribution is a Gaussian.
    """
    problem = benchmark_problem("rosenbrock", 2, [0], shift=0.0).fold(0)
    lower, upper = problem.bounds.numpy()
    options = {"popsize": params["population"], "bounds": None}
    strategy = new_strategy(numpy_generator(seed, "cmaes"), 2, params["sigma"], options)
    for _ in range(last + 1):
        unit = strategy.ask()
        points = lower + (upper - lower) * np.array(unit)
        yield points, strategy.sigma * np.sqrt(np.linalg.eigvalsh(strategy.C))  # of a box with equal sides
        strategy.tell(unit, problem(torch.from_numpy(points)).tolist())
