"""What the experiments with Bayesian optimization share: the runs of one fold as rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from torch import Tensor

from common.reporting.rows import Row
from papers.gennes.acquisition import Maximum, maximize
from papers.gennes.bayesopt import Maximizer, bayes_opt, initial_design


def maximizer(method: str, **options: Any) -> Maximizer:
    """Return a method of `papers.gennes.acquisition` with its options."""

    def chosen(acquisition: AcquisitionFunction, bounds: Tensor, seed: int) -> Maximum:
        return maximize(acquisition, bounds, method, seed, **options)

    return chosen


def fold_rows(
    params: dict[str, Any], function: Callable[[Tensor], Tensor], dim: int, seed: int, method: str, **key: Any
) -> list[Row]:
    """Return one fold's rows: the best value so far after every objective evaluation, and by acquisition queries.

    The initial design is keyed by the fold, so all methods begin with the same one.

    Args:
        function: maps ``n x d`` points in the unit cube to ``n`` values; ``seed``: the fold's.
    """
    design = initial_design(seed, params["initial"], dim)
    run = bayes_opt(
        function, design, params["iterations"], seed, params["acquisition"], maximizer(**params["maximizers"][method])
    )
    best = torch.cummin(run.y, dim=0).values.numpy()[len(design) - 1 :]
    spent = np.cumsum([0, *run.queries])
    reached = np.searchsorted(spent, params["queries"], side="right") - 1
    curves = {
        "best": zip(range(len(design), len(run.y) + 1), best, strict=True),
        "best_by_queries": zip(params["queries"], best[reached], strict=True),
        "queries": [(len(run.y), spent[-1])],
    }
    return [
        {**key, "d": dim, "method": method, "evaluations": int(count), "metric": metric, "value": float(value)}
        for metric, curve in curves.items()
        for count, value in curve
    ]
