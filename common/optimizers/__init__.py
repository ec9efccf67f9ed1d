"""Global optimizers under one contract, reached by name through `minimize`."""

from common.objective import GradientUnavailable, Objective, ObjectiveError
from common.optimizers.base import AskTellOptimizer, Optimizer
from common.optimizers.history import history_frame
from common.optimizers.minimize import MethodError, minimize
from common.optimizers.registry import Method, get_optimizer, methods

__all__ = [
    "AskTellOptimizer",
    "GradientUnavailable",
    "Method",
    "MethodError",
    "Objective",
    "ObjectiveError",
    "Optimizer",
    "get_optimizer",
    "history_frame",
    "methods",
    "minimize",
]
