"""``python -m papers.lgo.search_figures``: virtual exact line searches beside library methods, from result rows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.reporting.figures import INK, MARKERS, PALETTE, save_figure, style
from common.reporting.rows import read_rows

RESULTS = Path("papers/lgo/results")
REPORTS = Path("reports/lgo")
METHODS = {
    "virtual": "virtual exact line search",
    "virtual, no scales": "without the scale of gradients",
    "virtual, no anchors": "without virtual points",
    "scipy lbfgs": "SciPy's L-BFGS-B",
    "torch lbfgs": "PyTorch's L-BFGS",
}


def main() -> None:
    """Draw the figure anew."""
    save_figure(ratios_figure(read_rows(RESULTS / "plus_local_search.csv")), REPORTS / "figure_plus_local_search")


def ratios_figure(rows: pd.DataFrame) -> Figure:
    """Draw geometric means of gradients over those of SciPy's BFGS with 95% intervals, family by family."""
    rows = rows[rows["metric"] == "log_ratio"]
    groups = rows.groupby(["problem", "d"], sort=False)
    with style():
        figure = Figure(figsize=(8, 0.28 * len(groups) + 1), layout="constrained")
        axis = figure.subplots()
        for place, (method, label) in enumerate(METHODS.items()):
            ratios = rows[rows["method"] == method].groupby(["problem", "d"], sort=False)["value"]
            mean, error = ratios.mean(), 1.96 * ratios.std() / ratios.count().map(math.sqrt)
            y = np.arange(len(mean)) + 0.15 * (place - (len(METHODS) - 1) / 2)
            axis.plot(np.exp([mean - error, mean + error]), [y, y], color=PALETTE[place], linewidth=1)
            axis.plot(np.exp(mean), y, MARKERS[place], color=PALETTE[place], markersize=4, label=label)
        axis.axvline(1.0, color=INK, linestyle="--", label="SciPy's BFGS")
        axis.set_yticks(range(len(groups)), [f"{problem}, d = {d}" for problem, d in groups.groups])
        axis.invert_yaxis()
        axis.set(xscale="log", xlabel="gradients over those of SciPy's BFGS")
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    main()
