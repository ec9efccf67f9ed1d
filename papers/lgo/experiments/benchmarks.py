"""LGO and its peers on the function library: from how many starts do they reach the minimum, and how soon?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.experiments import map_rows
from common.lockstep import minimize_folds
from common.optimizers.base import Optimizer
from common.optimizers.registry import get_optimizer
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.lgo.classical import TwoPhase
from papers.lgo.optimizer import LGO
from papers.lgo.problems import benchmark_problem

SOLVED = 1e-4  # f - f* below which a run has succeeded, and ends

Task = tuple[str, str, int]  # method, function, d


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every method from all starts on every problem.

    ``regret`` is f - f* when a run's budget is spent, 0 where it has succeeded. ``solved`` is the percentage of a
    dimension's runs, on all problems, that have succeeded within ``evaluations``; its replicates are blocks of starts.
    """
    methods = [*params["lgo"], *params["classical"], *params["methods"]]
    problems = [(name, dim) for name, dims in params["problems"].items() for dim in dims]
    rows = map_rows(_problem, params, cache, [(method, *problem) for method in methods for problem in problems])
    table = pd.DataFrame(rows)
    regrets = table[table["metric"] == "regret"].to_dict("records")
    return [*regrets, *_curves(params, table[table["metric"] == "hit"])]


def make_optimizer(params: dict[str, Any], method: str) -> Optimizer:
    """Return a new optimizer with the settings that the section has for ``method``."""
    if method in params["lgo"]:
        return LGO(**params["lgo"][method])
    if method in params["classical"]:
        return TwoPhase(**params["classical"][method])
    settings = params["methods"][method]
    return get_optimizer(settings["method"])(**settings.get("options", {}))


def _problem(params: dict[str, Any], cache: Path, task: Task) -> list[Row]:
    method, name, dim = task
    starts = min(params["replicates"], params["starts"].get(dim, params["replicates"]))
    seeds = [key_seed(params["seed"], "start", start) for start in range(starts)]
    function = benchmark_problem(name, dim, seeds)
    optimum, budget = float(function.optimal_value), params["evaluations"] * dim
    results = minimize_folds(lambda: make_optimizer(params, method), function, budget, seeds, target=optimum + SOLVED)
    rows: list[Row] = []
    for start, result in enumerate(results):
        regret = result.fun - optimum
        assert regret > -1e-9, "a regret is negative: the optimum is not the optimum"
        solved = regret <= SOLVED
        key = {"experiment": "benchmarks", "problem": name, "d": dim, "method": method, "replicate": start}
        found = {"regret": 0.0 if solved else float(f"{regret:.6g}"), "hit": result.nfev if solved else np.inf}
        rows += [{**key, "evaluations": budget, "metric": metric, "value": value} for metric, value in found.items()]
    return rows


def _curves(params: dict[str, Any], hits: pd.DataFrame) -> list[Row]:
    """Return the percentages ``solved`` of every dimension, method, block of starts and number of evaluations."""
    blocks = hits[hits["d"].isin(params["curves"]["dims"])]
    blocks = blocks.assign(block=blocks["replicate"] // params["curves"]["block"])
    return [
        {
            "experiment": "curves", "problem": "all", "d": dim, "method": method, "replicate": block,
            "evaluations": share * dim, "metric": "solved", "value": 100 * (runs["value"] <= share * dim).mean(),
        }
        for (dim, method, block), runs in blocks.groupby(["d", "method", "block"], sort=False)
        for share in params["curves"]["evaluations"]
    ]  # fmt: skip
