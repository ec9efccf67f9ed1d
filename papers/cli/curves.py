"""The curves of runs: best value against evaluations, as a table and as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from common.metrics.curves import best_after
from common.metrics.intervals import bootstrap_mean
from common.reporting.figures import method_style, style
from common.reporting.rows import log_grid

WIDE = 100.0
"""From this ratio of the largest to the smallest positive value on, the axis is logarithmic."""


def run_curve(method: str, seed: int, history: ArrayLike, evaluations: int) -> pd.DataFrame:
    """Return a run's curve on a logarithmic grid: columns ``method``, ``seed``, ``evaluations``, ``best_value``.

    Args:
        history: ``k x 2``, see `Optimizer.minimize`.
        evaluations: where the curve ends; a run that ended earlier keeps its last value.
    """
    grid = log_grid(evaluations)
    best = best_after(np.asarray(history), grid)
    return pd.DataFrame({"method": method, "seed": seed, "evaluations": grid, "best_value": best})


def draw_curves(curves: pd.DataFrame, title: str) -> Figure:
    """Draw every method's mean best value over its runs with the 95% interval; ``curves`` as `run_curve` gives them.

    Values that are never negative are on a logarithmic axis where they differ much, zeros at the smallest one above.
    """
    values = curves["best_value"]
    floor = values[values > 0].min()
    logarithmic = values.min() >= 0 and WIDE * floor < values.max()
    with style():
        figure = Figure(figsize=(5, 3.4), layout="constrained")
        axis = figure.subplots()
        for method, runs in curves.groupby("method", sort=False):
            levels = runs.groupby("evaluations")["best_value"]
            grid, means = list(levels.groups), np.array([bootstrap_mean(best) for _, best in levels])
            mean, low, high = np.clip(means, floor if logarithmic else None, None).T
            look: dict[str, Any] = {**method_style(str(method))}
            axis.plot(grid, mean, label=str(method), markevery=0.2, **look)
            axis.fill_between(grid, low, high, color=look["color"], alpha=0.18, linewidth=0)
        axis.set(xscale="log", yscale="log" if logarithmic else "linear")
        axis.set(title=title, xlabel="evaluations", ylabel="best value")
        axis.legend()
    return figure
