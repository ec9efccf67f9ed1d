"""Table 1, the rows of GENNES: regret against evaluations on four functions in two dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.experiments.training import regret_rows, train


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train one ensemble of folds a problem."""
    tasks = [(name, dim) for name in params["functions"] for dim in params["dims"]]
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    return regret_rows(train(params, cache, *task), params, ["gennes"], experiment="table1_gennes")
