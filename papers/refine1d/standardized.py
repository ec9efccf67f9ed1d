"""Samples in an order and in units of their own: those in which the learned posterior reads them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

_ROUNDING = 1e-9  # by which x may miss [0, 1]


class Standardized(NamedTuple):
    """Samples in ascending order of x, then y, of which y has mean 0 and deviation 1; float64.

    Attributes:
        x, y: ``B x n``.
        mean, deviation: ``B x 1``, of y as it was.
    """

    x: Tensor
    y: Tensor
    mean: Tensor
    deviation: Tensor


def standardized(x: Tensor, y: Tensor) -> Standardized:
    """Sort and standardize samples ``y`` at ``x`` in [0, 1], both ``B x n``: their order and units are gone for good.

    Raises:
        ValueError: other shapes, fewer than two samples, numbers that are not finite, x outside of [0, 1], or a row
            whose y are all equal.
    """
    if x.ndim != 2 or x.shape != y.shape or x.shape[1] < 2:
        raise ValueError(f"x and y must be B x n with n >= 2, not {[*x.shape]} and {[*y.shape]}")
    x, y = x.detach().double(), y.detach().double()
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("samples must be finite")
    if x.min() < -_ROUNDING or x.max() > 1 + _ROUNDING:
        raise ValueError("x must be in [0, 1]")
    x = x.clamp(0, 1)
    y, by_y = y.sort(1)
    x, by_x = x.gather(1, by_y).sort(dim=1, stable=True)
    y = y.gather(1, by_x)
    mean, deviation = y.mean(1, keepdim=True), y.std(1, keepdim=True, correction=0)
    if not (y.amax(1) > y.amin(1)).all():
        raise ValueError("the y of a row must not all be equal")
    return Standardized(x, (y - mean) / deviation, mean, deviation)
