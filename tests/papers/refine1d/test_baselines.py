"""Untrained answers against SciPy and loops, their invariances, and what they reach on the paper's functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline, make_smoothing_spline

from common.functions.splines import Sampling, SplinePrior
from papers.refine1d.baselines import (
    BASELINES,
    MinimizerDraws,
    constant,
    interpolating_spline,
    lowest_on_grid,
    lowest_sample,
    smoothing_spline,
)
from papers.refine1d.features import spline_features

WINDOW = (0.25, 0.75)
GRID = np.arange(2001) / 2000
INSIDE = (GRID >= 0.25) & (GRID <= 0.75)


@pytest.fixture(scope="module")
def functions():
    return SplinePrior().sample(0, range(2000))


@pytest.fixture(scope="module")
def samples(functions):
    return Sampling().draw(functions, 0, range(2000))


@pytest.mark.parametrize("window", [None, WINDOW])
def test_splines_are_scipys(samples, window):
    x, y = samples.x[:10], samples.y[:10]
    grid = GRID if window is None else GRID[INSIDE]
    for answer, fit in ((interpolating_spline, CubicSpline), (smoothing_spline, make_smoothing_spline)):
        expected = [grid[fit(*row)(grid).argmin()] for row in zip(x.numpy(), y.numpy(), strict=True)]
        assert answer(x, y, window).tolist() == expected


def test_interpolating_spline_is_the_first_guess_of_the_network(samples):
    x, y = samples.x[:50], samples.y[:50]
    assert interpolating_spline(x, y).equal(spline_features(x, y, scaling="raw").start)


def test_lowest_sample_by_hand():
    x = torch.tensor([[0.0, 0.3, 0.6, 1.0], [0.0, 0.1, 0.8, 0.9]])
    y = torch.tensor([[0.0, 5.0, 4.0, 3.0], [4.0, 1.0, 2.0, 3.0]])
    assert lowest_sample(x, y).tolist() == pytest.approx([0.0, 0.1])
    assert lowest_sample(x, y, WINDOW).tolist() == pytest.approx([0.6, 0.5])  # no sample in the window of the second


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("window", [None, WINDOW])
def test_answers_take_any_order_repeated_samples_units_and_float32(samples, name, window):
    answer = BASELINES[name].answer
    x, y = samples.x[:5].clone(), samples.y[:5]
    expected = answer(x, y, window)
    assert expected.dtype == torch.float64
    assert expected.shape == (5,)
    low, high = window or (0.0, 1.0)
    assert ((expected >= low) & (expected <= high)).all()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(answer(x[:, order], 3 * y[:, order] + 7, window), expected, rtol=0, atol=5e-4)
    x[:, 1] = x[:, 0]
    assert answer(x.float(), y.float(), window).isfinite().all()


def test_statistics_are_those_of_the_specification(functions, samples):
    def mean_error(answer, window=None):
        return 100 * (answer(samples.x, samples.y, window) - functions.minimizers).abs().mean().item()

    assert mean_error(constant) == pytest.approx(12.4, abs=1)
    assert mean_error(lowest_sample) == pytest.approx(13.8, abs=1.5)
    assert mean_error(lowest_sample, WINDOW) == pytest.approx(7.3, abs=1.2)
    assert mean_error(interpolating_spline) == pytest.approx(36, abs=2)


def test_lowest_on_grid_refuses_a_window_between_its_points():
    assert lowest_on_grid(torch.tensor([[0.0, 2.0, 1.0]]), (0.5, 1.0)).tolist() == [1.0]
    with pytest.raises(ValueError, match="no point"):
        lowest_on_grid(torch.zeros(1, 3), (0.6, 0.9))


def draws(x, weights):
    return MinimizerDraws(torch.tensor([x], dtype=torch.float64), torch.tensor([weights], dtype=torch.float64))


def test_draws_by_hand():
    p = draws([0.9, 0.1, 0.5, 0.52], [0.3, 0.26, 0.2, 0.24])
    assert p.median().item() == 0.52
    assert p.mean().item() == pytest.approx(0.5208)
    assert p.densest(0.05).item() == pytest.approx(0.51)  # 0.5 and 0.52 together have the most
    assert p.densest(0.001).item() == pytest.approx(0.9)
    assert p.mode().item() == pytest.approx(0.51)
    assert p.quantile(torch.tensor([0.25, 0.75])).tolist() == [[0.1, 0.9]]
    assert draws([0.0, 1.0], [1.0, 0.0]).effective_size().item() == 1
    assert draws([0.0, 1.0], [0.5, 0.5]).effective_size().item() == 2


def test_window_conditions_draws_and_keeps_a_row_without_any_at_its_edge():
    p = draws([0.1, 0.3, 0.7, 0.9], [0.4, 0.2, 0.2, 0.2])
    assert p.within(None) is p
    inside = p.within(WINDOW)
    assert inside.weights.tolist() == [[0, 0.5, 0.5, 0]]
    assert inside.mean().item() == pytest.approx(0.5)
    outside = p.within((0.4, 0.6))
    assert outside.weights.sum().item() == pytest.approx(1)
    assert outside.quantile(torch.tensor([0.3, 0.7])).tolist() == [[0.4, 0.6]]
