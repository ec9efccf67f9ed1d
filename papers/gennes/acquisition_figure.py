"""``python -m papers.gennes.acquisition_figure``: who maximizes which acquisition best, from result rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.metrics.intervals import bootstrap_mean
from common.reporting.figures import method_style, save_figure, style
from common.reporting.rows import read_rows, select_rows

RESULTS = Path("papers/gennes/results")
REPORTS = Path("reports/gennes")
KINDS = {"fitted": "fitted", "rugged": "many peaks"}
METHODS = {
    "gennes": "GENNES", "gennes_sigma": "GennesSigma", "gennes_hop": "GennesHop", "lbfgs": "multistart L-BFGS",
    "optimize_acqf": "optimize_acqf", "cmaes": "CMA-ES", "random": "random",
}  # fmt: skip
LOOKS = {"optimize_acqf": "snes"}  # of a method that is not here; its own is that of multistart L-BFGS
ACQUISITIONS = {"ei": "EI", "logei": "LogEI", "ucb": "UCB"}
DODGE = 0.04  # between methods, so that their intervals don't hide each other
COLUMNS = 3


def main() -> None:
    """Draw it anew."""
    save_figure(acquisition_figure(read_rows(RESULTS / "bo_snapshots.csv")), REPORTS / "figure_acquisition")


def acquisition_figure(rows: pd.DataFrame) -> Figure:
    """Draw the gap to the best known value, for each kind of process: a panel a d, one by acquisition, one by time.

    Points are means over snapshots, bars their 95% bootstrap intervals.
    """
    dims = sorted(set(rows["d"]) - {0})
    kinds = [kind for kind in KINDS if (rows["experiment"] == kind).any()]
    panels = -(-(len(dims) + 2) // COLUMNS) * COLUMNS
    with style():
        figure = Figure(figsize=(3.1 * COLUMNS, 2.4 * len(kinds) * panels / COLUMNS + 0.5), layout="constrained")
        axes = figure.subplots(len(kinds) * panels // COLUMNS, COLUMNS, sharey=True, squeeze=False)
        for kind, line in zip(kinds, axes.reshape(len(kinds), panels), strict=True):
            of_kind = select_rows(rows, {"experiment": kind})
            for axis, d in zip(line, dims, strict=False):
                _curves(axis, select_rows(of_kind, {"d": d, "metric": "gap"}), "queries")
                axis.set_title(f"{KINDS[kind]}, d = {d}")
            over_d = select_rows(of_kind, {"d": 0})
            by_acquisition, by_time = line[len(dims) : len(dims) + 2]
            _acquisitions(by_acquisition, over_d[over_d["metric"] == "gap"])
            _curves(by_time, over_d[over_d["metric"] == "gap_ms"], "milliseconds")
            by_acquisition.set_title(f"{KINDS[kind]}, all d")
            by_time.set_title(f"{KINDS[kind]}, all d, at equal time")
            for axis in line[len(dims) + 2 :]:
                axis.set_axis_off()
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
        figure.supylabel("gap: 1 as good as 100 uniform points, 0 the best known", fontsize=9)
    return figure


def _curves(axis: Axes, rows: pd.DataFrame, label: str) -> None:
    levels = sorted(rows["evaluations"].unique())
    _points(axis, rows, "evaluations", {level: float(np.log10(level)) for level in levels}, line=True)
    axis.set_xticks(np.log10(levels), [f"{level:,}" for level in levels])
    axis.set_xlabel(label)


def _acquisitions(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw the gaps by acquisition, after the largest number of queries that there is."""
    queries = rows["evaluations"].max()
    places = {name: float(place) for place, name in enumerate(ACQUISITIONS)}
    _points(axis, rows[rows["evaluations"] == queries], "problem", places, line=False)
    axis.set_xticks(list(places.values()), list(ACQUISITIONS.values()))
    axis.set_xlabel(f"after {queries:,} queries")


def _points(axis: Axes, rows: pd.DataFrame, column: str, places: dict[Any, float], *, line: bool) -> None:
    for number, (method, label) in enumerate(METHODS.items()):
        groups = rows[rows["method"] == method].groupby(column)["value"]
        if not len(groups):
            continue
        shift = DODGE * (number - (len(METHODS) - 1) / 2) * (1 if line else 2)
        mean, low, high = np.array([bootstrap_mean(values) for _, values in groups]).T
        look: dict[str, Any] = {**method_style(LOOKS.get(method, method))}
        if not line:
            look["linestyle"] = ""
        x = [places[key] + shift for key in groups.groups]
        axis.errorbar(x, mean, yerr=[mean - low, high - mean], label=label, elinewidth=0.8, linewidth=1.1, **look)


if __name__ == "__main__":
    main()
