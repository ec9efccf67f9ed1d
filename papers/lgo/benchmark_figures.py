"""``python -m papers.lgo.benchmark_figures``: LGO among its peers, and the trainings of networks, from result rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from common.reporting.figures import INK, method_style, save_figure, style
from common.reporting.rows import read_rows

RESULTS = Path("papers/lgo/results")
REPORTS = Path("reports/lgo")
BEFORE = "start"  # the method whose rows are a network before its further training


def main() -> None:
    """Draw both anew."""
    save_figure(benchmarks_figure(read_rows(RESULTS / "benchmarks.csv")), REPORTS / "figure_benchmarks")
    save_figure(networks_figure(read_rows(RESULTS / "networks.csv")), REPORTS / "figure_networks")


def benchmarks_figure(rows: pd.DataFrame) -> Figure:
    """Draw the percentage of solved runs against evaluations, a panel a dimension."""
    rows = rows[rows["metric"] == "solved"]
    dims = sorted(rows["d"].unique())
    with style():
        figure = Figure(figsize=(2.6 * len(dims), 3.2), layout="constrained")
        axes = figure.subplots(1, len(dims), sharey=True, squeeze=False)[0]
        for axis, dim in zip(axes, dims, strict=True):
            for method, runs in rows[rows["d"] == dim].groupby("method"):
                means = runs.groupby("evaluations")["value"].mean()
                axis.plot(means.index / dim, means, label=method, **method_style(str(method)))
            axis.set(xscale="log", title=f"d = {dim}", xlabel="evaluations / d")
        axes[0].set_ylabel("runs solved (%)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=6)
    return figure


def networks_figure(rows: pd.DataFrame) -> Figure:
    """Draw how far each method comes below the first minimum, against gradients: the mean, and every network."""
    losses = rows[rows["metric"] == "loss"].set_index(["method", "replicate", "evaluations"])["value"]
    start = losses[BEFORE].droplevel("evaluations")
    with style():
        figure = Figure(figsize=(6.0, 3.2), layout="constrained")
        axis = figure.subplots()
        for method in losses.index.unique("method").drop(BEFORE):
            gains = -losses[method].unstack("evaluations").sub(start, axis=0)  # networks x gradients
            look: dict[str, Any] = {**method_style(method)}
            axis.plot(gains.columns, gains.mean(), label=method, **look)
            axis.plot(gains.columns, gains.T, color=look["color"], linewidth=0.5, alpha=0.3)
        axis.axhline(0, color=INK, linewidth=0.8)
        axis.set(xlabel="further gradients", ylabel="loss below the first minimum")
        figure.legend(loc="outside right upper")
    return figure


if __name__ == "__main__":
    main()
