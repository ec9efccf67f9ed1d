"""One run of a peer on one fold of a benchmark problem, as rows of its budget curve."""

from __future__ import annotations

from typing import Any

from common.metrics.curves import best_after, evaluation_grid
from common.objective import Objective
from common.optimizers import get_optimizer
from common.reporting.rows import Row
from papers.gennes.problems import benchmark_problem, fold_seeds

SOLVED = 1e-10  # a run stops at this regret; no table tells lower values apart


def peer_rows(
    method: str, options: dict[str, Any], problem: str, dim: int, fold: int, *, seed: int, shift: float, budget: int,
    start: int, **key: Any,
) -> list[Row]:  # fmt: skip
    """Return the regrets of ``method`` on the translation that fold ``fold`` of ``seed`` has, from ``start`` on."""
    fold_seed = fold_seeds(seed, fold + 1)[fold]
    function = benchmark_problem(problem, dim, [fold_seed], shift).fold(0)
    optimum = float(function.optimal_value)
    objective = Objective(function, function.bounds, optimal_value=optimum)
    result = get_optimizer(method)(**options).minimize(objective, budget, fold_seed, target=optimum + SOLVED)
    grid = evaluation_grid(budget, start)
    regrets = best_after(result.history, grid) - optimum
    assert regrets.min() > -1e-9, "a regret is negative: the optimum is not the optimum"
    return [
        {**key, "problem": problem, "d": dim, "method": method, "replicate": fold, "evaluations": evaluations,
         "metric": "regret", "value": max(float(regret), 0.0)}
        for evaluations, regret in zip(grid, regrets, strict=True)
    ]  # fmt: skip
