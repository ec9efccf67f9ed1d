"""The numerical line search: as exact as asked, from any first step, and a reason where there is no minimum."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.lgo.line_search import Point, Reason, line_search


def search(value, slope, first=1.0, **options):
    """Search, and return the line and the steps that were evaluated."""
    steps = []

    def phi(step):
        steps.append(step)
        return Point(step, value(step), slope(step), f"at {step}")

    line = line_search(phi, Point(0.0, value(0.0), slope(0.0)), first, **options)
    assert line.evaluations == len(steps)
    if line.point.step:
        assert line.point.extra == f"at {line.point.step}"
    return line, steps


CASES = {
    "quadratic": (lambda a: (a - 3) ** 2, lambda a: 2 * (a - 3), 3.0),
    "quartic": (lambda a: (a - 2) ** 4 - a, lambda a: 4 * (a - 2) ** 3 - 1, 2 + 0.25 ** (1 / 3)),
    "gaussian": (lambda a: -math.exp(-((a - 3) ** 2)), lambda a: 2 * (a - 3) * math.exp(-((a - 3) ** 2)), 3.0),
    "cosh": (lambda a: math.cosh(a - 5), lambda a: math.sinh(a - 5), 5.0),
    "kink of the slope": (lambda a: abs(a - 1) ** 1.5, lambda a: 1.5 * math.copysign(abs(a - 1) ** 0.5, a - 1), 1.0),
}


@pytest.mark.parametrize("first", [1e-6, 0.1, 1.0, 7.0, 100.0])
@pytest.mark.parametrize("name", CASES)
def test_finds_the_minimizer_from_any_first_step(name, first):
    value, slope, minimizer = CASES[name]
    line, _ = search(value, slope, first, tolerance=1e-6, max_evaluations=200)
    assert line.reason is Reason.SLOPE
    assert abs(slope(line.point.step)) <= 1e-6 * abs(slope(0.0))
    assert line.point.step == pytest.approx(minimizer, rel=1e-3)


def test_a_quadratic_takes_two_evaluations_and_a_good_guess_one():
    value, slope, _ = CASES["quadratic"]
    for first in (0.5, 1.0, 4.0):
        _, steps = search(value, slope, first, tolerance=1e-10)
        assert steps == [first, pytest.approx(3.0, abs=1e-12)]
    assert search(value, slope, 3.0)[0].evaluations == 1
    assert search(value, slope, 3.02)[0].evaluations == 1  # within the tolerance of 1%
    assert search(value, slope, 3.02, tolerance=1e-3)[0].evaluations == 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-2, 2), min_size=3, max_size=3),
    st.floats(1e-3, 2),
    st.floats(-8, 3),
    st.sampled_from([1e-1, 1e-3]),
)
def test_ends_lower_with_a_small_slope_on_any_quartic(coefficients, quartic, log_first, tolerance):
    c1, c2, c3 = coefficients
    c1 = -abs(c1) - 1e-2
    line, _ = search(
        lambda a: c1 * a + c2 * a**2 + c3 * a**3 + quartic * a**4,
        lambda a: c1 + 2 * c2 * a + 3 * c3 * a**2 + 4 * quartic * a**3,
        10**log_first,
        tolerance=tolerance,
        max_evaluations=200,
    )
    assert line.reason is Reason.SLOPE
    assert line.point.value <= 0
    assert abs(line.point.slope) <= tolerance * -c1


@pytest.mark.parametrize("beyond", [math.nan, math.inf])
def test_points_that_are_not_finite_are_too_far(beyond):
    def value(a):
        return a * a - 1.8 * a if a < 1 else beyond

    line, steps = search(value, lambda a: 2 * a - 1.8 if a < 1 else beyond, 1000.0)
    assert line.reason is Reason.SLOPE
    assert line.point.step == pytest.approx(0.9, abs=0.01)
    assert max(steps) == 1000
    barrier, _ = search(lambda a: a * a - 1.8 * a, lambda a: 2 * a - 1.8 if a < 1 else beyond, 1000.0)
    assert barrier.point.step == pytest.approx(0.9, abs=0.01)


def test_unbounded_functions_end_with_the_best_point():
    for value, slope in [(lambda a: -a, lambda a: -1.0), (lambda a: -a * a - a, lambda a: -2 * a - 1)]:
        line, steps = search(value, slope, max_evaluations=500)
        assert line.reason is Reason.UNBOUNDED
        assert line.point.step == max(steps) > 1e20
    line, _ = search(lambda a: -a if a < 50 else -math.inf, lambda a: -1.0)
    assert line.reason is Reason.UNBOUNDED
    assert 1 <= line.point.step < 50


def test_the_longest_step_is_a_place_to_end():
    line, steps = search(lambda a: -a, lambda a: -1.0, limit=10.0)
    assert line.reason is Reason.LIMIT
    assert line.point.step == 10.0 == max(steps)
    inside, steps = search(*CASES["quadratic"][:2], limit=10.0)
    assert inside.reason is Reason.SLOPE
    assert search(*CASES["quadratic"][:2], first=50.0, limit=2.0)[1] == [2.0]


def test_evaluations_are_limited_and_the_best_point_kept():
    jump = lambda a: abs(a - 1)  # noqa: E731 its slope is never small
    line, steps = search(jump, lambda a: math.copysign(1.0, a - 1), 0.3, max_evaluations=9)
    assert line.reason is Reason.EVALUATIONS
    assert len(steps) == 9
    assert line.point.value == min(jump(step) for step in steps) < 0.2
    misleading, steps = search(lambda a: a, lambda a: -1.0)  # the slope lies: nothing is lower
    assert misleading.reason is Reason.FAILED
    assert misleading.point.step == 0.0
    assert len(steps) <= 40


def test_rounding_of_the_values_does_not_hide_a_small_slope():
    """Near a minimum of 1e6 all values are equal; the slopes still tell."""
    line, _ = search(lambda a: 1e6 + 1e-12 * (a - 3) ** 2, lambda a: 2e-12 * (a - 3), tolerance=1e-4)
    assert line.reason is Reason.SLOPE
    assert line.point.step == pytest.approx(3, abs=1e-3)


@pytest.mark.parametrize(
    ("start", "options"),
    [
        (Point(0.0, 1.0, 0.0), {}),
        (Point(0.0, 1.0, 1.0), {}),
        (Point(0.0, math.nan, -1.0), {}),
        (Point(0.0, 1.0, -1.0), {"first": 0.0}),
        (Point(0.0, 1.0, -1.0), {"limit": -1.0}),
        (Point(0.0, 1.0, -1.0), {"tolerance": 1.0}),
    ],
)
def test_bad_arguments_are_refused(start, options):
    with pytest.raises(ValueError, match=r"fall from the start|bad line search"):
        line_search(lambda step: Point(step, 0.0, torch.nan), start, **options)
