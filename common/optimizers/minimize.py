"""The front door: one call for every method."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import numpy as np
from scipy.optimize import OptimizeResult
from torch import Tensor

from common.objective import GradientUnavailable, Objective, ObjectiveError, as_budget
from common.optimizers.base import Optimizer
from common.optimizers.registry import get_optimizer, gradient_free_methods
from common.training.keys import RandomState, as_seed

MOST = 10**8  # for the settings that count something: beyond any memory and patience
METHOD_FAILED = -2
"""The status of the result of a `MethodError`."""

Callback = Callable[[OptimizeResult], Any]


class MethodError(RuntimeError):
    """The method failed, not the function: by a setting that it can't work with, or by a fault of its own.

    Attributes:
        result: what had been found until then, an ``OptimizeResult``.
    """

    def __init__(self, message: str, result: OptimizeResult) -> None:
        super().__init__(message)
        self.result = result


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
        MethodError: the method failed after its first query; ``error.result`` holds what had been found.
    """
    if isinstance(fun, Objective):
        objective = fun
    else:
        objective = Objective(
            fun, bounds, dim=dim, jac=jac, vectorized=vectorized, scalarize=scalarize, gradient_cost=gradient_cost
        )
    optimizer, name = _as_optimizer(method, options)
    budget, target, seed = as_budget(budget), _as_target(target), as_seed(rng)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, not {type(callback).__name__}")
    watch = _Watch(callback) if callback is not None else None
    objective.start()
    try:
        with _shown(name, budget, watch) if progress and sys.stdout.isatty() else nullcontext(watch) as called:
            result = optimizer.minimize(objective, budget, seed, target=target, callback=called)
    except GradientUnavailable as error:
        without = ", ".join(gradient_free_methods())
        error.args = (f"method {name!r} needs gradients: {error}. Methods that work without: {without}",)
        raise
    except ObjectiveError:
        raise
    except Exception as error:
        if watch is not None and error is watch.raised:
            raise
        if not objective.points:
            _refuse(error, name, options)
        message = f"method {name!r} failed: {type(error).__name__}: {error}"
        raise MethodError(message, objective.result(METHOD_FAILED, message)) from error
    if not objective.points and result.success:
        raise ValueError(f"method {name!r}{_text(options)} ended before its first query: {result.message}")
    return result


class _Watch:
    """A callback that remembers what it raised, which is no fault of the method."""

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self.raised: Exception | None = None

    def __call__(self, result: OptimizeResult) -> Any:
        try:
            return self.callback(result)
        except Exception as error:
            self.raised = error
            raise


def _as_optimizer(method: Any, options: dict[str, Any]) -> tuple[Optimizer, str]:
    if isinstance(method, str):
        cls = get_optimizer(method)
        parameters = inspect.signature(cls).parameters
        for name, value in options.items():
            is_count = name in parameters and "int" in str(parameters[name].annotation).split(" | ")
            if is_count and isinstance(value, int | float) and value > MOST:
                raise ValueError(f"{name} must be at most {MOST:g}, not {value!r}")
        try:
            return cls(**options), method
        except Exception as error:
            _refuse(error, method, options)
    if not isinstance(method, Optimizer):
        raise TypeError(f"method must be a name or an Optimizer, not {method!r}")
    name = type(method).__name__
    if options:
        raise TypeError(f"{name} has its settings already; unexpected: {', '.join(options)}")
    return method, name


def _refuse(error: Exception, method: str, options: dict[str, Any]) -> NoReturn:
    """Raise what a method raised before its first query, as a ``ValueError`` or ``TypeError`` that names settings."""
    if isinstance(error, ValueError | TypeError) and all(name in str(error) for name in options):
        raise error
    kind = TypeError if isinstance(error, TypeError) else ValueError
    raise kind(f"method {method!r}{_text(options)} can't run: {error}") from error


def _text(options: dict[str, Any]) -> str:
    return f" with {', '.join(f'{name}={value!r}'[:80] for name, value in options.items())}" if options else ""


def _as_target(target: Any) -> float | None:
    if target is None:
        return None
    try:
        number = math.nan if isinstance(target, str | bytes) or np.iscomplexobj(target) else float(target)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if math.isnan(number):
        raise ValueError(f"target must be a number, not {target!r}")
    return number


def _shown(name: str, budget: int, callback: Callback | None) -> AbstractContextManager[Callback]:
    from common.optimizers.progress import progress_bar

    return progress_bar(name, budget, callback)
