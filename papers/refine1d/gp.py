"""Gaussian-process regression of the samples: what the paper's model is judged beside where no prior is known.

Matern-5/2 kernel, constant mean, Gaussian noise; hyperparameters by maximum likelihood, with BoTorch, for many
functions in one batch.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.constraints import GreaterThan, Interval
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from common.training.keys import torch_generator
from papers.refine1d.baselines import MinimizerDraws, Window, lowest_on_grid

_ROWS = 16  # functions in one fit
_CELLS = 400  # of the grid on which the posterior is drawn
_LENGTHS = (0.01, 2.0)  # limits of the length scale, x in [0, 1]
_FIRST_LENGTH = 0.06
_FIRST_NOISE = 0.1  # variance, that of y being 1
_LEAST_NOISE = 1e-6


@dataclass(frozen=True, eq=False)
class GPPosterior:
    """What is known of the minima of ``B`` functions after their samples.

    Attributes:
        mean: ``B x 401``, the posterior mean of standardized y on {0, 1/400, ..., 1}.
        minimizers: the argmins of functions drawn from the posterior, on that grid.
    """

    mean: Tensor
    minimizers: MinimizerDraws

    def mean_argmin(self, window: Window | None = None) -> Tensor:
        """Return where the posterior mean is lowest, ``B``."""
        return lowest_on_grid(self.mean, window)


def fit_gp(x: Tensor, y: Tensor) -> SingleTaskGP:
    """Return the process of maximum likelihood for standardized samples ``y`` at ``x``, both ``B x n``, as a batch.

    The functions share the steps of L-BFGS, so the fit of one depends on the others, but only as far as its tolerance.
    """
    batch = x.shape[:1]
    kernel = ScaleKernel(
        MaternKernel(nu=2.5, batch_shape=batch, lengthscale_constraint=Interval(*_LENGTHS)), batch_shape=batch
    )
    kernel.base_kernel.lengthscale = _FIRST_LENGTH
    kernel.outputscale = 1.0
    likelihood = GaussianLikelihood(batch_shape=batch, noise_constraint=GreaterThan(_LEAST_NOISE))
    likelihood.noise = _FIRST_NOISE
    model = SingleTaskGP(x[..., None], y[..., None], likelihood=likelihood, covar_module=kernel, outcome_transform=None)
    fit_gpytorch_mll(ExactMarginalLogLikelihood(likelihood, model))
    return model


def gp_posterior(x: Tensor, y: Tensor, draws: int = 600, seed: int = 0) -> GPPosterior:
    """Return the posterior of the minima given samples ``y`` at ``x`` in [0, 1], both ``B x n`` and in any order.

    The same normal numbers serve all functions. Where a window is known to hold the minimum, the draws that have theirs
    in it, ``minimizers.within(window)``, answer better than all draws searched in the window alone.

    Raises:
        ValueError: x and y are not ``B x n`` with n >= 2, or not finite.
    """
    if x.ndim != 2 or x.shape != y.shape or x.shape[1] < 2:
        raise ValueError(f"x and y must be B x n with n >= 2, not {[*x.shape]} and {[*y.shape]}")
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("samples must be finite")
    x, y = x.double(), y.double()
    deviation = y.std(1, keepdim=True)
    y = (y - y.mean(1, keepdim=True)) / torch.where(deviation > 0, deviation, 1.0)
    normal = torch.randn(draws, 1, _CELLS + 1, dtype=x.dtype, generator=torch_generator(seed, "gp"))
    parts = [_posterior(*part, normal) for part in zip(x.split(_ROWS), y.split(_ROWS), strict=True)]
    means, minimizers = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return GPPosterior(means, MinimizerDraws(minimizers, torch.full_like(minimizers, 1 / draws)))


def _posterior(x: Tensor, y: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Return the posterior mean on the grid, and the argmins of draws."""
    grid = torch.linspace(0, 1, _CELLS + 1, dtype=x.dtype)
    model = fit_gp(x, y)
    with torch.no_grad(), warnings.catch_warnings():
        # Without noise the draws' covariance is singular up to rounding; 1e-8 is added to its diagonal, with a warning.
        warnings.simplefilter("ignore", NumericalWarning)
        posterior = model.posterior(grid[:, None].expand(len(x), -1, -1))
        paths = posterior.rsample_from_base_samples(normal.shape[:1], normal.expand(-1, len(x), -1))
        return posterior.mean.squeeze(2), grid[paths.squeeze(3).argmin(2)].T
