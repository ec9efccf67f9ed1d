"""``python -m papers.gradpie.optics_figures``: Figure 4, from result rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.reporting.figures import INK, PALETTE, save_figure, style
from common.reporting.rows import read_rows, select_rows
from papers.gradpie.simulators.optics import BeamShaper

PARAMS = Path("papers/gradpie/params.yaml")
RESULTS = Path("papers/gradpie/results")
REPORTS = Path("reports/gradpie")
BLUE, ORANGE, GREEN, MAGENTA, CYAN, RED, BROWN = PALETTE
PAPERS = {"random": "random", "bayopt": "BayOpt", "base": "base model", "gradpie": "GradPIE"}
OURS = {
    **PAPERS,
    "base standardised": "base model, standardised",
    "gradpie standardised": "GradPIE, standardised",
    "bayopt periodic": "BayOpt, periodic, no box",
    "exact": "exact gradient",
    "linear fit": "linear fit, no network",
    "spsa": "SPSA",
    "(1+1)-es": "(1+1)-ES",
    "separable cmaes": "separable CMA-ES",
    "flat phase": "flat phase",
    "fixed direction": "fixed random direction",
    "fixed direction boxed": "the same in a box",
    "fixed direction elitist": "the same, from the best local sample",
}
LOOKS: dict[str, dict[str, Any]] = {
    "random": {"color": BROWN},
    "bayopt": {"color": GREEN},
    "base": {"color": ORANGE},
    "gradpie": {"color": BLUE},
    "base standardised": {"color": ORANGE, "linestyle": ":"},
    "gradpie standardised": {"color": BLUE, "linestyle": ":"},
    "bayopt periodic": {"color": GREEN, "linestyle": ":"},
    "exact": {"color": INK, "linestyle": "--"},
    "linear fit": {"color": CYAN, "linestyle": "-."},
    "spsa": {"color": CYAN},
    "(1+1)-es": {"color": CYAN, "linestyle": "--"},
    "separable cmaes": {"color": CYAN, "linestyle": ":"},
    "flat phase": {"color": RED},
    "fixed direction": {"color": MAGENTA},
    "fixed direction boxed": {"color": MAGENTA, "linestyle": "--"},
    "fixed direction elitist": {"color": MAGENTA, "linestyle": ":"},
}


def main() -> None:
    """Draw all figures anew."""
    online, peers = read_rows(RESULTS / "owms_online.csv"), read_rows(RESULTS / "owms_peers.csv")
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    save_figure(figure4a(online, params["owms_online"]["system"]), REPORTS / "figure4a")
    save_figure(figure4bc(online, peers), REPORTS / "figure4bc")
    save_figure(figure4_queries(online, peers), REPORTS / "figure4_queries")


def figure4a(online: pd.DataFrame, system: Mapping[str, Any]) -> Figure:
    """Draw the beam, the mask that GradPIE ended with, the amplitudes behind it and a flat one, and the target."""
    shaper = BeamShaper(**system)
    pattern = select_rows(online, {"experiment": "pattern"}).sort_values("evaluations")["value"]
    phase = torch.tensor(pattern.tolist(), dtype=torch.float64)
    behind, flat = shaper.field(phase), shaper.field(torch.zeros_like(phase))
    panels = {
        "incoming beam": shaper.beam.abs(),
        "mask of GradPIE (phase)": phase.view(shaper.shape),
        f"behind it: loss {shaper.deviation(behind):.3f}": behind.abs(),
        f"behind a flat mask: loss {shaper.deviation(flat):.3f}": flat.abs(),
        "target": shaper.target,
    }
    half = shaper.spacing * shaper.shape[0] / 2 * 1e6
    with style():
        figure = Figure(figsize=(14, 3.1), layout="constrained")
        for axis, (title, values) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            is_phase = "phase" in title
            shown = values / (2 * math.pi) if is_phase else values / values.max()
            colors = "twilight" if is_phase else "viridis"
            axis.imshow(shown.numpy(), colors, vmin=0, vmax=1, extent=(-half, half, -half, half))
            axis.set(title=title, xlabel="µm")
            axis.grid(visible=False)
    return figure


def figure4bc(online: pd.DataFrame, peers: pd.DataFrame) -> Figure:
    """Draw the paper's methods against iterations: mean and standard deviation over starts, median and quartiles."""
    rows = select_rows(pd.concat([online, peers]), {"experiment": "iterations"})
    with style():
        figure = Figure(figsize=(8.5, 3.4), layout="constrained")
        mean, median = figure.subplots(1, 2, sharey=True)
        for method in PAPERS:
            starts = select_rows(rows, {"method": method}).groupby("evaluations")["value"]
            deviation = starts.std().fillna(0)
            _curve(mean, method, starts.mean(), starts.mean() - deviation, starts.mean() + deviation)
            _curve(median, method, starts.median(), starts.quantile(0.25), starts.quantile(0.75))
        mean.set(title="(b) mean and standard deviation", xlabel="iterations", ylabel="loss")
        median.set(title="(c) median and quartiles", xlabel="iterations")
        figure.legend(*mean.get_legend_handles_labels(), loc="outside upper center", ncols=len(PAPERS))
    return figure


def figure4_queries(online: pd.DataFrame, peers: pd.DataFrame) -> Figure:
    """Draw the best loss so far of all methods against queries: the mean over starts, the shade their range."""
    rows = select_rows(pd.concat([online, peers]), {"experiment": "queries"})
    with style():
        figure = Figure(figsize=(8.5, 4.2), layout="constrained")
        axis = figure.subplots()
        for method in OURS:
            starts = select_rows(rows, {"method": method}).groupby("evaluations")["value"]
            _curve(axis, method, starts.mean(), starts.min(), starts.max(), 0.06)
        axis.set(xlabel="queries", ylabel="best loss so far", xscale="log", yscale="log")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper")
    return figure


def _curve(
    axis: Axes, method: str, centre: pd.Series, low: pd.Series, high: pd.Series, alpha: float = 0.18
) -> None:  # fmt: skip
    axis.plot(centre.index, centre, label=OURS[method], **LOOKS[method])
    axis.fill_between(centre.index, low, high, color=LOOKS[method]["color"], alpha=alpha, linewidth=0)


if __name__ == "__main__":
    main()
