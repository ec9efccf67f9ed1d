"""Gd-Net: d-Nets one after the other, as a local search on any objective in a box (section III).

The paper's problem has no bounds. Here a variable that is at a bound, and would leave the box, is held there until the
gradient points inside again; whenever the held ones change, a new d-Net begins.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.objective import Objective
from papers.lgo.line_search import Line, Point, Reason, line_search
from papers.lgo.model import DNet

MATRIX_LIMIT = 200  # variables up to which H is a matrix
MAX_LINE = 40  # queries in a line search
STALLED_NETS = 2  # d-Nets in a row that gain nothing but rounding


class LocalSearch(NamedTuple):
    """What a local search found.

    Attributes:
        x: ``d``, never higher than the start, up to rounding.
        value: f(x).
        gradient: ``d``, at x.
        steps: line searches.
        evaluations: what they cost, in the objective's units.
        nets: d-Nets begun.
        guarded: directions that the guards of `AGD` replaced by steepest descent.
        stop: why it ended, ``{rule: value}``: ``gradient``, its norm; ``no progress``, the last d-Net's decrease;
            ``nets``; ``evaluations``; ``unbounded``, the last step as a multiple of the direction.
    """

    x: Tensor
    value: float
    gradient: Tensor
    steps: int
    evaluations: int
    nets: int
    guarded: int
    stop: dict[str, Any]


def local_search(
    objective: Objective,
    start: Tensor,
    net: DNet,
    *,
    tail: str = "restart",
    tolerance: float = 1e-6,
    slope_tolerance: float = 1e-2,
    max_nets: int = 1000,
    max_evaluations: float = math.inf,
    pairs: int | None = None,
) -> LocalSearch:
    """Descend from ``start`` (``d``, in the box) by Gd-Net, every query counted by ``objective``.

    Args:
        net: the d-Net whose weights all of them share; see also `preset`.
        tail: what follows the T layers of a d-Net, see `DNet.schedule`.
        tolerance: stop when the norm of the gradient, of the variables that are free, is not above it (absolute).
        slope_tolerance: of every line search, relative; the theory is that of small ones.
        max_nets: stop after as many times T line searches.
        max_evaluations: stop before this search costs more.
        pairs: see `DNet.agd`; by default a matrix, and T pairs above 200 variables.

    Raises:
        ValueError: a ``fixed`` memory, or as `DNet.schedule`.
        ObjectiveError, StopRun: from the objective, which keeps the best point.
    """
    return _Run(objective, net, tail, slope_tolerance, max_evaluations, pairs).run(start, tolerance, max_nets)


class _Run:
    """The state of one search; points and gradients are ``1 x d``."""

    def __init__(
        self, objective: Objective, net: DNet, tail: str, slope_tolerance: float, max_evaluations: float,
        pairs: int | None,
    ) -> None:  # fmt: skip
        self.objective = objective
        self.net, self.tail = net, tail
        self.slope_tolerance, self.max_evaluations = slope_tolerance, max_evaluations
        if pairs is None and objective.dim > MATRIX_LIMIT:
            pairs = net.layers
        self.agd = net.agd(pairs=pairs)
        self.lower, self.upper = objective.bounds
        self.spent = objective.evaluations
        self.steps = self.nets = self.guarded = 0
        self.last_step: tuple[float, float] | None = None  # step and slope of the last line search

    @property
    def evaluations(self) -> int:
        return self.objective.evaluations - self.spent

    @property
    def affordable(self) -> float:
        """Queries with gradient that may still be made."""
        return (self.max_evaluations - self.evaluations) / self.objective.gradient_cost

    @torch.no_grad()
    def run(self, start: Tensor, tolerance: float, max_nets: int) -> LocalSearch:
        self.x = torch.as_tensor(start, dtype=torch.float64).reshape(1, -1)
        self.value, self.gradient = self._query(self.x)
        self.held = self._held()
        self._begin_net()
        stop = self._descend(tolerance, max_nets)
        x, gradient = self.x[0].clone(), self.gradient[0].clone()
        return LocalSearch(x, self.value, gradient, self.steps, self.evaluations, self.nets, self.guarded, stop)

    def _descend(self, tolerance: float, max_nets: int) -> dict[str, Any]:
        stalled, lowest = 0, self.value
        while True:
            free = self.gradient.masked_fill(self.held, 0.0)
            if (norm := float(free.norm())) <= tolerance:
                return {"gradient": norm}
            if self.affordable < 1:
                return {"evaluations": self.evaluations}
            line = self._line(free)
            if line.reason is Reason.UNBOUNDED:
                return {"unbounded": line.point.step}
            if line.reason is Reason.FAILED:
                if self.fresh and self.affordable >= 1:  # not even along the gradient
                    return {"no progress": 0.0}
                self._begin_net()
            elif self.steps % self.net.layers == 0:
                gain = max(lowest - self.value, 0.0)  # a line search may end higher by rounding
                lowest = min(lowest, self.value)
                if gain > torch.finfo(torch.float64).eps * abs(self.value):
                    stalled = 0
                elif (stalled := stalled + 1) == STALLED_NETS:
                    return {"no progress": gain}
                else:
                    self._begin_net()  # H may be to blame
                if self.steps // self.net.layers >= max_nets:
                    return {"nets": max_nets}

    def _line(self, free: Tensor) -> Line:
        """Search along the direction of the next layer; the point's ``extra`` is its x and gradient."""
        layer = next(self.layers)
        if layer == 0:
            self.agd.restart()
            self.nets += 1
        d = self.agd.direction(free, self.net.weights(layer))
        self.guarded += int(self.agd.guarded)
        self.fresh = layer == 0 or bool(self.agd.guarded)
        bounds = torch.where(d > 0, self.upper, self.lower)
        limits = torch.where(d == 0, math.inf, (bounds - self.x) / d)  # the step at which each variable is at a bound
        limit = float(limits.min())
        if limit <= 0:  # a free variable is at its bound, and d leads out, which the gradient does not
            self._begin_net()
            return self._line(free)

        def phi(step: float) -> Point:
            x = (self.x + step * d).clamp(self.lower, self.upper)
            if step >= limit:
                x = torch.where(limits <= step, bounds, x)  # exactly
            value, gradient = self._query(x)
            return Point(step, value, float(gradient[0] @ d[0]), (x, gradient))

        start = Point(0.0, self.value, float(self.gradient[0] @ d[0]), (self.x, self.gradient))
        if start.slope >= 0:  # it is too small for floating point
            return Line(start, 0, Reason.FAILED)
        line = line_search(
            phi,
            start,
            self._first_step(start.slope, d),
            limit=limit,
            tolerance=self.slope_tolerance,
            max_evaluations=int(min(MAX_LINE, self.affordable)),
        )
        if line.reason is not Reason.FAILED:
            self._move(line.point, line.point.step * d, start.slope)
        return line

    def _move(self, point: Point, s: Tensor, slope: float) -> None:
        self.value, (self.x, self.gradient) = point.value, point.extra
        self.agd.step(s)
        self.steps += 1
        self.last_step = point.step, slope
        held = self._held()
        if not torch.equal(held, self.held):
            self.held = held
            self._begin_net()

    def _begin_net(self) -> None:
        self.layers = self.net.schedule(self.tail)

    def _first_step(self, slope: float, d: Tensor) -> float:
        """Guess the step: that of a quasi-Newton direction is 1, else the decrease may be that of the last line."""
        if self.last_step is None:
            return min(1.0, 1 / float(d.norm()))
        if self.agd.memory.updated and not self.fresh:
            return 1.0
        step, before = self.last_step
        return step * before / slope

    def _held(self) -> Tensor:
        """Return the variables at a bound that would leave the box, a mask ``1 x d``."""
        x, g = self.x, self.gradient
        return ((x <= self.lower) & (g > 0)) | ((x >= self.upper) & (g < 0))

    def _query(self, x: Tensor) -> tuple[float, Tensor]:
        values, gradients = self.objective.value_and_gradient(x)
        return float(values), gradients
