"""What every test function states about itself, and the check that its stated minimum is the minimum in its box."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from botorch.test_functions.synthetic import SyntheticTestFunction
from torch import Tensor

Interval = tuple[float, float]

WHOLE_SPACE: Interval = (-math.inf, math.inf)


class OptimumError(ValueError):
    """A box, shift or rotation under which ``optimal_value`` would not be the minimum in the box."""


def require_optimum(
    name: str, bounds: Tensor, optimizers: Tensor, queried: Tensor, region: Tensor, legal: str = ""
) -> None:
    """Refuse a box in which a function's stated minimum would not be the minimum.

    Args:
        name: what is refused, for the message.
        bounds: the box, ``2 x d``.
        optimizers: ``(F) x k x d``; of each fold at least one must be in the box.
        queried: ``(F) x 2 x d``, a box around all points at which the formula is evaluated for points of ``bounds``.
        region: ``(F) x 2 x d``, where the formula is known to stay at or above its optimum.
        legal: what would be accepted, for the message.

    Raises:
        OptimumError: with the reason and the legal range.
    """
    slack = 1e-12 * (bounds[1] - bounds[0])  # rounding of the map from points to queries
    inside = ((optimizers >= bounds[0] - slack) & (optimizers <= bounds[1] + slack)).all(-1).any(-1)
    if not inside.all():
        lost = optimizers[~inside][0, :1]
        raise OptimumError(f"{name}: no optimum in the box {box_text(bounds)}, it is at {box_text(lost)}{legal}")
    low, high = queried[..., 0, :], queried[..., 1, :]
    covered = ((low >= region[..., 0, :] - slack) & (high <= region[..., 1, :] + slack)).all(-1)
    if not covered.all():
        folds = (*covered.shape, *region.shape[-2:])
        beyond, known = queried.expand(folds)[~covered][0], region.expand(folds)[~covered][0]
        raise OptimumError(
            f"{name}: needs values of the formula on {box_text(beyond)}, but only on {box_text(known)} is it known to "
            f"stay at or above its optimum{legal}"
        )


def box_text(rows: Tensor) -> str:
    """Return the columns of a ``2 x d`` box (or ``1 x d`` point) as text, one column for all where they are equal."""
    columns = rows[:, :1].T if (rows == rows[:, :1]).all() else rows.T
    return " x ".join(str([float(f"{value:.7g}") for value in column]) for column in columns.tolist())


class SyntheticFunction(SyntheticTestFunction):
    """Base of the test functions: BoTorch's class attributes and ``_evaluate_true``, and where the formula may be used.

    Beside ``dim``, ``_bounds``, ``_optimal_value`` and ``_optimizers`` a subclass states ``_region``, the
    interval of every coordinate on which the formula stays at or above ``optimal_value`` (None: known for the default
    box only). Larger boxes, shifts and rotations are checked against it.

    Args:
        bounds: ``d`` pairs ``(lower, upper)``, as in BoTorch.

    Raises:
        OptimumError: ``optimal_value`` is not the minimum in that box.

    Attributes:
        bounds: ``2 x d``, float64.
        optimal_value: the minimum in the box.
        optimizers: ``k x d``, float64, known points that have it; at least one of them is in the box.
        region: ``2 x d``, float64, where no value is below ``optimal_value``.
    """

    _region: ClassVar[Interval | None] = None
    bounds: Tensor
    optimizers: Tensor
    region: Tensor

    def __init__(self, bounds: list[tuple[float, float]] | None = None) -> None:
        self.continuous_inds = list(range(self.dim))
        region = self._bounds if self._region is None else [self._region] * self.dim
        if bounds is not None:
            self._bounds = bounds
        super().__init__()
        self._constant("region", torch.tensor(region, dtype=torch.float64).T)
        require_optimum(type(self).__name__, self.bounds, self.optimizers, self.bounds, self.region)

    def _constant(self, name: str, value: Tensor) -> None:
        """Keep a tensor that follows the module to its device."""
        self.register_buffer(name, value, persistent=False)

    def evaluate_true(self, X: Tensor) -> Tensor:
        """Return the values (``batch_shape``, dtype of ``X``) at ``X`` (``batch_shape x d``), in the box or not."""
        if X.shape[-1] != self.dim:
            raise ValueError(f"{type(self).__name__} has {self.dim} variables, got points of shape {tuple(X.shape)}")
        return self._evaluate_true(X)


class CubeFunction(SyntheticFunction):
    """A function of any dimension with the same interval and the same minimiser in every coordinate."""

    _interval: ClassVar[Interval]
    _minimizer: ClassVar[float] = 0.0
    _optimal_value = 0.0
    _min_dim: ClassVar[int] = 1

    def __init__(self, dim: int = 2, bounds: list[tuple[float, float]] | None = None) -> None:
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < self._min_dim:
            raise ValueError(f"{type(self).__name__} needs a whole number dim >= {self._min_dim}, not {dim!r}")
        self.dim = dim
        self._bounds = [self._interval] * dim
        self._optimizers = self._minimizers()
        super().__init__(bounds)

    def _minimizers(self) -> list[tuple[float, ...]]:
        return [(self._minimizer,) * self.dim]
