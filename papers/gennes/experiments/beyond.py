"""Beyond the paper: many optimizers on suites of the paper's functions, at several budgets."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from common.experiments import map_rows
from common.reporting.rows import Row
from papers.gennes.experiments.peers import peer_rows
from papers.gennes.problems import fold_seeds
from papers.gennes.suites import FACTOR, suite_problem

HIT = 1e-8  # a run that came as close to the minimum has solved its problem

Task = tuple[str, str, str, int, int, int, int]  # method, suite, function, d, first fold, fold behind the last, budget


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Run every method on all problems of all suites."""
    tasks: list[Task] = []
    for method, settings in params["methods"].items():
        for suite, name, dim in problems_of(params):
            folds = _folds_of(params, settings, suite, dim)
            tasks += [(method, suite, name, dim, *part) for part in _parts(folds, settings["anytime"])]
    return map_rows(_problem, params, cache, tasks)


def problems_of(params: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Return (suite, function, d) of all problems that the section names."""
    return [
        (suite, name, dim)
        for suite, problems in params["suites"].items()
        for name, dim in product(problems["functions"], problems["dims"])
    ]


def _folds_of(params: dict[str, Any], settings: dict[str, Any], suite: str, dim: int) -> dict[int, int]:
    """Return how many folds a method has on a problem, budget -> folds."""
    folds = {}
    for level in params["budgets"]:
        if params["replicates"] < level.get("least", 0):  # a spot check, which a costly level would make long
            continue
        if suite in level.get("suites", [suite]) and dim in level.get("dims", [dim]):
            # A slow method may have fewer; --replicates of the command line caps all.
            fewer = settings.get("replicates", {}).get(level["budget"], level["replicates"])
            folds[level["budget"]] = min(fewer, level["replicates"], params["replicates"])
    return folds


def _parts(folds: dict[int, int], anytime: bool) -> list[tuple[int, int, int]]:
    """Return (first fold, fold behind the last, budget) of the runs that a problem needs.

    A method that does not look at its budget runs once a fold, to the largest budget that the fold has.
    """
    parts, done = [], 0
    for budget in sorted(folds, reverse=True):
        if folds[budget] > done:
            parts.append((done, folds[budget], budget))
        done = max(done, folds[budget]) if anytime else 0
    return parts


def _problem(params: dict[str, Any], cache: Path, task: Task) -> list[Row]:
    method, suite, name, dim, first, end, budget = task
    settings = params["methods"][method]
    budgets = [level["budget"] for level in params["budgets"] if level["budget"] <= budget]
    seeds = fold_seeds(params["seed"], end)[first:]
    return peer_rows(
        settings["method"], settings.get("options", {}), suite_problem(suite, name, dim, seeds), seeds, budget=budget,
        evaluations=budgets if settings["anytime"] else [budget], scale=FACTOR if suite == "scaled" else 1.0, hit=HIT,
        first=first, experiment=suite, problem=name, d=dim, method=method,
    )  # fmt: skip
