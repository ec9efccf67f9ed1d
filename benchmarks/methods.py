"""What a run costs apart from its objective: GENNES-hop beside SciPy's own L-BFGS-B, and every method's seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from benchmarks.runner import Benchmark, Measurement, in_turns, timed
from common.objective import Objective
from common.optimizers import get_optimizer, methods
from papers.gennes.problems import fold_seeds
from papers.gennes.suites import suite_problem

DIM, BUDGET, SEED = 30, 10_000, 0
WARM_UP = 500  # evaluations before a single run is timed: what only the first call costs
ALLOWED = 2.0  # times the cost of repeated L-BFGS
REPETITIONS = 3

Run = Callable[..., None]

(_FOLD,) = fold_seeds(SEED, 1)
_PROBLEM = suite_problem("rotated", "rastrigin", DIM, [_FOLD]).fold(0)  # type: ignore[attr-defined]


class Recorded:
    """The problem, and all that it was asked."""

    def __init__(self) -> None:
        self.bounds = _PROBLEM.bounds
        self.queries: list[tuple[Tensor, bool]] = []  # points, whether gradients were wanted

    def __call__(self, X: Tensor) -> Tensor:
        self.queries.append((X.detach().clone(), X.requires_grad))
        return _PROBLEM(X)

    @property
    def evaluations(self) -> int:
        return sum(len(points) for points, _ in self.queries)

    def replay(self) -> None:
        """Ask the problem the same again, with nothing around it."""
        for points, gradient in self.queries:
            X = points.clone().requires_grad_(gradient)
            y = _PROBLEM(X)
            if gradient:
                torch.autograd.grad(y if len(y) == 1 else y.sum(), X)


def run(method: str, function: Callable[[Tensor], Tensor] = _PROBLEM, budget: int = BUDGET) -> None:
    """Run a method at its default settings."""
    get_optimizer(method)().minimize(Objective(function, _PROBLEM.bounds), budget, SEED)


def scipy_lbfgs(function: Callable[[Tensor], Tensor] = _PROBLEM) -> None:
    """Run SciPy's L-BFGS-B from uniform starts, as one would write it without this project."""
    lower, upper = _PROBLEM.bounds.numpy()
    rng = np.random.default_rng(SEED)
    spent = 0

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        X = torch.from_numpy(x[None]).requires_grad_()
        y = function(X)
        (gradient,) = torch.autograd.grad(y, X)
        return y.item(), gradient.numpy()[0]

    while spent < BUDGET:
        options = {"maxfun": BUDGET - spent}
        box = scipy.optimize.Bounds(lower, upper)
        found = scipy.optimize.minimize(
            value_and_gradient, rng.uniform(lower, upper), jac=True, method="L-BFGS-B", bounds=box, options=options
        )
        spent += found.nfev


def hop_cost() -> Measurement:
    """Compare what a run costs GENNES-hop and repeated L-BFGS, apart from the objective, in processor seconds."""
    runs: dict[str, Run] = {
        "gennes_hop": partial(run, "gennes_hop"), "lbfgs": partial(run, "lbfgs"), "SciPy's L-BFGS-B": scipy_lbfgs,
    }  # fmt: skip
    records = {name: Recorded() for name in runs}
    for name, once in runs.items():
        once(records[name])
    objectives = {f"{name} objective": record.replay for name, record in records.items()}
    seconds = in_turns({**runs, **objectives}, REPETITIONS, time.process_time)
    own = {
        name: [whole - part for whole, part in zip(seconds[name], seconds[f"{name} objective"], strict=True)]
        for name in runs
    }
    return Measurement(
        [ALLOWED * other / hop for other, hop in zip(own["lbfgs"], own["gennes_hop"], strict=True)],
        {f"{name} (s)": median(times) for name, times in own.items()},
    )


def seconds_per_run(method: str) -> Measurement:
    """Time one run of a method, in processor seconds; the ratio is the objective's part of it."""
    run(method, budget=WARM_UP)
    record = Recorded()
    whole, part = (timed(once, time.process_time) for once in (partial(run, method, record), record.replay))
    return Measurement([part / whole], {"run (s)": whole, "evaluations": record.evaluations})


BENCHMARKS = [
    Benchmark(
        "hop-cost",
        f"{ALLOWED:g} times the own cost of repeated L-BFGS / that of GENNES-hop, at 1e4 evaluations",
        1.0,
        hop_cost,
    ),
    *(
        Benchmark(
            f"run-{method}", "the objective's time / a run of 1e4 evaluations", None, partial(seconds_per_run, method)
        )
        for method in methods()
    ),
]
