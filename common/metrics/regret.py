"""Simple regret: how far the best value found is above the minimum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


def _simple_regret_update(best_values: Tensor, optimal_value: Tensor | float) -> tuple[Tensor, int]:
    return (best_values - optimal_value).sum(dtype=torch.float64), best_values.numel()


def _simple_regret_compute(total: Tensor, runs: Tensor | int) -> Tensor:
    return total / runs


def simple_regret(best_values: Tensor, optimal_value: Tensor | float) -> Tensor:
    """Return the mean over runs of best value minus optimal value, in float64.

    Args:
        best_values: the best value of every run, any shape.
        optimal_value: the minimum, one for all or broadcastable to ``best_values``.

    >>> simple_regret(torch.tensor([1.0, 3.0]), 0.5)
    tensor(1.5000, dtype=torch.float64)
    """
    return _simple_regret_compute(*_simple_regret_update(best_values, optimal_value))


class SimpleRegret(Metric):
    """Mean over runs of best value minus optimal value.

    >>> metric = SimpleRegret()
    >>> metric.update(torch.tensor([1.0, 3.0]), 0.5)
    >>> metric.update(torch.tensor([2.0]), 2.0)
    >>> metric.compute()
    tensor(1., dtype=torch.float64)
    """

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 0.0

    total: Tensor
    runs: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("runs", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, best_values: Tensor, optimal_value: Tensor | float) -> None:
        """Add runs, see `simple_regret`."""
        total, runs = _simple_regret_update(best_values, optimal_value)
        self.total += total
        self.runs += runs

    def compute(self) -> Tensor:
        """Return the mean regret."""
        return _simple_regret_compute(self.total, self.runs)
