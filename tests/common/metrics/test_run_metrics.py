"""Metrics of runs against NumPy, and in batches against all at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.metrics import (
    EvaluationsToTarget,
    ExpectedRunningTime,
    SimpleRegret,
    SuccessRate,
    evaluations_to_target,
    expected_running_time,
    simple_regret,
    success_rate,
)

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)
hits = st.lists(st.one_of(st.integers(1, 1000).map(float), st.just(math.inf)), min_size=1, max_size=20)
law = settings(max_examples=50, deadline=None)


def in_two(metric, data, *others):
    """Update a metric with the first and the remaining entries."""
    for part in (data[:1], data[1:]):
        if len(part):
            metric.update(part, *others)
    return metric.compute()


@given(best=values, optimum=st.floats(-1e6, 1e6))
@law
def test_simple_regret_equals_numpy(best, optimum):
    expected = pytest.approx(np.mean(np.array(best) - optimum), rel=1e-12, abs=1e-6)
    data = torch.tensor(best, dtype=torch.float64)
    assert simple_regret(data, optimum).item() == expected
    assert in_two(SimpleRegret(), data, optimum).item() == expected


def test_simple_regret_takes_one_optimum_per_problem_and_keeps_small_regrets():
    best, optimum = torch.tensor([[1e6 + 1e-9, 5.0]], dtype=torch.float64), torch.tensor([1e6, 3.0]).double()
    assert simple_regret(best, optimum).item() == pytest.approx(1.0 + 0.5e-9, abs=1e-10)


@given(best=values, tolerance=st.floats(0, 1e6))
@law
def test_success_rate_equals_numpy(best, tolerance):
    expected = pytest.approx(np.mean(np.array(best) - 1 <= tolerance))
    data = torch.tensor(best, dtype=torch.float64)
    assert success_rate(data, 1.0, tolerance).item() == expected
    assert in_two(SuccessRate(tolerance), data, 1.0).item() == expected


def test_success_is_at_or_below_the_tolerance_and_nan_fails():
    assert success_rate(torch.tensor([0.5, 0.25, math.nan, math.inf]), 0.0, 0.25).item() == 0.25


def reference_hit(evaluations, best_values, target):
    return next((float(e) for e, v in zip(evaluations, best_values, strict=True) if v <= target), math.inf)


@given(drops=st.lists(st.lists(st.floats(0, 5), min_size=6, max_size=6), min_size=1, max_size=5))
@law
def test_evaluations_to_target_is_the_first_history_point_at_or_below_it(drops):
    evaluations = torch.tensor([1, 4, 9, 16, 25, 36])
    curves = 10 - torch.tensor(drops, dtype=torch.float64).cumsum(-1)
    expected = [reference_hit(evaluations.tolist(), curve, 2.0) for curve in curves.tolist()]
    assert evaluations_to_target(evaluations, curves, 2.0).tolist() == expected
    metric = EvaluationsToTarget()
    for curve in curves:
        metric.update(evaluations, curve, 2.0)
    assert metric.compute().reshape(-1).tolist() == expected


def test_evaluations_to_target_edge_cases():
    assert evaluations_to_target(torch.tensor([1, 5]), torch.tensor([3.0, 2.0]), 2.0).item() == 5  # at the target
    assert evaluations_to_target(torch.zeros(0), torch.zeros(0), 2.0).item() == math.inf  # nothing was found
    curves = torch.tensor([[3.0, 1.0], [3.0, 1.0]])
    assert evaluations_to_target(torch.tensor([1, 5]), curves, torch.tensor([3.0, 0.5])).tolist() == [1, math.inf]


@given(hits=hits, budget=st.integers(1000, 2000))
@law
def test_expected_running_time_is_all_evaluations_per_success(hits, budget):
    reached = [hit for hit in hits if hit < math.inf]
    spent = sum(reached) + budget * (len(hits) - len(reached))
    expected = spent / len(reached) if reached else math.inf
    data = torch.tensor(hits, dtype=torch.float64)
    assert expected_running_time(data, budget).item() == pytest.approx(expected)
    assert in_two(ExpectedRunningTime(), data, budget).item() == pytest.approx(expected)
    if reached and budget >= max(reached):
        assert expected_running_time(data, budget).item() >= np.mean(reached) - 1e-9


def test_expected_running_time_takes_the_evaluations_of_every_run():
    result = expected_running_time(torch.tensor([10.0, math.inf, math.inf]), torch.tensor([99, 5, 7]))
    assert result.item() == 22


@pytest.mark.parametrize(
    ("metric", "higher_is_better"),
    [(SimpleRegret, False), (SuccessRate, True), (EvaluationsToTarget, False), (ExpectedRunningTime, False)],
)
def test_metrics_say_which_way_is_better(metric, higher_is_better):
    assert metric.higher_is_better is higher_is_better


def test_reset_forgets():
    metric = SimpleRegret()
    metric.update(torch.tensor([5.0]), 0.0)
    metric.reset()
    metric.update(torch.tensor([1.0]), 0.0)
    assert metric.compute().item() == 1
