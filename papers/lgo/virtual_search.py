"""A local search that needs about one gradient a step (ours, not in the paper): BFGS with virtual exact line searches.

A unit quasi-Newton step from anywhere on a line ends where the one from the line's exact minimizer does, if the
gradient there is interpolated. So no line search has to be exact, if the next pair (s, y) begins at the virtual
minimizer, the anchor, instead of at the trial point: quadratics then end in d steps and a few queries. As in
`papers.lgo.closed_form`, values of f tell how the scale of gradients changes, so that f = c - a exp(-q) is as easy as
the quadratic q.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from common.objective import Objective
from papers.lgo.line_search import Point, Reason

ARMIJO, WOLFE = 1e-4, 0.9
QUADRATIC = 5e-3  # residual of a step that is as on a quadratic
SCALING = 0.6  # exponent of s's / s'y in the first H: between a guess of the Hessian, 1, and none
CALM = 2  # such steps in a row, after which trial points may be bad
SMALL_CURVATURE = 1e-10  # s'y relative to |s| |y|
SMALL_SLOPE = 1e-10  # -g'd relative to |g| |d|
FARTHEST = 10.0  # an anchor, in steps; more is rounding on ill-conditioned quadratics
HISTORY = 12  # points from which the state is made anew
EXPECTED = 1e4  # the most that a bad trial point may rise, in |g'd|
MOST_HIGHER = 2  # bad trial points in a row
ROUNDING, FLAT = 1e-9, 1e-7  # changes of f, relative: no decrease can be seen; neither can its form
VAIN = 20  # moves in a row that do not lower f
MAX_LINE = 40  # queries in a line search


class VirtualSearch(NamedTuple):
    """What a local search found.

    Attributes:
        x: ``d``, the lowest point.
        value: f(x).
        gradient: ``d``, at x.
        steps: moves from point to point.
        evaluations: what they cost, in the objective's units.
        stop: why it ended, ``{rule: value}``: ``gradient``, its norm; ``no progress``; ``evaluations``; ``unbounded``.
    """

    x: Tensor
    value: float
    gradient: Tensor
    steps: int
    evaluations: int
    stop: dict[str, Any]


def virtual_search(
    objective: Objective, start: Tensor, *, tolerance: float = 1e-6, max_evaluations: float = math.inf,
    anchors: bool = True, scales: bool = True,
) -> VirtualSearch:  # fmt: skip
    """Descend from ``start`` (``d``, in the box), every query counted by ``objective``; O(d^2) time and memory a step.

    A variable that is at a bound, and would leave the box, is held there until the gradient points inside again.

    Args:
        tolerance: stop when the norm of the gradient, of the variables that are free, is not above it (absolute).
        max_evaluations: stop before this search costs more.
        anchors: whether pairs may begin at virtual minimizers, and trial points be bad.
        scales: whether values of f may tell how the scale of gradients changes.

    Raises:
        ObjectiveError, StopRun: from the objective, which keeps the best point.
    """
    run = _Run(objective, max_evaluations, anchors, scales)
    return run.run(torch.as_tensor(start, dtype=torch.float64).numpy(), tolerance)


class Plateau:
    """The c of f = c - a exp(-q), q quadratic, for either sign of a; trusted when two steps in a row agree about it.

    Attributes:
        value: c, or None while none is trusted.
    """

    AGREEMENT = 0.01  # of two estimates, relative to f's distance; looser ones mistake other functions for this form
    VIOLATION = 0.01  # of the equation in `_ratio`, relative

    def __init__(self) -> None:
        self.value: float | None = None
        self._last: float | None = None

    def observe(self, ratio: float, slopes: float, before: float, now: float) -> None:
        """Learn from a step by its decrease over the slope before, the slopes' ratio, and f before and after it."""
        if self.value is not None:
            violation = abs(_ratio(math.log(self.tau(before, now)), slopes) - 2 * ratio)
            if violation > self.VIOLATION * max(abs(2 * ratio), 1.0):
                self.value = self._last = None
            return
        tau = _scale(ratio, slopes)
        estimate = None if tau is None else now + tau * (before - now) / (tau - 1)
        known = estimate is not None and self._last is not None
        if known and abs(estimate - self._last) <= self.AGREEMENT * abs(estimate - now):  # type: ignore[operator]
            self.value = estimate
        self._last = estimate

    def tau(self, before: float, now: float) -> float:
        """Return the factor of the gradients' scale from a point to another, by their values; 1 where unknown."""
        if self.value is None or (self.value - now) * (self.value - before) <= 0:
            return 1.0
        return (self.value - now) / (self.value - before)


