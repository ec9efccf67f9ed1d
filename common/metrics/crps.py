"""Continuous ranked probability score (CRPS): how far a distribution, given by weighted draws, is from what came.

References:
    [Gneiting2007] T. Gneiting, A. E. Raftery. Strictly proper scoring rules, prediction, and estimation. Journal of the
        American Statistical Association 102, 2007; eq. (21).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def _weighted_crps_update(draws: Tensor, weights: Tensor | None, target: Tensor) -> tuple[Tensor, int]:
    weights = torch.ones_like(draws) if weights is None else weights
    draws, order = draws.double().sort(-1)
    weights = weights.double().gather(-1, order)
    weights = weights / weights.sum(-1, keepdim=True)
    error = (weights * (draws - target.unsqueeze(-1)).abs()).sum(-1)
    # E|X - X'| / 2 counts a draw up for the weight below it, W - w, and down for that above, 1 - W
    spread = (weights * draws * (2 * weights.cumsum(-1) - weights - 1)).sum(-1)
    return (error - spread).sum(), target.numel()


def _weighted_crps_compute(total: Tensor, count: Tensor | int) -> Tensor:
    return total / count


def weighted_crps(draws: Tensor, weights: Tensor | None, target: Tensor) -> Tensor:
    """Return the mean of E|X - target| - E|X - X'| / 2 over distributions X [Gneiting2007], in float64.

    It has the unit of the draws, is the absolute error for a single draw, and is strictly proper.

    Args:
        draws: ``... x s``, in any order.
        weights: ``... x s``, not negative, of any positive sum; None for equal weights.
        target: ``...``.

    >>> weighted_crps(torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 1.0]]), torch.tensor([0.0]))
    tensor(0.0625, dtype=torch.float64)
    """
    return _weighted_crps_compute(*_weighted_crps_update(draws, weights, target))


class WeightedCRPS(Metric):
    """Mean CRPS of distributions that are given by weighted draws; torchmetrics has it for equal weights alone.

    >>> metric = WeightedCRPS()
    >>> metric.update(torch.tensor([[0.0, 1.0]]), torch.tensor([[3.0, 1.0]]), torch.tensor([0.0]))
    >>> metric.update(torch.tensor([[0.5]]), None, torch.tensor([0.0]))
    >>> metric.compute()
    tensor(0.2812, dtype=torch.float64)
    """

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 0.0

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, draws: Tensor, weights: Tensor | None, target: Tensor) -> None:
        """Add distributions and their targets, see `weighted_crps`."""
        total, count = _weighted_crps_update(draws, weights, target)
        self.total += total
        self.count += count

    def compute(self) -> Tensor:
        """Return the mean score."""
        return _weighted_crps_compute(self.total, self.count)
