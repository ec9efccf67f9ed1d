"""Bayesian regression on cubic splines of many densities at once, by elimination in band matrices.

The coefficients of the spline with K knot intervals, m = K + 3 of them, are N(0, (sigma / r)^2 I) about a free level,
the noise is N(0, sigma^2): with the basis B (``n x m``) the precision of the coefficients is A / sigma^2,
A = B'B + r^2 (I - 11'/m). B'B has three diagonals beside the main one, so that all is linear in m: M = B'B + r^2 I is
factorised as L D L', and what the rank-one term changes follows from M^-1 1 (Sherman-Morrison). Of M^-1 only those
diagonals are needed, for no two basis functions farther apart overlap (Takahashi's recursion).

Arrays have the coefficients in front, so that a step of the elimination is one operation on all sample sets, densities
and ratios; NumPy, whose small operations take a third of the time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BAND = 3  # diagonals on either side


class Normal(NamedTuple):
    """Normal equations of ``B`` sample sets and ``k`` densities, of which the largest has ``m`` coefficients.

    Attributes:
        gram: ``4 x m x B x k``, the main diagonal of B'B and those below.
        right: ``m x B x k``, B'y.
        square: ``B``, y'y.
        samples: n.
        sizes: ``k``, the numbers of coefficients; beyond them all is 0.
    """

    gram: Array
    right: Array
    square: Array
    samples: int
    sizes: NDArray[np.int64]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which coefficients a density has, ``m x 1 x k``."""
        return np.arange(len(self.right))[:, None, None] < self.sizes


def normal_equations(x: Array, y: Array, intervals: NDArray[np.int64]) -> Normal:
    """Return the normal equations for samples ``y`` at ``x`` in [0, 1], both ``B x n``, and ``k`` numbers of intervals.

    Cubic B-splines are piecewise polynomials on equal knot intervals; each sample is in the support of four.
    """
    rows, samples = x.shape
    cells, size = rows * len(intervals), int(intervals.max()) + 3
    u = x[:, None] * intervals[:, None]
    first = np.minimum(u.astype(np.int64), (intervals - 1)[:, None])
    weights = _weights(u - first)
    place = (first * cells + np.arange(cells).reshape(rows, -1, 1)).ravel()
    gram, right = np.zeros((_BAND + 1, size * cells)), np.zeros(size * cells)
    for a, weight in enumerate(weights):
        at = place + a * cells
        right += np.bincount(at, (weight * y[:, None]).ravel(), size * cells)
        for b in range(a, _BAND + 1):
            gram[b - a] += np.bincount(at, (weight * weights[b]).ravel(), size * cells)
    shape = size, rows, len(intervals)
    return Normal(gram.reshape(-1, *shape), right.reshape(shape), np.square(y).sum(1), samples, intervals + 3)


def evidence(normal: Normal, ratios: Array, least: float) -> tuple[Array, Array]:
    """Return log likelihoods and log variances of the noise, both ``B x k x ratios``, the former up to a constant.

    The level has a flat prior and so has log sigma.

    Args:
        ratios: r.
        least: variance of the noise that is added to what the fit leaves.
    """
    ridge = np.square(ratios)
    _, pivots, reduced = _eliminated(normal.gram[..., None], normal.right[..., None], normal.inside[..., None], ridge)
    scaled = reduced[:, 0] / pivots
    fitted, crossed = (scaled * reduced[:, 0]).sum(0), (scaled * reduced[:, 1]).sum(0)
    ones = (reduced[:, 1] * reduced[:, 1] / pivots).sum(0)
    share = ridge / normal.sizes[:, None]
    rest = 1 - share * ones
    left = normal.square[:, None, None] + normal.samples * least - fitted - share * np.square(crossed) / rest
    noise = np.log(left) - math.log(normal.samples)
    determinant = (np.log(pivots).sum(0) + np.log(rest)) / 2
    scale = (normal.sizes[:, None] - 1) * np.log(ratios) - np.log(normal.sizes[:, None]) / 2
    return scale - determinant - (normal.samples - 1) / 2 * noise, noise


def posterior(normal: Normal, ratio: Array) -> tuple[Array, Array]:
    """Return means of the coefficients, ``m x B x k``, and the diagonals of A^-1, ``4 x m x B x k``, as in `Normal`.

    Args:
        ratio: ``B x k``, r.
    """
    size, inside, ridge = len(normal.right), normal.inside, np.square(ratio)
    lower, pivots, reduced = _eliminated(normal.gram, normal.right, inside, ridge)
    scaled = reduced / pivots[:, None]
    solved = np.zeros((size + _BAND, 2, *ridge.shape))
    inverse = np.zeros((size, _BAND + 1, *ridge.shape))
    window = np.zeros((_BAND, _BAND, *ridge.shape))  # of the inverse, around the last column done
    for j in range(size - 1, -1, -1):
        factor = lower[j]
        solved[j] = scaled[j] - (factor[:, None] * solved[j + 1 : j + 1 + _BAND]).sum(0)
        beside = -(window * factor).sum(1)
        inverse[j, 0] = 1 / pivots[j] - (factor * beside).sum(0)
        inverse[j, 1:] = beside
        window[1:, 1:] = window[:-1, :-1].copy()
        window[0] = inverse[j, :-1]
        window[1:, 0] = beside[:-1]
    mean, ones = solved[:size, 0], solved[:size, 1] * inside
    share = ridge / normal.sizes
    scale = share / (1 - share * ones.sum(0))
    mean = mean + ones * (scale * (ones * normal.right).sum(0))
    diagonals = np.moveaxis(inverse, 1, 0)
    for k in range(_BAND + 1):
        diagonals[k, : size - k] += scale * ones[: size - k] * ones[k:]
    return mean, diagonals


def _weights(t: Array) -> tuple[Array, Array, Array, Array]:
    """Return the values of the four cubic B-splines that are not 0 at ``t`` in [0, 1] of a knot interval."""
    square = t * t
    cube = square * t
    last, second = cube / 6, (3 * cube - 6 * square + 4) / 6
    first = (1 - t) ** 3 / 6
    return first, second, 1 - first - second - last, last


def _eliminated(gram: Array, right: Array, inside: NDArray[np.bool_], ridge: Array) -> tuple[Array, Array, Array]:
    """Return L without its diagonal (``m x 3 x ...``), D (``m x ...``), and L^-1 of B'y and 1 (``m x 2 x ...``)."""
    size, shape = len(right), np.broadcast_shapes(right.shape[1:], ridge.shape)
    band = np.zeros((_BAND + 1, size + _BAND, *shape))
    band[:, :size] = gram
    band[0, :size] += np.where(inside, ridge, 1.0)
    reduced = np.zeros((size + _BAND, 2, *shape))
    reduced[:size, 0], reduced[:size, 1] = right, inside
    lower = np.empty((size, _BAND, *shape))
    for j in range(size):
        below, factor = band[1:, j], lower[j]
        np.divide(below, band[0, j], out=factor)
        band[0, j + 1 : j + 4] -= factor * below
        band[1, j + 1 : j + 3] -= factor[:2] * below[1:]
        band[2, j + 1] -= factor[0] * below[2]
        reduced[j + 1 : j + 4] -= factor[:, None] * reduced[j]
    return lower, band[0, :size], reduced[:size]