def _ratio(delta: float, slopes: float) -> float:
    """Return twice the decrease over the slope before, of a step that changes the scale of gradients by exp(delta)."""
    return 1 + slopes if delta == 0 else (math.expm1(delta) - slopes * math.expm1(-delta)) / delta


def _scale(ratio: float, slopes: float) -> float | None:
    """Return the factor of the gradients' scale that explains a step, or None; q is convex."""
    low, high = (max(math.log(slopes), -50.0) if slopes > 0 else -50.0), 50.0
    if not (low < high and _ratio(low, slopes) < 2 * ratio < _ratio(high, slopes)):
        return None
    delta = brentq(lambda delta: _ratio(delta, slopes) - 2 * ratio, low, high)
    return math.exp(delta) if abs(delta) > 1e-6 else None


def _minimizer(a: Point, b: Point) -> float:
    """Return the step at the minimum of the cubic with values and slopes of two points; infinity without one."""
    width = b.step - a.step
    ratio, slopes = (b.value - a.value) / (a.slope * width), b.slope / a.slope
    e = slopes + 1 - 3 * ratio
    root = e * e - slopes
    if root < 0:
        return math.inf
    bottom = 1 + e + math.sqrt(root)
    return a.step + width / bottom if bottom > 0 else math.inf


class Place(NamedTuple):
    """A point ``d`` with value and gradient ``d``, and the residual of the step to it."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    residual: float = math.inf


class Model:
    """The inverse Hessian and the anchor of the last line, by the places of a search.

    Attributes:
        H: ``d x d``, or None: the identity.
    """

    def __init__(self, place: Place, anchors: bool) -> None:
        self.anchors = anchors
        self.H: np.ndarray | None = None
        self.place = place
        self.anchor = place.x, place.gradient

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        return -gradient if self.H is None else -self.H @ gradient

    def absorb(self, place: Place, tau: float) -> None:
        """Learn from the step to another place, where gradients have ``tau`` times the scale."""
        if self.H is not None:
            self.H /= tau
        virtual = self.anchors and place.residual < QUADRATIC
        for x, gradient in (self.anchor, (self.place.x, self.place.gradient)):
            s, y = place.x - x, place.gradient - tau * gradient
            curvature = s @ y
            if curvature > SMALL_CURVATURE * math.sqrt((s @ s) * (y @ y)):
                self._update(s, y, curvature)
                length = -tau * (gradient @ s) / curvature
                if not (virtual and 0 < length < FARTHEST):
                    length = 1.0
                self.anchor = place.x + (length - 1) * s, place.gradient + (length - 1) * y
                break
        else:
            self.anchor = place.x, place.gradient
        self.place = place

    def _update(self, s: np.ndarray, y: np.ndarray, curvature: float) -> None:
        if self.H is None:
            self.H = (s @ s / curvature) ** SCALING * np.eye(len(s))
        u = self.H @ y / curvature
        v = u - (y @ u + 1) / (2 * curvature) * s
        outer = np.outer(s, v)
        self.H -= outer + outer.T


class _Run:
    """The state of one search; gradients of held variables count as 0."""

    def __init__(self, objective: Objective, max_evaluations: float, anchors: bool, scales: bool) -> None:
        self.objective, self.max_evaluations = objective, max_evaluations
        self.anchors, self.scales = anchors, scales
        self.lower, self.upper = objective.bounds.numpy()
        self.spent = objective.evaluations
        self.steps = 0
        self.vain = 0  # moves since the value fell
        self.length = 1.01  # of the last step; at first that of SciPy's BFGS

    @property
    def evaluations(self) -> int:
        return self.objective.evaluations - self.spent

    @property
    def affordable(self) -> float:
        """Queries with gradient that may still be made."""
        return (self.max_evaluations - self.evaluations) / self.objective.gradient_cost

    def run(self, start: np.ndarray, tolerance: float) -> VirtualSearch:
        self.best = self.lowest = Place(start, *self._query(start))
        self._begin(self.best)
        stop = self._descend(tolerance)
        # A line search may have passed a lower point than it ended at.
        x, value, gradient, _ = self.best if self._as_low(self.best.value, self.lowest) else self.lowest
        return VirtualSearch(
            torch.from_numpy(x.copy()), value, torch.from_numpy(gradient.copy()), self.steps, self.evaluations, stop
        )

    def _begin(self, place: Place) -> None:
        """Go on from a place without a past."""
        self.held = self._held(place)
        self.place = place._replace(gradient=np.where(self.held, 0.0, place.gradient))
        self.model, self.plateau = Model(self.place, self.anchors), Plateau()
        self.past = deque([self.place], maxlen=HISTORY)
        self.calm = 0  # steps in a row that were as on a quadratic
        self.higher = 0  # places in a row above the best

    def _descend(self, tolerance: float) -> dict[str, Any]:
        while True:
            fresh = self.model.H is None
            gradient = self.place.gradient
            norm = float(np.linalg.norm(gradient))
            if norm <= tolerance and self._as_low(self.place.value):
                return {"gradient": norm}
            if self.vain >= VAIN:
                return {"no progress": self.vain}
            if self.affordable < 1:
                return {"evaluations": self.evaluations}
            d = self.model.direction(gradient)
            slope = float(gradient @ d)
            if not slope < -SMALL_SLOPE * norm * float(np.linalg.norm(d)):
                if fresh:
                    return {"no progress": 0.0}
                self._begin(self.best)
                continue
            reason = self._line(d, slope, min(1.0, self.length / norm) if fresh else 1.0)
            if reason is Reason.UNBOUNDED:
                return {"unbounded": self.best.value}
            if reason is Reason.FAILED:
                if fresh:
                    return {"no progress": 0.0}
                self._begin(self.best)

    def _line(self, d: np.ndarray, slope: float, first: float) -> Reason:
        """Move along ``d``, if possible to the first trial point; or back to the best place, after bad ones."""
        x, value = self.place.x, self.place.value
        bounds = np.where(d > 0, self.upper, self.lower)
        with np.errstate(divide="ignore", invalid="ignore"):
            limits = np.where(d == 0, math.inf, (bounds - x) / d)  # the step at which each variable is at a bound
        limit = float(limits.min())
        if limit <= 0:
            return Reason.FAILED

        def phi(step: float) -> Point:
            point = np.clip(x + step * d, self.lower, self.upper)
            if step >= limit:
                point = np.where(limits <= step, bounds, point)  # exactly
            there = Place(point, *self._query(point))
            if there.value < self.lowest.value:
                self.lowest = there
            return Point(step, there.value, float(np.where(self.held, 0.0, there.gradient) @ d), there)

        start, trial = Point(0.0, value, slope), phi(min(first, limit))
        if self._acceptable(start, trial, limit):
            return self._move(trial.extra)
        if self.higher:
            self._return()
            return Reason.SLOPE
        if self.affordable < 1:
            return Reason.EVALUATIONS
        return self._bracket(phi, start, trial, limit)

    def _bracket(self, phi: Callable[[float], Point], start: Point, trial: Point, limit: float) -> Reason:
        """Look for a point with Wolfe's conditions from a trial that has them not, and move there."""
        low, high = start, None
        for _ in range(int(min(MAX_LINE, self.affordable))):
            if not self._lower(start, trial):
                high = trial
            elif trial.slope < WOLFE * start.slope and trial.step < limit:
                low = trial
            else:
                break
            if high is None:
                step = min(max(_minimizer(start, trial), 1.5 * trial.step), FARTHEST * trial.step, limit)
            else:
                width = high.step - low.step
                step = low.step + min(max(_minimizer(low, high) - low.step, 0.1 * width), 0.9 * width)
            if step in (low.step, high.step if high else None):
                break
            trial = phi(step)
        end = trial if self._lower(start, trial) else low
        if end.step == 0:
            return Reason.FAILED
        return self._move(end.extra)

    def _acceptable(self, start: Point, trial: Point, limit: float) -> bool:
        lower = self._lower(start, trial)
        if lower and (trial.slope >= WOLFE * start.slope or trial.step >= limit):
            return True
        if self.calm < CALM:
            return False
        if lower:
            x, gradient = self.model.anchor
            free = np.where(self.held, 0.0, trial.extra.gradient)
            return bool((free - gradient) @ (trial.extra.x - x) > 0)
        return self.higher < MOST_HIGHER and trial.value <= self.best.value - EXPECTED * start.slope

    def _lower(self, start: Point, trial: Point) -> bool:
        """Return whether a trial has the first of Wolfe's conditions; where f shows nothing, whether it is flatter."""
        if abs(trial.value - start.value) <= ROUNDING * abs(start.value):
            return abs(trial.slope) <= -WOLFE * start.slope
        return trial.value <= start.value + ARMIJO * trial.step * start.slope

    def _move(self, there: Place) -> Reason:
        here = self.place
        s = there.x - here.x
        before = float(here.gradient @ s)
        if before == 0:  # rounding has taken the step away
            return Reason.FAILED
        self.steps += 1
        self.length = float(np.linalg.norm(s))
        self.vain = 0 if there.value < self.best.value else self.vain + 1
        if self._as_low(there.value):
            self.best, self.higher = there, 0
        else:
            self.higher += 1
        if not np.array_equal(self._held(there), self.held):
            self._begin(there)
            return Reason.SLOPE
        there = there._replace(gradient=np.where(self.held, 0.0, there.gradient))
        now = float(there.gradient @ s)
        ratio, slopes, residual = (there.value - here.value) / before, now / before, 0.0
        trusted = self.plateau.value is not None
        if abs(there.value - here.value) > FLAT * max(abs(there.value), abs(here.value)):
            residual = abs(ratio - (1 + slopes) / 2)
            if self.scales:
                self.plateau.observe(ratio, slopes, here.value, there.value)
        there = there._replace(residual=residual)
        self.past.append(there)
        if trusted == (self.plateau.value is not None):
            self._absorb(there)
        else:  # gradients in the past are worth something else now
            self.model = Model(self.past[0], self.anchors)
            for place in list(self.past)[1:]:
                self._absorb(place)
        residual = 0.0 if self.plateau.value is not None else residual
        self.calm = self.calm + 1 if self.anchors and residual < QUADRATIC else 0
        self.place = there
        return Reason.SLOPE

    def _absorb(self, there: Place) -> None:
        trusted = self.plateau.value is not None
        tau = self.plateau.tau(self.model.place.value, there.value)
        self.model.absorb(there._replace(residual=0.0) if trusted else there, tau)

    def _as_low(self, value: float, place: Place | None = None) -> bool:
        """Return whether a value is that of a place, by default the best one, or below, up to the last digits."""
        other = (place or self.best).value
        return value <= other + 1e-15 * abs(other)

    def _return(self) -> None:
        """Go back to the best place, with what the search has learned."""
        self.vain += 1
        best = self.best._replace(gradient=np.where(self.held, 0.0, self.best.gradient))
        tau = self.plateau.tau(self.place.value, best.value)
        if self.model.H is not None:
            self.model.H /= tau
        self.model.place, self.model.anchor = best, (best.x, best.gradient)
        self.place, self.calm, self.higher = best, 0, 0
        self.past.append(best)

    def _held(self, place: Place) -> np.ndarray:
        """Return the variables at a bound that would leave the box, a mask ``d``."""
        x, g = place.x, place.gradient
        return ((x <= self.lower) & (g > 0)) | ((x >= self.upper) & (g < 0))

    def _query(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        values, gradients = self.objective.value_and_gradient(torch.from_numpy(x[None]))
        return float(values), gradients[0].numpy()
