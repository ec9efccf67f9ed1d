"""The advice of appendix C on the annealing rate: 0.9 for few minima, 0.999 for very many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.experiments.training import regret_rows, train


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train every rate on every problem, folds and rates as one ensemble."""
    tasks = [(name, dim) for name, dims in params["problems"].items() for dim in dims]
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    name, dim = task
    budget, population, alphas = params["budget"], params["population"], params["alphas"]
    trained = train(
        cache, budget, population, alphas, function=name, dim=dim, folds=params["replicates"], seed=params["seed"],
        shift=params["shift"], lr=[params["lr"][name]] * len(alphas), width=params["width"], depth=params["depth"],
    )  # fmt: skip
    methods = [f"alpha={alpha}" for alpha in alphas]
    return regret_rows(trained, population, budget, methods, experiment="alpha", problem=name, d=dim)
