"""Success rate: the share of runs that come within a tolerance of the minimum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def _success_rate_update(best_values: Tensor, optimal_value: Tensor | float, tolerance: float) -> tuple[Tensor, int]:
    return (best_values - optimal_value <= tolerance).sum(), best_values.numel()


def _success_rate_compute(successes: Tensor, runs: Tensor | int) -> Tensor:
    return successes.double() / runs


def success_rate(best_values: Tensor, optimal_value: Tensor | float, tolerance: float) -> Tensor:
    """Return the share of runs with best value minus optimal value at or below ``tolerance``; a NaN is a failure.

    Args:
        best_values: the best value of every run, any shape.
        optimal_value: the minimum, one for all or broadcastable to ``best_values``.

    >>> success_rate(torch.tensor([0.0, 0.01, 2.0, 0.0]), 0.0, tolerance=0.1)
    tensor(0.7500, dtype=torch.float64)
    """
    return _success_rate_compute(*_success_rate_update(best_values, optimal_value, tolerance))


class SuccessRate(Metric):
    """Share of runs that come within ``tolerance`` of the minimum.

    >>> metric = SuccessRate(tolerance=0.1)
    >>> metric.update(torch.tensor([0.0, 2.0]), 0.0)
    >>> metric.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    successes: Tensor
    runs: Tensor

    def __init__(self, tolerance: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance
        self.add_state("successes", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("runs", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, best_values: Tensor, optimal_value: Tensor | float) -> None:
        """Add runs, see `success_rate`."""
        successes, runs = _success_rate_update(best_values, optimal_value, self.tolerance)
        self.successes += successes
        self.runs += runs

    def compute(self) -> Tensor:
        """Return the share of successes."""
        return _success_rate_compute(self.successes, self.runs)
