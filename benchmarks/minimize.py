"""What counting, checking and recording cost: `minimize` against the bare loop of its optimizer."""

from __future__ import annotations

from statistics import median

import torch

from benchmarks.runner import Benchmark, Measurement, in_turns
from common.functions import make_function
from common.optimizers import minimize
from papers.gennes.optimizer import Gennes

BUDGET = 2_000  # short runs, many turns: what is compared is the cost of an iteration
REPETITIONS = 61


def overhead() -> Measurement:
    """Compare GENNES at its default settings on Rastrigin d = 10, with and without `minimize` around it."""
    function = make_function("rastrigin", 10)

    def bare() -> None:
        optimizer = Gennes().start(function.bounds, BUDGET, rng=0)
        while not optimizer.stop():
            X = optimizer.ask()
            query = X.clone().requires_grad_()
            y = function(query)
            (gradient,) = torch.autograd.grad(y.sum(), query)
            optimizer.tell(X, y, gradient)

    def front_door() -> None:
        minimize(function, function.bounds, method="gennes", budget=BUDGET, rng=0)

    seconds = in_turns({"bare": bare, "minimize": front_door}, REPETITIONS)
    return Measurement(
        [loop / whole for loop, whole in zip(seconds["bare"], seconds["minimize"], strict=True)],
        {f"{name} (s)": median(times) for name, times in seconds.items()},
    )


BENCHMARKS = [Benchmark("minimize", "bare ask/tell loop / minimize(), 10% dearer at most", 1 / 1.1, overhead)]
