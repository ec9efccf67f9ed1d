"""Intervals: known values, coverage, and the cases where there is none."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.metrics import bootstrap_mean, paired_difference, wilson_interval
from common.training.keys import numpy_generator

finite = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=15)


def test_bootstrap_equals_a_plain_loop_in_the_limit():
    sample = numpy_generator(0, "sample").exponential(size=40)
    rng = numpy_generator(0, "loop")
    means = [rng.choice(sample, 40).mean() for _ in range(20_000)]
    result = bootstrap_mean(sample, resamples=20_000)
    assert result.mean == pytest.approx(sample.mean())
    np.testing.assert_allclose(result[1:], np.quantile(means, [0.025, 0.975]), rtol=0.02)


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    samples = numpy_generator(1, "coverage").normal(size=(400, 50))
    intervals = [bootstrap_mean(sample, confidence=0.9, resamples=500) for sample in samples]
    assert 0.84 <= np.mean([low <= 0 <= high for _, low, high in intervals]) <= 0.94


@given(sample=finite, shift=st.floats(-100, 100), seed=st.integers(0, 10))
@settings(max_examples=30, deadline=None)
def test_bootstrap_is_keyed_ordered_and_moves_with_the_sample(sample, shift, seed):
    result = bootstrap_mean(sample, resamples=200, seed=seed)
    assert result == bootstrap_mean(sample, resamples=200, seed=seed)
    assert min(sample) - 1e-9 <= result.low <= result.high <= max(sample) + 1e-9
    moved = bootstrap_mean(np.array(sample) + shift, resamples=200, seed=seed)
    np.testing.assert_allclose(moved, np.array(result) + shift, atol=1e-9)


def test_large_samples_give_the_same_draws_in_small_batches():
    sample = numpy_generator(2, "large").normal(size=30_000)
    result = bootstrap_mean(sample, resamples=200)
    assert result.high - result.low == pytest.approx(2 * 1.96 / math.sqrt(30_000), rel=0.15)


def test_one_value_has_no_interval_and_equal_values_have_a_degenerate_one():
    assert bootstrap_mean([2.5]) == pytest.approx((2.5, math.nan, math.nan), nan_ok=True)
    assert bootstrap_mean([0.1] * 3) == (0.1, 0.1, 0.1)


def test_infinite_or_missing_values_have_no_interval():
    assert bootstrap_mean([1.0, math.inf]) == pytest.approx((math.inf, math.nan, math.nan), nan_ok=True)
    assert all(map(math.isnan, bootstrap_mean([1.0, math.nan])))
    assert all(map(math.isnan, paired_difference([1.0, math.inf], [0.0, math.inf])))


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], 3.0])
def test_what_is_not_a_sample_is_refused(values):
    with pytest.raises(ValueError, match="vector of at least one number"):
        bootstrap_mean(values)


@given(a=finite)
@settings(max_examples=20, deadline=None)
def test_paired_difference_is_the_mean_of_the_differences(a):
    b = np.sqrt(np.abs(a))
    assert paired_difference(a, b, resamples=200) == bootstrap_mean(a - b, resamples=200)
    assert paired_difference(a, a) == (0, 0, 0)


def test_pairing_removes_what_replicates_share():
    rng = numpy_generator(3, "pairs")
    difficulty, noise = 100 * rng.normal(size=30), rng.normal(size=30)
    result = paired_difference(difficulty + 1 + 0.1 * noise, difficulty)
    assert 0.9 < result.low < 1 + 0.1 * noise.mean() < result.high < 1.1


def test_unpaired_replicates_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        paired_difference([1, 2], [1, 2, 3])


@given(n=st.integers(1, 200), share=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_wilson_interval_is_the_printed_formula(n, share):
    k, z = round(share * n), 1.959963984540054
    p = k / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = (p, max(0.0, centre - half), min(1.0, centre + half))
    assert wilson_interval(k, n) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(successes, n):
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, n)


def test_intervals_are_importable_without_torch():
    code = "import sys, common.metrics.intervals; print({'torch', 'torchmetrics'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
