"""sNES against an independent implementation, written here from the papers' formulas with plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.optimizers.snes import SNES
from common.training.keys import torch_generator


def reference_trajectory(fun, dim, half_width, seed, population, iterations):
    """Algorithm 1 of Schaul et al. (2011) with the utilities of Wierstra et al. (2014), in NumPy scalars."""
    mean = 2 * torch.rand(dim, generator=torch_generator(seed, "snes", "mean"), dtype=torch.float64).numpy() - 1
    mean, sigma = mean * half_width, np.full(dim, half_width)
    rate_sigma = (3 + math.log(dim)) / (5 * math.sqrt(dim))
    shaped = [max(0.0, math.log(population / 2 + 1) - math.log(rank)) for rank in range(1, population + 1)]
    utilities = [u / sum(shaped) - 1 / population for u in shaped]
    means = []
    for t in range(iterations):
        noise = torch.randn(population, dim, generator=torch_generator(seed, "snes", t), dtype=torch.float64).numpy()
        fitness = [fun(mean + sigma * s) for s in noise]
        order = sorted(range(population), key=lambda k: fitness[k])
        for i in range(dim):
            gradient_mean = sum(u * noise[k][i] for u, k in zip(utilities, order, strict=True))
            gradient_sigma = sum(u * (noise[k][i] ** 2 - 1) for u, k in zip(utilities, order, strict=True))
            mean[i] += sigma[i] * gradient_mean
            sigma[i] *= math.exp(rate_sigma / 2 * gradient_sigma)
        means.append(mean.copy())
    return np.array(means), sigma


def test_golden_trajectory():
    half_width, dim, iterations = 100.0, 4, 60
    weights = np.array([1.0, 3.0, 0.5, 10.0])
    # sigma starts at a hundredth of the box, so that no sample leaves it and the box plays no part
    run = SNES(population=12, sigma=0.01).start((-half_width * np.ones((1, dim)) * [[1], [-1]]), rng=3)
    run.mean = run.mean / 100
    means = []
    for _ in range(iterations):
        X = run.ask()
        run.tell(X, torch.from_numpy((weights * X.numpy() ** 2).sum(1)))
        means.append(run.mean.numpy() * half_width)
    expected, sigma = reference_trajectory(lambda x: (weights * x**2).sum(), dim, 1.0, 3, 12, iterations)
    np.testing.assert_allclose(means, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(run.std.numpy() * half_width, sigma, rtol=1e-9)


def test_invariant_to_monotone_transformations_inside_the_box():
    runs = [SNES(population=10, sigma=0.01).start([[-1.0] * 3, [1.0] * 3], rng=1) for _ in range(2)]
    for run in runs:
        run.mean = run.mean / 10
    for _ in range(30):
        X = runs[0].ask()
        y = (X**2).sum(1)
        runs[0].tell(X, y)
        runs[1].tell(runs[1].ask(), torch.exp(y) * 7 - 3)
    torch.testing.assert_close(runs[0].mean, runs[1].mean, rtol=0, atol=0)


def test_stops_when_converged():
    run = SNES(tolerance=1e-3).start([[-1.0] * 2, [1.0] * 2], rng=0)
    while not run.stop():
        X = run.ask()
        run.tell(X, (X**2).sum(1))
    assert set(run.stop()) == {"sigma"}
    assert run.told < 3000


@pytest.mark.parametrize("settings", [{"population": 0}, {"sigma": 0}, {"penalty": -1}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError):
        SNES(**settings).start([[0.0], [1.0]], rng=0)
