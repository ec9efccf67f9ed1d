"""Evaluations to a target: how much a run spends until its best value is at or below the target.

References:
    [Hansen2021] N. Hansen et al. COCO: a platform for comparing continuous optimizers in a black-box setting.
        Optimization Methods and Software 36, 2021; the expected running time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


def evaluations_to_target(evaluations: Tensor, best_values: Tensor, target: Tensor | float) -> Tensor:
    """Return for every run the evaluations at the first history point at or below ``target``, inf if there is none.

    Args:
        evaluations: ``h`` or ``... x h``, evaluations spent up to each history point, increasing.
        best_values: ``... x h``, the best value up to that point.
        target: one for all runs, or of shape ``...``.

    >>> history = torch.tensor([[9.0, 4.0, 1.0], [8.0, 7.0, 6.0]])
    >>> evaluations_to_target(torch.tensor([10, 20, 30]), history, target=4.0)
    tensor([20., inf], dtype=torch.float64)
    """
    reached = best_values <= torch.as_tensor(target).unsqueeze(-1)
    spent = torch.where(reached, evaluations.double(), torch.inf)
    return spent.new_full(spent.shape[:-1], torch.inf) if spent.shape[-1] == 0 else spent.amin(-1)


class EvaluationsToTarget(Metric):
    """Evaluations at the first history point at or below the target, one value per run, inf for runs that miss it.

    >>> metric = EvaluationsToTarget()
    >>> metric.update(torch.tensor([1, 5]), torch.tensor([3.0, 0.5]), target=1.0)
    >>> metric.update(torch.tensor([1, 2, 9]), torch.tensor([5.0, 4.0, 3.0]), target=1.0)
    >>> metric.compute()
    tensor([5., inf], dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    hits: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("hits", [], dist_reduce_fx="cat")

    def update(self, evaluations: Tensor, best_values: Tensor, target: Tensor | float) -> None:
        """Add runs, see `evaluations_to_target`; runs with histories of different lengths come one by one."""
        self.hits.append(evaluations_to_target(evaluations, best_values, target).reshape(-1))

    def compute(self) -> Tensor:
        """Return the evaluations of all runs in the order they were added; torchmetrics makes one alone a scalar."""
        return dim_zero_cat(self.hits)


def _expected_running_time_update(hits: Tensor, spent: Tensor | float) -> tuple[Tensor, Tensor]:
    success = hits.isfinite()
    return torch.where(success, hits, torch.as_tensor(spent).to(hits)).sum(dtype=torch.float64), success.sum()


def _expected_running_time_compute(total: Tensor, successes: Tensor) -> Tensor:
    return total / successes if successes > 0 else torch.full_like(total, torch.inf)


def expected_running_time(hits: Tensor, spent: Tensor | float) -> Tensor:
    """Return the expected running time [Hansen2021]: all evaluations spent, by hits only until the hit, per hit.

    It is inf where no run hit the target.

    Args:
        hits: what `evaluations_to_target` gives, any shape.
        spent: all evaluations of the run, where it missed; one for all (the budget) or broadcastable to ``hits``.

    >>> expected_running_time(torch.tensor([20.0, torch.inf, 40.0]), spent=100)
    tensor(80., dtype=torch.float64)
    """
    return _expected_running_time_compute(*_expected_running_time_update(hits, spent))


class ExpectedRunningTime(Metric):
    """Evaluations spent by all runs, until their hit if they have one, per run that reached the target.

    >>> metric = ExpectedRunningTime()
    >>> metric.update(torch.tensor([20.0, torch.inf]), spent=100)
    >>> metric.compute()
    tensor(120., dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    total: Tensor
    successes: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("successes", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, hits: Tensor, spent: Tensor | float) -> None:
        """Add runs, see `expected_running_time`."""
        total, successes = _expected_running_time_update(hits, spent)
        self.total += total
        self.successes += successes

    def compute(self) -> Tensor:
        """Return the expected running time."""
        return _expected_running_time_compute(self.total, self.successes)
