"""The GP's fit against a grid of exact likelihoods in NumPy, its posterior against the formulas, and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import cho_factor, cho_solve

from common.functions.splines import Sampling, SplinePrior
from papers.refine1d.gp import fit_gp, gp_posterior

GRID = np.linspace(0, 1, 401)


@pytest.fixture(scope="module")
def samples():
    functions = SplinePrior().sample(0, range(12))
    return Sampling().draw(functions, 0, range(12))


def standardized(y):
    return (y - y.mean(1, keepdim=True)) / y.std(1, keepdim=True)


def matern(a, b, length):
    u = math.sqrt(5) * np.abs(a[:, None] - b) / length
    return (1 + u + u**2 / 3) * np.exp(-u)


def profile(x, y, length, ratio):
    """Return the log likelihood, the best mean for it, and the weights of the posterior mean."""
    n, ones = len(x), np.ones(len(x))
    factor = cho_factor(matern(x, x, length) + ratio * np.eye(n), lower=True)
    mean = ones @ cho_solve(factor, y) / (ones @ cho_solve(factor, ones))
    weights = cho_solve(factor, y - mean)
    scale = (y - mean) @ weights / n
    return -n / 2 * (math.log(2 * math.pi * scale) + 1) - np.log(np.diag(factor[0])).sum(), mean, weights


def test_fit_is_the_best_of_a_grid_of_lengths_and_noise_ratios(samples):
    x, y = samples.x, standardized(samples.y)
    model = fit_gp(x, y)
    lengths = model.covar_module.base_kernel.lengthscale.detach().flatten().tolist()
    ratios = (model.likelihood.noise.flatten() / model.covar_module.outputscale).detach().tolist()
    for a, b, length, ratio in zip(x.numpy(), y.numpy(), lengths, ratios, strict=True):
        best = max(profile(a, b, le, r)[0] for le in np.geomspace(0.01, 1, 20) for r in np.geomspace(1e-3, 10, 20))
        assert profile(a, b, length, ratio)[0] > best - 1e-3


def test_posterior_mean_is_the_formula(samples):
    x, y = samples.x[:3], samples.y[:3]
    model, posterior = fit_gp(x, standardized(y)), gp_posterior(x, y, draws=4)
    lengths = model.covar_module.base_kernel.lengthscale.detach().flatten()
    ratios = (model.likelihood.noise.flatten() / model.covar_module.outputscale).detach()
    for b in range(3):
        _, mean, weights = profile(x[b].numpy(), standardized(y)[b].numpy(), float(lengths[b]), float(ratios[b]))
        expected = mean + matern(GRID, x[b].numpy(), float(lengths[b])) @ weights
        np.testing.assert_allclose(posterior.mean[b], expected, atol=2e-3)
        assert posterior.mean_argmin()[b].item() == pytest.approx(GRID[expected.argmin()], abs=0.0026)


def test_answers_do_not_depend_on_order_units_or_the_other_functions(samples):
    x, y = samples.x, samples.y
    whole, order = gp_posterior(x, y, draws=50), torch.arange(39, -1, -1)
    alone = gp_posterior(x[3:4, order], 5 * y[3:4, order] - 2, draws=50)
    torch.testing.assert_close(alone.mean[0], whole.mean[3], rtol=0, atol=2e-3)
    assert (alone.minimizers.x[0] - whole.minimizers.x[3]).abs().median() < 0.003
    assert whole.minimizers.x.equal(gp_posterior(x, y, draws=50).minimizers.x)
    assert not whole.minimizers.x.equal(gp_posterior(x, y, draws=50, seed=1).minimizers.x)


def test_draws_find_the_minimum_where_there_is_no_noise():
    x = torch.linspace(0, 1, 30, dtype=torch.float64)[None]
    posterior = gp_posterior(x, (x - 0.37).square(), draws=50)
    assert posterior.mean_argmin().item() == pytest.approx(0.37, abs=0.005)
    assert posterior.minimizers.median().item() == pytest.approx(0.37, abs=0.005)
    assert posterior.minimizers.weights.sum().item() == pytest.approx(1)
    assert posterior.mean_argmin((0.5, 0.75)).item() == 0.5


def test_repeated_samples_and_constant_y_have_answers():
    x = torch.tensor([[0.1, 0.1, 0.5, 0.5, 0.9, 0.9]])
    y = torch.tensor([[1.0, 1.1, 0.0, 0.1, 1.0, 0.9]])
    assert gp_posterior(x, y, draws=50).minimizers.median().item() == pytest.approx(0.5, abs=0.1)
    assert gp_posterior(x, torch.ones(1, 6), draws=5).mean.isfinite().all()


@pytest.mark.parametrize("y", [torch.zeros(2, 4), torch.tensor([[0.0, 1.0, torch.nan]])])
def test_bad_samples_are_refused(y):
    with pytest.raises(ValueError):
        gp_posterior(torch.rand(len(y), 3, generator=torch.Generator().manual_seed(0)), y)
