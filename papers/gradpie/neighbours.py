"""Exact k nearest neighbours of data that grow, for many data sets at once."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 2**24  # distances held at a time


class Neighbours:
    """The ``k`` nearest other points of every point (Euclidean), for ``S`` sets of ``n`` points.

    Of points equally far the one with the lower number is nearer. A set of ``n`` points has ``min(k, n - 1)``
    neighbours a point.

    Args:
        points: ``S x n x d``.

    Attributes:
        index: ``S x n x min(k, n - 1)``, the numbers of the neighbours, nearest first.
        distance: theirs, as long.

    Raises:
        ValueError: ``k`` is negative.
    """

    def __init__(self, points: Tensor, k: int) -> None:
        if k < 0:
            raise ValueError(f"k must not be negative: {k!r}")
        self.k = k
        self.distance, self.index = _nearest(points, 0, k)

    def grow(self, points: Tensor) -> None:
        """Take in the last rows of ``points`` (``S x n x d``), whose first rows are the points known so far.

        This costs the distances of the new points alone, and the result is that of starting anew.
        """
        if self.k == 0:
            self.distance, self.index = _nearest(points, 0, 0)
            return
        known = self.index.shape[1]
        k = min(self.k, points.shape[1] - 1)
        new = torch.arange(known, points.shape[1]).expand(*self.index.shape[:2], -1)
        distances = torch.cat([self.distance, _distances(points[:, :known], points[:, known:])], dim=2)
        # The sort is stable, and a new point has a higher number than all in the list.
        distance, order = distances.sort(dim=2, stable=True)
        index = torch.cat([self.index, new], dim=2).gather(2, order)
        of_new = _nearest(points, known, k)
        self.distance = torch.cat([distance[:, :, :k], of_new[0]], dim=1)
        self.index = torch.cat([index[:, :, :k], of_new[1]], dim=1)


def _nearest(points: Tensor, first: int, k: int) -> tuple[Tensor, Tensor]:
    """Return distances and numbers of the nearest neighbours of the points from number ``first`` on."""
    sets, n, _ = points.shape
    count = min(k, n - 1)
    if count == 0:
        return points.new_empty(sets, n - first, 0), torch.empty(sets, n - first, 0, dtype=torch.long)
    parts = []
    for rows in torch.arange(first, n).split(max(CHUNK // (sets * n), 1)):
        distance = _distances(points[:, rows], points)
        distance[:, torch.arange(len(rows)), rows] = torch.inf  # a point is not its own neighbour
        distance, index = distance.sort(dim=2, stable=True)
        parts.append((distance[:, :, :count], index[:, :, :count]))
    distances, indices = zip(*parts, strict=True)
    return torch.cat(distances, dim=1), torch.cat(indices, dim=1)


def _distances(one: Tensor, other: Tensor) -> Tensor:
    # By differences: what a matrix product rounds would depend on the other points.
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
