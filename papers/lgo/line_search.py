"""A line search for any differentiable function, as exact as is asked for: bracketing and secants on the slope.

The functions of `common.functions.gaussians` have theirs in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

EXPANSION = 8.0  # a step beyond the last one is at most this many times as long
MAX_EXPANSIONS = 30  # by then the step is 1e27 times the first one
PATIENCE = 3  # secants, after which the bracket must be half as wide
ROUNDING = 8 * 2.0**-52  # values this near to each other, relative to the first, are taken for equal


class Reason(StrEnum):
    """Why a line search ended."""

    SLOPE = "the slope is as small as was asked for"
    LIMIT = "the function still falls at the longest step allowed"
    UNBOUNDED = "the function falls without bound"
    EVALUATIONS = "the evaluations are spent; the point is lower than the start"
    FAILED = "no lower point was found"


class Point(NamedTuple):
    """A step along the line, value and slope there, and whatever else was computed on the way (the gradient, say)."""

    step: float
    value: float
    slope: float
    extra: Any = None

    @property
    def finite(self) -> bool:
        """Whether value and slope are."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


class Line(NamedTuple):
    """Where to go, never higher than the start up to rounding, how often the function was evaluated, and why."""

    point: Point
    evaluations: int
    reason: Reason


def line_search(
    phi: Callable[[float], Point],
    start: Point,
    first: float = 1.0,
    *,
    limit: float = math.inf,
    tolerance: float = 1e-2,
    max_evaluations: int = 40,
) -> Line:
    """Find a local minimizer of a function of the step, which falls from the start.

    A step at which the function is not finite is too long. An infinitely low value ends the search.

    Args:
        phi: evaluates the function at a step.
        start: the point at step 0, whose slope is below 0.
        first: the first step to try; a good guess makes it the only one.
        limit: the longest step allowed.
        tolerance: the slope that is small enough, relative to that of the start.
        max_evaluations: of ``phi``.

    Raises:
        ValueError: the function does not fall from the start, or a setting is out of range.
    """
    if not start.finite or start.slope >= 0:
        raise ValueError(f"the function must be finite and fall from the start, its slope is {start.slope!r}")
    if not (first > 0 and limit > 0 and 0 < tolerance < 1):
        raise ValueError(f"bad line search: first={first!r}, limit={limit!r}, tolerance={tolerance!r}")
    flat = ROUNDING * abs(start.value)
    best = low = last = start  # low: the longest step from which the function is known to fall, and is lower
    high: Point | None = None  # a minimizer lies between low and this one
    widths = [math.inf]
    step, expansions, evaluations = min(first, limit), 0, 0
    while evaluations < max_evaluations:
        before, last = last, phi(step)
        evaluations += 1
        if last.value == -math.inf:
            return Line(best, evaluations, Reason.UNBOUNDED)
        if last.finite and last.value <= start.value + flat and abs(last.slope) <= -tolerance * start.slope:
            return Line(last, evaluations, Reason.SLOPE)
        if last.finite and last.value < best.value:
            best = last
        if not last.finite or last.slope >= 0 or last.value > low.value + flat:
            high = last
        else:
            low = last
            if high is None and step >= limit:
                return Line(last, evaluations, Reason.LIMIT)
            if high is None and (expansions := expansions + 1) > MAX_EXPANSIONS:
                return Line(best, evaluations, Reason.UNBOUNDED)
        secant = _secant(before, last)
        if high is None:
            step = min(max(secant, 1.5 * step), EXPANSION * step, limit)
            continue
        width = high.step - low.step
        slow = len(widths) > PATIENCE and width > widths[-PATIENCE] / 2
        step = secant if low.step < secant < high.step and not slow else low.step + width / (2 if high.finite else 10)
        widths = [math.inf] if slow else [*widths, width]
        if not low.step < step < high.step:
            break  # there is no number left between them
    found = best.step > 0
    return Line(best, evaluations, Reason.EVALUATIONS if found else Reason.FAILED)


def _secant(a: Point, b: Point) -> float:
    """Return where the slope is 0 on the line through two of its values; infinity where that is no minimum."""
    if not (a.finite and b.finite) or (b.slope - a.slope) * (b.step - a.step) <= 0:
        return math.inf
    return b.step - b.slope * (b.step - a.step) / (b.slope - a.slope)
