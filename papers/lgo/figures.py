"""``python -m papers.lgo.figures``: the figures of local search and of escaping, from result rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.reporting.figures import INK, MARKERS, PALETTE, save_figure, style
from common.reporting.rows import read_rows

RESULTS = Path("papers/lgo/results")
REPORTS = Path("reports/lgo")
BFGS = "bfgs"
DESCENTS = {
    "gd": "steepest descent",
    "cg": "conjugate gradients",
    "lbfgs": "L-BFGS, 5 pairs",
    "gdnet": "Gd-Net, the paper's loss",
    "gdnet log": "Gd-Net, log loss",
    "gdnet wide": "Gd-Net, log loss, trained on 1 to 1e6",
}
GENERAL = {
    "bfgs": "BFGS",
    "cg": "conjugate gradients",
    "gdnet log": "Gd-Net, log loss",
    "scipy bfgs": "BFGS of SciPy, its line search",
    "scipy lbfgs": "L-BFGS-B of SciPy, its line search",
}
POLICIES = {
    "random": "random",
    "coordinates": "coordinates",
    "fixed": "fixed",
    "fixed without noise": "fixed, no noise",
    "learned": "learned",
}
TRAINED = 5  # variables, of the functions in the training
SMOOTHED = 5  # directions that a point of the hit rate's course is the mean of


def main() -> None:
    """Draw all of them anew."""
    escaping = read_rows(RESULTS / "escaping.csv")
    save_figure(local_search_figure(read_rows(RESULTS / "local_search.csv")), REPORTS / "figure_local_search")
    save_figure(general_figure(read_rows(RESULTS / "local_search_general.csv")), REPORTS / "figure_general")
    save_figure(ablation_figure(read_rows(RESULTS / "local_search_ablation.csv")), REPORTS / "figure_ablation")
    save_figure(hit_rate_figure(escaping), REPORTS / "figure_hit_rate")
    save_figure(minima_figure(escaping), REPORTS / "figure_minima")


def local_search_figure(rows: pd.DataFrame) -> Figure:
    """Draw line searches over those of BFGS, family by family: mean and range of the replicates."""
    with style():
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        axis = figure.subplots()
        _dots(axis, _over_bfgs(rows[rows["metric"] == "iterations"], rows), DESCENTS)
        axis.axvline(1.0, color=INK, linestyle="--", label="BFGS")
        axis.set(xscale="log", xlabel="line searches over those of BFGS")
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def general_figure(rows: pd.DataFrame) -> Figure:
    """Draw line searches and gradients, function by function: mean and range of the replicates."""
    labels = {"iterations": "line searches", "gradients": "gradients"}
    with style():
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        for axis, (metric, label) in zip(figure.subplots(1, 2, sharey=True), labels.items(), strict=True):
            _dots(axis, rows[rows["metric"] == metric], GENERAL)
            axis.set(xscale="log", xlabel=f"{label} until the gradient is 1e-6")
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def ablation_figure(rows: pd.DataFrame) -> Figure:
    """Draw line searches, and the gap after T of them, over those of BFGS, for every variant of the training."""
    measures = {"iterations": "line searches", "gap": "f - f* after 10 line searches"}
    ratios = _over_bfgs(rows[(rows["d"] == TRAINED) & (rows["method"] != BFGS)], rows)
    slowest_first = ratios[ratios["metric"] == "iterations"].groupby("method")["value"].mean().sort_values().index[::-1]
    with style():
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        for axis, (metric, label) in zip(figure.subplots(1, 2, sharey=True), measures.items(), strict=True):
            for place, name in enumerate(slowest_first):
                values = ratios[(ratios["method"] == name) & (ratios["metric"] == metric)]["value"]
                axis.plot([values.min(), values.max()], [place] * 2, color=PALETTE[0], linewidth=4, alpha=0.4)
                axis.plot(values.mean(), place, "o", color=PALETTE[0])
            axis.axvline(1.0, color=INK, linestyle="--")
            axis.set(xscale="log", xlabel=f"{label},\nover those of BFGS")
            axis.set_yticks(range(len(slowest_first)), slowest_first)
    return figure


def hit_rate_figure(rows: pd.DataFrame) -> Figure:
    """Draw the share of promising directions against the number of the direction, means of five in a row."""
    rows = rows[rows["metric"] == "hit"]
    with style():
        dims = sorted(rows["d"].unique())
        figure = Figure(figsize=(3.1 * len(dims), 2.8), layout="constrained")
        for axis, d in zip(figure.subplots(1, len(dims), squeeze=False)[0], dims, strict=True):
            for name, color in zip(POLICIES, PALETTE, strict=False):
                of_policy = rows[(rows["d"] == d) & (rows["method"] == name)]
                course = of_policy.groupby("evaluations")["value"].mean()
                if name == "coordinates":
                    axis.axhline(course.mean(), color=color, linestyle="--", label=POLICIES[name])
                else:
                    blocks = course.groupby((course.index - 1) // SMOOTHED).mean()
                    axis.plot(SMOOTHED * (blocks.index + 0.5), blocks, ".-", color=color, label=POLICIES[name])
            axis.set(title=f"d = {d}", xlabel="direction t", ylim=(0, None))
        figure.axes[0].set_ylabel("promising (%)")
        figure.axes[0].legend()
    return figure


def minima_figure(rows: pd.DataFrame) -> Figure:
    """Draw distinct better minima, of a function and of 1000 gradients: mean and range of the replicates."""
    labels = {"minima": "distinct better minima", "minima_per_1000": "of 1000 gradients"}
    dims = sorted(rows["d"].unique())
    with style():
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        for axis, (metric, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
            for number, (name, color) in enumerate(zip(POLICIES, PALETTE, strict=False)):
                chosen = rows[(rows["metric"] == metric) & (rows["method"] == name)]
                groups = chosen.groupby("d")["value"]
                means = groups.mean()
                spread = [means - groups.min(), groups.max() - means]
                places = [dims.index(d) + (number - 2) * 0.16 for d in means.index]
                axis.bar(places, means, 0.15, yerr=spread, color=color, ecolor=INK, label=POLICIES[name])
            axis.set_xticks(range(len(dims)), [f"d = {d}" for d in dims])
            axis.set_ylabel(label)
        axis.legend()
    return figure


def _dots(axis: Axes, rows: pd.DataFrame, methods: dict[str, str]) -> None:
    """Draw a line for every problem and d, with a dot for every method."""
    problems = list(dict.fromkeys(zip(rows["problem"], rows["d"], strict=True)))[::-1]
    for number, (name, label) in enumerate(methods.items()):
        groups = rows[rows["method"] == name].groupby(["problem", "d"])["value"]
        means, lows, highs = groups.mean(), groups.min(), groups.max()
        places = range(len(problems))
        color = PALETTE[number]
        axis.plot([means[problem] for problem in problems], places, MARKERS[number], color=color, label=label)
        axis.hlines(places, [lows[p] for p in problems], [highs[p] for p in problems], color=color, alpha=0.4)
    axis.set_yticks(range(len(problems)), [f"{problem}, d = {d}" for problem, d in problems])


def _over_bfgs(rows: pd.DataFrame, all_rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with their values over those of BFGS on the same functions."""
    place = ["problem", "d", "replicate", "metric"]
    reference = all_rows[all_rows["method"] == BFGS].set_index(place)["value"].rename("bfgs")
    joined = rows.join(reference, on=place)
    return joined.assign(value=joined["value"] / joined["bfgs"]).drop(columns="bfgs")


if __name__ == "__main__":
    main()
