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
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_BAND = 3  # diagonals on either side
_TURN = 6  # columns that are eliminated in one go, at least the band


class Normal(NamedTuple):
    """Normal equations of ``B`` sample sets and ``k`` densities, of which the largest has ``m`` coefficients.

    Attributes:
        gram: ``4 x m x k x B``, the main diagonal of B'B and those below.
        right: ``m x k x B``, B'y.
        square: ``B``, y'y.
        samples: n.
        sizes: ``k``, the numbers of coefficients, ascending; beyond them all is 0.
    """

    gram: Array
    right: Array
    square: Array
    samples: int
    sizes: NDArray[np.int64]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which coefficients a density has, ``m x k x 1``."""
        return (np.arange(len(self.right))[:, None] < self.sizes)[..., None]


def normal_equations(x: Array, y: Array, intervals: NDArray[np.int64]) -> Normal:
    """Return the normal equations for samples ``y`` at ``x`` in [0, 1], both ``B x n``, and ``k`` numbers of intervals.

    The latter ascend. Cubic B-splines are piecewise polynomials on equal knot intervals; each sample is in the support
    of four.
    """
    rows, samples = x.shape
    cells, size = rows * len(intervals), int(intervals.max()) + 3
    u = x[:, None] * intervals[:, None]
    first = np.minimum(u.astype(np.int64), (intervals - 1)[:, None])
    weights = _weights(u - first)
    place = (first * cells + np.arange(cells).reshape(-1, rows).T[..., None]).ravel()
    gram, right = np.zeros((_BAND + 1, size * cells)), np.zeros(size * cells)
    for a, weight in enumerate(weights):
        at = place + a * cells
        right += np.bincount(at, (weight * y[:, None]).ravel(), size * cells)
        for b in range(a, _BAND + 1):
            gram[b - a] += np.bincount(at, (weight * weights[b]).ravel(), size * cells)
    shape = size, len(intervals), rows
    return Normal(gram.reshape(-1, *shape), right.reshape(shape), np.square(y).sum(1), samples, intervals + 3)


def evidence(normal: Normal, ratios: Array, least: float) -> tuple[Array, Array]:
    """Return log likelihoods and log variances of the noise, both ``B x k x ratios``, the former up to a constant.

    The level has a flat prior and so has log sigma.

    Args:
        ratios: r.
        least: variance of the noise that is added to what the fit leaves.
    """
    ridge = np.square(ratios)
    sums = np.zeros((4, len(normal.sizes), len(normal.square), len(ratios)))
    for first, _, pivots, _, reduced in _eliminated(normal, ridge):
        y, level = reduced[:, 0], reduced[:, 1]
        scaled = y / pivots
        terms = scaled * y, scaled * level, level * level / pivots, np.log(pivots)
        for total, of_columns in zip(sums[:, first:], terms, strict=True):
            for term in of_columns:
                np.add(total, term, out=total)
    fitted, crossed, ones, determinant = np.ascontiguousarray(sums.swapaxes(1, 2))
    share = ridge / normal.sizes[:, None]
    rest = 1 - share * ones
    left = normal.square[:, None, None] + normal.samples * least - fitted - share * np.square(crossed) / rest
    noise = np.log(left) - math.log(normal.samples)
    determinant = (determinant + np.log(rest)) / 2
    scale = (normal.sizes[:, None] - 1) * np.log(ratios) - np.log(normal.sizes[:, None]) / 2
    return scale - determinant - (normal.samples - 1) / 2 * noise, noise


def posterior(normal: Normal, ratio: Array) -> tuple[Array, Array]:
    """Return means of the coefficients, ``m x k x B``, and the diagonals of A^-1, ``4 x m x k x B``, as in `Normal`.

    Args:
        ratio: ``B x k``, r.
    """
    size, ridge = len(normal.right), np.square(ratio).T
    shape = ridge.shape
    pivots, lower = np.ones((size, *shape)), np.zeros((size, _BAND, *shape))
    solved, inverse = np.zeros((size + _BAND, 2, *shape)), np.zeros((_BAND + 1, size, *shape))
    for first, columns, pivot, factor, reduced in _eliminated(normal, ridge[..., None]):
        pivots[columns, first:], lower[columns, :, first:] = pivot[..., 0], factor[..., 0]
        solved[columns, :, first:] = (reduced / pivot[:, None])[..., 0]
    window = np.zeros((_BAND, _BAND, *shape))  # of the inverse, around the last column done
    for j in range(size - 1, -1, -1):
        factor = lower[j]
        solved[j] -= (factor[:, None] * solved[j + 1 : j + 1 + _BAND]).sum(0)
        beside = -(window * factor).sum(1)
        inverse[0, j] = 1 / pivots[j] - (factor * beside).sum(0)
        inverse[1:, j] = beside
        window[1:, 1:] = window[:-1, :-1].copy()
        window[0] = inverse[:-1, j]
        window[1:, 0] = beside[:-1]
    mean, ones = solved[:size, 0], solved[:size, 1]
    share = ridge / normal.sizes[:, None]
    scale = share / (1 - share * ones.sum(0))
    mean = mean + ones * (scale * (ones * normal.right).sum(0))
    for k in range(_BAND + 1):
        inverse[k, : size - k] += scale * ones[: size - k] * ones[k:]
    return mean, inverse


def _weights(t: Array) -> tuple[Array, Array, Array, Array]:
    """Return the values of the four cubic B-splines that are not 0 at ``t`` in [0, 1] of a knot interval."""
    square = t * t
    cube = square * t
    last, second = cube / 6, (3 * cube - 6 * square + 4) / 6
    first = (1 - t) ** 3 / 6
    return first, second, 1 - first - second - last, last


def _eliminated(normal: Normal, ridge: Array) -> Iterator[tuple[int, slice, Array, Array, Array]]:
    """Yield what A = L D L' has in some columns at a time, ``c``, for the densities that have these, and ``r`` ridges.

    These are the first such density, the columns, and of all densities from there on D (``c x k x B x r``), L below the
    diagonal (``c x 3 x k x B x r``), and L^-1 of B'y and of 1 in these rows (``c x 2 x k x B x r``). What a density
    does not have is that of the identity. The arrays are written over afterwards, so that little memory is in use.

    Args:
        ridge: what fits ``k x B x r``.
    """
    size, inside = len(normal.right), normal.inside[..., None]
    shape = np.broadcast_shapes((len(normal.sizes), len(normal.square), 1), ridge.shape)
    # the columns of a turn, and the three after them, which these change
    band, reduced = np.zeros((_BAND + 1, _TURN + _BAND, *shape)), np.zeros((_TURN + _BAND, 2, *shape))
    lower = np.empty((_TURN, _BAND, *shape))
    known = 0
    for start in range(0, size, _TURN):
        first = int(inside[start].argmax())
        end = min(start + _TURN + _BAND, size)
        new, place = slice(known, end), slice(known - start, end - start)
        band[:, place] = normal.gram[:, new, ..., None]
        band[0, place] += np.where(inside[new], ridge, 1.0)
        reduced[place, 0], reduced[place, 1] = normal.right[new, ..., None], inside[new]
        known, columns = end, slice(start, min(start + _TURN, size))
        active, solved, factors = band[:, :, first:], reduced[:, :, first:], lower[:, :, first:]
        count = columns.stop - start
        for j in range(count):
            below, factor = active[1:, j], factors[j]
            np.divide(below, active[0, j], out=factor)
            active[0, j + 1 : j + 4] -= factor * below
            active[1, j + 1 : j + 3] -= factor[:2] * below[1:]
            active[2, j + 1] -= factor[0] * below[2]
            solved[j + 1 : j + 4] -= factor[:, None] * solved[j]
        yield first, columns, active[0, :count], factors[:count], solved[:count]
        band[:, :_BAND], reduced[:_BAND] = band[:, _TURN:], reduced[_TURN:]
