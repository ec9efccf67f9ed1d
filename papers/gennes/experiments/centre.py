"""How much Table 1 owes to optima near the centre of the box: translations up to half of it (not in the paper)."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.experiments.peers import peer_rows
from papers.gennes.experiments.training import levels, regret_rows, train
from papers.gennes.problems import HALF_WIDTHS, benchmark_problem, fold_seeds


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run GENNES and the peers with the optimum at most ``share`` half-widths from the centre."""
    tasks = list(product(["gennes", *params["methods"]], params["functions"], params["dims"], params["shares"]))
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, str, int, float]) -> list[Row]:
    method, name, dim, share = task
    shift, budget = share * HALF_WIDTHS[name], params["budget"]
    experiment = f"centre c={share:g}"
    if method == "gennes":
        trained = train(params, cache, name, dim, shift=shift)
        return regret_rows(trained, params, ["gennes"], experiment=experiment)
    seeds = fold_seeds(params["seed"], params["replicates"])
    return peer_rows(
        method, params["methods"][method], benchmark_problem(name, dim, seeds, shift), seeds, budget=budget,
        evaluations=levels(params), experiment=experiment, problem=name, d=dim,
        method=method,
    )  # fmt: skip
