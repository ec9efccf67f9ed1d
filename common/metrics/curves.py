"""Budget curves: the best value after so many evaluations, from a run's history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_after(history: np.ndarray, evaluations: Sequence[int]) -> np.ndarray:
    """Return the best value found within each number of evaluations (inf before the first query was paid).

    A run that ended early keeps its final value.

    >>> best_after(np.array([[1, 5.0], [4, 2.0]]), [1, 3, 4, 100])
    array([5., 5., 2., 2.])

    Args:
        history: ``k x 2``, evaluations spent and best value from then on, as in the results of `minimize`.
    """
    spent, best = np.asarray(history, dtype=float).reshape(-1, 2).T
    index = np.searchsorted(spent, np.asarray(evaluations), side="right")
    return np.concatenate([[np.inf], best])[index]


def evaluation_grid(budget: int, start: int = 1) -> list[int]:
    """Return 1, 2, 3, 5, 7 times the powers of ten from ``start`` to ``budget``: the points of every budget curve.

    >>> evaluation_grid(1000, start=50)
    [50, 70, 100, 200, 300, 500, 700, 1000]
    """
    decades = range(len(str(budget)))
    return [n * 10**k for k in decades for n in (1, 2, 3, 5, 7) if start <= n * 10**k <= budget]
