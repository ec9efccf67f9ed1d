"""LGOPlus (ours, not in the paper): the two phases of LGO, by a cheaper local search and by tilted directions.

Hops between local minima compete for the budget as in `common.optimizers.hops`, so that directions are tried as long
as they pay. Two things are LGO's: a local search costs about one gradient a step (`papers.lgo.virtual_search`), and one
kind of hop escapes from the lowest minimum in directions that learn from the gradients along failed ones
(`papers.lgo.tilt`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from common.objective import Objective, StopRun
from common.optimizers.base import Optimizer
from common.optimizers.descent import ENOUGH, FIRST_STEP, HOPE, PATIENCE, RECENT, Point, UnitBox
from common.optimizers.hops import ARMS, HopPortfolio
from common.training.keys import numpy_generator
from papers.lgo.tilt import Lengths, Tilt
from papers.lgo.virtual_search import virtual_search

PLUS_ARMS = ("tilt", *ARMS)
NEAREST, FARTHEST = 0.02, 0.5  # of an escape's points, relative to the diagonal of the box
LENGTHS = 9
INNER = 0.04  # up to there gradients are those of the minimum's own basin; also relative to the diagonal
TOLERANCE = 1e-7  # of the gradient, relative to the first one
SAME_BASIN = 0.1  # relative difference from the parabola with its bottom at a known minimum
ALIKE = 2  # points in a row on that parabola, after which a search is on its way there


class TiltedHops(HopPortfolio):
    """A `HopPortfolio` whose local searches are `virtual_search`, with one more arm.

    ``tilt`` tries one direction from the lowest minimum, see `papers.lgo.tilt`; where it is promising, a local search
    follows.

    Args:
        x0: the first start, ``d``, in [-1, 1]; default a uniform point.
    """

    def __init__(
        self, objective: Objective, seed: int, arms: Sequence[str] = PLUS_ARMS, x0: np.ndarray | None = None
    ) -> None:
        super().__init__(objective, seed, arms)
        self.x0 = x0
        dim, diagonal = self.box.dim, 2 * math.sqrt(self.box.dim)
        self._cube = Objective(
            lambda Z: _as_tensors(self.box.value_and_gradient(Z.numpy())), (-1, 1), dim=dim, jac=True
        )
        self._escape = Lengths(NEAREST * diagonal, FARTHEST * diagonal, LENGTHS)
        self._inner = INNER * diagonal
        self._origin: Point | None = None  # of the directions that have been tried

    def start(self) -> None:
        """Find the first minimum."""
        uniform = numpy_generator(self.seed, "hops start").uniform(-1, 1, self.box.dim)
        self.offer(self._search(uniform if self.x0 is None else self.x0))

    def _search(self, z: np.ndarray) -> Point:
        return descend(self.box, np.clip(z, -1, 1), self.best)

    def _tilt(self, rng: np.random.Generator) -> Point | None:
        if self._origin is not self.best:
            self._origin = self.best
            self._directions = Tilt([int(rng.integers(2**31))], self.box.dim, self._inner)
        minimum, directions = torch.from_numpy(self.best.z), self._directions.directions()
        found = self._escape(self._cube, minimum, self.best.value, directions[:, None], record=True)
        self._directions.learn(found)
        return self._search(found.points[0, 0].numpy()) if found.promising else None


class LGOPlus(Optimizer):
    """Hops between local minima at about one gradient a step, some of them in directions that follow the gradients.

    The kinds of hops compete by their successes for an evaluation, see `common.optimizers.hops.HopPortfolio` and
    `TiltedHops`. The run is the same for ``f`` and ``a f + b``, ``a > 0``, and in any units of the variables, up to
    rounding. Local searches take O(d^2) time and memory a step.

    Args:
        arms: kinds of hops, of `PLUS_ARMS`.
        x0: the first start, ``d``; default a uniform point.

    Attributes:
        portfolio: of the last run, with its ``successes`` by arm.

    Raises:
        ValueError: an unknown arm, or none; in a run, ``x0`` that is no point of the box.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(self, arms: Sequence[str] = PLUS_ARMS, x0: Any = None) -> None:
        self.arms = tuple(dict.fromkeys(arms))
        if not self.arms or not set(self.arms) <= set(PLUS_ARMS):
            raise ValueError(f"arms must be some of {', '.join(PLUS_ARMS)}, not {arms!r}")
        self.x0 = None if x0 is None else torch.as_tensor(x0, dtype=torch.float64)

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        x0 = None if self.x0 is None else _in_unit_box(objective, self.x0)
        self.portfolio = TiltedHops(objective, seed, self.arms, x0)
        self.portfolio.start()
        while True:  # ends by the budget, a target or a callback
            self.portfolio.hop()


class _GivenUp(StopRun):
    """The search can't pay any more."""


def descend(box: UnitBox, z: np.ndarray, rival: Point) -> Point:
    """Minimize locally from ``z`` (``d``) by `virtual_search` and return the best point; every query counts.

    Values and gradients are seen as in `common.optimizers.descent.descend`, and a search is given up by its rules when
    it can't come below ``rival``; and as soon as it is on its way to ``rival`` itself, which then is the result.
    """
    lowest, best = Point(z, math.inf), [math.inf]  # best value after every evaluation
    first_step = FIRST_STEP * math.sqrt(box.dim)
    unit = min(first_step**2, 1.0)
    offset = scale = 0.0
    alike = 0

    def relative(Z: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal lowest, offset, scale, alike
        values, gradients = box.value_and_gradient(Z.numpy())
        value, gradient = float(values[0]), gradients[0]
        if len(best) == 1:
            offset, scale = value, float(np.linalg.norm(gradient)) / first_step or 1.0
        if value < lowest.value:
            lowest = Point(Z[0].numpy().copy(), value)
        best.append(lowest.value)
        parabola = float(gradient @ (Z[0].numpy() - rival.z)) / 2
        on_it = abs(value - rival.value - parabola) <= SAME_BASIN * parabola
        alike = alike + 1 if on_it else 0
        if len(best) > PATIENCE and lowest.value >= rival.value:
            gain = best[-1 - RECENT] - best[-1]
            if lowest.value - rival.value > HOPE * gain or gain < ENOUGH * unit * scale:
                raise _GivenUp({}, "it can't pay any more")
        if alike == ALIKE and lowest.value >= rival.value:
            lowest = rival
            raise _GivenUp({}, "its end is known")
        return _as_tensors(((values - offset) / scale, gradients / scale))

    with contextlib.suppress(_GivenUp):
        virtual_search(
            Objective(relative, (-1, 1), dim=box.dim, jac=True), torch.from_numpy(z), tolerance=TOLERANCE * first_step
        )
    return lowest


def _as_tensors(arrays: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])


def _in_unit_box(objective: Objective, x: Tensor) -> np.ndarray:
    lower, upper = objective.bounds
    if x.shape != (objective.dim,) or not ((x >= lower) & (x <= upper)).all():
        raise ValueError(f"x0 must be a point of the box with {objective.dim} variables, not {x.tolist()}")
    return (2 * (x - lower) / (upper - lower) - 1).numpy()
