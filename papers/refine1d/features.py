"""What the network reads of the samples: x, y, and the cubic spline through them, sections 3.1 and 3.9.

The spline is the not-a-knot interpolant, continued outside the samples. The paper does not say so, but this one has
exactly n B-spline coefficients, as its inputs need, and reproduces its baseline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import solve_banded
from torch import Tensor

from common.functions.splines import cubic_minimizer, grid_argmin

SCALINGS = ("asinh", "raw")
SLOPE_SCALE = 50.0  # about the median of |y'| on the paper's functions
GAP = 2e-6  # samples nearer than this are moved apart


@dataclass(frozen=True, eq=False)
class NotAKnotSplines:
    """A batch of cubic splines through their samples, all float64.

    Attributes:
        x: ``B x n``, ascending without ties.
        y: ``B x n``.
        slopes: ``B x n``, the derivatives at ``x``.
    """

    x: Tensor
    y: Tensor
    slopes: Tensor

    @classmethod
    def fit(cls, x: Tensor, y: Tensor) -> NotAKnotSplines:
        """Interpolate ``y`` (``B x n``) at ``x`` (``B x n``), as SciPy's ``CubicSpline`` does row by row.

        Raises:
            ValueError: fewer than four samples, values that are not finite, or x not ascending.
        """
        x, y = _checked(x, y)
        h = x.diff(dim=1)
        if not (h > 0).all():
            raise ValueError("x must ascend without ties")
        return cls(x, y, _not_a_knot_slopes(h, y.diff(dim=1) / h))

    def __call__(self, at: Tensor) -> Tensor:
        """Return the values (``B x m``) at ``at`` (``B x m``), outside the samples those of the end pieces."""
        at = at.double().contiguous()
        piece = (torch.searchsorted(self.x, at, right=True) - 1).clamp(0, self.x.shape[1] - 2)
        _, curvature, third = self._pieces()
        u = at - self.x.gather(1, piece)
        bend = curvature.gather(1, piece) / 2 + u * third.gather(1, piece) / 6
        return self.y.gather(1, piece) + u * (self.slopes.gather(1, piece) + u * bend)

    def argmin(self, cells: int = 2000) -> Tensor:
        """Return the argmin over {0, 1/cells, ..., 1}, ``B``: the spline baseline, and the network's start x_0."""
        slope, curvature, third = self._pieces()
        left, right = self.x[:, :-1].clone(), self.x[:, 1:].clone()
        minima = left + cubic_minimizer(slope, curvature, third)
        left[:, 0], right[:, -1] = 0.0, 1.0
        return grid_argmin(self, torch.minimum(torch.maximum(minima, left), right).clamp(0, 1), cells)

    def coefficients(self) -> Tensor:
        """Return the B-spline coefficients, ``B x n``, for knots at all samples but the second and the last but one.

        Coefficient i is the polar form, at knots i + 1, i + 2 and i + 3, of any cubic piece between knots i and i + 4.
        """
        n = self.x.shape[1]
        sample = torch.tensor([0] * 4 + list(range(2, n - 2)) + [n - 1] * 4)  # of every knot
        i = torch.arange(n)
        piece = sample[i + 2].clamp_max(n - 2)
        u1, u2, u3 = (self.x[:, sample[i + k]] - self.x[:, piece] for k in (1, 2, 3))
        slope, curvature, third = (derivative[:, piece] for derivative in self._pieces())
        linear = slope * (u1 + u2 + u3) / 3
        return self.y[:, piece] + linear + curvature * (u1 * u2 + u1 * u3 + u2 * u3) / 6 + third * (u1 * u2 * u3) / 6

    def _pieces(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three derivatives at the left end of every piece, each ``B x (n - 1)``."""
        h = self.x.diff(dim=1)
        secant = self.y.diff(dim=1) / h
        left, right = self.slopes[:, :-1], self.slopes[:, 1:]
        return left, (6 * secant - 4 * left - 2 * right) / h, 6 * (left + right - 2 * secant) / h.square()


@dataclass(frozen=True, eq=False)
class Features:
    """The network's inputs, float64: ``inputs`` is ``B x n x 4`` (x, y, y', c), ``start`` (``B``) is x_0."""

    inputs: Tensor
    start: Tensor


def spline_features(x: Tensor, y: Tensor, scaling: str = "asinh", cells: int = 2000) -> Features:
    """Return what the network reads of samples ``y`` at ``x`` in [0, 1], both ``B x n``, in any order.

    In rows with samples closer than ``GAP``, repeated ones among them, all x are moved by at most n times it, so that
    the spline exists; other rows are as they are.

    Args:
        scaling: ``asinh`` brings y to [-1, 1], so that units and offset of y don't matter, and the slopes and
            coefficients of that to asinh(y' / 50) and asinh(c); ``raw`` leaves all as it is.
        cells: of the grid on which the minimum of the spline is searched.

    Raises:
        ValueError: an unknown scaling, fewer than four samples, or one that is not finite.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"scalings are {', '.join(SCALINGS)}, not {scaling!r}")
    x, y = _checked(x, y)
    x, order = x.sort(dim=1, stable=True)
    y = y.gather(1, order)
    if scaling == "asinh":
        low, high = y.amin(1, keepdim=True), y.amax(1, keepdim=True)
        half = (high - low) / 2
        y = (y - (low + high) / 2) / torch.where(half > 0, half, 1.0)
    spline = NotAKnotSplines.fit(_separated(x), y)
    slopes, coefficients = spline.slopes, spline.coefficients()
    if scaling == "asinh":
        slopes, coefficients = (slopes / SLOPE_SCALE).asinh(), coefficients.asinh()
    return Features(torch.stack([spline.x, y, slopes, coefficients], dim=-1), spline.argmin(cells))


