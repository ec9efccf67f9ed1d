"""Adam for an ensemble: every row of a parameter is a member with its own learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam


class EnsembleAdam(torch.optim.Optimizer):
    """Adam (Kingma and Ba, 2015) on parameters of shape ``members x P`` with one learning rate a member.

    Torch's own fused step runs over the rows, which keeps each in the processor's cache; a member's steps are those of
    ``torch.optim.Adam(fused=True)`` on that member alone, bit for bit.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float | Sequence[float],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if not all(rate >= 0 for rate in torch.as_tensor(lr).reshape(-1).tolist()):
            raise ValueError(f"learning rates must not be negative: {lr!r}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all members by one step; ``closure`` recomputes the gradients first, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                state = self.state[theta]
                if not state:
                    state["step"] = torch.zeros(len(theta))
                    state["mean"] = torch.zeros_like(theta)
                    state["square"] = torch.zeros_like(theta)
                rates = torch.as_tensor(group["lr"], dtype=torch.float64).expand(len(theta)).tolist()
                rows = list(zip(theta, theta.grad, state["mean"], state["square"], state["step"], strict=True))
                for lr in dict.fromkeys(rates):  # one call for all members with the same rate
                    members = [row for row, rate in zip(rows, rates, strict=True) if rate == lr]
                    weights, grads, means, squares, steps = map(list, zip(*members, strict=True))
                    adam(
                        weights, grads, means, squares, [], steps, fused=True, amsgrad=False, beta1=beta1,
                        beta2=beta2, lr=lr, weight_decay=0.0, eps=group["eps"], maximize=False,
                    )  # fmt: skip
        return loss
