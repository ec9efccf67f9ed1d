"""Runs of an optimizer on the folds of a benchmark problem, as rows of its budget curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.functions.transforms import Function
from common.lockstep import minimize_folds
from common.metrics.curves import best_after
from common.optimizers import get_optimizer
from common.reporting.rows import Row

SOLVED = 1e-10  # a run stops at this regret; no table tells lower values apart


def peer_rows(
    name: str, options: dict[str, Any], function: Function, seeds: Sequence[int], /, *, budget: int,
    evaluations: Sequence[int], scale: float = 1.0, hit: float | None = None, first: int = 0, **key: Any,
) -> list[Row]:  # fmt: skip
    """Return the regrets of the method ``name`` on every fold of ``function`` after each number of ``evaluations``.

    Args:
        seeds: one a fold; a run is keyed by its fold's seed.
        scale: what a regret of one means on this function; regrets are in units of it.
        hit: also return after how many evaluations the regret was at most this (inf: never), with the last of
            ``evaluations``.
        first: number of the first fold.
    """
    optimum = float(function.optimal_value)
    make = get_optimizer(name)
    results = minimize_folds(lambda: make(**options), function, budget, seeds, target=optimum + SOLVED * scale)
    rows: list[Row] = []
    for fold, result in enumerate(results, first):
        history = result.history
        regrets = (best_after(history, evaluations) - optimum) / scale
        assert regrets.min() > -1e-9, "a regret is negative: the optimum is not the optimum"
        found = [("regret", count, regret) for count, regret in zip(evaluations, regrets.clip(min=0), strict=True)]
        if hit is not None:
            reached = history[(history[:, 1] - optimum) / scale <= hit, 0]
            first_hit = reached[0] if len(reached) else np.inf
            found.append(("hit", evaluations[-1], first_hit if first_hit <= evaluations[-1] else np.inf))
        rows += [
            {**key, "replicate": fold, "evaluations": count, "metric": metric, "value": float(value)}
            for metric, count, value in found
        ]
    return rows
