"""Figure 2: the search distribution on 2-D Rosenbrock and Rastrigin, iteration by iteration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.reporting.rows import Row
from papers.gennes.experiments.training import train


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Record populations of all replicates; keep the points of the first, and of all what the text says of them.

    ``curvature``: c in the least-squares parabola x_2 = a + b x_1 + c x_1^2 through a population (the valley of
    Rosenbrock has 1). ``minima``: local minima of Rastrigin (integer points) next to some point of the population;
    ``has_global``: whether the global one is among them.
    """
    rows = []
    for name in params["lr"]:
        iterations = params["iterations"]
        budget = (max(iterations) + 1) * params["population"]
        trained = train({**params, "budget": budget}, cache, name, 2, shift=0.0, record=iterations)
        for iteration in iterations:
            key = {"experiment": "figure2", "problem": name, "d": 2, "evaluations": iteration * params["population"]}
            populations = trained.populations[iteration]
            for i, point in enumerate(populations[0].tolist()):
                for axis, value in zip(("x1", "x2"), point, strict=True):
                    rows.append({**key, "method": "population", "replicate": i, "metric": axis, "value": value})
            for fold, population in enumerate(populations):
                for metric, value in _described(name, population).items():
                    rows.append({**key, "method": "gennes", "replicate": fold, "metric": metric, "value": value})
    return rows


def _described(name: str, population: Tensor) -> dict[str, float]:
    if name == "rosenbrock":
        x1, x2 = population.unbind(1)
        basis = torch.stack([torch.ones_like(x1), x1, x1**2], dim=1)
        return {"curvature": float(torch.linalg.lstsq(basis, x2.unsqueeze(1)).solution[2])}
    minima = {tuple(point) for point in population.round().int().tolist()}
    return {"minima": float(len(minima)), "has_global": float((0, 0) in minima)}
