"""One local search in units of the box and of the function: L-BFGS-B by SciPy, given up as soon as it can't pay."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

import numpy as np
import scipy.optimize
import torch

from common.objective import Objective

FIRST_STEP = 0.1  # length of the first trial step, in half-widths of the box per variable
PRECISION = 1e-14  # a search ends when an iteration gains less than about this share of what its first step promised
ENOUGH = 1e-11  # ... which is done only for a new lowest minimum; for others this share is enough
PATIENCE = 7  # evaluations before a search may be given up
RECENT = 3  # ... judged by the gain of its last evaluations
HOPE = 5.0  # ... of which this multiple is expected to come at best


class Point(NamedTuple):
    """A point ``z`` (``d``, in [-1, 1]) and its value."""

    z: np.ndarray
    value: float


class UnitBox:
    """An objective seen from [-1, 1]^d: what moves in here does not depend on the units of the variables."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.dim = objective.dim
        self._lower, self._upper = objective.bounds.numpy()
        self._middle, self._half = (self._lower + self._upper) / 2, (self._upper - self._lower) / 2

    def value(self, z: np.ndarray) -> float:
        """Return the value at ``z`` (``d``), one evaluation."""
        return float(self.objective(self._points(z[None])))

    def value_and_gradient(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return values (``n``) and gradients with respect to ``Z`` (both ``n x d``)."""
        values, gradients = self.objective.value_and_gradient(self._points(Z))
        return values.numpy(), gradients.numpy() * self._half

    def _points(self, Z: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.clip(self._middle + self._half * Z, self._lower, self._upper))


class _GivenUp(Exception):
    """The search can't pay any more."""


def descend(box: UnitBox, z: np.ndarray, rival: float = math.inf) -> Point:
    """Minimize locally from ``z`` (``d``) and return the best point; every query counts.

    L-BFGS-B sees values relative to the first one and in units of the first gradient, so neither scale nor offset of
    the function matters. A search that can't come below ``rival`` at the rate of its last evaluations is given up; one
    that has come below it goes on until it gains next to nothing, through ill-conditioned valleys too.
    """
    lowest, best = z, [math.inf]  # best value after every evaluation
    first_step = FIRST_STEP * math.sqrt(box.dim)
    # SciPy's rule is relative to what was gained or to 1, whichever is more; on a straight slope the first step
    # gains first_step^2.
    unit = min(first_step**2, 1.0)
    offset = scale = 0.0

    def relative(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal lowest, offset, scale
        values, gradients = box.value_and_gradient(point[None])
        value, gradient = float(values[0]), gradients[0]
        if len(best) == 1:
            # In a box, L-BFGS-B's first step is the gradient itself.
            offset, scale = value, float(np.linalg.norm(gradient)) / first_step or 1.0
        if value < best[-1]:
            lowest = point.copy()
        best.append(min(value, best[-1]))
        if len(best) > PATIENCE and best[-1] >= rival:
            gain = best[-1 - RECENT] - best[-1]
            if best[-1] - rival > HOPE * gain or gain < ENOUGH * unit * scale:
                raise _GivenUp
        return (value - offset) / scale, gradient / scale

    options = {"ftol": PRECISION * unit, "gtol": 0.0, "maxiter": 10**9, "maxfun": 10**9}
    with contextlib.suppress(_GivenUp):
        scipy.optimize.minimize(
            relative, z, jac=True, method="L-BFGS-B", bounds=scipy.optimize.Bounds(-1, 1), options=options
        )
    return Point(lowest, best[-1])
