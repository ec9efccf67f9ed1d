"""Interval coverage: the share of true values inside their intervals, and the quantiles that make the intervals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def weighted_quantile(values: Tensor, weights: Tensor, q: Tensor | float) -> Tensor:
    """Return the smallest value up to which the share of the weights reaches ``q``, NumPy's ``inverted_cdf``.

    Args:
        values: ``... x s``, in any order.
        weights: ``... x s``, not negative, of any positive sum.
        q: one level in (0, 1] for an answer of shape ``...``, or ``k`` of them for ``... x k``.

    >>> weighted_quantile(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.2, 0.2, 0.6]), 0.5)
    tensor(2.)
    """
    values, order = values.sort(-1)
    reached = weights.gather(-1, order).cumsum(-1)
    levels = torch.as_tensor(q, dtype=reached.dtype, device=reached.device)
    thresholds = levels.reshape(-1) * reached[..., -1:]
    index = torch.searchsorted(reached, thresholds).clamp_max(values.shape[-1] - 1)
    chosen = values.gather(-1, index)
    return chosen if levels.ndim else chosen.squeeze(-1)


def _interval_coverage_update(lower: Tensor, upper: Tensor, target: Tensor) -> tuple[Tensor, int]:
    return ((lower <= target) & (target <= upper)).sum(), target.numel()


def _interval_coverage_compute(covered: Tensor, total: Tensor | int) -> Tensor:
    return covered.double() / total


def interval_coverage(lower: Tensor, upper: Tensor, target: Tensor) -> Tensor:
    """Return the share of targets in their intervals, ends included; all three have the same shape.

    >>> interval_coverage(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.5]))
    tensor(0.5000, dtype=torch.float64)
    """
    return _interval_coverage_compute(*_interval_coverage_update(lower, upper, target))


class IntervalCoverage(Metric):
    """Share of targets in their intervals, to be compared with the intervals' level: neither way is better.

    >>> metric = IntervalCoverage()
    >>> metric.update(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([0.5]))
    >>> metric.update(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([1.5]))
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    covered: Tensor
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("covered", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, lower: Tensor, upper: Tensor, target: Tensor) -> None:
        """Add intervals and their targets, see `interval_coverage`."""
        covered, total = _interval_coverage_update(lower, upper, target)
        self.covered += covered
        self.total += total

    def compute(self) -> Tensor:
        """Return the share of targets inside."""
        return _interval_coverage_compute(self.covered, self.total)
