"""Optimizers that learn a function's outputs one by one where it is known how they make the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from common.objective import Objective
from common.optimizers.base import AskTellOptimizer


class CompositeOptimizer(AskTellOptimizer):
    """An ask/tell optimizer of a value that is L of measured outputs, F(x); without an L, F is the value itself.

    `minimize` takes L from `Objective.scalarize`, and else from ``scalarize``, which ask/tell by hand needs.

    Args:
        scalarize: L, maps ``n x o`` outputs to ``n`` values, differentiable by autograd.
    """

    def __init__(self, scalarize: Callable[[Tensor], Tensor] | None = None) -> None:
        self.scalarize = scalarize
        self._loss = scalarize

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        self._loss = objective.scalarize or self.scalarize
        try:
            return super()._run(objective, seed)
        finally:
            self._loss = self.scalarize

    def _value(self, outputs: Tensor) -> Tensor:
        """Return the values ``n`` of outputs ``n x o``."""
        return outputs[:, 0] if self._loss is None else self._loss(outputs)

    def _outputs(self, y: Tensor, outputs: Tensor | None) -> Tensor:
        """Return what was told as ``n x o`` float64 outputs.

        Raises:
            ValueError: there is an L, and no outputs were told.
        """
        if self._loss is None:
            return y[:, None]
        if outputs is None:
            raise ValueError("with scalarize= the outputs are wanted too: tell(X, y, outputs=outputs)")
        return outputs.detach().to(torch.float64)
