"""Virtual exact line searches beside library methods: gradients on the same functions, from the same starts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from common.experiments import map_rows
from common.objective import BudgetExhausted, Evaluation, Objective
from common.reporting.rows import Row
from common.training.keys import key_seed
from papers.lgo.experiments.descents import TOLERANCE, drawn
from papers.lgo.experiments.general_functions import FUNCTIONS, Search
from papers.lgo.virtual_search import virtual_search

BOX = (-1e6, 1e6)  # which no search should ever meet
NEVER = 10**6  # the libraries' own limits
VALLEY = -0.9  # -exp(-q) has small gradients far from its minimum, -1, as well
REFERENCE = "scipy bfgs"

Run = Callable[[Objective, Tensor], object]


class Solved(Exception):
    """A point with a small gradient was evaluated."""


class Watched(Objective):
    """An objective in d variables that ends a search at the first point that solves it, trial points included."""

    def __init__(self, search: Search, below: float) -> None:
        super().__init__(search.function, BOX, dim=len(search.start))
        self.below = below

    def evaluate(self, X: Tensor, gradient: bool = False) -> Evaluation:
        evaluation = super().evaluate(X, gradient)
        if evaluation.grad is not None and float(evaluation.grad.norm()) <= TOLERANCE and evaluation.y[0] < self.below:
            raise Solved
        return evaluation


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Return gradients until their norm is 1e-6, and the logarithm of their ratio to SciPy's BFGS, per instance."""
    tasks = [("laws", name, d) for name, law in params["laws"].items() for d in law["dims"]]
    tasks += [("functions", i, function["d"]) for i, function in enumerate(params["functions"])]
    return map_rows(_problem, params, cache, tasks)


def _problem(params: dict[str, Any], cache: Path, task: tuple[str, Any, int]) -> list[Row]:
    kind, which, d = task
    count, limit = params["replicates"], params["limit"]
    chosen = params["functions"][which] if kind == "functions" else {}
    problem = chosen.get("label", chosen["name"]) if chosen else which
    seed = key_seed(params["seed"], "plus", problem, d)
    if kind == "laws":
        searches = _of_law(params["laws"][which], d, seed, count)
    else:
        settings = {key: value for key, value in chosen.items() if key not in ("name", "label", "d")}
        searches = list(FUNCTIONS[chosen["name"]](d, seed, count, **settings))
    below = VALLEY if problem.startswith("gaussian") else math.inf
    found = {name: [gradients(once, search, below, limit) for search in searches] for name, once in METHODS.items()}
    rows: list[Row] = []
    for method, numbers in found.items():
        key = {"experiment": "plus search", "problem": problem, "d": d, "method": method, "evaluations": limit}
        for i, (number, reference) in enumerate(zip(numbers, found[REFERENCE], strict=True)):
            rows.append({**key, "replicate": i, "metric": "gradients", "value": number})
            if method != REFERENCE:
                ratio = float(f"{math.log(number / reference):.4g}")
                rows.append({**key, "replicate": i, "metric": "log_ratio", "value": ratio})
    return rows


def _of_law(settings: dict[str, Any], d: int, seed: int, count: int) -> list[Search]:
    functions, start = drawn(settings["law"], d, seed, count)
    factor = settings.get("factor", 1.0)

    def scaled(i: int) -> Callable[[Tensor], Tensor]:
        # The 1 keeps the value from vanishing, as a user's does not.
        offset = 0.0 if functions.optimal_value else 1.0
        return lambda X: factor * (functions[i](X) + offset)

    return [Search(scaled(i), start[i]) for i in range(count)]


def gradients(once: Run, search: Search, below: float, limit: int) -> int:
    """Return how many gradients a method takes to a point of small gradient and value, ``limit`` if it finds none."""
    objective = Watched(search, below)
    objective.start(budget=limit)
    with warnings.catch_warnings():  # of line searches that fail, which ends the search unsolved
        warnings.simplefilter("ignore")
        with suppress(BudgetExhausted):
            try:
                once(objective, search.start)
            except Solved:
                return objective.gradients
    return limit


def _virtual(objective: Objective, start: Tensor, **settings: bool) -> None:
    virtual_search(objective, start, tolerance=0.0, **settings)


def _scipy(method: str, options: dict[str, float], objective: Objective, start: Tensor) -> None:
    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = objective.value_and_gradient(torch.from_numpy(x[None]))
        return float(value), gradient[0].numpy()

    minimize(value_and_gradient, start.numpy(), jac=True, method=method, options=options)


def _torch(objective: Objective, start: Tensor) -> None:
    x = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x], line_search_fn="strong_wolfe",
        max_iter=NEVER, max_eval=NEVER, tolerance_grad=0.0, tolerance_change=0.0,
    )  # fmt: skip

    def closure() -> Tensor:
        value, gradient = objective.value_and_gradient(x.detach()[None])
        x.grad = gradient[0]
        return value[0]

    optimizer.step(closure)


METHODS: dict[str, Run] = {
    REFERENCE: partial(_scipy, "BFGS", {"gtol": 0, "maxiter": NEVER}),
    "virtual": _virtual,
    "virtual, no scales": partial(_virtual, scales=False),
    "virtual, no anchors": partial(_virtual, anchors=False),
    "scipy lbfgs": partial(_scipy, "L-BFGS-B", {"gtol": 0, "ftol": 0, "maxiter": NEVER, "maxfun": NEVER}),
    "torch lbfgs": _torch,
}
