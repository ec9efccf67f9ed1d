"""Global optimizers under one contract, reached by name through `minimize`."""

from common.objective import GradientUnavailable, Objective, ObjectiveError
from common.optimizers.base import AskTellOptimizer, Optimizer
from common.optimizers.minimize import minimize
from common.optimizers.registry import get_optimizer, methods

__all__ = [
    "AskTellOptimizer",
    "GradientUnavailable",
    "Objective",
    "ObjectiveError",
    "Optimizer",
    "get_optimizer",
    "methods",
    "minimize",
]
