"""The front door: one call for every method."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from scipy.optimize import OptimizeResult
from torch import Tensor

from common.objective import GradientUnavailable, Objective
from common.optimizers.base import Optimizer
from common.optimizers.registry import get_optimizer, gradient_free_methods
from common.training.keys import RandomState, as_seed


def minimize(
    fun: Callable[..., Any] | Objective,
    bounds: Any = None,
    method: str | Optimizer = "auto",
    budget: int = 10_000,
    rng: RandomState = None,
    *,
    dim: int | None = None,
    jac: Callable[..., Any] | bool | None = None,
    vectorized: bool = True,
    scalarize: Callable[[Tensor], Tensor] | None = None,
    gradient_cost: int = 1,
    target: float | None = None,
    callback: Callable[[OptimizeResult], Any] | None = None,
    progress: bool = False,
    **options: Any,
) -> OptimizeResult:
    """Search the box for the global minimum of ``fun`` with at most ``budget`` evaluations.

    >>> result = minimize(lambda X: ((X - 0.5) ** 2).sum(1), [[-1, -1], [1, 1]], method="lbfgs", budget=50, rng=0)
    >>> [round(float(x), 4) for x in result.x]
    [0.5, 0.5]

    Args:
        fun: maps an ``n x d`` tensor to ``n`` values, or an `Objective` (then it holds bounds, jac and the rest).
        bounds: ``2 x d``, lower bounds then upper; or ``(low, high)`` with ``dim``; or ``scipy.optimize.Bounds``.
        method: a name (`common.optimizers.methods` lists them), an optimizer of yours, or "auto".
        budget: evaluations to spend; a value with its gradient costs ``gradient_cost``.
        rng: integer seed, NumPy or torch Generator; global random state is neither read nor changed.
        jac, vectorized, scalarize, gradient_cost: see `Objective`.
        target: stop at the first value at or below it.
        callback: called with the result so far after every batch; a truthy return or ``StopIteration`` stops.
        progress: show a progress bar, if the output is a terminal.
        options: settings of the method, the arguments of its class.

    Returns:
        ``scipy.optimize.OptimizeResult``, see `Optimizer.minimize`.

    Raises:
        ValueError, TypeError: a bad argument, before the first query.
        GradientUnavailable: the method needs gradients and there are none; the message names methods without.
        ObjectiveError: the function failed; ``error.result`` holds what had been found.
    """
    if isinstance(fun, Objective):
        objective = fun
    else:
        objective = Objective(
            fun, bounds, dim=dim, jac=jac, vectorized=vectorized, scalarize=scalarize, gradient_cost=gradient_cost
        )
    if isinstance(method, str):
        optimizer, name = get_optimizer(method)(**options), method
    else:
        optimizer, name = method, type(method).__name__
        if options:
            raise TypeError(f"{name} has its settings already; unexpected: {', '.join(options)}")
    try:
        if not (progress and sys.stdout.isatty()):
            return optimizer.minimize(objective, budget, as_seed(rng), target=target, callback=callback)
        from common.optimizers.progress import progress_bar

        with progress_bar(name, budget, callback) as advance:
            return optimizer.minimize(objective, budget, as_seed(rng), target=target, callback=advance)
    except GradientUnavailable as error:
        without = ", ".join(gradient_free_methods())
        error.args = (f"method {name!r} needs gradients: {error}. Methods that work without: {without}",)
        raise
