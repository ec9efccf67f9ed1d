"""Local search by inexact line searches on functions of other kinds: line searches, and what they cost in gradients."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize

from common.experiments import map_rows
from common.objective import BudgetExhausted, Objective
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.lgo.experiments.descents import TOLERANCE, Method, classical, learned
from papers.lgo.experiments.dnets import train_dnet
from papers.lgo.experiments.general_functions import FUNCTIONS, Search
from papers.lgo.local_search import local_search

BOX = (-1e6, 1e6)  # which no search should ever meet
NEVER = 10**6  # SciPy's own limits
SCIPY: dict[str, tuple[str, dict[str, float]]] = {
    "scipy cg": ("CG", {"gtol": 0, "maxiter": NEVER}),
    "scipy bfgs": ("BFGS", {"gtol": 0, "maxiter": NEVER}),
    "scipy lbfgs": ("L-BFGS-B", {"gtol": 0, "ftol": 0, "maxiter": NEVER, "maxfun": NEVER}),
}


class Cost(NamedTuple):
    """Line searches and gradients, each with the value, until the norm of the gradient is 1e-6."""

    iterations: int
    gradients: int
    solved: bool


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train the nets from as many seeds as there are replicates; each seed's has starts, or functions, of its own."""
    return map_rows(_replicate, params, cache, [(replicate,) for replicate in range(params["replicates"])])


def _replicate(params: dict[str, Any], cache: Path, task: tuple[int]) -> list[Row]:
    (replicate,) = task
    seed, limit = params["seed"] + replicate, params["limit"]
    nets = {name: train_dnet(settings, seed, cache, name) for name, settings in params["nets"].items()}
    rows: list[Row] = []
    for problem, d in params["problems"]:
        searches = FUNCTIONS[problem](d, key_seed(params["seed"], "general", problem, d, replicate), params["starts"])
        costs = {
            name: [ours(method, search, limit) for search in searches]
            for name, method in (classical(d) | learned(nets)).items()
        }
        costs |= {name: [scipys(name, search, limit) for search in searches] for name in SCIPY}
        for name, found in costs.items():
            key = {"problem": problem, "d": d, "method": name, "replicate": replicate, "evaluations": limit}
            rows += [
                {"experiment": "general", **key, "metric": metric, "value": float(f"{value:.5g}")}
                for metric, value in summary(found, limit).items()
            ]
    return rows


def summary(costs: list[Cost], limit: int) -> dict[str, float]:
    """Return means over searches; one that ended without a solution counts as ``limit`` line searches and gradients."""
    return {
        "iterations": float(np.mean([cost.iterations if cost.solved else limit for cost in costs])),
        "gradients": float(np.mean([cost.gradients if cost.solved else limit for cost in costs])),
        "solved": 100 * float(np.mean([cost.solved for cost in costs])),
    }


def ours(method: Method, search: Search, limit: int) -> Cost:
    """Run one of our methods with at most ``limit`` gradients."""
    objective = Objective(search.function, BOX, dim=len(search.start))
    found = local_search(
        objective, search.start, method.net,
        tail=method.tail, pairs=method.pairs, tolerance=TOLERANCE, max_evaluations=limit,
    )  # fmt: skip
    return Cost(found.steps, objective.gradients, "gradient" in found.stop)


def scipys(name: str, search: Search, limit: int) -> Cost:
    """Run one of SciPy's methods, with its own line search, with at most ``limit`` gradients."""
    method, options = SCIPY[name]
    objective = Objective(search.function, BOX, dim=len(search.start))
    objective.start(budget=limit)
    last, norm, iterations, solved = search.start.numpy(), np.inf, 0, False

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal last, norm
        value, gradient = objective.value_and_gradient(torch.from_numpy(x[None]))
        last, norm = x.copy(), float(gradient.norm())
        return float(value), gradient[0].numpy()

    def stop(intermediate_result: OptimizeResult) -> None:
        nonlocal iterations, solved
        iterations += 1
        if norm <= TOLERANCE and np.array_equal(intermediate_result.x, last):
            solved = True
            raise StopIteration

    with warnings.catch_warnings():  # of line searches that fail, which ends the search unsolved
        warnings.simplefilter("ignore")
        with suppress(BudgetExhausted):
            minimize(value_and_gradient, last, jac=True, method=method, options=options, callback=stop)
    return Cost(iterations, objective.gradients, solved)
