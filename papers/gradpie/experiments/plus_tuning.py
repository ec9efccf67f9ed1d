"""How GradPIEPlus's defaults were chosen: variants on a network, an amplifier and a target that no table uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gradpie.experiments import plus_cnon, plus_opamp, plus_owms
from papers.gradpie.experiments.amplifiers import require_simulator

SEARCHES: dict[str, Callable[..., list[Row]]] = {
    "cnon": plus_cnon.search,
    "opamp": plus_opamp.search,
    "owms": plus_owms.search,
}
DIMENSIONS: dict[str, Callable[[dict[str, Any]], int]] = {
    "cnon": lambda settings: settings["dim"],
    "opamp": lambda settings: 10,
    "owms": lambda settings: settings["system"]["pixels"] ** 2,
}


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Search with every variant from the same starts on every problem."""
    require_simulator(params["problems"]["opamp"]["amplifier"])
    tasks = [
        (problem, replicate, variant)
        for problem in params["problems"]
        for replicate in range(params["replicates"])
        for variant in params["variants"]
    ]
    rows = map_rows(_search, params, cache, tasks)
    return rows + rank_rows(rows)


def _search(params: dict[str, Any], cache: Path, task: tuple[str, int, str]) -> list[Row]:
    """Return the best values so far of a variant."""
    problem, replicate, variant = task
    settings = {"seed": params["seed"], **params["problems"][problem]}
    method = {"kind": "plus", **settings.pop("plus", {}), **params["variants"][variant]}
    settings["searches"] = {variant: method}
    losses = pd.DataFrame(SEARCHES[problem](settings, cache, (replicate, variant)))["value"].cummin()
    return [
        {"experiment": "queries", "problem": problem, "d": DIMENSIONS[problem](settings), "method": variant,
         "replicate": replicate, "evaluations": count, "metric": "best", "value": round(float(losses[count - 1]), 6)}
        for count in settings["levels"]
    ]  # fmt: skip


def rank_rows(rows: list[Row]) -> list[Row]:
    """Return the rank of every variant among all from the same start after as many queries, 1 for the lowest value."""
    table = pd.DataFrame(rows)
    ranks = table.groupby(["problem", "replicate", "evaluations"])["value"].rank()
    return table.assign(metric="rank", value=ranks).to_dict("records")


def chosen_variant(rows: pd.DataFrame) -> str:
    """Return the variant with the best rank: mean over starts and levels, then over problems; the first of equals.

    The rule was fixed before the trial.
    """
    ranks = rows[rows["metric"] == "rank"]
    by_problem = ranks.groupby(["problem", "method"], sort=False)["value"].mean()
    return str(by_problem.groupby("method", sort=False).mean().idxmin())
