"""Beyond the paper: whole regret curves of some optimizers on some problems, which the tables have at a few budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.metrics.curves import evaluation_grid
from common.reporting.rows import Row
from papers.gennes.experiments.beyond import problems_of
from papers.gennes.experiments.peers import peer_rows
from papers.gennes.problems import fold_seeds
from papers.gennes.suites import suite_problem


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every method on every problem, each fold once, with the whole budget."""
    tasks = [(method, *problem) for method in params["methods"] for problem in problems_of(params)]
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, str, str, int]) -> list[Row]:
    method, suite, name, dim = task
    settings, budget = params["methods"][method], params["budget"]
    seeds = fold_seeds(params["seed"], params["replicates"])
    return peer_rows(
        settings["method"], settings.get("options", {}), suite_problem(suite, name, dim, seeds), seeds, budget=budget,
        evaluations=evaluation_grid(budget, params["start"]), experiment="curves", problem=f"{name}, {suite}", d=dim,
        method=method,
    )  # fmt: skip
