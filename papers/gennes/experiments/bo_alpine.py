"""Figure 4: Bayesian optimization of Alpine1 in 20 variables."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import torch

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.experiments.bo import fold_rows
from papers.gennes.problems import benchmark_problem, fold_seeds


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every maximizer on every fold."""
    return map_rows(_fold, params, cache, list(product(params["maximizers"], range(params["replicates"]))))


def _fold(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    method, fold = task
    seed = fold_seeds(params["seed"], fold + 1)[fold]
    problem = benchmark_problem("alpine1", params["dim"], [seed], params["shift"]).fold(0)
    lower, upper = problem.bounds
    return fold_rows(
        params, lambda U: problem(torch.lerp(lower, upper, U)), params["dim"], seed, method,
        experiment="bo_alpine", problem="alpine1", replicate=fold,
    )  # fmt: skip
