"""CRPS, weighted quantiles and coverage against their definitions, NumPy and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchmetrics.functional.regression import continuous_ranked_probability_score

from common.metrics import IntervalCoverage, WeightedCRPS, interval_coverage, weighted_crps, weighted_quantile
from common.training.keys import numpy_generator, torch_generator

law = settings(max_examples=50, deadline=None)
distributions = st.lists(st.tuples(st.floats(-100, 100), st.integers(0, 9)), min_size=1, max_size=12).filter(
    lambda draws: any(weight for _, weight in draws)
)


def rand(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=torch_generator(0, "rand"))


@given(draws=distributions, target=st.floats(-100, 100))
@law
def test_crps_is_its_definition(draws, target):
    x, w = np.array(draws).T
    w = w / w.sum()
    expected = w @ np.abs(x - target) - w @ np.abs(x[:, None] - x) @ w / 2
    score = weighted_crps(torch.tensor(x)[None], torch.tensor(w)[None], torch.tensor([target], dtype=torch.float64))
    assert score.item() == pytest.approx(expected, abs=1e-9)


def test_crps_is_that_of_torchmetrics_for_equal_weights_and_the_mean_of_its_batches():
    draws, target = rand(7, 20), rand(7)
    expected = pytest.approx(continuous_ranked_probability_score(draws, target).item())
    assert weighted_crps(draws, None, target).item() == expected
    assert weighted_crps(draws, 3 * torch.ones_like(draws), target).item() == expected
    metric = WeightedCRPS()
    metric.update(draws[:2], None, target[:2])
    metric.update(draws[2:], torch.ones(5, 20), target[2:])
    assert metric.compute().item() == expected
    assert metric.higher_is_better is False


@given(draws=distributions, level=st.integers(1, 19))
@law
def test_weighted_quantile_is_numpys(draws, level):
    x, w = np.array(draws).T
    q = level / 20
    assume(not np.isclose(np.cumsum(w[x.argsort()]) / w.sum(), q).any())  # where rounding decides
    expected = np.quantile(x, q, weights=w, method="inverted_cdf")
    assert weighted_quantile(torch.tensor(x), torch.tensor(w), q).item() == expected


def test_weighted_quantile_takes_batches_and_several_levels():
    values, weights, levels = rand(3, 4, 9), rand(3, 4, 9) + 0.1, torch.tensor([0.05, 0.5, 0.95])
    quantiles = weighted_quantile(values, weights, levels)
    assert quantiles.shape == (3, 4, 3)
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert quantiles[..., 1].equal(weighted_quantile(values, weights, 0.5))
    assert weighted_quantile(values, weights, 1.0).equal(values.amax(-1))


def test_coverage_of_the_true_quantiles_is_their_level():
    target = torch.from_numpy(numpy_generator(0, "normal").normal(size=4000))
    ones = torch.ones_like(target)
    assert interval_coverage(-1.6449 * ones, 1.6449 * ones, target).item() == pytest.approx(0.9, abs=0.02)
    metric = IntervalCoverage()
    for part in target.split(1500):
        metric.update(-torch.ones_like(part), torch.ones_like(part), part)
    assert metric.compute().item() == (target.abs() <= 1).double().mean().item()


def test_coverage_includes_the_ends_and_not_nan():
    ends = torch.tensor([0.0, 1.0, 2.0, torch.nan])
    assert interval_coverage(torch.zeros(4), torch.ones(4), ends).item() == 0.5
