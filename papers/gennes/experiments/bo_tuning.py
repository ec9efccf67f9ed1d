"""GENNES's settings inside acquisition maximization, on drawn Gaussian processes that no table uses."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.gennes.experiments.bo_snapshots import ALL, compared, gap_curves, mean_rows, rugged


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every setting on every acquisition of every process; the rows are means over length scales and acquisitions.

    The ``gap`` is that of `bo_snapshots`, with GENNES in all settings and ``rivals`` among the maximizers.
    """
    tasks = list(product(params["length_scales"], params["dims"], range(params["replicates"])))
    return mean_rows(pd.DataFrame(map_rows(_process, params, cache, tasks)))


def _process(params: dict[str, Any], cache: Path, task: tuple[float, int, int]) -> list[Row]:
    length_scale, dim, replicate = task
    seed = key_seed(params["seed"], str(length_scale), dim, replicate)
    model = rugged(dim, seed, length_scale=length_scale, observations=params["observations"])
    ours = settings(params["population"], params["lr"], params["alpha"], **params["network"])
    rows: list[Row] = []
    for acquisition in params["acquisitions"]:
        found, reference = compared(model, acquisition, {**ours, **params["rivals"]}, params["budget"], seed)
        curves = gap_curves(found, reference, params["queries"])
        rows += [
            {"experiment": "bo_tuning", "problem": ALL, "d": dim, "method": method, "replicate": replicate,
             "evaluations": count, "metric": "gap", "value": value}
            for method in ours
            for count, value in curves[method]["gap"]
        ]  # fmt: skip
    return rows


def settings(
    populations: list[int], rates: list[float], alphas: list[float | str], **network: int
) -> dict[str, dict[str, Any]]:
    """Return all combinations as maximizers, by a name that says them."""
    return {
        f"N={population} lr={lr:g} alpha={alpha}":
            {"method": "gennes", "population": population, "lr": lr, "alpha": alpha, **network}
        for population, lr, alpha in product(populations, rates, alphas)
    }  # fmt: skip


def best_setting(rows: pd.DataFrame) -> str:
    """Return the name of the setting with the lowest gap, the mean over all rows: d, queries, replicates."""
    return str(rows.groupby("method")["value"].mean().idxmin())
