"""Sources of gradients without a network, beside which a surrogate has to show what it is worth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.training.keys import torch_generator
from papers.gradpie.online import GradientSource
from papers.gradpie.queries import QueryData


class FixedDirection(GradientSource):
    """The same random direction at every point of a start: what a descent does that knows nothing.

    Args:
        seeds: one integer a start, which keys its direction.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds

    def vjp(self, x: Tensor, weights: Tensor) -> Tensor:
        size = x.shape[1:]
        drawn = [torch.randn(size, generator=torch_generator(s, "direction"), dtype=x.dtype) for s in self.seeds]
        return torch.stack(drawn)


class LinearFit(GradientSource):
    """The Jacobian of the linear function with the least squared error on the last queries of a start.

    Of several the one with the smallest norm: it is flat in the directions that were never tried.

    Args:
        window: number of queries.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.data: QueryData | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        if self.data is None:
            self.data = QueryData(x, y, window=self.window)
        else:
            self.data.add(x, y)

    def vjp(self, x: Tensor, weights: Tensor) -> Tensor:
        assert self.data is not None
        inputs, outputs = (values - values.mean(1, keepdim=True) for values in (self.data.x, self.data.y))
        transposed = torch.linalg.lstsq(inputs, outputs, driver="gelsd").solution  # S x d x o
        return weights @ transposed.mT
