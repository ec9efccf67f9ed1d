"""What moves the cells of Table 1 that are not reproduced: one setting changed at a time, on the table's own folds."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.experiments.peers import peer_rows
from papers.gennes.experiments.training import levels, regret_rows, train
from papers.gennes.problems import benchmark_problem, fold_seeds


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run GENNES and the peers with every changed setting on every problem."""
    variants = [("gennes", name) for name in params["gennes"]] + [("peers", name) for name in params["peers"]]
    tasks = [
        (*variant, *problem) for variant, problem in product(variants, product(params["functions"], params["dims"]))
    ]
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, str, str, int]) -> list[Row]:
    kind, variant, name, dim = task
    if kind == "gennes":
        trained = train(params, cache, name, dim, **params["gennes"][variant])
        return regret_rows(trained, params, [variant], experiment="variants")
    budget = params["budget"]
    settings = dict(params["peers"][variant])
    seeds = fold_seeds(params["seed"], params["replicates"])
    return peer_rows(
        settings.pop("method"), settings, benchmark_problem(name, dim, seeds, params["shift"]), seeds, budget=budget,
        evaluations=levels(params), experiment="variants", problem=name, d=dim,
        method=variant,
    )  # fmt: skip
