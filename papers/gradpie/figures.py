"""``python -m papers.gradpie.figures``: every figure of GradPIE, from result rows; Figure 1 is a drawing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.reporting.figures import INK, PALETTE, save_figure, style
from common.reporting.rows import read_rows, select_rows
from common.training.keys import torch_generator
from papers.gradpie.neighbours import Neighbours

RESULTS = Path("papers/gradpie/results")
REPORTS = Path("reports/gradpie")
BLUE, ORANGE, GREEN, MAGENTA, CYAN = PALETTE[:5]
LOOKS = {
    "exact": {"color": INK, "linestyle": "--"},
    "base": {"color": ORANGE},
    "gradpie": {"color": BLUE},
    "base standardised": {"color": ORANGE, "linestyle": ":"},
    "gradpie standardised": {"color": BLUE, "linestyle": ":"},
    "linear fit": {"color": GREEN, "linestyle": "-."},
    "fixed direction": {"color": MAGENTA, "linestyle": ":"},
}
OFFLINE = {"exact": "exact gradient", "base": "base model", "gradpie": "GradPIE"}
ONLINE = OFFLINE | {
    "base standardised": "base model, standardised",
    "linear fit": "linear fit, no network",
    "fixed direction": "fixed random direction",
}
GAINS = {10: (27, 10), 20: (20, 8)}  # percent, what the paper's exceed: of the relative error, of the cosine


def main() -> None:
    """Draw all figures anew."""
    save_figure(figure1(), REPORTS / "figure1")
    save_figure(figure2ae(read_rows(RESULTS / "cnon_gradients.csv")), REPORTS / "figure2ae")
    save_figure(figure2fh(read_rows(RESULTS / "cnon_offline.csv")), REPORTS / "figure2fh")
    save_figure(figure3ab(read_rows(RESULTS / "cnon_online.csv")), REPORTS / "figure3ab")


def figure1() -> Figure:
    """Draw the neighbours of a point, as `Neighbours` finds them, and the loops of Algorithms A1 and 1."""
    with style():
        figure = Figure(figsize=(10.5, 3.3), layout="constrained")
        axes = figure.subplots(1, 3)
        _neighbours(axes[0])
        _loop(axes[1], "(b) trained once: Algorithm A1", "data $D$, fixed", "once, by eq. (10)")
        _loop(axes[2], "(c) learns on the way: Algorithm 1", "data $D$, growing", "in every step, by eq. (10)")
        _arrow(axes[2], (0.07, 0.77), (0.30, 0.15), "$x$ and $p$\nlocal samples", (-0.04, 0.36))
    return figure


def _neighbours(axis: Axes, k: int = 4) -> None:
    points = torch.rand(1, 14, 2, generator=torch_generator(5, "figure 1"), dtype=torch.float64)
    index, (cloud,) = Neighbours(points, k).index[0], points
    for number in range(len(cloud)):
        for other in index[number]:
            axis.plot(*cloud[[number, int(other)]].T, color=INK, linewidth=0.5, alpha=0.5)
    centre = int((cloud - 0.5).norm(dim=1).argmin())
    for other in index[centre]:
        axis.plot(*cloud[[centre, int(other)]].T, color=BLUE, linewidth=1.5)
    axis.plot(*cloud.T, "o", color=INK)
    axis.plot(*cloud[index[centre]].T, "o", color=BLUE)
    axis.plot(*cloud[centre], "o", color=ORANGE, markersize=8)
    axis.annotate("$x_i$", cloud[centre].tolist(), xytext=(6, 6), textcoords="offset points")
    axis.set(title=f"(a) pairs of points and their {k} neighbours", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    axis.set_axis_off()


def _loop(axis: Axes, title: str, data: str, training: str) -> None:
    """Draw the loop with the black box forward and the surrogate backward."""
    boxes = {
        "point $x$": (0.10, 0.85), "black box $F$": (0.50, 0.85), "loss $L(y)$": (0.90, 0.85),
        "surrogate $f_\\theta$": (0.50, 0.48), data: (0.50, 0.10),
    }  # fmt: skip
    for text, (x, y) in boxes.items():
        color = BLUE if "surrogate" in text else INK
        frame = {"boxstyle": "round,pad=0.5", "facecolor": "none", "edgecolor": color}
        axis.text(x, y, text, ha="center", va="center", bbox=frame)
    _arrow(axis, (0.20, 0.85), (0.35, 0.85))
    _arrow(axis, (0.65, 0.85), (0.80, 0.85), "$y$", (0.71, 0.92))
    _arrow(axis, (0.90, 0.77), (0.66, 0.50), "$\\nabla_y L$", (0.81, 0.61), BLUE)
    _arrow(axis, (0.34, 0.50), (0.14, 0.77), "$J_f(x)^T\\, \\nabla_y L$", (0.25, 0.68), BLUE)
    _arrow(axis, (0.50, 0.18), (0.50, 0.40), training, (0.53, 0.28))
    axis.set(title=title, xlim=(-0.05, 1.05), ylim=(0, 1))
    axis.set_axis_off()


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "",
    at: tuple[float, float] = (0.0, 0.0), color: str = INK,
) -> None:  # fmt: skip
    """Draw an arrow, and a text that begins at ``at``."""
    axis.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "shrinkA": 0, "shrinkB": 0})
    axis.text(*at, text, va="center", fontsize=8, color=color)


def figure2ae(rows: pd.DataFrame) -> Figure:
    """Draw error and cosine against k in both dimensions, mean and range over networks, and the gain at the best k."""
    dims = sorted(rows["d"].unique())
    panels = [(dim, metric) for dim in dims for metric in ("relative_error", "cosine")]
    with style():
        figure = Figure(figsize=(14, 2.9), layout="constrained")
        axes = figure.subplots(1, len(panels) + 1)
        for letter, axis, (dim, metric) in zip("abcd", axes, panels, strict=False):
            values = select_rows(rows, {"d": dim, "metric": metric})
            by_k = values[values["method"].str.startswith("gradpie k=")]
            by_k = by_k.assign(k=by_k["method"].str.removeprefix("gradpie k=").astype(int))
            spread = by_k.groupby("k")["value"].agg(["mean", "min", "max"])
            axis.plot(spread.index, spread["mean"], "o-", color=BLUE, label="GradPIE")
            axis.fill_between(spread.index, spread["min"], spread["max"], color=BLUE, alpha=0.18, linewidth=0)
            base = values[values["method"] == "base"]["value"]
            axis.axhline(base.mean(), color=ORANGE, label="base model")
            axis.axhspan(base.min(), base.max(), color=ORANGE, alpha=0.18, linewidth=0)
            axis.set(xscale="log", title=f"({letter}) {metric.replace('_', ' ')}, N = {dim}", xlabel="neighbours $k$")
            axis.set_xticks(spread.index.tolist(), list(map(str, spread.index)))
            axis.minorticks_off()
        axes[0].legend()
        _gains(axes[-1], rows)
    return figure


def _gains(axis: Axes, rows: pd.DataFrame) -> None:
    for dim, color in zip(sorted(rows["d"].unique()), (BLUE, GREEN), strict=False):
        gains = [
            select_rows(rows, {"d": dim, "metric": metric, "method": "gradpie best k"}).set_index("replicate")["value"]
            for metric in ("error_reduction", "cosine_gain")
        ]
        axis.plot(*gains, "o", color=color, label=f"N = {dim}, every network")
        if dim in GAINS:
            axis.plot(*GAINS[dim], "*", color=color, markersize=10, label=f"N = {dim}, the paper exceeds")
    axis.set(title="(e) gains at the best k", xlabel="lower relative error (%)", ylabel="higher cosine (%)")
    axis.legend(fontsize=7)


def figure2fh(rows: pd.DataFrame) -> Figure:
    """Draw the offline descents with measured acceptance, a panel for every number of samples."""
    rows = select_rows(rows, {"experiment": "accepted", "metric": "loss"})
    sizes = sorted(rows["problem"].unique(), key=lambda name: int(name.removeprefix("n = ")))
    return _loss_curves(rows, {name: f"({letter}) {name}" for letter, name in zip("fgh", sizes, strict=False)}, OFFLINE)


def figure3ab(rows: pd.DataFrame) -> Figure:
    """Draw the online descents, a panel for every number p of local samples."""
    rows = select_rows(rows, {"experiment": "iterations", "metric": "loss"})
    panels = sorted(rows["problem"].unique())
    return _loss_curves(rows, {name: f"({letter}) {name}" for letter, name in zip("ab", panels, strict=False)}, ONLINE)


def _loss_curves(rows: pd.DataFrame, panels: Mapping[str, str], methods: Mapping[str, str]) -> Figure:
    """Draw losses against iterations: the mean over networks, the shade from the lowest to the highest."""
    with style():
        figure = Figure(figsize=(3.4 * len(panels) + 0.4, 3.1), layout="constrained")
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (problem, title) in zip(axes, panels.items(), strict=True):
            for method, label in methods.items():
                values = select_rows(rows, {"problem": problem, "method": method}).groupby("evaluations")["value"]
                mean = values.mean()
                axis.plot(mean.index, mean, label=label, **LOOKS[method])
                axis.fill_between(
                    mean.index, values.min(), values.max(), color=LOOKS[method]["color"], alpha=0.1, linewidth=0
                )
            axis.set(title=title, yscale="log", xlabel="iterations")
        axes[0].set_ylabel("mean deviation from the target")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(methods), 3))
    return figure


if __name__ == "__main__":
    main()
