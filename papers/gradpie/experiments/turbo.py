"""TuRBO-1 (Eriksson et al., 2019), a Gaussian process in a trust region, from BoTorch's parts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import botorch
import torch
from botorch.exceptions.warnings import OptimizationWarning
from botorch.fit import fit_gpytorch_mll
from botorch.generation import MaxPosteriorSampling
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import MaternKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import LogNormalPrior
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor
from torch.quasirandom import SobolEngine

from common.training.keys import key_seed, torch_generator

LENGTH, SMALLEST, LARGEST = 0.8, 0.5**7, 1.6
SUCCESSES = 3
NOISE = (1e-8, 1e-3)  # as in the authors' code
PERTURBED = 20  # variables of a candidate that differ from the best point, on average, where there are more


def turbo(
    function: Callable[[Tensor], Tensor], initial: Tensor, seed: int, queries: int, bounded: bool, refit: int,
    candidates: int, ard: bool = True, window: int = 500, first_length: float = LENGTH,
) -> Tensor:  # fmt: skip
    """Minimize in units of the box; return the losses of exactly so many queries in their order.

    One query at a time, by Thompson sampling from Sobol points of the region, and of variables where there are many.
    A region that has become too small is left; the next begins with as many uniform points.

    Args:
        function: maps ``n x d`` to ``n`` losses.
        initial: first queries, ``n_0 x d``.
        bounded: whether points are kept in the unit cube.
        refit: the process's parameters are fitted before every so many queries.
        ard: whether every variable has a lengthscale of its own; the region is then as wide as these say.
        window: queries that the process is fitted to.
        first_length: side of a region to begin with.
    """
    losses = function(initial)
    x, y, length, successes, failures, fresh = initial, losses, first_length, 0, 0, True
    patience = max(4, initial.shape[1]) if ard else 20
    dim, kernel, likelihood = initial.shape[1], _kernel(initial.shape[1], ard), GaussianLikelihood()
    while len(losses) < queries:
        step = len(losses)
        if length < SMALLEST:
            x = torch.rand(initial.shape, generator=torch_generator(seed, "restart", step), dtype=initial.dtype)
            x = x[: queries - step]
            y, length, successes, failures, fresh = function(x), first_length, 0, 0, True
            losses = torch.cat([losses, y])
            continue
        x, y = x[-window:], y[-window:]
        values = -(y - y.mean()) / y.std().clamp(min=1e-12)
        if fresh:
            kernel, likelihood = _kernel(dim, ard), GaussianLikelihood(noise_constraint=Interval(*NOISE))
        model = SingleTaskGP(x, values.unsqueeze(1), likelihood=likelihood, covar_module=kernel, outcome_transform=None)
        with botorch.manual_seed(key_seed(seed, "turbo", step)), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", OptimizationWarning)
            warnings.simplefilter("ignore", NumericalWarning)
            if fresh or step % refit == 0:
                with torch.enable_grad():
                    fit_gpytorch_mll(
                        ExactMarginalLogLikelihood(likelihood, model), optimizer_kwargs={"options": {"maxiter": 50}}
                    )
            points = _candidates(x[values.argmax()], _widths(kernel, dim) * length, candidates, bounded, seed, step)
            model.eval()
            new = MaxPosteriorSampling(model, replacement=False)(points, num_samples=1)
        fresh = False
        value = function(new)
        better = bool(value[0] < y.min() - 1e-3 * y.min().abs())
        successes, failures = (successes + 1, 0) if better else (0, failures + 1)
        if successes == SUCCESSES:
            length, successes = min(2 * length, LARGEST), 0
        elif failures == patience:
            length, failures = length / 2, 0
        x, y, losses = torch.cat([x, new]), torch.cat([y, value]), torch.cat([losses, value])
        if len(x) > window:  # the best point stays
            best = y.argmin()
            x, y = torch.cat([x[best][None], x[1:]]), torch.cat([y[best][None], y[1:]])
    return losses


def _kernel(dim: int, ard: bool) -> MaternKernel:
    """Return a kernel with BoTorch's prior of lengthscales (Hvarfner et al., 2024).

    Without one, or with the box of the authors' code, as few points make the likelihood take most variables for noise.
    """
    prior = LogNormalPrior(math.sqrt(2) + math.log(dim) / 2, math.sqrt(3))
    positive = GreaterThan(2.5e-2, transform=None, initial_value=prior.mode)
    return MaternKernel(
        2.5, ard_num_dims=dim if ard else None, lengthscale_prior=prior, lengthscale_constraint=positive
    ).to(torch.float64)


def _widths(kernel: MaternKernel, dim: int) -> Tensor:
    """Return how wide the region is in each variable, of mean 1."""
    lengthscale = kernel.lengthscale.detach().flatten().expand(dim)
    return lengthscale / lengthscale.log().mean().exp()


def _candidates(best: Tensor, widths: Tensor, count: int, bounded: bool, seed: int, step: int) -> Tensor:
    low, high = best - widths / 2, best + widths / 2
    if bounded:
        low, high = low.clamp(0, 1), high.clamp(0, 1)
    sobol = SobolEngine(len(best), scramble=True, seed=key_seed(seed, "candidates", step) % 2**31)
    points = low + (high - low) * sobol.draw(count, dtype=best.dtype)
    generator = torch_generator(seed, "perturbed", step)
    chosen = torch.rand(points.shape, generator=generator) < min(1.0, PERTURBED / len(best))
    one = torch.randint(len(best), (count, 1), generator=generator)
    return torch.where(chosen.scatter(1, one, True), points, best)
