"""Beyond the paper: the other functions of the library, few variables most of them: who is slow where it is easy?"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.functions import make_function
from common.functions.transforms import Function
from common.reporting.rows import Row
from papers.gennes.experiments.beyond import HIT
from papers.gennes.experiments.peers import peer_rows
from papers.gennes.problems import HALF_WIDTHS, benchmark_problem, fold_seeds


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every method on every function."""
    tasks = [(method, name, dim) for method, (name, dim) in product(params["methods"], params["problems"])]
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, str, int]) -> list[Row]:
    method, name, dim = task
    settings = params["methods"][method]
    seeds = fold_seeds(params["seed"], params["replicates"])
    return peer_rows(
        settings["method"], settings.get("options", {}), _function(name, dim, seeds), seeds, budget=params["budget"],
        evaluations=[params["budget"]], hit=HIT, experiment="library", problem=name, d=dim, method=method,
    )  # fmt: skip


def _function(name: str, dim: int, seeds: list[int]) -> Function:
    """Return the function in its usual box, translated for every fold if a box of ours leaves room for that."""
    return benchmark_problem(name, dim, seeds) if name in HALF_WIDTHS else make_function(name, dim)
