"""The method for who does not want to choose: what the measured tables say is best."""

from __future__ import annotations

from typing import Any

from common.objective import GradientUnavailable, Objective
from common.optimizers.base import Optimizer
from common.optimizers.registry import get_optimizer

WITH_GRADIENT = "gennes_hop"
WITHOUT = "bipop"


class Auto(Optimizer):
    """GENNES-hop where there are gradients, BIPOP-CMA-ES where there are none.

    The first solves most folds of all methods in the tables beyond GENNES's paper, at 1e3, 1e4 and 1e5 evaluations; the
    second most of those without gradients. Where only a query can tell whether there is a gradient, the first one, in
    the middle of the box, does; it counts like any other.

    Attributes:
        chosen: the method's name, once a run has begun.
    """

    chosen: str = ""

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        self.chosen = WITH_GRADIENT if _has_gradient(objective) else WITHOUT
        return get_optimizer(self.chosen)()._run(objective, seed)


def _has_gradient(objective: Objective) -> bool:
    if objective.jac is not None or not objective.vectorized:
        return objective.jac is not None
    try:
        objective.value_and_gradient(objective.bounds.mean(0, keepdim=True))
    except GradientUnavailable:
        return False
    return True
