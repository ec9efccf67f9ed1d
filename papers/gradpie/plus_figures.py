"""``python -m papers.gradpie.plus_figures``: GradPIEPlus beside other methods at equal queries, from result rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from common.reporting.figures import INK, PALETTE, save_figure, style
from common.reporting.rows import read_rows, select_rows

RESULTS = Path("papers/gradpie/results")
REPORTS = Path("reports/gradpie")
BLUE, ORANGE, GREEN, MAGENTA, CYAN, RED, BROWN = PALETTE
TASKS = {
    "plus_cnon": ("oscillators", "best deviation so far", "log"),
    "plus_opamp": ("amplifier", "best figure of merit so far", "linear"),
    "plus_owms": ("optics", "best loss so far", "log"),
}
TICKS = [20, 50, 100, 200, 400, 1000]
LOOKS: dict[str, tuple[str, str, str]] = {
    "gradpie plus": ("GradPIEPlus", INK, "-"),
    "gradpie plus with networks": ("the same with networks", INK, ":"),
    "gradpie plus without slopes": ("with networks, without slopes", INK, "--"),
    "gradpie": ("GradPIE", BLUE, "-"),
    "base": ("base model", ORANGE, "-"),
    "base standardised": ("base model, standardised", ORANGE, ":"),
    "linear fit": ("linear fit, no network", CYAN, "-."),
    "gauss-newton": ("Gauss-Newton", MAGENTA, "-"),
    "random": ("random", BROWN, "-"),
    "spsa": ("SPSA", CYAN, "-"),
    "(1+1)-es": ("(1+1)-ES", CYAN, "--"),
    "cmaes": ("CMA-ES", RED, "-"),
    "separable cmaes": ("separable CMA-ES", RED, ":"),
    "turbo": ("TuRBO", GREEN, "-"),
    "bayopt": ("BayOpt", GREEN, "--"),
    "bayopt periodic": ("BayOpt, periodic", GREEN, ":"),
}


def main() -> None:
    """Draw the figure anew."""
    save_figure(figure_plus({name: read_rows(RESULTS / f"{name}.csv") for name in TASKS}), REPORTS / "figure_plus")


def figure_plus(results: dict[str, pd.DataFrame]) -> Figure:
    """Draw the mean over starts of the best value so far against queries, a panel a task."""
    with style():
        figure = Figure(figsize=(12, 4.2), layout="constrained")
        shown = {}
        for axis, (name, (title, label, scale)) in zip(figure.subplots(1, len(TASKS)), TASKS.items(), strict=True):
            rows = select_rows(results[name], {"experiment": "queries", "metric": "best"})
            for method, (words, color, line) in LOOKS.items():
                means = select_rows(rows, {"method": method}).groupby("evaluations")["value"].mean()
                if means.empty:
                    continue
                values = -means if name == "plus_opamp" else means
                width = 2.5 if method == "gradpie plus" else None
                (shown[words],) = axis.plot(means.index, values, color=color, linestyle=line, linewidth=width)
            axis.set(title=title, xlabel="queries", ylabel=label, xscale="log", yscale=scale)
            axis.set_xticks([count for count in TICKS if count <= rows["evaluations"].max()])
            axis.xaxis.set_major_formatter(ScalarFormatter())
            axis.xaxis.set_minor_locator(NullLocator())
        figure.legend(shown.values(), shown.keys(), loc="outside right upper")
    return figure


if __name__ == "__main__":
    main()
