"""Figure 3: hyper-parameters of logistic regression on digits, under both readings of the split ratio 0.15."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.digits import DIM, digits_error
from papers.gennes.experiments.bo import fold_rows
from papers.gennes.problems import fold_seeds


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every maximizer on every fold."""
    tasks = list(product(params["maximizers"], params["readings"], range(params["replicates"])))
    return map_rows(_fold, params, cache, tasks)


def _fold(params: dict[str, Any], cache: Path, task: tuple[str, str, int]) -> list[Row]:
    method, reading, fold = task
    seed = fold_seeds(params["seed"], fold + 1)[fold]
    error = digits_error(seed, params["readings"][reading])
    return fold_rows(params, error, DIM, seed, method, experiment="bo_digits", problem=reading, replicate=fold)
