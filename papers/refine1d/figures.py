"""``python -m papers.refine1d.figures``: every figure of refine1d, from result rows and from the network itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.reporting.figures import INK, PALETTE, save_figure, style
from common.reporting.rows import read_rows
from papers.refine1d.architecture import COMPONENTS, Block, blocks
from papers.refine1d.model import Refiner, parameter_counts
from papers.refine1d.settings import preset

RESULTS = Path("papers/refine1d/results")
REPORTS = Path("reports/refine1d")
NOISE = {"formula": "noise 17% of the range", "percent": "noise 30% of the range"}
OURS, PEER, OTHER = PALETTE[:3]
PAPER = {"mean": 8.05, "median": 5.73, "training": 10.0}  # percent: Figures 3 and 2
CASES = ("poor start", "competing minima", "best", "median", "worst")
SMALLEST_STEP = 1e-3  # percent; smaller ones are drawn there
SHOWN = (  # in the figure of Table 1, best knowledge first
    "oracle_median", "oracle_mean", "gp_median in window", "lowest_sample in window", "network", "constant",
    "lowest_sample", "interpolating_spline",
)  # fmt: skip


def main() -> None:
    """Draw all figures anew."""
    learning = read_rows(*(RESULTS / f"learning_{reading}.csv" for reading in NOISE))
    examples = read_rows(RESULTS / "examples.csv")
    save_figure(table1_figure(read_rows(RESULTS / "table1.csv")), REPORTS / "figure_table1")
    save_figure(figure1(Refiner(preset("paper"))), REPORTS / "figure1")
    save_figure(figure2(learning), REPORTS / "figure2")
    save_figure(figure3(examples), REPORTS / "figure3")
    save_figure(figure4(examples), REPORTS / "figure4")
    save_figure(trajectories_figure(read_rows(RESULTS / "trajectories.csv")), REPORTS / "figure_trajectories")


def table1_figure(rows: pd.DataFrame) -> Figure:
    """Draw the mean error of test sets of 50 functions, method by method: its mean, and from 5% to 95% of the sets."""
    rows = rows[rows["metric"] == "error"]
    with style():
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        for axis, reading in zip(figure.subplots(1, 2, sharey=True), NOISE, strict=True):
            for place, method in enumerate(reversed(SHOWN)):
                values = rows[(rows["problem"] == reading) & (rows["method"] == method)]["value"]
                color = OURS if method == "network" else PEER
                axis.plot(np.quantile(values, [0.05, 0.95]), [place] * 2, color=color, linewidth=4, alpha=0.4)
                axis.plot(values.mean(), place, "o", color=color)
            axis.axvline(PAPER["mean"], color=INK, linestyle="--", label="the paper's network")
            axis.set(title=NOISE[reading], xscale="log", xlabel="mean error of 50 functions (% of the domain)")
            axis.set_xticks([5, 10, 20, 40], ["5", "10", "20", "40"])
            axis.set_yticks(range(len(SHOWN)), [name.replace("_", " ") for name in reversed(SHOWN)])
            axis.minorticks_off()
        axis.legend(loc="upper right")
    return figure


def figure1(network: Refiner) -> Figure:
    """Draw the layers as they run, each bar as long as the layer has channels, with the components' parameters."""
    counts, layers = parameter_counts(network), blocks(network)
    with style():
        figure = Figure(figsize=(10.5, 5.4), layout="constrained")
        axes = figure.subplots(1, len(COMPONENTS))
        for axis, name in zip(axes, COMPONENTS, strict=True):
            ours, reported = counts[name]
            axis.set_title(f"{name}\n{ours:,} parameters (paper: {reported:,})")
            _stack(axis, layers[name], rows=max(map(len, layers.values())))
        ours, reported = counts["total"]
        axes[1].text(
            0, -12,
            "MainEncoder: samples to $e_0$, $\\delta_0$\n\n"
            "up to 40 times, $t = 0, 1, ...$\n"
            "Iterator: $e_t$, $x_t$, $s_{t-1}$ to $x_{t+1}$, $s_t$\n"
            "Updater: $e_t$, $x_{t+1}$, $s_t$ to $e_{t+1}$\n\n"
            f"{ours:,} parameters in all\n(paper: {reported:,})",
            ha="center", fontsize=9,
        )  # fmt: skip
    return figure


def _stack(axis: Axes, layers: list[Block], rows: int) -> None:
    widest = 512
    places = {block.name: -number for number, block in enumerate(layers)}
    for block in layers:
        place, channels = places[block.name], block.shape[-1]
        axis.barh(place, channels, left=-channels / 2, height=0.6, color=OURS if len(block.shape) > 1 else PEER)
        axis.text(-widest * 0.6, place, block.name, ha="right", va="center", fontsize=7)
        shape = " x ".join(map(str, block.shape))
        axis.text(widest * 0.65, place, f"{shape}   ({block.parameters:,})", ha="left", va="center", fontsize=7)
    for prefix in ("unet", "inverse"):
        for number, size in ((1, 512), (2, 256), (3, 128)):
            if f"{prefix}.enc{number}" in places:
                start, end = places[f"{prefix}.enc{number}"], places[f"{prefix}.dec{4 - number}"]
                axis.annotate(
                    "", (size / 4, end), (size / 4, start),
                    arrowprops={"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.4", "color": INK, "lw": 0.8},
                )  # fmt: skip
    axis.set(xlim=(-1.6 * widest, 1.8 * widest), ylim=(-rows, 1))
    axis.set_axis_off()


