"""Learning rates, one a function, chosen on seeds that no table uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.experiments.training import regret_rows, train

SOLVED = 1e-10  # lower regrets do not count as better


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train every rate on every problem, folds and rates as one ensemble."""
    tasks = [(name, dim) for name, dims in params["problems"].items() for dim in dims]
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    rates = params["lr"]
    trained = train(params, cache, *task, lr=rates)
    return regret_rows(trained, params, [f"lr={rate:g}" for rate in rates], experiment="tuning")


def best_rates(rows: pd.DataFrame) -> dict[str, float]:
    """Return the learning rate of every function: the lowest geometric mean of the mean regrets.

    The geometric mean is over both dimensions and the powers of ten among the evaluations, so that no checkpoint of
    the table counts more than another, whatever its scale.
    """
    powers = rows[np.isclose(np.log10(rows["evaluations"]) % 1, 0)]
    means = powers.groupby(["problem", "method", "d", "evaluations"])["value"].mean()
    score = np.log(means.clip(lower=SOLVED)).groupby(level=["problem", "method"]).mean()
    best = score.groupby(level="problem").idxmin()
    return {problem: float(method.removeprefix("lr=")) for problem, method in best.tolist()}
