"""``python -m papers.gennes.bo_figures``: Figures 1, 3 and 4, from result rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.metrics.intervals import bootstrap_mean
from common.reporting.figures import method_style, save_figure, style
from common.reporting.rows import read_rows, select_rows
from papers.gennes.contours import draw_contours
from papers.gennes.problems import benchmark_problem

RESULTS = Path("papers/gennes/results")
REPORTS = Path("reports/gennes")
METHODS = {"gennes": "GENNES", "lbfgs": "repeated L-BFGS"}
AXES = {"best": "objective evaluations", "best_by_queries": "acquisition queries so far"}
PROBLEMS = {
    "train 0.15": "digits, 15% of the images for training",
    "test 0.15": "digits, 15% of the images for the test",
    "alpine1": "Alpine1, d = 20",
}


def main() -> None:
    """Draw all of them anew."""
    save_figure(figure1(read_rows(RESULTS / "figure1.csv")), REPORTS / "figure1")
    save_figure(curves(read_rows(RESULTS / "bo_digits.csv"), "test error"), REPORTS / "figure3")
    save_figure(curves(read_rows(RESULTS / "bo_alpine.csv"), "best value so far"), REPORTS / "figure4")


def figure1(rows: pd.DataFrame) -> Figure:
    """Draw the populations of Figure 1 over contours, a column an iteration; points outside of the box are cut."""
    points = rows[rows["method"] == "population"].pivot(
        index=["evaluations", "replicate"], columns="metric", values="value"
    )
    counts = points.index.unique("evaluations")
    function = benchmark_problem("rosenbrock", 2, [0], shift=0.0).fold(0)
    with style():
        figure = Figure(figsize=(2.5 * len(counts), 2.7), layout="constrained")
        axes = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
        for axis, count in zip(axes, counts, strict=True):
            population = points.loc[count]
            draw_contours(axis, function)
            axis.plot(population["x1"], population["x2"], ".", color=method_style("cmaes")["color"], markersize=5)
            axis.set_title(f"Rosenbrock, iteration {count // len(population)}")
    return figure


def curves(rows: pd.DataFrame, label: str) -> Figure:
    """Draw the best value so far against evaluations (a) and against acquisition queries (b), a row a problem.

    Curves are means over folds, bands their 95% bootstrap intervals; (b) ends where a method's mean fold does.
    """
    problems = [problem for problem in PROBLEMS if (rows["problem"] == problem).any()]
    with style():
        figure = Figure(figsize=(7.5, 2.6 * len(problems) + 0.4), layout="constrained")
        axes = figure.subplots(len(problems), len(AXES), sharex="col", sharey="row", squeeze=False)
        for problem, line in zip(problems, axes, strict=True):
            for axis, metric, letter in zip(line, AXES, "ab", strict=True):
                for method in METHODS:
                    _curve(axis, select_rows(rows, {"problem": problem, "method": method}), metric, method)
                axis.set_title(f"({letter}) {PROBLEMS[problem]}")
            line[0].set_ylabel(label)
        for axis, words in zip(axes[-1], AXES.values(), strict=True):
            axis.set_xlabel(words)
            axis.locator_params(axis="x", nbins=5)
        axes[0, 0].legend()
    return figure


def _curve(axis: Axes, rows: pd.DataFrame, metric: str, method: str) -> None:
    values = rows[rows["metric"] == metric]
    if metric == "best_by_queries":
        spent = rows[rows["metric"] == "queries"]["value"].mean()
        values = values[values["evaluations"] <= spent]
    groups = values.groupby("evaluations")["value"]
    mean, low, high = zip(*(bootstrap_mean(fold) for _, fold in groups), strict=True)
    look: dict[str, Any] = method_style(method)
    axis.plot(list(groups.groups), mean, label=METHODS[method], markevery=0.2, **look)
    axis.fill_between(list(groups.groups), low, high, color=look["color"], alpha=0.18, linewidth=0)


if __name__ == "__main__":
    main()