def figure2(rows: pd.DataFrame) -> Figure:
    """Draw training and validation errors against functions seen, beside the level at which the paper's stays."""
    curves = {"training_error": ("training", ":"), "error": ("validation", "-")}
    with style():
        figure = Figure(figsize=(5.6, 3.0), layout="constrained")
        axis = figure.subplots()
        for reading, color in zip(NOISE, (OURS, PEER), strict=True):
            for metric, (label, line) in curves.items():
                curve = rows[(rows["problem"] == reading) & (rows["metric"] == metric)].sort_values("evaluations")
                axis.plot(curve["evaluations"], curve["value"], line, color=color, label=f"{label}, {NOISE[reading]}")
        axis.axhline(
            PAPER["training"], color=INK, linestyle="--", label="the paper's training, from 1.6e6 functions on"
        )
        axis.set(xscale="log", xlabel="functions seen", ylabel="mean error (% of the domain)", ylim=(0, 20))
        axis.legend()
    return figure


def figure3(rows: pd.DataFrame) -> Figure:
    """Draw the errors of one test set of 50 functions, with mean and median, ours and the paper's."""
    rows = rows[(rows["metric"] == "error") & (rows["method"] == "network")]
    with style():
        figure = Figure(figsize=(6.4, 2.8), layout="constrained")
        for axis, reading in zip(figure.subplots(1, 2, sharey=True, sharex=True), NOISE, strict=True):
            errors = rows[rows["problem"] == reading]["value"]
            axis.hist(errors, bins=np.arange(0, max(50, errors.max()) + 2.5, 2.5).tolist(), color=OURS, alpha=0.5)
            for value, line, color, label in (
                (errors.mean(), "-", OURS, "mean"),
                (errors.median(), ":", OURS, "median"),
                (PAPER["mean"], "-", PEER, "mean, paper"),
                (PAPER["median"], ":", PEER, "median, paper"),
            ):
                axis.axvline(value, linestyle=line, color=color, label=f"{label} {value:.2f}%")
            axis.set(title=NOISE[reading], xlabel="error (% of the domain)")
            axis.legend()
        figure.axes[0].set_ylabel("functions")
    return figure


def figure4(rows: pd.DataFrame) -> Figure:
    """Draw the cases: function, samples, and the search from its start (cross) to its answer (star)."""
    with style():
        figure = Figure(figsize=(2.2 * len(CASES), 4.2), layout="constrained")
        axes = figure.subplots(len(NOISE), len(CASES), sharex=True, squeeze=False)
        for line, reading in zip(axes, NOISE, strict=True):
            for axis, case in zip(line, CASES, strict=True):
                _case(axis, rows[rows["problem"] == f"{reading}, {case}"].sort_values(["evaluations", "replicate"]))
                axis.set_title(f"{axis.get_title()}\n{case}" if reading == "formula" else axis.get_title())
            line[0].set_ylabel(NOISE[reading])
    return figure


def _case(axis: Axes, rows: pd.DataFrame) -> None:
    def values(method: str, metric: str) -> np.ndarray:
        return rows[(rows["method"] == method) & (rows["metric"] == metric)]["value"].to_numpy()

    curve, search, minimum = values("function", "f"), values("search", "x"), values("minimum", "x").item()
    grid = np.linspace(0, 1, len(curve))
    heights = np.interp(search, grid, curve)
    axis.plot(grid, curve, color=INK, linewidth=1)
    axis.plot(values("samples", "x"), values("samples", "y"), ".", color=INK, markersize=3)
    axis.axvline(minimum, color=INK, linestyle="--", linewidth=0.8)
    axis.plot(search, heights, ".:", color=OURS)
    axis.plot(search[0], heights[0], "x", color=PEER, markersize=7)
    axis.plot(search[-1], heights[-1], "*", color=OURS, markersize=10)
    axis.set_title(f"{100 * abs(search[0] - minimum):.1f}% to {100 * abs(search[-1] - minimum):.1f}%")


def trajectories_figure(rows: pd.DataFrame) -> Figure:
    """Draw the mean error and the mean step after every iteration, with and without the stop rule."""
    with style():
        figure = Figure(figsize=(6.6, 4.4), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True, sharey="row")
        for (above, below), reading in zip(axes.T, NOISE, strict=True):
            of_reading = rows[rows["problem"] == reading]
            for method, line, color, label in (
                ("network without stop", ".-", OURS, "all 40 iterations"),
                ("network", "--", PEER, "stops by eq. (56)"),
            ):
                error = _means(of_reading, method, "error")
                above.plot(error.index, error, line, color=color, label=label)
            for metric, line, color, label in (
                ("step_size", ".-", OURS, "$s_t$"),
                ("move", "--", OTHER, "$|x_{t+1} - x_t|$"),
            ):
                size = _means(of_reading, "network without stop", metric)
                below.plot(size.index, size.clip(lower=SMALLEST_STEP), line, color=color, label=label)
            above.set(title=NOISE[reading], ylim=(0, None))
            below.set(xlabel="iteration", yscale="log")
        axes[0, 0].set_ylabel("mean error (%)")
        axes[1, 0].set_ylabel("mean step (%)")
        axes[0, 1].legend()
        axes[1, 1].legend()
    return figure


def _means(rows: pd.DataFrame, method: str, metric: str) -> pd.Series:
    chosen = rows[(rows["method"] == method) & (rows["metric"] == metric)]
    return chosen.groupby("evaluations")["value"].mean()


if __name__ == "__main__":
    main()
