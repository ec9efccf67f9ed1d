"""Answers that need no training, beside which the paper's model is judged on the same samples.

Each maps samples and, where known, the window that holds the minimum, to where it takes the minimum to be. The window
is knowledge that the model gets from its labels, so the others must be allowed it too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import make_smoothing_spline
from torch import Tensor

from common.metrics.coverage import weighted_quantile
from papers.refine1d.features import NotAKnotSplines, spline_features

Window = tuple[float, float]
Answer = Callable[[Tensor, Tensor, Window | None], Tensor]

_CELLS = 2000  # of the grid of eq. (57), on which the minimum of a curve is searched
_ROWS = 256  # curves that are evaluated on it at a time
_MODE_RADIUS = 0.01


@dataclass(frozen=True, eq=False)
class MinimizerDraws:
    """A distribution over the position of the minimum for each of ``B`` functions: weighted draws, float64.

    Attributes:
        x: ``B x s``.
        weights: ``B x s``, which sum to 1 in every row.
    """

    x: Tensor
    weights: Tensor

    def within(self, window: Window | None) -> MinimizerDraws:
        """Return the distribution given that the minimum is in the window; a row without a draw there is at its edge.

        Draws outside are moved to the edge, and have no weight.
        """
        if window is None:
            return self
        inside = self.weights * ((self.x >= window[0]) & (self.x <= window[1]))
        mass = inside.sum(1, keepdim=True)
        weights = torch.where(mass > 0, inside / mass, self.weights)
        return MinimizerDraws(self.x.clamp(*window), weights)

    def effective_size(self) -> Tensor:
        """Return how many equally weighted draws these are worth, 1 / sum w^2, ``B``."""
        return self.weights.square().sum(1).reciprocal()

    def quantile(self, q: Tensor | float) -> Tensor:
        """Return the quantiles at one level, ``B``, or at ``k``, ``B x k``."""
        return weighted_quantile(self.x, self.weights, q)

    def median(self) -> Tensor:
        """Return the medians, ``B``: the best answer for the mean absolute error."""
        return self.quantile(0.5)

    def mean(self) -> Tensor:
        """Return the means, ``B``: the best answer for the squared error."""
        return (self.x * self.weights).sum(1)

    def mode(self) -> Tensor:
        """Return the densest places, ``B``."""
        return self.densest(_MODE_RADIUS)

    def densest(self, radius: float) -> Tensor:
        """Return the middles, ``B``, of the intervals of this radius with the most mass: the best for its success rate.

        Of the intervals that hold the same draws it is the one with equal space on both sides.
        """
        x, order = self.x.sort(1)
        weights = self.weights.gather(1, order)
        up_to = weights.cumsum(1)
        last = torch.searchsorted(x, x + 2 * radius, right=True) - 1
        best = (up_to.gather(1, last) - up_to + weights).argmax(1, keepdim=True)
        return (x.gather(1, best) + x.gather(1, last.gather(1, best))).squeeze(1) / 2


def constant(x: Tensor, y: Tensor, window: Window | None = None) -> Tensor:
    """Return the middle of the window, 0.5 without one."""
    low, high = window or (0.0, 1.0)
    return torch.full((len(x),), (low + high) / 2, dtype=torch.float64)


def lowest_sample(x: Tensor, y: Tensor, window: Window | None = None) -> Tensor:
    """Return the x of the lowest sample, in the window if there is one; where that has no sample, its middle."""
    if window is None:
        return x.double().gather(1, y.argmin(1, keepdim=True)).squeeze(1)
    inside = (x >= window[0]) & (x <= window[1])
    lowest = x.double().gather(1, y.masked_fill(~inside, torch.inf).argmin(1, keepdim=True)).squeeze(1)
    return torch.where(inside.any(1), lowest, constant(x, y, window))


def interpolating_spline(x: Tensor, y: Tensor, window: Window | None = None) -> Tensor:
    """Return the argmin of the cubic spline through the samples, the paper's baseline and first guess (section 3.9)."""
    splines = _interpolating_splines(x, y)
    if window is None:
        return splines.argmin(_CELLS)
    grid = _grid(_CELLS)
    parts = zip(splines.x.split(_ROWS), splines.y.split(_ROWS), splines.slopes.split(_ROWS), strict=True)
    curves = (NotAKnotSplines(*part)(grid.expand(len(part[0]), -1)) for part in parts)
    return torch.cat([lowest_on_grid(part, window) for part in curves])


def smoothing_spline(x: Tensor, y: Tensor, window: Window | None = None) -> Tensor:
    """Return the argmin of SciPy's cubic smoothing spline, penalty chosen by generalized cross-validation."""
    return lowest_on_grid(smoothing_curves(x, y), window)


def smoothing_curves(x: Tensor, y: Tensor) -> Tensor:
    """Return the smoothing splines on {0, 1/2000, ..., 1}, ``B x 2001``: where several windows are asked of one fit."""
    splines = _interpolating_splines(x, y)  # whose x ascend without ties
    grid = _grid(_CELLS).numpy()
    rows = zip(splines.x.numpy(), splines.y.numpy(), strict=True)
    return torch.from_numpy(np.stack([make_smoothing_spline(*row)(grid) for row in rows]))


def lowest_on_grid(curves: Tensor, window: Window | None = None) -> Tensor:
    """Return where curves (``B x m``, values on an equidistant grid from 0 to 1) are lowest, ``B``.

    Raises:
        ValueError: no grid point is in the window.
    """
    grid = _grid(curves.shape[1] - 1)
    low, high = window or (0.0, 1.0)
    inside = ((grid >= low) & (grid <= high)).nonzero().squeeze(1)
    if not len(inside):
        raise ValueError(f"no point of a grid of {len(grid)} is in {window}")
    return grid[inside[curves[:, inside].argmin(1)]]


class Baseline(NamedTuple):
    """An answer ``(x, y, window)``, ``B x n`` twice, to ``B`` positions, and what it is in a few words."""

    answer: Answer
    description: str


BASELINES = {
    "constant": Baseline(constant, "the middle, whatever the samples"),
    "lowest_sample": Baseline(lowest_sample, "the x of the lowest sample"),
    "interpolating_spline": Baseline(interpolating_spline, "argmin of the cubic spline through all samples"),
    "smoothing_spline": Baseline(smoothing_spline, "argmin of a smoothing spline, penalty by cross-validation (GCV)"),
}


def _interpolating_splines(x: Tensor, y: Tensor) -> NotAKnotSplines:
    """Return the splines of the network's features, of samples in any order, repeated ones included."""
    x, y, slopes, _ = spline_features(x, y, scaling="raw").inputs.unbind(-1)
    return NotAKnotSplines(x.contiguous(), y, slopes)


def _grid(cells: int) -> Tensor:
    return torch.arange(cells + 1, dtype=torch.float64) / cells
