"""Functions of one variable on the grid of equation (57): their minima, and where a local descent ends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from common.functions.splines import Function

CELLS = 2000
GRID = torch.arange(CELLS + 1, dtype=torch.float64) / CELLS


@dataclass(frozen=True, eq=False)
class Landscape:
    """``B`` functions by their values on the grid, ``B x 2001``."""

    values: Tensor

    @classmethod
    def of(cls, functions: Function, count: int) -> Landscape:
        """Evaluate ``count`` functions (``B x n`` to ``B x n``) on the grid."""
        return cls(functions(GRID.expand(count, -1)))

    def minimizers(self) -> Tensor:
        """Return where the functions are lowest, ``B``: the middle, where several grid points are."""
        lowest = (self.values == self.values.amin(1, keepdim=True)).double()
        return (lowest @ GRID) / lowest.sum(1)

    def local_minima(self) -> Tensor:
        """Say which points of the grid are local minima, ``B x 2001``; an end is one where the function rises."""
        fall = pad(self.values.diff(dim=1), (1, 1), value=torch.inf)  # to every point from its left, and one beyond
        fall[:, 0] = -torch.inf
        return (fall[:, :-1] < 0) & (fall[:, 1:] >= 0)

    def lowest_other(self, distance: float) -> Tensor:
        """Return the lowest local minimum farther than ``distance`` from the global one, ``B``; NaN where none is."""
        far = (GRID - self.minimizers()[:, None]).abs() > distance
        lowest, where = self.values.masked_fill(~(self.local_minima() & far), torch.inf).min(1)
        return GRID[where].masked_fill(lowest.isinf(), torch.nan)

    def descend(self, x: Tensor) -> Tensor:
        """Return the local minima (``B``) at which a descent of infinitesimal steps from ``x`` (``B``) ends."""
        padded = pad(self.values, (1, 1), value=torch.inf)
        neighbours = torch.stack([self.values, padded[:, :-2], padded[:, 2:]])
        step = torch.tensor([0, -1, 1])[neighbours.argmin(0)]
        target = torch.arange(CELLS + 1) + step
        for _ in range(CELLS.bit_length()):  # each doubles the steps that were made
            target = target.gather(1, target)
        return GRID[target.gather(1, cells_of(x)[:, None]).squeeze(1)]


def cells_of(x: Tensor) -> Tensor:
    """Return the numbers of the grid points next to ``x``, of any shape."""
    return (x.double() * CELLS).round().long().clamp(0, CELLS)
