from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.reporting.verdicts import Tolerance, cell_verdict, claim_verdict, comparison_outcome

STRICT = Tolerance(relative=0.0)


@pytest.mark.parametrize(
    ("reported", "ours", "low", "high", "verdict"),
    [
        (10.0, 10.0, 10.0, 10.0, "reproduced"),
        (10.0, 12.4, 12.0, 12.8, "reproduced"),  # within 25%, though the interval excludes it
        (10.0, 12.6, 12.2, 13.0, "worse"),
        (10.0, 7.4, 7.0, 7.8, "better"),
        (10.0, 13.0, 9.0, 17.0, "reproduced"),  # within the errors, half-width 4 <= 5
        (10.0, 12.0, 2.0, 22.0, "undecided"),  # near, but too wide
        (10.0, 17.0, 9.5, 20.0, "undecided"),  # not near, yet the interval holds the reported value
        (10.0, 30.0, 11.0, 60.0, "worse"),  # wide, but wholly beyond
        (10.0, 1.0, 0.0, 8.0, "better"),
        (-10.0, -10.5, -11.0, -10.0, "reproduced"),
        (-10.0, -20.0, -21.0, -19.0, "better"),
        # A factor of 10 below 1e-3.
        (1e-6, 9e-6, 8e-6, 1e-5, "reproduced"),
        (1e-6, 2e-5, 1.5e-5, 2.5e-5, "worse"),
        (1e-6, 5e-8, 4e-8, 6e-8, "better"),
        (1e-6, 5e-6, 1e-10, 1e-5, "undecided"),
        (1e-6, 0.5, 0.0, 1.0, "undecided"),
        (0.0, 0.0, 0.0, 0.0, "reproduced"),
        (0.0, 1e-12, 1e-13, 1e-11, "reproduced"),
        (0.0, 1e-3, 1e-4, 1e-2, "worse"),
        # Nothing to compare.
        (10.0, 10.0, math.nan, math.nan, "undecided"),
        (None, 10.0, 9.0, 11.0, "unreported"),
        (math.nan, 10.0, 9.0, 11.0, "unreported"),
        (10.0, None, math.nan, math.nan, "not run"),
        (10.0, math.inf, math.nan, math.nan, "undecided"),
    ],
)
def test_the_verdict_of_a_number(reported, ours, low, high, verdict):
    assert cell_verdict(reported, ours, low, high) == verdict


def test_the_papers_own_error_widens_what_counts_as_near():
    assert cell_verdict(10.0, 12.0, 11.5, 12.5, tolerance=STRICT) == "worse"
    assert cell_verdict(10.0, 12.0, 11.5, 12.5, tolerance=STRICT, reported_error=1.0) == "reproduced"


positive = st.floats(0.01, 1e6)
widths = st.floats(0.0, 10.0)


@given(positive, positive, widths, widths, st.floats(0, 5), st.floats(1e-2, 1e4), st.booleans())
def test_scaling_everything_changes_no_verdict(reported, ours, below, above, error, scale, higher):
    scale = 2.0 ** round(math.log2(scale))  # exact, so that no borderline case turns on rounding
    assume(min(reported, reported * scale) >= 0.01)

    def verdict(factor):
        numbers = [factor * x for x in (reported, ours, ours - below * ours, ours + above * ours)]
        return cell_verdict(*numbers, higher_is_better=higher, reported_error=factor * error)

    assert verdict(1.0) == verdict(scale)


RANK = {"better": 0, "reproduced": 1, "undecided": 1, "worse": 2}


@given(
    st.one_of(st.floats(0.01, 1e3), st.floats(-1e3, -0.01)),
    st.lists(st.floats(-3e3, 3e3), min_size=2, max_size=2),
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(0, 10),
)
def test_moving_ours_to_the_bad_side_never_improves_the_verdict(reported, ours, below, above, error):
    first, second = (cell_verdict(reported, x, x - below, x + above, reported_error=error) for x in sorted(ours))
    assert RANK[first] <= RANK[second]


@given(st.floats(0, 9e-4), st.lists(st.floats(1e-9, 1.0), min_size=2, max_size=2), st.floats(1.0, 100.0))
def test_so_on_the_scale_of_factors(reported, ours, factor):
    first, second = (cell_verdict(reported, x, x / factor, x * factor) for x in sorted(ours))
    assert RANK[first] <= RANK[second]


MIRROR = {"better": "worse", "worse": "better"}


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0, 1e3), st.floats(0, 1e3))
def test_the_other_direction_swaps_better_and_worse(reported, ours, below, above):
    lower = cell_verdict(reported, ours, ours - below, ours + above)
    higher = cell_verdict(reported, ours, ours - below, ours + above, higher_is_better=True)
    assert higher == MIRROR.get(lower, lower)
    assume(abs(reported) >= 0.01)
    negated = cell_verdict(-reported, -ours, -(ours + above), -(ours - below), higher_is_better=True)
    assert negated == lower


@pytest.mark.parametrize(
    ("low", "high", "positive", "outcome"),
    [
        (0.1, 0.2, True, "won"),
        (0.1, 0.2, False, "lost"),
        (-0.2, -0.1, False, "won"),
        (-0.2, -0.1, True, "lost"),
        (-0.1, 0.1, True, "tied"),
        (0.0, 0.0, True, "tied"),
        (math.nan, math.nan, True, "tied"),
    ],
)
def test_the_outcome_of_a_comparison(low, high, positive, outcome):
    assert comparison_outcome(low, high, wants_positive=positive) == outcome


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["won"] * 4, "holds"),
        (["won", "won", "won", "tied"], "partly"),
        (["won", "won", "lost", "tied"], "partly"),
        (["won", "lost", "lost", "tied"], "fails"),
        (["won", "not run"], "not run"),
        ([], "not run"),
    ],
)
def test_the_verdict_of_a_claim(outcomes, verdict):
    assert claim_verdict(outcomes) == verdict


def test_the_shares_of_a_claim_can_be_set():
    assert claim_verdict(["won", "won", "won", "tied"], holds=0.75) == "holds"
    assert claim_verdict(["won", "tied"], fails_below=0.6) == "fails"


@pytest.mark.parametrize(("ours", "verdict"), [(1.0, "reproduced"), (2.0, "worse"), (0.4, "worse")])
def test_a_number_that_is_right_or_wrong_is_never_better(ours, verdict):
    assert cell_verdict(1.0, ours, ours - 0.05, ours + 0.05, higher_is_better=None) == verdict
