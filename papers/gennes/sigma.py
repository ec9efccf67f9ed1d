"""GENNES-sigma (ours, not in the paper): rounds of smoothing, each twice as long as the last and polished."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.optimizers.descent import Point, UnitBox, descend
from common.training.keys import key_seed
from papers.gennes.smoothing import GENERATORS, Smoothing

FIRST_ROUND = 250  # evaluations
POLISH = 0.2  # of what remains, at the end of the budget


class GennesSigma(Optimizer):
    """GENNES with output noise that the network can't cancel, normalised gradients, a cosine rate, and a polish.

    Rounds of 250, 500, 1000, ... evaluations anneal fresh generators, and a local search by L-BFGS-B follows each, so
    more budget buys slower annealing; the last ones share what remains. The run is the same for ``f`` and
    ``a f + b``, ``a > 0``, and in any units of the variables, up to rounding.

    Args:
        generator: "network", or "mean" for a bare vector in its place.
        members: independent generators of a round, trained as one batch; their best point is polished.
        first: evaluations of the first round.
        width, depth: of the network.

    Raises:
        ValueError: a setting out of its range.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(
        self, generator: str = "network", members: int = 1, first: int = FIRST_ROUND, width: int = 64, depth: int = 5
    ) -> None:
        self.rounds = Rounds(generator, members, first, width, depth)

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        box, k = UnitBox(objective), 0
        while True:  # ends by the budget, a target or a callback
            length = self.rounds.length(k)
            if 2 * length > objective.remaining:  # the next one would not fit
                length = max(int((1 - POLISH) * objective.remaining), 1)
            self.rounds.run(box, seed, k, length)
            k += 1


class Rounds:
    """What the rounds of smoothing have in common; see `GennesSigma` for the settings."""

    def __init__(self, generator: str, members: int, first: int, width: int, depth: int) -> None:
        if generator not in GENERATORS:
            raise ValueError(f"generator must be one of {', '.join(GENERATORS)}, not {generator!r}")
        sizes = {"members": members, "first": first, "width": width, "depth": depth}
        for name, size in sizes.items():
            if isinstance(size, bool) or size != int(size) or size < 1:
                raise ValueError(f"{name} must be a positive integer, not {size!r}")
        self.members, self.first = int(members), int(first)
        self.settings: dict[str, Any] = {"generator": generator, "width": int(width), "depth": int(depth)}

    def length(self, k: int) -> int:
        """Return the evaluations of round ``k`` (from 0)."""
        return self.first * 2**k

    def run(self, box: UnitBox, seed: int, k: int, length: int) -> Point:
        """Run round ``k`` with at most ``length`` evaluations (one a member at least) and polish its best point."""
        share = max(length // self.members, 1)
        population = min(max(4, round(math.sqrt(share / 15))), share)
        seeds = [key_seed(seed, "round", k, member) for member in range(self.members)]
        smoothing = Smoothing(box.dim, seeds, population, max(share // population, 1), **self.settings)
        return descend(box, smooth(box, smoothing).z)


def smooth(box: UnitBox, smoothing: Smoothing) -> Point:
    """Anneal ``smoothing`` on the function and return the best point queried."""
    best = Point(np.zeros(box.dim), math.inf)
    adam = smoothing.new_optimizer()
    for step in range(smoothing.iterations):
        points = smoothing(*smoothing.noise(step))
        unit = points.detach().to(torch.float64).numpy().reshape(-1, box.dim)
        values, gradients = box.value_and_gradient(unit)
        lowest = int(values.argmin())
        if values[lowest] < best.value:
            best = Point(unit[lowest], float(values[lowest]))
        adam.zero_grad(set_to_none=True)
        smoothing.loss(points, torch.from_numpy(gradients).view(points.shape)).backward()
        adam.param_groups[0]["lr"] = smoothing.learning_rate(step)
        adam.step()
    return best
