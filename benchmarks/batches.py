"""Many runs at once: folds in lockstep, and the members of a round of smoothing as one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

import numpy as np

from benchmarks.runner import Benchmark, Measurement, in_turns
from common.lockstep import minimize_folds
from common.objective import Objective
from common.optimizers.descent import UnitBox
from common.optimizers.lbfgs import MultistartLBFGS
from papers.gennes.problems import fold_seeds
from papers.gennes.sigma import smooth
from papers.gennes.smoothing import Smoothing
from papers.gennes.suites import suite_problem

DIM, RUNS = 30, 20
BUDGET = 100  # evaluations of a fold: the cost of a round does not change during the run
POPULATION, ITERATIONS = 12, 40  # of smoothing, as in a round of 2000 evaluations
REPETITIONS = 9


def lockstep() -> Measurement:
    """Compare repeated L-BFGS on all folds in lockstep with one fold after the other."""
    seeds = fold_seeds(0, RUNS)
    function = suite_problem("rotated", "rastrigin", DIM, seeds)
    folds = [function.fold(k) for k in range(RUNS)]  # type: ignore[attr-defined]

    def together() -> list[float]:
        return [result.fun for result in minimize_folds(MultistartLBFGS, function, BUDGET, seeds)]

    def alone() -> list[float]:
        objectives = [Objective(fold, fold.bounds) for fold in folds]
        return [
            MultistartLBFGS().minimize(objective, BUDGET, seed).fun
            for objective, seed in zip(objectives, seeds, strict=True)
        ]

    return _speedup({"one by one": alone, "lockstep": together})


def members() -> Measurement:
    """Compare the smoothing of all members as one batch with one member after the other."""
    seeds = fold_seeds(0, RUNS)
    function = suite_problem("rotated", "rastrigin", DIM, seeds[:1]).fold(0)  # type: ignore[attr-defined]

    def smoothed(*parts: list[int]) -> list[float]:
        box = UnitBox(Objective(function, function.bounds))
        return [min(smooth(box, Smoothing(DIM, part, POPULATION, ITERATIONS)).value for part in parts)]

    return _speedup({"one by one": lambda: smoothed(*[[seed] for seed in seeds]), "batch": lambda: smoothed(seeds)})


def _speedup(contenders: Mapping[str, Callable[[], list[float]]]) -> Measurement:
    """Time two contenders that do the same work; the first is the slow one."""
    slow, fast = contenders
    np.testing.assert_allclose(contenders[fast](), contenders[slow](), rtol=1e-2)
    seconds = in_turns(contenders, REPETITIONS)
    return Measurement(
        [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)],
        {f"{name} (s)": median(times) for name, times in seconds.items()},
    )


BENCHMARKS = [
    Benchmark("lockstep", f"{RUNS} folds of repeated L-BFGS one by one / in lockstep", 1.5, lockstep),
    Benchmark("members", f"{RUNS} members of a smoothing round one by one / as one batch", 3.0, members),
]
