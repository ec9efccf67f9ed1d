"""The oracle against brute force, its calibration, invariances, and that no other answer is better."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest

from common.functions.splines import Sampling, SplinePrior
from common.metrics import interval_coverage
from papers.refine1d.baselines import lowest_sample
from papers.refine1d.gp import gp_posterior
from papers.refine1d.oracle import Oracle

GENERAL = SplinePrior(spacing=(0.03, 0.2), log_uniform=True, window=(0.0, 1.0))
UNKNOWN_NOISE = Sampling(count=12, design="clustered", noise="percent", nu=(0.1, 4.0))


def brute_force(functions, x, y, shares, bins):
    """Return the posterior on bins of [0, 1] by weighting functions of the prior, offset and scale integrated."""
    values = functions(x)
    sigma = shares * (values.amax(1) - values.amin(1))[:, None]
    values, y, degrees = values - values.mean(1, keepdim=True), y - y.mean(), len(x) - 1
    log_density = torch.full_like(sigma, -torch.inf)
    for scale in y.std() * torch.logspace(-0.7, 1.7, 60, dtype=torch.float64):
        misfit = (y / scale - values).square().sum(1, keepdim=True)
        log_density = log_density.logaddexp(-degrees * (sigma * scale).log() - misfit / (2 * sigma.square()))
    weights = log_density.logsumexp(1).softmax(0)
    return histogram(functions.minimizers, weights, bins)


def histogram(x, weights, bins):
    return torch.zeros(bins, dtype=torch.float64).scatter_add_(0, (x * bins).long().clamp_max(bins - 1), weights)


@pytest.mark.parametrize(
    ("window", "nu"),
    [((0.0, 1.0), 2.0), ((0.25, 0.75), 2.0), ((0.0, 1.0), (1.0, 4.0))],
    ids=["free", "window", "unknown noise"],
)
def test_posterior_is_that_of_brute_force(window, nu):
    prior = SplinePrior(spacing=(0.2, 0.4), window=window)
    sampling = Sampling(count=7, noise="percent", nu=nu)
    samples = sampling.draw(prior.sample(1, range(3)), 1, range(3))
    shares = 0.1 * 4 ** ((torch.arange(8) + 0.5) / 8) if isinstance(nu, tuple) else torch.tensor([nu / 10])
    posterior = Oracle(prior, sampling, draws=8000).posterior(samples.x, samples.y)
    functions = prior.sample(5, range(60_000))
    for b in range(3):
        expected = brute_force(functions, samples.x[b], samples.y[b], shares.double(), bins=10)
        found = histogram(posterior.x[b], posterior.weights[b], bins=10)
        torch.testing.assert_close(found, expected, rtol=0, atol=0.035)


@pytest.mark.parametrize(
    ("prior", "sampling"),
    [(SplinePrior(), Sampling()), (SplinePrior(), Sampling(noise="percent")), (GENERAL, UNKNOWN_NOISE)],
    ids=["formula", "percent", "general"],
)
def test_rank_of_the_minimum_in_its_draws_is_uniform(prior, sampling):
    functions = prior.sample(3, range(150))
    samples = sampling.draw(functions, 3, range(150))
    posterior = Oracle(prior, sampling, draws=600).posterior(samples.x, samples.y)
    torch.testing.assert_close(posterior.weights.sum(1), torch.ones(150, dtype=torch.float64))
    assert ((posterior.x >= prior.window[0]) & (posterior.x <= prior.window[1])).all()
    x = functions.minimizers[:, None]
    below, at = ((posterior.weights * mask).sum(1) for mask in (posterior.x < x, posterior.x == x))
    ends = torch.rand(150, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # mass at 0 and 1 itself
    assert kstest((below + ends * at).numpy(), "uniform").pvalue > 0.01
    lower, upper = posterior.quantile(torch.tensor([0.1, 0.9])).T
    assert 0.7 < interval_coverage(lower, upper, functions.minimizers) < 0.9
    assert posterior.effective_size().median() > 80


@pytest.mark.parametrize("n", [60, 300])
def test_noiseless_functions_are_recovered(n):
    functions = GENERAL.sample(2, range(20))
    samples = Sampling(count=n, design="ends", nu=0.0).draw(functions, 2, range(20))
    oracle = Oracle(GENERAL, Sampling(noise="percent", nu=0.01), draws=200)
    error = (oracle.posterior(samples.x, samples.y).median() - functions.minimizers).abs()
    assert error.median() < 1e-3
    assert (error < 0.01).double().mean() >= 0.9


def test_answers_do_not_depend_on_order_units_or_the_other_functions():
    functions = SplinePrior().sample(4, range(110))
    samples, oracle = Sampling().draw(functions, 4, range(110)), Oracle(draws=100)
    whole, order = oracle.posterior(samples.x, samples.y), torch.arange(39, -1, -1)
    alone = oracle.posterior(samples.x[105:, order], 5 * samples.y[105:, order] - 2)
    torch.testing.assert_close(alone.mean(), whole.mean()[105:], rtol=0, atol=1e-3)
    assert not whole.x.equal(Oracle(draws=100, seed=1).posterior(samples.x, samples.y).x)


def test_no_answer_is_better_than_the_oracle_and_the_gp_beats_the_lowest_sample():
    functions, window = SplinePrior().sample(8, range(200)), (0.25, 0.75)
    samples = Sampling().draw(functions, 8, range(200))

    def mean_error(answers):
        return 100 * (answers - functions.minimizers).abs().mean().item()

    oracle = mean_error(Oracle().posterior(samples.x, samples.y).median())
    gp = mean_error(gp_posterior(samples.x, samples.y, draws=300).minimizers.within(window).median())
    lowest = mean_error(lowest_sample(samples.x, samples.y, window))
    assert oracle < gp + 0.5
    assert gp < lowest + 0.5
    assert oracle < lowest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prior": SplinePrior(bowl=1.0)}, "bowl"),
        ({"sampling": Sampling(nu=0.0)}, "noise"),
        ({"draws": 0}, "draws"),
    ],
)
def test_laws_without_an_oracle_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Oracle(**arguments)


@pytest.mark.parametrize("y", [torch.zeros(1, 5), torch.full((1, 5), torch.nan), torch.zeros(1, 4), torch.zeros(5)])
def test_bad_samples_are_refused(y):
    with pytest.raises(ValueError):
        Oracle().posterior(torch.linspace(0, 1, 5)[None], y)
