"""Searches for phases by values alone, beside which gradients from surrogates have to show what they are worth.

Every search begins at ``starts`` (``S x d``, one seed each), makes exactly ``queries`` queries of ``function``
(``... x d`` to ``...``) from each of them, and returns their losses in order, ``queries x S``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from common.optimizers.cmaes import new_strategy
from common.training.keys import numpy_generator, torch_generator
from papers.gradpie.experiments.wavefronts import TURN

Function = Callable[[Tensor], Tensor]
BATCH = 20  # fields of all starts that are held at a time


def random_search(function: Function, starts: Tensor, seeds: Sequence[int], queries: int) -> Tensor:
    """Query phases uniform on a turn; the starts themselves are not among them."""
    generators = [torch_generator(seed, "random search") for seed in seeds]
    losses = []
    for size in torch.ones(queries).split(BATCH):
        drawn = [torch.rand(len(size), starts.shape[1], generator=g, dtype=starts.dtype) for g in generators]
        losses.append(function(TURN * torch.stack(drawn)).T)
    return torch.cat(losses)


def spsa(
    function: Function, starts: Tensor, seeds: Sequence[int], queries: int, radius: float, step_size: float
) -> Tensor:
    """Step by Adam along simultaneous perturbation gradients (Spall, 1992), from two queries each.

    Args:
        radius: of the perturbations in every variable; step_size: of Adam.
    """
    x = starts.clone()
    losses: list[Tensor] = []
    adam = torch.optim.Adam([x], step_size)
    for step in range(-(-queries // 2)):
        drawn = [torch.randint(2, x.shape[1:], generator=torch_generator(s, "spsa", step)) for s in seeds]
        signs = 2 * torch.stack(drawn).to(x) - 1
        points = torch.stack([x + radius * signs, x - radius * signs])[: queries - len(losses)]
        losses += function(points)
        if len(points) == 2:
            x.grad = ((losses[-2] - losses[-1]) / (2 * radius)).unsqueeze(1) * signs
            adam.step()
    return torch.stack(losses)


def one_plus_one(function: Function, starts: Tensor, seeds: Sequence[int], queries: int, sigma: float) -> Tensor:
    """Mutate the best point by normal noise, whose deviation ``sigma`` follows the 1/5 rule (Rechenberg, 1973)."""
    best, lowest = starts, function(starts)
    deviations, losses = torch.full_like(lowest, sigma).unsqueeze(1), [lowest]
    for step in range(1, queries):
        drawn = [torch.randn(best.shape[1], generator=torch_generator(s, "mutation", step)) for s in seeds]
        x = best + deviations * torch.stack(drawn).to(best)
        losses.append(function(x))
        better = (losses[-1] < lowest).unsqueeze(1)
        best, lowest = torch.where(better, x, best), torch.minimum(losses[-1], lowest)
        deviations = deviations * torch.where(better, math.exp(1 / 3), math.exp(-1 / 12))
    return torch.stack(losses)


def separable_cmaes(
    function: Function, starts: Tensor, seeds: Sequence[int], queries: int, sigma: float, population: int
) -> Tensor:
    """Adapt a normal distribution with a diagonal covariance (Ros and Hansen, 2008), without a box."""
    curves = []
    for start, seed in zip(starts, seeds, strict=True):
        options = {"bounds": None, "popsize": population, "CMA_diagonal": True}
        strategy = new_strategy(numpy_generator(seed, "cmaes"), len(start), sigma, options)
        origin = strategy.x0  # without a box nothing depends on where it is
        losses = torch.empty(0, dtype=start.dtype)
        while len(losses) < queries:
            moved = strategy.ask()
            points = start + torch.from_numpy(np.array(moved) - origin)
            losses = torch.cat([losses, function(points[: queries - len(losses)])])
            if len(losses) < queries:
                strategy.tell(moved, losses[-population:].tolist())
        curves.append(losses)
    return torch.stack(curves, dim=1)
