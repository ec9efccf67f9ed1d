"""``python -m papers.refine1d.posterior_figures``: the learned posterior beside limits and peers, and at work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.metrics.intervals import bootstrap_mean
from common.reporting.figures import INK, PALETTE, save_figure, style
from common.reporting.rows import read_rows, select_rows
from papers.refine1d.find import draw, find_minimum

PAPER = Path("papers/refine1d")
REPORTS = Path("reports/refine1d")
BLUE, ORANGE, GREEN, MAGENTA, CYAN, RED, _ = PALETTE
LEVEL = 90  # percent, of the intervals that are judged

LOOKS = {  # method -> words, color, marker
    "oracle": ("exact posterior of the prior", INK, "_"),
    "posterior": ("learned posterior", BLUE, "o"),
    "gp_marginal": ("GP, hyperparameters averaged", MAGENTA, "D"),
    "gp": ("GP, maximum likelihood", ORANGE, "s"),
    "smoothing_spline": ("smoothing spline", GREEN, "^"),
    "lowest_sample": ("lowest sample", CYAN, "v"),
}
BANDS = {  # what is on the axis -> bands of `posterior_range`
    "noise (% of the range)": ("noise 1-3%", "noise 3-10%", "noise 10-20%", "noise 20-40%"),
    "samples": ("n 5-9", "n 10-24", "n 25-79", "n 80-199", "n 200-500"),
}
CASES = (
    "splines of the prior", "chirps", "step functions", "V shapes", "sinusoids", "bowls", "splines, many knots",
    "elevation profiles", "share prices", "noise 0.1%", "noise 80%", "n 2000", "outliers", "correlated noise",
    "8 places",
)  # fmt: skip
SEARCHES = {  # method of `posterior_sequential` -> words, color, marker
    "suggest": ("where it suggests", BLUE, "o"),
    "uniform": ("uniform places, same answer", CYAN, "v"),
    "gp_ei, our answer": ("GP's expected improvement, same answer", MAGENTA, "D"),
    "gp_ei": ("GP's expected improvement, GP's answer", ORANGE, "s"),
}
EXAMPLES = {  # file of samples -> what it is, where its minimum (maximum) truly is
    "focus": ("focus of a microscope", 12.1),
    "learning_rate": ("learning rates, three seeds each", -1.84),
    "dose": ("response to a dose (maximum)", 22.0),
}
MAXIMA = ("dose",)
PRIORS = {"general": "general weights", "formula": "specialist"}


def main() -> None:
    """Draw all figures anew."""
    results = PAPER / "results"
    learning = read_rows(*(results / f"learning_posterior_{prior}.csv" for prior in PRIORS))
    save_figure(examples_figure(), REPORTS / "figure_posterior_examples")
    save_figure(learning_figure(learning), REPORTS / "figure_posterior_learning")
    for name, drawn in {"posterior_range": range_figure, "posterior_outside": outside_figure}.items():
        rows = read_rows(results / f"{name}.csv", results / f"{name}_peers.csv")
        save_figure(drawn(rows), REPORTS / f"figure_{name}")
    sequential = read_rows(results / "posterior_sequential.csv")
    save_figure(sequential_figure(sequential), REPORTS / "figure_posterior_sequential")


def examples_figure(samples: Path = PAPER / "samples") -> Figure:
    """Draw the answers to the files of samples that are shipped, beside what is true."""
    with style():
        figure = Figure(figsize=(10.5, 3.8), layout="constrained")
        axes = figure.subplots(2, len(EXAMPLES), sharex="col", height_ratios=[3, 1])
        for (above, below), (name, (title, truth)) in zip(axes.T, EXAMPLES.items(), strict=True):
            table = pd.read_csv(samples / f"{name}.csv")
            x, y = (table[column].to_numpy() for column in table.columns[:2])
            minimum = find_minimum(x, y, maximize=name in MAXIMA)
            draw(above, below, x, y, minimum)
            above.axvline(truth, color=INK, linestyle="--", linewidth=1, label=f"truth: {truth:.4g}")
            above.set(title=title, ylabel=table.columns[1])
            above.legend(fontsize=7)
            below.set(xlabel=table.columns[0], yticks=[])
        axes[1, 0].set_ylabel("probability")
    return figure


def learning_figure(rows: pd.DataFrame) -> Figure:
    """Draw the mean error on functions that are not trained on against the number of those that are."""
    with style():
        figure = Figure(figsize=(5.6, 3.0), layout="constrained")
        axis = figure.subplots()
        for (prior, words), color in zip(PRIORS.items(), (BLUE, ORANGE), strict=True):
            chosen = select_rows(rows, {"problem": f"posterior, {prior}", "metric": "error"})
            curve = chosen.set_index("evaluations")["value"].sort_index()
            axis.plot(curve.index, curve, color=color, label=f"{words}: {curve.iloc[-1]:.2f}%")
        axis.set(xscale="log", xlabel="functions seen", ylabel="mean error (% of the domain)")
        axis.legend()
    return figure


def range_figure(rows: pd.DataFrame) -> Figure:
    """Draw mean error and coverage in bands of the general prior, with 95% bootstrap intervals over replicates.

    A method is drawn in the bands where it has answered in all replicates: the GPs are not asked for many samples.
    """
    with style():
        figure = Figure(figsize=(8.4, 5.0), layout="constrained")
        widths = [len(bands) for bands in BANDS.values()]
        axes = figure.subplots(2, len(BANDS), sharex="col", sharey="row", width_ratios=widths)
        for (above, below), (label, bands) in zip(axes.T, BANDS.items(), strict=True):
            problems = [f"general, {band}" for band in bands]
            for axis, metric in ((above, "error"), (below, f"covered_{LEVEL}")):
                _dots(axis, select_rows(rows, {"metric": metric}), problems)
            below.axhline(LEVEL, color=INK, linestyle="--", linewidth=1)
            names = [band.removeprefix("noise ").removeprefix("n ").removesuffix("%") for band in bands]
            below.set_xticks(range(len(bands)), names)
            below.set_xlabel(label)
        above.set_yscale("log")
        _plain_ticks(above, [1, 2, 5, 10, 20])
        axes[0, 0].set_ylabel("mean error (% of the domain)")
        axes[1, 0].set_ylabel(f"minima in the {LEVEL}% interval (%)")
        _legend(figure, columns=3)
    return figure


def outside_figure(rows: pd.DataFrame) -> Figure:
    """Draw mean error and coverage outside of the training, case by case, with 95% bootstrap intervals."""
    with style():
        figure = Figure(figsize=(8.4, 5.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axis, metric in ((left, "error"), (right, f"covered_{LEVEL}")):
            _dots(axis, select_rows(rows, {"metric": metric}), CASES, across=True)
        left.set(xscale="log", xlabel="mean error (% of the domain)")
        left.set_xticks([1, 2, 5, 10, 20, 40], ["1", "2", "5", "10", "20", "40"])
        left.minorticks_off()
        left.set_yticks(range(len(CASES)), CASES)
        left.invert_yaxis()
        right.axvline(LEVEL, color=INK, linestyle="--", linewidth=1)
        right.set_xlabel(f"minima in the {LEVEL}% interval (%)")
        _legend(figure, columns=4)
    return figure


def sequential_figure(rows: pd.DataFrame) -> Figure:
    """Draw the mean error against the number of samples, and how many were needed, with 95% bootstrap intervals."""
    with style():
        figure = Figure(figsize=(8.4, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        for place, (method, (words, color, marker)) in enumerate(SEARCHES.items()):
            of_method = select_rows(rows, {"method": method})
            counts, means, lows, highs = _curve(select_rows(of_method, {"metric": "error"}))
            left.plot(counts, means, color=color, marker=marker, markevery=5, label=words)
            left.fill_between(counts, lows, highs, color=color, alpha=0.15, linewidth=0)
            mean, low, high = bootstrap_mean(select_rows(of_method, {"metric": "samples"})["value"])
            right.plot([low, high], [place] * 2, color=color, linewidth=4, alpha=0.4)
            right.plot(mean, place, color=color, marker=marker)
        left.set(xlabel="samples", ylabel="mean error (% of the domain)", yscale="log")
        _plain_ticks(left, [2, 5, 10, 20, 40])
        left.legend()
        right.set_yticks(range(len(SEARCHES)), [""] * len(SEARCHES))
        right.invert_yaxis()
        right.set_xlabel("samples until the error stays below 5%")
    return figure


def _dots(axis: Axes, rows: pd.DataFrame, problems: Sequence[str], across: bool = False) -> None:
    """Draw the means of all methods, one beside the other, problem by problem; ``across``: below one another."""
    step = 0.8 / len(LOOKS)
    replicates = rows[rows["method"] == "posterior"].groupby("problem")["replicate"].nunique()
    for number, (method, (words, color, marker)) in enumerate(LOOKS.items()):
        of_method = rows[rows["method"] == method].groupby("problem")["value"]
        places, intervals = [], []
        for place, problem in enumerate(problems):
            values = of_method.get_group(problem) if problem in of_method.groups else []
            if len(values) and len(values) == replicates[problem]:
                places.append(place + step * (number - (len(LOOKS) - 1) / 2))
                intervals.append(bootstrap_mean(values))
        if not places:
            continue
        means, lows, highs = np.array(intervals).T
        lines, points = (axis.hlines, (means, places)) if across else (axis.vlines, (places, means))
        lines(places, lows, highs, color=color, linewidth=1.2)
        axis.plot(*points, linestyle="", color=color, marker=marker, label=words)


def _curve(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers of samples, and means over replicates with both ends of their intervals."""
    levels = rows.groupby("evaluations")["value"]
    means, lows, highs = np.array([bootstrap_mean(values) for _, values in levels]).T
    return np.array(list(levels.groups)), means, lows, highs


def _plain_ticks(axis: Axes, ticks: Sequence[int]) -> None:
    axis.set_yticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()


def _legend(figure: Figure, columns: int) -> None:
    """Explain what all axes show, each label once."""
    shown = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=columns)


if __name__ == "__main__":
    main()
