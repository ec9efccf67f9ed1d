"""What surrogates learn from: the queries made so far and mini-batches of them, for many data sets at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from common.training.keys import torch_generator
from papers.gradpie.neighbours import Neighbours


class QueryData:
    """Measured points of ``S`` starts, with their nearest neighbours; it grows as queries come in.

    Args:
        x: points, ``S x n x d``; y: their outputs, ``S x n x o``.
        neighbours: k; 0 where the loss needs none.
        window: only the last so many points of a start are kept.

    Raises:
        ValueError: a number is not finite.
    """

    x: Tensor
    y: Tensor
    _neighbours: Neighbours

    def __init__(self, x: Tensor, y: Tensor, neighbours: int = 0, window: int | None = None) -> None:
        self.k, self.window = neighbours, window
        self._set(x, y)

    def __len__(self) -> int:
        return self.x.shape[1]

    @property
    def neighbours(self) -> Tensor:
        """Numbers of the nearest neighbours, ``S x n x min(k, n - 1)``."""
        return self._neighbours.index

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in ``q`` new points of every start: ``S x q x d`` and ``S x q x o``.

        Raises:
            ValueError: a number is not finite.
        """
        _require_finite(x, y)
        x, y = torch.cat([self.x, x], dim=1), torch.cat([self.y, y], dim=1)
        if self.window is not None and x.shape[1] > self.window:
            self._set(x, y)
        else:
            self.x, self.y = x, y
            self._neighbours.grow(x)

    def _set(self, x: Tensor, y: Tensor) -> None:
        _require_finite(x, y)
        first = 0 if self.window is None else max(x.shape[1] - self.window, 0)
        self.x, self.y = x[:, first:], y[:, first:]
        self._neighbours = Neighbours(self.x, self.k)


class Batch(NamedTuple):
    """Rows of ``S`` data sets, and which of them are compared.

    Attributes:
        x: ``S x u x d``; y: ``S x u x o``: every point that the batch needs, once.
        centres: ``S x B``, positions in ``x`` of the points whose loss is meant.
        neighbours: ``S x B x k``, positions in ``x`` of their neighbours.
    """

    x: Tensor
    y: Tensor
    centres: Tensor
    neighbours: Tensor


class MiniBatches:
    """Mini-batches of ``S`` data sets, shuffled anew in every epoch; a function of seed and step.

    Args:
        x: ``S x n x d``; y: ``S x n x o``.
        neighbours: ``S x n x k``, see `Neighbours`; those of a batch may lie outside of it.
        size: points in a batch; None for all of them, in their order.
        seeds: one integer a data set.
    """

    def __init__(self, x: Tensor, y: Tensor, neighbours: Tensor, size: int | None, seeds: Sequence[int]) -> None:
        self.x, self.y, self.neighbours, self.size, self.seeds = x, y, neighbours, size, seeds
        self.n = x.shape[1]
        self.steps_per_epoch = 1 if size is None else -(-self.n // size)
        self._orders: tuple[int, Tensor] | None = None

    def batch(self, step: int) -> Batch:
        """Return the batch of a global step, counted from 0 over all epochs."""
        if self.size is None:
            return Batch(self.x, self.y, torch.arange(self.n).expand(len(self.x), -1), self.neighbours)
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._orders is None or self._orders[0] != epoch:
            orders = [torch.randperm(self.n, generator=torch_generator(seed, "order", epoch)) for seed in self.seeds]
            self._orders = epoch, torch.stack(orders)
        return self._of(self._orders[1][:, position * self.size : (position + 1) * self.size])

    def _of(self, centres: Tensor) -> Batch:
        """Return the batch of the points ``centres`` (``S x B``)."""
        sets, count = centres.shape
        neighbours = self.neighbours.gather(1, centres.unsqueeze(2).expand(-1, -1, self.neighbours.shape[2]))
        wanted = torch.cat([centres, neighbours.flatten(1)], dim=1)
        used = torch.zeros(sets, self.n, dtype=torch.bool).scatter_(1, wanted, True)
        # Every set's used rows come first; sets that use fewer are filled up with rows that nothing refers to.
        rows = used.byte().argsort(dim=1, descending=True, stable=True)[:, : int(used.sum(1).max())]
        positions = (used.cumsum(1) - 1).gather(1, wanted)
        x, y = (t.gather(1, rows.unsqueeze(2).expand(-1, -1, t.shape[2])) for t in (self.x, self.y))
        return Batch(x, y, positions[:, :count], positions[:, count:].view_as(neighbours))


def _require_finite(x: Tensor, y: Tensor) -> None:
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("data must be finite: a failed query has no place among them")
