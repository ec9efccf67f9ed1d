"""The objective: a function in a box, every query counted, the best point kept whatever happens."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import OptimizeResult
from torch import Tensor


class StopRun(Exception):
    """Ends a run in good order from inside any library's loop; ``reason`` maps the stopping rule to its value."""

    status = 0

    def __init__(self, reason: dict[str, Any], message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BudgetExhausted(StopRun):
    """The evaluation budget is spent."""

    status = 1


class TargetReached(StopRun):
    """A value at or below the target was found."""

    status = 2


class CallbackStop(StopRun):
    """The callback asked to stop, by a truthy return value or ``StopIteration``."""

    status = 3


class ObjectiveError(RuntimeError):
    """The objective raised, or returned a wrong shape or a non-finite value; the message names the point.

    Attributes:
        point: the ``d`` coordinates at fault, or None when a whole batch was.
        result: what had been found until then, an ``OptimizeResult``; set by ``Optimizer.minimize``.
    """

    def __init__(self, message: str, point: np.ndarray | None = None) -> None:
        super().__init__(message)
        self.point = point
        self.result: OptimizeResult | None = None


class GradientUnavailable(ObjectiveError):
    """A gradient was asked for, but autograd can't see through the function and no ``jac`` was given."""


class Evaluation(NamedTuple):
    """Values ``n``, gradients ``n x d`` (or None) and, for a vector-valued function, outputs ``n x o`` (or None)."""

    y: Tensor
    grad: Tensor | None
    outputs: Tensor | None


def as_bounds(bounds: Any, dim: int | None = None) -> Tensor:
    """Return ``bounds`` as a ``2 x d`` float64 tensor: lower bounds, then upper bounds.

    Args:
        bounds: ``2 x d`` array or tensor, a ``scipy.optimize.Bounds``, or one pair ``(low, high)`` with ``dim``.
        dim: number of variables; must agree with ``bounds`` where both say it.

    Raises:
        ValueError: another shape, no real numbers, infinite or NaN entries, a lower bound that is not below its upper
            bound, or bounds that are infinitely far apart.
    """
    if dim is not None and not is_count(dim):
        raise ValueError(f"dim must be a positive integer, not {dim!r}")
    dim = None if dim is None else int(dim)
    try:
        if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
            bounds = np.broadcast_arrays(np.atleast_1d(bounds.lb), np.atleast_1d(bounds.ub))
        array = bounds.detach().cpu().numpy() if isinstance(bounds, Tensor) else np.asarray(bounds)
        if array.dtype.kind in "cMm":  # NumPy would make numbers of them
            raise TypeError(f"they are {array.dtype}")
        box = torch.from_numpy(array.astype(np.float64))
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ValueError(f"bounds must be numbers of shape 2 x d, not {bounds!r}") from error
    if box.shape == (2,):
        if dim is None:
            raise ValueError("bounds is one pair (low, high): say the number of variables with dim=")
        box = box[:, None].repeat(1, dim)
    if box.ndim != 2 or box.shape[0] != 2 or box.shape[1] == 0:
        hint = "; transpose them" if box.ndim == 2 and box.shape[1] == 2 else ""
        raise ValueError(f"bounds must have shape 2 x d (lower, upper), not {tuple(box.shape)}{hint}")
    if dim is not None and box.shape[1] != dim:
        raise ValueError(f"bounds have {box.shape[1]} variables, dim says {dim}")
    if not torch.isfinite(box).all():
        raise ValueError(f"bounds must be finite: a global search needs a box; got {box.tolist()}")
    if not (box[0] < box[1]).all():
        worst = int((box[1] - box[0]).argmin())
        raise ValueError(f"lower bound {box[0, worst]:g} is not below upper bound {box[1, worst]:g} (variable {worst})")
    if not torch.isfinite(box[1] - box[0]).all():
        raise ValueError(f"bounds must be a finite distance apart; got {box.tolist()}")
    return box


def is_count(value: Any) -> bool:
    """Say whether a value is a whole number above zero; an integral float is one."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return bool(1 <= value < math.inf and value % 1 == 0)


def as_budget(budget: Any) -> int:
    """Return ``budget`` as a positive integer.

    Raises:
        ValueError: not a whole number above zero.
    """
    if not is_count(budget):
        raise ValueError(f"budget must be a positive whole number of evaluations, not {budget!r}")
    return int(budget)


class Objective:
    """A function in a box whose queries are counted.

    One point queried for its value costs 1; for value and gradient together ``gradient_cost``. A batch that the
    budget can't pay in full is cut exactly at the budget: the affordable points are evaluated and recorded, then
    ``BudgetExhausted`` is raised, also in the middle of another library's line search.

    Args:
        fun: maps an ``n x d`` tensor to ``n`` values, or with ``scalarize`` to ``n x o`` outputs. With
            ``vectorized=False`` it maps one NumPy vector of length ``d`` to a number (or ``o`` outputs), as in SciPy.
        bounds: see `as_bounds`.
        dim: number of variables, where ``bounds`` is one pair.
        jac: gradient for functions that autograd can't see: maps what ``fun`` maps to ``n x d`` (``d``), or True when
            ``fun`` returns ``(value, gradient)``. Not with ``scalarize``.
        vectorized: whether ``fun`` takes a whole batch.
        scalarize: maps ``n x o`` outputs to ``n`` values; optimizers are told the outputs as well.
        optimal_value: the known minimum, if any; ``optimizers``: the ``k x d`` points that have it.
        gradient_cost: evaluations that one (value, gradient) query costs, the same for every first-order method.
        dtype: precision in which ``fun`` gets its points.

    Raises:
        ValueError, TypeError: bad arguments, at once.
        ObjectiveError: from `evaluate`, when the function fails.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        bounds: Any,
        *,
        dim: int | None = None,
        jac: Callable[..., Any] | bool | None = None,
        vectorized: bool = True,
        scalarize: Callable[[Tensor], Tensor] | None = None,
        optimal_value: float | None = None,
        optimizers: Tensor | None = None,
        gradient_cost: int = 1,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        if not callable(fun):
            raise TypeError(f"fun must be callable, not {type(fun).__name__}")
        if jac is not None and not isinstance(jac, bool) and not callable(jac):
            raise TypeError(f"jac must be callable, True or None, not {type(jac).__name__}")
        if jac and scalarize is not None:
            raise ValueError("jac= gives gradients of values; with scalarize= the gradient must come from autograd")
        if scalarize is not None and not callable(scalarize):
            raise TypeError(f"scalarize must be callable or None, not {type(scalarize).__name__}")
        if not is_count(gradient_cost):
            raise ValueError(f"gradient_cost must be a positive integer, not {gradient_cost!r}")
        self.fun, self.jac, self.vectorized, self.scalarize = fun, jac or None, vectorized, scalarize
        self.bounds = as_bounds(bounds, dim)
        self.dim = self.bounds.shape[1]
        self.optimal_value, self.optimizers = optimal_value, optimizers
        self.gradient_cost, self.dtype = int(gradient_cost), dtype
        self._lower, self._upper = self.bounds.numpy()[:, None]  # 1 x d: a point's comparison needs no broadcasting
        self.start()

    def start(
        self,
        budget: int | None = None,
        target: float | None = None,
        callback: Callable[[OptimizeResult], Any] | None = None,
    ) -> None:
        """Begin a new run: counters at zero, nothing found yet, ``budget`` evaluations to spend (None: no limit).

        Args:
            target: stop at the first value at or below it.
            callback: called after every batch with the result so far (without ``history``); a truthy return or
                ``StopIteration`` stops.
        """
        self.budget = None if budget is None else as_budget(budget)
        self.target, self.callback = target, callback
        self.evaluations = 0  # cost so far, in units of one value
        self.points = 0  # points queried
        self.gradients = 0  # of these, with gradient
        self.batches = 0
        self.best_x: np.ndarray | None = None
        self.best_value = math.inf
        self._history = array("d")  # evaluations, best value, evaluations, best value, ...: one pair per improvement

    @property
    def remaining(self) -> float:
        """Evaluations left (inf without a budget)."""
        return math.inf if self.budget is None else self.budget - self.evaluations

    @property
    def history(self) -> np.ndarray:
        """Improvements so far, ``k x 2``: evaluations spent, best value from then on."""
        return np.array(self._history).reshape(-1, 2)

    def __call__(self, X: Tensor) -> Tensor:
        """Return the ``n`` values at ``X`` (``n x d``), counted."""
        return self.evaluate(X).y

    def value_and_gradient(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``n`` values and ``n x d`` gradients at ``X`` (``n x d``), counted."""
        evaluation = self.evaluate(X, gradient=True)
        assert evaluation.grad is not None
        return evaluation.y, evaluation.grad

    def evaluate(self, X: Tensor, gradient: bool = False) -> Evaluation:
        """Query the points ``X`` (``n x d``, inside the box) for values, and for gradients if asked; both in float64.

        Raises:
            ValueError: ``X`` has another shape or leaves the box (a fault of the optimizer, not of the function).
            ObjectiveError: the function failed; the finite points of the batch are kept.
            BudgetExhausted, TargetReached, CallbackStop: the run is over; what was evaluated is kept.
        """
        points = self._checked(X)
        cost = self.gradient_cost if gradient else 1
        affordable = len(points) if self.budget is None else min(len(points), (self.budget - self.evaluations) // cost)
        parts = []
        step = max(affordable, 1) if self.vectorized else 1
        for first in range(0, affordable, step):  # one at a time where fun is, so that a failure loses nothing
            parts.append(self._query(points[first : first + step], gradient, cost))
        if affordable < len(points):
            raise BudgetExhausted({"budget": self.budget}, f"the budget of {self.budget} evaluations is spent")
        self.batches += 1
        self._after_batch()
        if len(parts) == 1:
            return parts[0]
        y, grad, outputs = zip(*parts, strict=True)
        return Evaluation(torch.cat(y), _joined(grad), _joined(outputs))

    def result(self, status: int, message: str, history: bool = True) -> OptimizeResult:
        """Return what the run has found so far, as SciPy's result, with our ``history`` (``k x 2``) if wanted."""
        found = OptimizeResult(
            x=None if self.best_x is None else self.best_x.copy(),
            fun=self.best_value,
            nfev=self.evaluations,
            njev=self.gradients,
            nit=self.batches,
            success=status in (0, 1, 2) and self.best_x is not None,
            status=status,
            message=message,
        )
        if history:
            found.history = self.history
        return found

    def _checked(self, X: Tensor) -> np.ndarray:
        points = _float64(_detached(torch.as_tensor(X))).numpy()
        if points.ndim != 2 or points.shape[1] != self.dim:
            raise ValueError(f"points must have shape n x {self.dim}, not {tuple(points.shape)}")
        inside = (points >= self._lower) & (points <= self._upper)  # false for NaN as well
        if np.count_nonzero(inside) < inside.size:  # a quarter of the time of all()
            raise ValueError("a query leaves the box (or is NaN): optimizers must keep to the bounds")
        return points

    def _query(self, points: np.ndarray, gradient: bool, cost: int) -> Evaluation:
        before = self.evaluations
        self.evaluations += cost * len(points)  # paid when asked, so a failing call counts too
        self.points += len(points)
        self.gradients += len(points) if gradient else 0
        try:
            evaluation = self._call_batch(points, gradient) if self.vectorized else self._call_point(points, gradient)
        except (ObjectiveError, StopRun):
            raise
        except Exception as error:
            point = points[0] if len(points) == 1 else None
            at = f"x = {_text(points[0])}" if len(points) == 1 else f"a batch of {len(points)} points"
            raise ObjectiveError(f"the objective raised {type(error).__name__} at {at}: {error}", point) from error
        self._record(points, evaluation.y, before, cost)
        _require_finite(points, evaluation.y, "value")
        if evaluation.grad is not None:
            _require_finite(points, evaluation.grad, "gradient")
        return evaluation

    def _call_batch(self, points: np.ndarray, gradient: bool) -> Evaluation:
        """Evaluate a batch by the tensor function, without counting."""
        X = torch.from_numpy(points.copy())  # a copy: the function may write into its argument
        if self.dtype is not torch.float64:
            X = X.to(self.dtype)
        autograd = gradient and self.jac is None
        if autograd:
            X.requires_grad_()
        outputs, grad = None, None
        with torch.set_grad_enabled(autograd):
            raw = self.fun(X)
            if self.jac is True:
                raw, grad = raw
            elif gradient and self.jac is not None:
                grad = self.jac(X)
            if self.scalarize is not None:
                outputs = _shaped(raw, points, "outputs", (None,))
                raw = self.scalarize(outputs)
            y = _shaped(raw, points, "values", ())
            if autograd:
                if not y.requires_grad:
                    raise GradientUnavailable("autograd sees no gradient of the objective, and no jac= was given")
                (grad,) = torch.autograd.grad(y if len(y) == 1 else y.sum(), X)
        if gradient:
            grad = _detached(_shaped(grad, points, "gradients", (self.dim,)))
        return Evaluation(_detached(y), grad if gradient else None, None if outputs is None else _detached(outputs))

    def _call_point(self, points: np.ndarray, gradient: bool) -> Evaluation:
        """Evaluate a single point by the NumPy function, without counting."""
        if gradient and self.jac is None:
            raise GradientUnavailable("a function with vectorized=False needs jac= for its gradient")
        raw, grad, outputs = self.fun(points[0].copy()), None, None
        if self.jac is True:
            raw, grad = raw
        elif gradient:
            grad = self.jac(points[0].copy())  # type: ignore[misc]
        if self.scalarize is not None:
            outputs = _shaped([raw], points, "outputs", (None,))
            y = _shaped(self.scalarize(outputs), points, "values", ())
        else:
            y = _shaped(np.reshape(raw, -1), points, "values", ())  # SciPy lets a function return an array of one
        return Evaluation(y, _shaped([grad], points, "gradients", (self.dim,)) if gradient else None, outputs)

    def _record(self, points: np.ndarray, values: Tensor, before: int, cost: int) -> None:
        if len(points) > 1 and not (values.numpy() < self.best_value).any():
            return
        for i, value in enumerate(values.tolist()):
            if -math.inf < value < self.best_value:
                self.best_value, self.best_x = value, points[i].copy()
                self._history.extend((before + cost * (i + 1), value))

    def _after_batch(self) -> None:
        if self.target is not None and self.best_value <= self.target:
            raise TargetReached({"target": self.target}, f"the target {self.target:g} is reached")
        if self.callback is None:
            return
        try:
            progress = self.result(0, "running", history=False)  # whose copy would cost more with every call
            stop = self.callback(progress)
        except StopIteration:
            stop = True
        if stop:
            raise CallbackStop({"callback": True}, "stopped by the callback")


def _shaped(raw: Any, points: np.ndarray, what: str, row: tuple[int | None, ...]) -> Tensor:
    """Return ``raw`` as a float64 tensor with one row of shape ``row`` (None: any) for each of the points."""
    array = raw if isinstance(raw, Tensor) else np.asarray(raw)
    if array.dtype.is_complex if isinstance(array, Tensor) else array.dtype.kind in "cMm":
        raise ObjectiveError(f"the objective must give {what} that are real numbers, not {array.dtype}", points[0])
    tensor = array if isinstance(array, Tensor) else torch.as_tensor(array.astype(float, copy=False))
    want = (len(points), *row)
    if tensor.shape != want and (
        tensor.ndim != len(want) or any(w not in (None, got) for w, got in zip(want, tensor.shape, strict=True))
    ):
        shape = " x ".join("o" if size is None else str(size) for size in want)
        raise ObjectiveError(
            f"the objective must give {what} of shape {shape} for {len(points)} points, not {tuple(tensor.shape)} "
            f"(first point x = {_text(points[0])})",
            points[0],
        )
    return _float64(tensor)


def _float64(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype is torch.float64 and tensor.is_cpu else tensor.to("cpu", torch.float64)


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.requires_grad else tensor


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None


def _require_finite(points: np.ndarray, numbers: Tensor, what: str) -> None:
    array = numbers.numpy()
    if math.isfinite(np.vdot(array, array)):  # the quick way to know that all are; it may overflow if they are
        return
    finite = np.isfinite(array)
    if not finite.all():
        point = points[finite.reshape(len(points), -1).all(axis=1).argmin()]
        raise ObjectiveError(f"the objective has a non-finite {what} at x = {_text(point)}", point)


def _text(point: np.ndarray) -> str:
    return np.array2string(point, precision=6, threshold=8, edgeitems=3)
