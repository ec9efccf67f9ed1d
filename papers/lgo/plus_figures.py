"""``python -m papers.lgo.plus_figures``: the figure of the directions with values of f in their state."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from common.reporting.figures import INK, MARKERS, PALETTE, save_figure, style
from common.reporting.rows import read_rows

RESULTS = Path("papers/lgo/results")
REPORTS = Path("reports/lgo")
DIRECTIONS = {"closed form": "closed form", "learned": "learned", "power form": "power form"}
COLUMNS = 5


def main() -> None:
    """Draw it anew."""
    save_figure(direction_figure(read_rows(RESULTS / "plus_direction.csv")), REPORTS / "figure_plus_direction")


def direction_figure(rows: pd.DataFrame) -> Figure:
    """Draw line searches minus those of BFGS against d, family by family: mean and range of the replicates."""
    rows = rows[rows["metric"] == "over_bfgs"]
    problems = list(dict.fromkeys(rows["problem"]))
    height = -(-len(problems) // COLUMNS)
    with style():
        figure = Figure(figsize=(10, 1.9 * height + 0.5), layout="constrained")
        axes = figure.subplots(height, COLUMNS, squeeze=False, sharex=True).ravel()
        for axis, problem in zip(axes, problems, strict=False):
            for (name, label), color, marker in zip(DIRECTIONS.items(), PALETTE, MARKERS, strict=False):
                groups = rows[(rows["problem"] == problem) & (rows["method"] == name)].groupby("d")["value"]
                means = groups.mean()
                axis.plot(means.index, means, marker=marker, color=color, label=label)
                axis.vlines(means.index, groups.min(), groups.max(), color=color, alpha=0.4)
            axis.axhline(0.0, color=INK, linestyle="--")
            axis.set(xscale="log", title=problem)
            axis.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
            axis.minorticks_off()
        for axis in axes[len(problems) :]:
            axis.set_axis_off()
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(DIRECTIONS))
        figure.supxlabel("d", fontsize=9)
        figure.supylabel("line searches minus those of BFGS", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
