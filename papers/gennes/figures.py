"""``python -m papers.gennes.figures``: every figure of GENNES, from result rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from common.functions.transforms import Function
from common.reporting.figures import method_style, regret_curves, save_figure, style
from common.reporting.rows import read_rows
from papers.gennes.contours import draw_contours
from papers.gennes.problems import benchmark_problem

RESULTS = Path("papers/gennes/results")
REPORTS = Path("reports/gennes")
TITLES = {
    "rastrigin": "Rastrigin", "ackley": "Ackley", "styblinski_tang": "Styblinski-Tang", "schwefel": "Schwefel",
    "rosenbrock": "Rosenbrock", "three_hump_camel": "three-hump camel", "levy": "Levy",
}  # fmt: skip


def main() -> None:
    """Draw all figures anew."""
    table1 = read_rows(RESULTS / "table1_gennes.csv", RESULTS / "table1_peers.csv")
    save_figure(regret_curves(_titled(table1), statistic="mean", columns=4), REPORTS / "figure_table1")
    save_figure(regret_curves(_titled(read_rows(RESULTS / "alpha.csv")), columns=3), REPORTS / "figure_alpha")
    save_figure(regret_curves(_titled(read_rows(RESULTS / "beyond_curves.csv")), columns=3), REPORTS / "figure_beyond")
    save_figure(eq9_figure(read_rows(RESULTS / "eq9.csv")), REPORTS / "figure_eq9")
    save_figure(figure2(read_rows(RESULTS / "figure2.csv")), REPORTS / "figure2")


def figure2(rows: pd.DataFrame) -> Figure:
    """Draw the populations of Figure 2 over contours, a row a function and a column an iteration."""
    points = rows[rows["method"] == "population"]
    size = int(points["replicate"].max()) + 1
    problems = ["rosenbrock", "rastrigin"]
    counts = sorted(points["evaluations"].unique())
    with style():
        figure = Figure(figsize=(2.5 * len(counts), 5.2), layout="constrained")
        axes = figure.subplots(len(problems), len(counts), sharex="row", sharey="row", squeeze=False)
        for line, name in zip(axes, problems, strict=True):
            function = benchmark_problem(name, 2, [0], shift=0.0).fold(0)
            for axis, count in zip(line, counts, strict=True):
                chosen = points[(points["problem"] == name) & (points["evaluations"] == count)]
                x1, x2 = (chosen[chosen["metric"] == axis_name]["value"].to_numpy() for axis_name in ("x1", "x2"))
                draw_contours(axis, function)
                axis.plot(x1, x2, ".", color=method_style("gennes")["color"], markersize=5)
                axis.set_title(f"{TITLES[name]}, iteration {count // size}")
    return figure


def population_figure(function: Function, points: Tensor, best: Tensor) -> Figure:
    """Draw a population (``N x d``) and the best point (``d``) over contours, in the first two variables."""
    with style():
        figure = Figure(figsize=(4, 4), layout="constrained", facecolor="white")
        axis = figure.subplots()
        draw_contours(axis, function, best)
        axis.plot(points[:, 0], points[:, 1], ".", color=method_style("gennes")["color"])
        axis.plot(best[0], best[1], "*", color=method_style("lbfgs")["color"], markersize=10)
        axis.set(xlabel="$x_1$", ylabel="$x_2$")
    return figure


def eq9_figure(rows: pd.DataFrame) -> Figure:
    """Draw the measured standard deviation against the one that eq. (9) was asked for."""
    rows = rows[rows["problem"].str.endswith("h=128 n=5")].assign(beta=rows["method"].str.removeprefix("beta="))
    titles = {"relu": "ReLU (as derived)", "leaky": "leaky ReLU (as used)"}
    labels = {"second_moment": "over networks and noise", "std_of_one_net": "over the noise of one network"}
    with style():
        figure = Figure(figsize=(6.4, 3.0), layout="constrained")
        for axis, kind in zip(figure.subplots(1, 2, sharey=True), ("relu", "leaky"), strict=True):
            chosen = rows[rows["problem"].str.startswith(kind)]
            for look, (metric, label) in zip(("gennes", "lbfgs"), labels.items(), strict=True):
                means = chosen[chosen["metric"] == metric].groupby("beta")["value"].mean()
                means = np.sqrt(means) if metric == "second_moment" else means
                axis.plot(means.index.astype(float), means, label=label, **method_style(look))
            axis.plot([0, 0.6], [0, 0.6], color="#767676", linestyle="--", label="as asked")
            axis.set(title=titles[kind], xlabel="asked: $\\beta$")
        figure.axes[0].set_ylabel("measured after tanh")
        figure.axes[1].legend(loc="lower right")
    return figure


def _titled(rows: pd.DataFrame) -> pd.DataFrame:
    """Replace the words of a problem's name that have a title."""
    return rows.assign(
        problem=[", ".join(TITLES.get(word, word) for word in name.split(", ")) for name in rows["problem"]]
    )


if __name__ == "__main__":
    main()
