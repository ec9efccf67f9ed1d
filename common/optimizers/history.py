"""A run's history as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy.optimize import OptimizeResult

if TYPE_CHECKING:
    import pandas as pd


def history_frame(result: OptimizeResult) -> pd.DataFrame:
    """Return the improvements of a run: columns ``evaluations`` (spent) and ``best_value`` (from then on).

    >>> from common.optimizers import minimize
    >>> history_frame(minimize(lambda X: X.abs().sum(1), (-1, 1), "random", 3, 0, dim=1)).columns.tolist()
    ['evaluations', 'best_value']
    """
    import pandas as pd  # half a second that most programs need not pay

    frame = pd.DataFrame(result.history, columns=["evaluations", "best_value"])
    return frame.astype({"evaluations": "int64"})
