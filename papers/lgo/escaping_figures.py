"""``python -m papers.lgo.escaping_figures``: tilted directions beside the paper's policies, from result rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from common.reporting.figures import method_style, save_figure, style
from common.reporting.rows import read_rows

RESULTS = Path("papers/lgo/results")
REPORTS = Path("reports/lgo")


def main() -> None:
    """Draw the figure anew."""
    save_figure(plus_escaping_figure(read_rows(RESULTS / "plus_escaping.csv")), REPORTS / "figure_plus_escaping")


def plus_escaping_figure(rows: pd.DataFrame) -> Figure:
    """Draw distinct better minima of 1000 gradients for every method, a panel a problem: mean and 95 % interval."""
    rows = rows[rows["metric"] == "minima_per_1000"]
    problems = list(dict.fromkeys(zip(rows["problem"], rows["d"], strict=True)))
    with style():
        figure = Figure(figsize=(2.1 * len(problems), 3.6), layout="constrained")
        axes = figure.subplots(1, len(problems), sharey=True, squeeze=False)[0]
        for axis, (problem, d) in zip(axes, problems, strict=True):
            values = rows[(rows["problem"] == problem) & (rows["d"] == d)].groupby("method", sort=False)["value"]
            for place, (method, blocks) in enumerate(values):
                error = 1.96 * blocks.std(ddof=1) / len(blocks) ** 0.5
                color = method_style(str(method))["color"]
                axis.errorbar(blocks.mean(), place, xerr=error, fmt="o", color=color)
            axis.set(title=f"{problem}, d = {d}", xlim=(0, None))
            axis.set_yticks(range(len(values)), list(values.groups))
        axes[0].invert_yaxis()
        figure.supxlabel("distinct better minima of 1000 gradients", fontsize="medium")
    return figure


if __name__ == "__main__":
    main()
