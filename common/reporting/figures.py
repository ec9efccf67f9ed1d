"""Figures that look alike: one style, one colour and marker per method everywhere, the same bytes on every run."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from common.reporting.files import write_bytes
from common.reporting.verdicts import LOG_FLOOR

INK = "#767676"
"""Text and axes: the grey with the same contrast (4.5 to 1) on white and on black. The site replaces it."""

# P. Tol's "vibrant" scheme, distinguishable with any colour vision, and a brown; all readable on white and on black.
PALETTE = ("#0077bb", "#ee7733", "#009988", "#ee3377", "#33bbee", "#cc3311", "#aa8844")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# The order fixes each method's look; the first of a paper's methods get the most distinct ones.
METHODS = (
    "gennes", "lbfgs", "cmaes", "snes", "gradpie", "lgo", "annealing",
    "gennes_sigma", "random", "bipop", "evolution", "gradpie_plus", "lgo_plus", "basinhopping",
    "gennes_hop", "mlsl", "hops", "cbo", "auto",
    "basinhopping T=0", "basinhopping T=0 wide", "sigma_mean", "hop_mean",
)  # fmt: skip
MANY_CURVES = 6
"""With more of them in a figure, the bands are faint, so that they don't hide each other's curves."""
DASHES = ("-", "--", ":", "-.")

STYLE = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "globopt-lab",
}


def style() -> AbstractContextManager[None]:
    """Return the context in which every figure is drawn and saved; it starts from matplotlib's own defaults."""
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, **STYLE}
    del settings["backend"]
    return mpl.rc_context(settings)


def method_style(method: str) -> dict[str, str]:
    """Return a method's ``color``, ``marker`` and, where its colour is not its own, ``linestyle``.

    They are the same in every figure; unknown names get theirs by hash.
    """
    known = method in METHODS
    if known:
        number = METHODS.index(method)
    else:
        number = int.from_bytes(hashlib.blake2b(method.encode(), digest_size=4).digest(), "little")
    cycle, position = divmod(number, len(PALETTE))
    look = {"color": PALETTE[position], "marker": MARKERS[(position + cycle) % len(MARKERS)]}
    return {**look, "linestyle": DASHES[cycle % len(DASHES)]} if known and cycle else look


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write ``<path>.svg`` and ``<path>.png``: equal figures give equal bytes, without dates or random ids."""
    with style():
        for suffix, canvas, metadata in (
            ("svg", FigureCanvasSVG, {"Date": None, "Creator": None}),
            ("png", FigureCanvasAgg, {"Software": None}),
        ):
            buffer = io.BytesIO()
            canvas(figure).print_figure(
                buffer, format=suffix, dpi=200, metadata=metadata, bbox_inches="tight", pad_inches=0.05
            )
            write_bytes(f"{path}.{suffix}", buffer.getvalue())


def regret_curves(
    rows: pd.DataFrame,
    *,
    metric: str = "regret",
    methods: Sequence[str] | None = None,
    statistic: str = "median",
    band: tuple[float, float] = (0.25, 0.75),
    floor: float = LOG_FLOOR,
    label: str = "regret",
    columns: int = 3,
) -> Figure:
    """Draw ``metric`` against evaluations on log axes, one panel per problem and d, one curve per method.

    The curve is the ``statistic`` ("median" or "mean") over replicates, the shade lies between the ``band`` quantiles.
    Values below ``floor`` are drawn there.

    Raises:
        ValueError: no row has this metric, or ``statistic`` is neither "median" nor "mean".
    """
    if statistic not in {"median", "mean"}:
        raise ValueError(f"statistic must be 'median' or 'mean', got {statistic!r}")
    rows = rows[rows["metric"] == metric]
    if rows.empty:
        raise ValueError(f"no rows with metric {metric!r}")
    methods = list(methods) if methods is not None else list(dict.fromkeys(rows["method"]))
    shade = 0.18 if len(methods) <= MANY_CURVES else 0.05
    panels = list(rows.groupby(["problem", "d"], sort=False))
    n_columns = min(columns, len(panels))
    n_rows = -(-len(panels) // n_columns)
    with style():
        figure = Figure(figsize=(3.2 * n_columns + 0.4, 2.5 * n_rows + 0.6), layout="constrained")
        axes = figure.subplots(n_rows, n_columns, squeeze=False, sharex=True).ravel()
        for axis, ((problem, d), panel) in zip(axes, panels, strict=False):
            for method in methods:
                groups = panel[panel["method"] == method].groupby("evaluations")["value"]
                if not len(groups):
                    continue
                centre = groups.median() if statistic == "median" else groups.mean()
                look = method_style(method)
                axis.plot(centre.index, centre.clip(lower=floor), label=method, markevery=0.2, **look)
                low, high = (groups.quantile(q).clip(lower=floor) for q in band)
                axis.fill_between(centre.index, low, high, color=look["color"], alpha=shade, linewidth=0)
            axis.set(xscale="log", yscale="log", title=f"{problem}, d = {d}")
            axis.minorticks_off()
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        handles = {
            text: handle for axis in axes for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        order = [method for method in methods if method in handles]
        figure.legend([handles[m] for m in order], order, loc="outside upper center", ncols=min(len(order), 6))
        figure.supxlabel("evaluations", fontsize=9)
        figure.supylabel(label, fontsize=9)
    return figure
