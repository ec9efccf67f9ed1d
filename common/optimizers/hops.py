"""A portfolio of hops between local minima: basin hopping whose ways of jumping compete for the budget.

Monotonic basin hopping (Wales and Doye, 1997; Leary, 2000); the kinds of hops are chosen by their successes for an
evaluation.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.optimizers.descent import Point, UnitBox, descend
from common.optimizers.funnel import funnel_step
from common.training.keys import numpy_generator

ARMS = ("dense", "sparse", "coordinate", "funnel", "restart")
PRIOR = 100.0  # evaluations after which an arm without success has half the credit of a new one
MEMORY = 0.9995  # an evaluation, so credit is about the last two thousand
FLOOR = 0.01  # least probability of an arm
MINIMA = 60  # remembered at least; six a variable where that is more


class HopPortfolio:
    """Hops from the lowest local minimum found so far, in units of the box; successes decide which kind comes next.

    The arms: ``dense`` moves all variables by up to an adaptive radius, ``sparse`` moves a few by a random length,
    ``coordinate`` searches variables one by one for lower values, ``funnel`` goes where the minima found so far lead
    to, ``restart`` takes a uniform point. A local search follows each.

    Attributes:
        best: the lowest minimum, of value inf before `start` or `offer`.
        hops: how many there were; ``successes``: arm -> how many lowered ``best``.
    """

    def __init__(self, objective: Objective, seed: int, arms: Sequence[str] = ARMS) -> None:
        self.objective, self.box, self.seed = objective, UnitBox(objective), seed
        self.best = Point(np.zeros(self.box.dim), math.inf)
        self.hops = 0
        self.successes = dict.fromkeys(arms, 0)
        self._arms = [getattr(self, f"_{arm}") for arm in arms]
        self._credit = np.zeros(len(arms))
        self._costs = np.zeros(len(arms))
        self._radius = 0.3
        self._returns: list[bool] = []  # of the last dense hops: did they fall back into the same minimum?
        self._minima: deque[Point] = deque(maxlen=max(MINIMA, 6 * self.box.dim))

    def start(self) -> None:
        """Find the first minimum: a local search from a uniform point."""
        self.offer(descend(self.box, numpy_generator(self.seed, "hops start").uniform(-1, 1, self.box.dim)))

    def offer(self, found: Point) -> bool:
        """Take in a local minimum, or how far a search came; return whether it is the lowest."""
        self._minima.append(found)
        lower = found.value < self.best.value
        if lower:
            self.best = found
        return lower

    def hop(self) -> bool:
        """Make one hop and return whether it lowered the best minimum."""
        rng = numpy_generator(self.seed, "hop", self.hops)
        self.hops += 1
        weights = ((1 + self._credit) / (PRIOR + self._costs)) ** 2
        arm = int(rng.choice(len(weights), p=(1 - FLOOR * len(weights)) * weights / weights.sum() + FLOOR))
        before = self.objective.evaluations
        found = self._arms[arm](rng)
        success = found is not None and self.offer(found)
        spent = self.objective.evaluations - before
        self.successes[list(self.successes)[arm]] += success
        self._credit[arm] += success
        self._costs[arm] += spent
        self._credit *= MEMORY**spent
        self._costs *= MEMORY**spent
        return success

    def _search(self, z: np.ndarray) -> Point:
        return descend(self.box, np.clip(z, -1, 1), self.best.value)

    def _dense(self, rng: np.random.Generator) -> Point:
        found = self._search(self.best.z + rng.uniform(-self._radius, self._radius, self.box.dim))
        self._returns.append(bool(np.abs(found.z - self.best.z).max() < 1e-3 * self._radius))
        if len(self._returns) == 10:
            self._radius = min(self._radius / 0.9, 1.0) if sum(self._returns) > 5 else self._radius * 0.9
            self._returns.clear()
        return found

    def _sparse(self, rng: np.random.Generator) -> Point:
        z = self.best.z.copy()
        chosen = rng.choice(self.box.dim, min(int(rng.geometric(0.5)), self.box.dim), replace=False)
        length = math.exp(rng.uniform(math.log(0.1), math.log(1.0)))
        z[chosen] += length * rng.standard_normal(len(chosen))
        return self._search(z)

    def _coordinate(self, rng: np.random.Generator) -> Point | None:
        z, value = self.best
        for j in rng.permutation(self.box.dim)[: max(3, self.box.dim // 2)]:
            trial = z.copy()
            near = z[j] + 0.12 * rng.standard_cauchy()
            trial[j] = rng.uniform(-1, 1) if rng.random() < 0.5 else np.clip(near, -1, 1)
            found = self.box.value(trial)
            if found < value:
                z, value = trial, found
        return self._search(z) if value < self.best.value else None

    def _funnel(self, rng: np.random.Generator) -> Point:
        values = np.array([point.value for point in self._minima])
        lowest = np.argsort(values, kind="stable")[: max(len(values) // 2, 5)]
        offsets = np.array([self._minima[i].z for i in lowest]) - self.best.z
        step = funnel_step(offsets, values[lowest]) if len(lowest) >= 5 else None
        if step is None:
            return self._restart(rng)
        blur = self._radius * rng.random() * rng.uniform(-1, 1, self.box.dim)  # else it would repeat itself
        return self._search(self.best.z + step + blur)

    def _restart(self, rng: np.random.Generator) -> Point:
        return self._search(rng.uniform(-1, 1, self.box.dim))


class Hops(Optimizer):
    """The hop portfolio from a uniform start, without any model of the function, until the budget is spent.

    The run is the same for ``f`` and ``a f + b``, ``a > 0``, and in any units of the variables, up to rounding.

    Args:
        arms: kinds of hops, see `HopPortfolio`.

    Raises:
        ValueError: an unknown arm, or none.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(self, arms: Sequence[str] = ARMS) -> None:
        self.arms = as_arms(arms)

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        self.portfolio = HopPortfolio(objective, seed, self.arms)
        self.portfolio.start()
        while True:  # ends by the budget, a target or a callback
            self.portfolio.hop()


def as_arms(arms: Sequence[str]) -> tuple[str, ...]:
    """Return the arms as a tuple.

    Raises:
        ValueError: an unknown one, or none.
    """
    chosen = tuple(dict.fromkeys(arms))
    if not chosen or not set(chosen) <= set(ARMS):
        raise ValueError(f"arms must be some of {', '.join(ARMS)}, not {arms!r}")
    return chosen
