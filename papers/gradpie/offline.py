"""Algorithm A1: a surrogate that is trained once, then frozen while points descend along its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from papers.gradpie.model import Surrogate, new_adam, surrogate_loss, vector_jacobian
from papers.gradpie.online import Descent, GradientSource, Moves
from papers.gradpie.queries import MiniBatches


def fit_surrogate(
    surrogate: Surrogate, batches: MiniBatches, epochs: int, lr: float, loss: str = "gradpie", norm: str = "l1"
) -> None:
    """Part A: train with Adam for so many epochs, every member on its own data.

    Lightning's Trainer with `papers.gradpie.module.SurrogateModule` does the same, bit for bit, and can be resumed.
    """
    adam = new_adam(surrogate, lr)
    for step in range(epochs * batches.steps_per_epoch):
        adam.zero_grad()
        surrogate_loss(surrogate, batches.batch(step), loss, norm).sum().backward()
        adam.step()


class FrozenSurrogate(GradientSource):
    """A trained surrogate as the source of `Descent`'s gradients; each member serves ``S / members`` starts in turn."""

    def __init__(self, surrogate: Surrogate) -> None:
        self.surrogate = surrogate

    def vjp(self, x: Tensor, weights: Tensor) -> Tensor:
        members, dtype = len(self.surrogate), self.surrogate.weights[0].dtype
        by_member = x.to(dtype).reshape(members, -1, x.shape[2])
        gradient = vector_jacobian(self.surrogate, by_member, weights.to(dtype).reshape(members, -1, weights.shape[2]))
        return gradient.to(x).view(x.shape)


def offline_descent(
    surrogate: Surrogate,
    black_box: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor], Tensor],
    starts: Tensor,
    queries: int,
    moves: Moves | None = None,
    bounds: Tensor | None = None,
) -> Descent:
    """Part B: descend from every start (``S x d``) along the frozen surrogate, with so many queries a start.

    Args:
        black_box: maps ``N x d`` to ``N x o``; loss: maps ``N x o`` to ``N``.
        moves: without local samples; "measured acceptance" is ``Moves(centres="all", grow=1.3, shrink=0.7)``.
        bounds: `data_box` keeps points where the surrogate has learnt; None lets them go.
    """
    initial = starts.to(torch.float64).unsqueeze(1)
    seeds: Sequence[int] = range(len(starts))  # key nothing: without local samples nothing is drawn
    return Descent(initial, loss, FrozenSurrogate(surrogate), seeds, moves, bounds).run(black_box, queries - 1)


def data_box(x: Tensor) -> Tensor:
    """Return the smallest box that holds all points of ``... x d``, ``2 x d``."""
    points = x.flatten(0, -2).to(torch.float64)
    return torch.stack([points.amin(0), points.amax(0)])
