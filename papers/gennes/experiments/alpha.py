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
    alphas = params["alphas"]
    trained = train(params, cache, name, dim, alpha=alphas, lr=[params["lr"][name]] * len(alphas))
    return regret_rows(trained, params, [f"alpha={alpha}" for alpha in alphas], experiment="alpha")
