"""Means and rates with their intervals, in NumPy alone: the reports are made without torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Interval(NamedTuple):
    """An estimate and the two ends of its interval."""

    mean: float
    low: float
    high: float


def bootstrap_mean(values: ArrayLike, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean of ``values`` (``n``) with its percentile bootstrap interval (Efron, Tibshirani, 1993, ch. 13).

    The ends are NaN where there is no interval: for one value, and where a value is infinite or NaN. For equal values
    they are that value.

    Raises:
        ValueError: ``values`` is empty or not a vector.
    """
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"values must be a vector of at least one number, not of shape {sample.shape}")
    if not np.isfinite(sample).all():
        return Interval(sum(sample.tolist()) / sample.size, np.nan, np.nan)
    if sample.size == 1:
        return Interval(float(sample[0]), np.nan, np.nan)
    if (sample == sample[0]).all():
        return Interval(*sample[[0, 0, 0]].tolist())
    from common.training.keys import numpy_generator  # here, because it imports torch

    result = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, 1_000_000 // sample.size),  # bounds the memory, not the draws
        confidence_level=confidence,
        method="percentile",
        rng=numpy_generator(seed, "bootstrap"),
    )
    return Interval(float(sample.mean()), *map(float, result.confidence_interval))


def paired_difference(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the mean of ``a - b`` over replicates paired by index (both ``n``) with its bootstrap interval.

    Raises:
        ValueError: ``a`` and ``b`` have different lengths, or as `bootstrap_mean`.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if first.shape != second.shape:
        raise ValueError(f"a and b are paired by replicate, but have shapes {first.shape} and {second.shape}")
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and so has no interval
        return bootstrap_mean(first - second, confidence, resamples, seed)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the rate ``successes / n`` with its score interval (Wilson, JASA 22, 1927).

    Raises:
        ValueError: not ``0 <= successes <= n`` with ``n >= 1``.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, got {successes} of {n}")
    low, high = stats.binomtest(int(successes), int(n)).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(low), float(high))
