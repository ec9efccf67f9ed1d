"""The method for who does not want to choose: a portfolio of what the measured tables say is best."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from common.objective import BudgetExhausted, GradientUnavailable, Objective
from common.optimizers.base import Optimizer
from common.optimizers.registry import get_optimizer

EXPLORATION_PAYS = 5_000  # evaluations; see the regret curves of Table 1


class Auto(Optimizer):
    """Choose by gradient and budget: repeated L-BFGS; from some thousand evaluations on, GENNES for the second half.

    In Table 1 as we measure it, repeated L-BFGS leads at 1e2 and 1e3 evaluations on most functions, and at 1e4 the
    generator leads on the rugged ones; neither is ahead everywhere, so a large budget is shared. Without gradients,
    CMA-ES. Where only a query can tell whether there is a gradient, the first one, in the middle of the box, does; it
    counts like any other.

    Attributes:
        chosen: the methods' names, in order, once a run has begun.
    """

    chosen: tuple[str, ...] = ()

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        budget = objective.budget
        if not _has_gradient(objective):
            self.chosen = ("cmaes",)
        elif budget is None or budget < EXPLORATION_PAYS:
            self.chosen = ("lbfgs",)
        else:
            self.chosen = ("lbfgs", "gennes")
            objective.budget = budget // 2
            try:
                with suppress(BudgetExhausted):  # of its half
                    get_optimizer("lbfgs")()._run(objective, seed)
            finally:
                objective.budget = budget
        return get_optimizer(self.chosen[-1])()._run(objective, seed)


def _has_gradient(objective: Objective) -> bool:
    if objective.jac is not None or not objective.vectorized:
        return objective.jac is not None
    try:
        objective.value_and_gradient(objective.bounds.mean(0, keepdim=True))
    except GradientUnavailable:
        return False
    return True
