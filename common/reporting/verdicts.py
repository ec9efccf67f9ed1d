"""The rules that turn numbers into verdicts; nothing else in the project decides one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CELL_VERDICTS = ("reproduced", "better", "worse", "undecided", "unreported", "not run")
CLAIM_VERDICTS = ("holds", "partly", "fails", "not run")
OUTCOMES = ("won", "tied", "lost", "not run")

SMALL = 1e-3
"""Reported values from 0 up to here are judged by factors, not by differences."""

LOG_FLOOR = 1e-10
"""Logarithms see every smaller value as this one: below it, regret is rounding error."""


@dataclass(frozen=True)
class Tolerance:
    """How far from the reported value still counts as the same.

    ``relative`` applies to ordinary values, ``factor`` to values in ``[0, SMALL)``.
    """

    relative: float = 0.25
    factor: float = 10.0


def floored_log10(value: float) -> float:
    """Return log10 of ``value``, with everything below ``LOG_FLOOR`` taken as ``LOG_FLOOR``."""
    return math.log10(max(value, LOG_FLOOR))


def cell_verdict(
    reported: float | None,
    ours: float | None,
    low: float = math.nan,
    high: float = math.nan,
    *,
    higher_is_better: bool | None = False,
    reported_error: float = 0.0,
    tolerance: Tolerance | None = None,
) -> str:
    """Judge one number of a paper by our mean and its 95% interval ``[low, high]``.

    ``reported_error`` is the standard error of the paper's number. A value is *near* when it lies within 1.96
    standard errors of both together or within the tolerance; near and with a tight interval is ``reproduced``.
    Not near and with an interval that excludes the reported value is ``better`` or ``worse``. All else is
    ``undecided``; so is a single replicate, whose interval is unknown (nan).

    ``higher_is_better`` None is for a number that is right or wrong, a prediction say: a difference is ``worse``.

    Tight means a half-width of at most half the reported value. Values in ``[0, SMALL)`` are judged on the log10 scale,
    floored at ``LOG_FLOOR`` (a reported 0 is met by anything up to ten times the floor): the tolerance is a factor, and
    tight means that the interval spans at most that factor to either side of its middle. Our standard error then
    cannot make a value near, as it would be wider than the tolerance.
    """
    if ours is None or math.isnan(ours):
        return "not run"
    if reported is None or math.isnan(reported):
        return "unreported"
    tolerance = tolerance or Tolerance()
    # The interval is 1.96 standard errors to either side, so its half-width stands for 1.96 se.
    half_width = (high - low) / 2
    if 0 <= reported < SMALL:
        allowed = math.log10(tolerance.factor)
        within_tolerance = abs(floored_log10(ours) - floored_log10(reported)) <= allowed
        within_error = abs(ours - reported) <= 1.96 * reported_error
        tight = (floored_log10(high) - floored_log10(low)) / 2 <= allowed
    else:
        within_tolerance = abs(ours - reported) <= tolerance.relative * abs(reported)
        within_error = abs(ours - reported) <= math.hypot(half_width, 1.96 * reported_error)
        tight = half_width <= abs(reported) / 2
    if math.isnan(half_width):
        return "undecided"
    if (within_tolerance or within_error) and tight:
        return "reproduced"
    if not within_tolerance and (low > reported or high < reported):
        # (ours > reported) is never None: where no side is good, a difference is worse
        return "better" if (ours > reported) is higher_is_better else "worse"
    return "undecided"


def comparison_outcome(low: float, high: float, *, wants_positive: bool) -> str:
    """Judge one paired comparison by the 95% interval of its mean difference: ``won``, ``lost`` or ``tied``."""
    if low > 0:
        return "won" if wants_positive else "lost"
    if high < 0:
        return "lost" if wants_positive else "won"
    return "tied"


def claim_verdict(outcomes: Sequence[str], holds: float = 1.0, fails_below: float = 0.5) -> str:
    """Judge a claim in words by its comparisons: the share won decides.

    A claim with a comparison that was not run is ``not run``: part of the evidence settles nothing.
    """
    if not outcomes or "not run" in outcomes:
        return "not run"
    share = outcomes.count("won") / len(outcomes)
    if share >= holds:
        return "holds"
    return "fails" if share < fails_below else "partly"
