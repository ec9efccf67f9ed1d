"""Random splines: SciPy's basis, minima against dense grids, the law that is stated, noise, and keys."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.interpolate import BSpline
from scipy.optimize import minimize_scalar
from scipy.stats import kstest

from common.functions.splines import (
    DESIGNS,
    Samples,
    Sampling,
    SplinePrior,
    Splines,
    cubic_minimizer,
    grid_argmin,
    lowest,
    spline_bases,
    spline_basis,
)
from common.training.streams import keyed_uniforms

GRID = torch.linspace(0, 1, 2001, dtype=torch.float64)
GENERAL = SplinePrior(spacing=(0.03, 0.2), log_uniform=True, window=(0.0, 1.0))
PRIORS = {
    "paper": SplinePrior(),
    "general": GENERAL,
    "bowl": SplinePrior(bowl=3.0),
    "single": SplinePrior(spacing=(1.0, 1.0), window=(0.0, 1.0)),
}


@pytest.fixture(scope="module", params=PRIORS)
def prior(request):
    return PRIORS[request.param]


@pytest.fixture(scope="module")
def functions(prior):
    return prior.sample(1, range(300))


def scipy_spline(functions, b):
    k = int(functions.intervals[b])
    knots = np.arange(-3, k + 4) / k
    return BSpline(knots, functions.coefficients[b, : k + 3].numpy(), 3)


def test_values_are_scipys(functions):
    values = functions(GRID)
    for b in range(20):
        np.testing.assert_allclose(values[b], scipy_spline(functions, b)(GRID.numpy()), atol=1e-12)


@pytest.mark.parametrize("intervals", [1, 2, 13, 33])
def test_basis_sums_to_one_and_gives_the_values(intervals):
    x = torch.rand(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    basis = spline_basis(x, intervals)
    assert basis.shape == (2, 50, intervals + 3)
    torch.testing.assert_close(basis.sum(-1), torch.ones(2, 50, dtype=torch.float64))
    c = torch.randn(2, intervals + 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    splines = Splines.of(c, torch.full((2,), intervals))
    torch.testing.assert_close((basis @ c[:, :, None]).squeeze(-1), splines(x))


def test_several_bases_at_once_are_those_of_each():
    x = torch.rand(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    several = (1, 13, 33, 2)
    for intervals, basis in zip(several, spline_bases(x, several), strict=True):
        assert torch.equal(basis, spline_basis(x, intervals))
        knots = np.arange(-3, intervals + 4) / intervals
        expected = BSpline.design_matrix(x.flatten().numpy(), knots, 3).toarray()
        np.testing.assert_allclose(basis.flatten(0, 1).numpy(), expected, atol=1e-12)


def test_minimum_and_maximum_bound_a_dense_grid_closely(functions):
    functions = functions[:60]
    values = functions(torch.linspace(0, 1, 20_001, dtype=torch.float64))
    assert (functions.minima <= values.amin(1) + 1e-12).all()
    assert (functions.maxima >= values.amax(1) - 1e-12).all()
    torch.testing.assert_close(values.amin(1), functions.minima, rtol=0, atol=1e-3)
    torch.testing.assert_close(values.amax(1), functions.maxima, rtol=0, atol=1e-3)
    torch.testing.assert_close(functions(functions.minimizers[:, None])[:, 0], functions.minima, rtol=0, atol=1e-12)
    assert (functions.minima == -1).all()
    assert (functions.maxima == 1).all()


def test_minimum_is_scipys(functions):
    for b in range(20):
        f, x = scipy_spline(functions, b), float(functions.minimizers[b])
        near = (max(0.0, x - 0.01), min(1.0, x + 0.01))
        found = minimize_scalar(f, bounds=near, method="bounded", options={"xatol": 1e-10})
        assert float(functions.minima[b]) <= found.fun + 1e-12
        if 0 < x < 1:
            assert found.x == pytest.approx(x, abs=1e-6)
            assert f(x, 1) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("cells", [1, 50, 2000])
def test_grid_minimizers_are_those_of_the_whole_grid(functions, cells):
    grid = torch.arange(cells + 1, dtype=torch.float64) / cells
    assert functions.grid_minimizers(cells).equal(grid[functions(grid).argmin(1)])


@settings(deadline=None)
@given(arrays(np.float64, (1, 8), elements=st.floats(-1e3, 1e3)), st.integers(1, 5))
def test_lowest_is_finite_and_below_the_grid_for_any_coefficients(coefficients, intervals):
    c, k = torch.from_numpy(coefficients), torch.tensor([intervals])
    x, value = lowest(c, k)
    splines = Splines.of(c, k)
    slack = 1e-12 * (1 + c.abs().amax())
    assert 0 <= x.item() <= 1
    assert (value <= splines(GRID) + slack).all()
    torch.testing.assert_close(splines(x[:, None])[:, 0], value, rtol=0, atol=slack.item())


@settings(deadline=None)
@given(arrays(np.float64, (3, 1), elements=st.floats(-1e6, 1e6)))
def test_cubic_minimizer_is_a_stationary_point_of_upward_curvature(derivatives):
    slope, curvature, third = torch.from_numpy(derivatives)
    t = cubic_minimizer(slope, curvature, third)
    assert t.isfinite().all()
    if curvature**2 - 2 * slope * third > 1e-3 and 0 <= t <= 1 and (curvature > 1e-3 or abs(third) > 1e-3):
        torch.testing.assert_close(slope + t * (curvature + t * third / 2), 0 * t, rtol=0, atol=1e-6)
        assert curvature + t * third >= 0


def test_grid_argmin_meets_ends_without_local_minima():
    nowhere = torch.empty(1, 0, dtype=torch.float64)
    assert grid_argmin(lambda x: x, nowhere, 10).tolist() == [0.0]
    assert grid_argmin(lambda x: -x, nowhere, 10).tolist() == [1.0]


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 0.9), st.floats(0.05, 0.1))
def test_window_holds_the_minimum(low, width):
    window = (low, low + width)
    x = SplinePrior(window=window).sample(0, range(20)).minimizers
    assert ((x >= window[0]) & (x <= window[1])).all()


def test_window_is_the_condition_on_the_law_without_one():
    free = SplinePrior(window=(0.0, 1.0)).sample(0, range(4000))
    held = SplinePrior().sample(1, range(2000))
    inside = (free.minimizers >= 0.25) & (free.minimizers <= 0.75)
    assert inside.double().mean().item() == pytest.approx(0.47, abs=0.03)
    for name in ("minimizers", "intervals"):
        assert kstest(getattr(free[inside], name), getattr(held, name)).pvalue > 1e-3
    assert kstest(free[inside].coefficients[:, 5], held.coefficients[:, 5]).pvalue > 1e-3


def test_ends_can_be_minima():
    x = GENERAL.sample(0, range(1000)).minimizers
    assert 0.02 < (x == 0).double().mean() < 0.2
    assert 0.02 < (x == 1).double().mean() < 0.2


@pytest.mark.parametrize("law", [SplinePrior(window=(0.0, 1.0)), GENERAL, PRIORS["single"]])
def test_interval_probabilities_are_those_drawn(law):
    k, p = law.interval_probabilities()
    assert p.sum().item() == pytest.approx(1)
    drawn = law.sample(0, range(4000)).intervals
    assert set(drawn.tolist()) <= set(k.tolist())
    share = (drawn[:, None] == k).double().mean(0)
    torch.testing.assert_close(share, p, rtol=0, atol=0.025)


def test_spacing_of_the_paper_has_13_to_33_intervals():
    k, _ = SplinePrior().interval_probabilities()
    assert k.tolist() == list(range(13, 34))


def test_bowl_draws_minima_into_the_window_and_bends_the_function_up():
    plain, bowl = (SplinePrior(bowl=b, window=(0.0, 1.0)).sample(0, range(500)) for b in (0.0, 6.0))
    spread = [(splines.minimizers - 0.5).abs().mean() for splines in (plain, bowl)]
    assert spread[1] < spread[0]
    ends = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    values = bowl(ends).mean(0)
    assert values[1] < values[0]
    assert values[1] < values[2]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=40), st.integers(0, 3))
def test_a_function_and_its_samples_are_those_of_the_key_alone(indices, seed):
    sampling = Sampling(count=12, nu=(1.0, 9.0), design="clustered")
    batch = GENERAL.sample(seed, indices)
    samples = sampling.draw(batch, seed, indices)
    alone = GENERAL.sample(seed, indices[-1:])
    own = sampling.draw(alone, seed, indices[-1:])
    for name in ("coefficients", "intervals", "minimizers"):
        last, only = getattr(batch, name)[-1], getattr(alone, name)[0]
        k = int(alone.intervals[0]) + 3
        assert last[:k].equal(only[:k]) if name == "coefficients" else last.equal(only)
    assert samples.x[-1].equal(own.x[0])
    assert samples.y[-1].equal(own.y[0])
    assert samples.sigma[-1].equal(own.sigma[0])


def test_large_batches_equal_their_parts_and_seeds_differ():
    prior = SplinePrior()
    whole = prior.sample(0, range(1500))
    assert whole[700:1500].minimizers.equal(prior.sample(0, torch.arange(700, 1500)).minimizers)
    assert not (prior.sample(1, range(1500)).minimizers == whole.minimizers).any()


def test_keyed_uniforms_are_uniform_and_independent():
    u = keyed_uniforms(torch.arange(2000), 30, 0, "test")
    assert ((u > 0) & (u < 1)).all()
    assert kstest(u.flatten(), "uniform").pvalue > 1e-3
    neighbours = torch.cat([u[:-1], u[1:]], dim=1)  # of every row, and of the next one
    correlations = np.corrcoef(neighbours, rowvar=False)
    assert np.abs(correlations - np.eye(60)).max() < 0.1
    later = keyed_uniforms(torch.arange(2000), 10, 0, "test", start=torch.full((2000,), 20))
    assert later.equal(u[:, 20:])
    assert not keyed_uniforms(torch.arange(5), 3, 0, "other").equal(u[:5, :3])


@pytest.mark.parametrize(("noise", "share"), [("formula", math.sqrt(3) / 10), ("percent", 0.3)])
def test_noise_has_the_stated_sigma(noise, share):
    functions = SplinePrior().sample(0, range(2000))
    samples = Sampling(noise=noise).draw(functions, 0, range(2000))
    clean = functions(samples.x)
    span = clean.amax(1) - clean.amin(1)
    torch.testing.assert_close(samples.sigma, share * span)
    errors = ((samples.y - clean) / span[:, None]).flatten()
    assert errors.std().item() == pytest.approx(share, rel=0.01)
    assert kstest(errors / share, "norm").pvalue > 1e-3


def test_noise_multiplier_between_limits_is_log_uniform():
    functions = SplinePrior().sample(0, range(1000))
    samples = Sampling(noise="percent", nu=(0.1, 4.0)).draw(functions, 0, range(1000))
    clean = functions(samples.x)
    share = samples.sigma / (clean.amax(1) - clean.amin(1))
    assert kstest((share / 0.01).log() / math.log(40), "uniform").pvalue > 1e-3


def test_no_noise_gives_the_values():
    functions = SplinePrior().sample(0, range(5))
    samples = Sampling(nu=0.0).draw(functions, 0, range(5))
    assert samples.y.equal(functions(samples.x))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("count", [1, 2, 40, 500])
def test_designs_keep_the_gap_in_order_in_the_interval(design, count):
    samples = Sampling(count=count, design=design, gap=1e-4).draw(torch.cos, 0, range(50))
    assert isinstance(samples, Samples)
    assert samples.x.shape == samples.y.shape == (50, count)
    assert (samples.x.diff(dim=1) >= 1e-4 - 1e-12).all()
    assert samples.x.amin() >= 0
    assert samples.x.amax() <= 1
    assert samples.y.isfinite().all()


def test_designs_are_what_they_say():
    x = {design: Sampling(count=40, design=design).draw(torch.cos, 0, range(400)).x for design in DESIGNS}
    assert kstest(x["uniform"].flatten(), "uniform").pvalue > 1e-3
    assert (x["ends"][:, 0] == 0).all()
    torch.testing.assert_close(x["ends"][:, -1], torch.ones(400, dtype=torch.float64))
    assert (torch.floor(x["jittered"] * 40 - 1e-2).diff(dim=1) >= 0).all()
    torch.testing.assert_close(x["grid"][0], torch.linspace(0, 1, 40, dtype=torch.float64), rtol=0, atol=1e-4)
    empty = {design: points.diff(dim=1).amax(1).mean().item() for design, points in x.items()}
    assert empty["grid"] < empty["jittered"] < empty["uniform"] < empty["clustered"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"spacing": (0.0, 0.1)},
        {"spacing": (0.1, 0.05)},
        {"spacing": (0.5, 2.0)},
        {"window": (0.5, 0.5)},
        {"window": (-0.1, 0.5)},
        {"bowl": math.nan},
    ],
)
def test_a_prior_that_is_none_is_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        SplinePrior(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"design": "x"}, {"noise": "x"}, {"nu": -1.0}, {"nu": (0.0, 1.0)}, {"nu": (2.0, 1.0)}, {"count": 0}, {"gap": 0.1}],
)
def test_a_sampling_that_is_none_is_refused(arguments):
    with pytest.raises(ValueError, match=r"not|fit"):
        Sampling(**arguments)


@pytest.mark.parametrize("indices", [[], [-1], [0.5], [[0, 1]]])
def test_indices_are_whole_numbers(indices):
    with pytest.raises(ValueError, match="whole numbers"):
        SplinePrior().sample(0, indices)


def test_functions_and_indices_must_be_as_many():
    with pytest.raises(ValueError, match="values"):
        Sampling().draw(lambda x: x[:1], 0, range(3))


def test_a_window_that_no_function_meets_is_an_error_with_its_name():
    with pytest.raises(RuntimeError, match=r"no minimum in \(0\.5, 0\.50000001\)"):
        SplinePrior(window=(0.5, 0.50000001)).sample(0, range(1))
