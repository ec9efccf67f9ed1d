"""Table 1, the rows of the peers: repeated L-BFGS, sNES and aCMA-ES on the folds that GENNES had."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.metrics.curves import evaluation_grid
from common.reporting.rows import Row
from papers.gennes.experiments.peers import peer_rows
from papers.gennes.problems import benchmark_problem, fold_seeds


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every method on all folds of every problem."""
    return map_rows(_problem, params, cache, list(product(params["methods"], params["functions"], params["dims"])))


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, str, int]) -> list[Row]:
    method, name, dim = task
    seeds = fold_seeds(params["seed"], params["replicates"])
    return peer_rows(
        method, params["methods"][method], benchmark_problem(name, dim, seeds, params["shift"]), seeds,
        budget=params["budget"], evaluations=evaluation_grid(params["budget"], params["start"]),
        experiment="table1_peers", problem=name, d=dim, method=method,
    )  # fmt: skip
