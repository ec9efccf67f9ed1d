"""The two-phase methods before LGO, for comparison: filled functions and tunneling along the coordinate axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from common.objective import Objective
from common.optimizers.base import Optimizer
from common.optimizers.lbfgs import local_search
from common.training.keys import numpy_generator
from papers.lgo.filled import GeQin, Tunneling, descend
from papers.lgo.optimizer import as_cube

AUXILIARY: dict[str, type[GeQin] | type[Tunneling]] = {"ge_qin": GeQin, "tunneling": Tunneling}
PROGRESS = 1e-6  # relative: a gain below it is what a local search had left, and no other minimum


class Minimum(NamedTuple):
    """A local minimum: ``x`` (``d``) and f(x)."""

    x: Tensor
    value: float


class _Lower(Exception):
    """On the way, f fell below the minimum that is left."""

    def __init__(self, point: Tensor) -> None:
        self.point = point


class TwoPhase(Optimizer):
    """Minimize f; descend on an auxiliary function from both sides of the minimum on every axis; minimize f again.

    The filled function of Ge and Qin (1987), or the tunneling function of Levy and Montalvo (1985). A descent ends at
    a point lower than the minimum, at a stationary point of the auxiliary function, at the box, or after its steps;
    from there f is minimized by L-BFGS-B. Where no descent leads to a lower minimum, the method begins anew at a
    uniform point, until the budget is spent. Lengths are in percent of the box's diagonal, as in `LGO`.

    Args:
        auxiliary: a key of ``AUXILIARY``.
        parameters: of the auxiliary function, tried one after the other on all axes.
        rate: length of a step of the descent; ``steps``: at most so many.
        delta: distance of its start from the minimum.

    Raises:
        ValueError: another auxiliary function.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(
        self, auxiliary: str, parameters: Sequence[float], rate: float = 1.0, steps: int = 100, delta: float = 1.0
    ) -> None:
        if auxiliary not in AUXILIARY:
            raise ValueError(f"auxiliary functions are {', '.join(AUXILIARY)}, not {auxiliary!r}")
        self.auxiliary, self.parameters = AUXILIARY[auxiliary], list(parameters)
        self.rate, self.steps, self.delta = rate, steps, delta

    def _run(self, objective: Objective, seed: int) -> dict[str, Any]:
        cube = as_cube(objective)
        side, start = cube.bounds[1].numpy(), 0
        while True:  # ends by the budget, a target or a callback
            x = torch.from_numpy(numpy_generator(seed, "two phases", start).uniform(0, side))
            minimum: Minimum | None = _minimum(cube, x)
            while minimum is not None:
                minimum = self._lower_minimum(cube, minimum)
            start += 1

    def _lower_minimum(self, cube: Objective, minimum: Minimum) -> Minimum | None:
        """Return the first lower minimum that an axis leads to, or None."""
        axes = torch.eye(cube.dim, dtype=torch.float64)
        margin = PROGRESS * max(abs(minimum.value), 1.0)
        for parameter in self.parameters:
            for direction in torch.cat([axes, -axes]):
                point = self._escape(cube, minimum, direction, parameter, margin)
                if point is not None and (found := _minimum(cube, point)).value < minimum.value - margin:
                    return found
        return None

    def _escape(
        self, cube: Objective, minimum: Minimum, direction: Tensor, parameter: float, margin: float
    ) -> Tensor | None:
        """Return where to minimize f from, or None."""

        def watched(X: Tensor) -> tuple[Tensor, Tensor]:
            values, gradients = cube.value_and_gradient(X)
            if values[0] < minimum.value - margin:
                raise _Lower(X[0])
            return values, gradients

        start = minimum.x + self.delta * direction
        if ((start < cube.bounds[0]) | (start > cube.bounds[1])).any():
            return None
        filled = self.auxiliary(watched, minimum.x, minimum.value, parameter)
        try:
            descent = descend(filled, start, cube.bounds, self.rate, self.steps)
        except _Lower as lower:
            return lower.point
        return None if descent.reason == "not finite" else descent.points[-1]


def _minimum(cube: Objective, start: Tensor) -> Minimum:
    found = local_search(cube, start.numpy())
    return Minimum(torch.from_numpy(found.x), float(found.fun))