def _checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return finite samples in float64 on the CPU."""
    if x.ndim != 2 or x.shape != y.shape or x.shape[1] < 4:
        raise ValueError(f"x and y must be B x n with n >= 4, not {[*x.shape]} and {[*y.shape]}")
    x, y = x.detach().double().cpu(), y.detach().double().cpu()
    finite = (x.isfinite() & y.isfinite()).all(1)
    if not finite.all():
        raise ValueError(f"row {int(finite.int().argmin())} has a sample that is not finite")
    return x, y


def _separated(x: Tensor) -> Tensor:
    n = x.shape[1]
    close = (x.diff(dim=1) < GAP).any(1, keepdim=True)
    return torch.where(close, x * (1 - GAP * (n - 1)) + GAP * torch.arange(n), x)


def _not_a_knot_slopes(h: Tensor, secants: Tensor) -> Tensor:
    """Solve for the slopes of all rows at once: one tridiagonal system whose blocks, one a row, are not coupled."""
    rows, pieces = h.shape
    h0, h1 = h[:, :-1], h[:, 1:]
    bands = h.new_zeros(3, rows, pieces + 1)  # above, on and below the diagonal, each entry in its column
    bands[0, :, 1], bands[0, :, 2:] = h[:, 0] + h[:, 1], h0
    bands[1, :, 0], bands[1, :, 1:-1], bands[1, :, -1] = h[:, 1], 2 * (h0 + h1), h[:, -2]
    bands[2, :, :-2], bands[2, :, -2] = h1, h[:, -1] + h[:, -2]
    right = h.new_empty(rows, pieces + 1)
    right[:, 1:-1] = 3 * (h1 * secants[:, :-1] + h0 * secants[:, 1:])
    right[:, 0] = _end_condition(h[:, 0], h[:, 1], secants[:, 0], secants[:, 1])
    right[:, -1] = _end_condition(h[:, -1], h[:, -2], secants[:, -1], secants[:, -2])
    slopes = solve_banded((1, 1), bands.view(3, -1).numpy(), right.view(-1).numpy(), check_finite=False)
    return torch.from_numpy(np.ascontiguousarray(slopes)).view(rows, -1)


def _end_condition(h: Tensor, next_h: Tensor, secant: Tensor, next_secant: Tensor) -> Tensor:
    """Return the right side for the end slope: the third derivative does not jump at the second sample."""
    return ((h + 2 * (h + next_h)) * next_h * secant + h.square() * next_secant) / (h + next_h)
