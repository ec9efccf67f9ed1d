"""Gaussian-process regression whose hyperparameters are not chosen but averaged over, each weighted by its evidence.

As `papers.refine1d.gp`: Matern-5/2 kernel, constant mean, Gaussian noise. Offset and scale have flat priors, length and
share of the noise are on a grid that is even in their logarithms.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from common.training.keys import torch_generator
from papers.refine1d.baselines import MinimizerDraws

_CELLS = 400  # of the grid on which functions are drawn
_LENGTHS = tuple(0.02 * 2**i for i in range(7))  # x in [0, 1]
_NOISES = tuple(10.0 ** (-4 + 5 * i / 9) for i in range(10))  # variance, that of the process being 1
_JITTER = 1e-6
_ROWS = 32


def marginal_gp_posterior(x: Tensor, y: Tensor, draws: int = 400, seed: int = 0) -> MinimizerDraws:
    """Return argmins of functions drawn from the posterior, given samples ``y`` at ``x``, both ``B x n``.

    The same normal numbers serve all functions.

    Raises:
        ValueError: x and y are not ``B x n`` with n >= 3, or not finite.
    """
    if x.ndim != 2 or x.shape != y.shape or x.shape[1] < 3:
        raise ValueError(f"x and y must be B x n with n >= 3, not {[*x.shape]} and {[*y.shape]}")
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("samples must be finite")
    rows = zip(x.double().split(_ROWS), y.double().split(_ROWS), strict=True)
    positions = torch.cat([_positions(*part, draws, seed) for part in rows])
    return MinimizerDraws(positions, torch.full_like(positions, 1 / draws))


def _positions(x: Tensor, y: Tensor, draws: int, seed: int) -> Tensor:
    grid = torch.linspace(0, 1, _CELLS + 1, dtype=torch.float64)
    factors = {}
    evidence = []
    for length in _LENGTHS:
        correlation = _matern((x[:, :, None] - x[:, None]).abs() / length)
        for noise in _NOISES:
            factor = torch.linalg.cholesky(correlation + noise * torch.eye(x.shape[1], dtype=x.dtype))
            factors[length, noise] = factor
            evidence.append(_fit(factor, y)[0])
    shares = torch.stack(evidence, 1).softmax(1).cumsum(1)
    strata = ((torch.arange(draws, dtype=torch.float64) + 0.5) / draws).expand(len(x), -1).contiguous()
    component = torch.searchsorted(shares, strata).clamp_max(shares.shape[1] - 1)
    generator = torch_generator(seed, "gp")
    normal = torch.randn(draws, _CELLS + 1, dtype=x.dtype, generator=generator)
    chi_square = torch.randn(draws, x.shape[1] - 1, dtype=x.dtype, generator=generator).square().sum(1)
    positions = torch.empty(len(x), draws, dtype=x.dtype)
    prior = {length: _matern((grid[:, None] - grid).abs() / length) for length in _LENGTHS}
    for number, ((length, _), factor) in enumerate(factors.items()):
        for b in (component == number).any(1).nonzero().squeeze(1).tolist():
            s = (component[b] == number).nonzero().squeeze(1)
            _, ones, centred, total = _fit(factor[b : b + 1], y[b : b + 1])
            cross = _matern((grid[:, None] - x[b]).abs() / length)
            half = torch.linalg.solve_triangular(factor[b], cross.T, upper=False)
            rest = 1 - half.T @ ones[0]
            covariance = prior[length] - half.T @ half + rest[:, None] * rest / ones[0].square().sum()
            root = torch.linalg.cholesky(covariance + _JITTER * torch.eye(len(grid), dtype=x.dtype))
            scale = (total[0] / chi_square[s]).sqrt()
            # the offset is left out: it moves no argmin
            paths = half.T @ centred[0] + scale[:, None] * (normal[s] @ root.T)
            positions[b, s] = grid[paths.argmin(1)]
    return positions


def _fit(factor: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log evidence (``B``), whitened ones and whitened centred y (``B x n``), and the latter's squared norm."""
    both = torch.linalg.solve_triangular(factor, torch.stack([torch.ones_like(y), y], 2), upper=False)
    ones, white = both.unbind(2)
    square = ones.square().sum(1)
    centred = white - ((ones * white).sum(1) / square)[:, None] * ones
    total = centred.square().sum(1)
    determinant = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1) + square.log()
    return -(determinant + (y.shape[1] - 1) * total.clamp_min(1e-300).log()) / 2, ones, centred, total


def _matern(distance: Tensor) -> Tensor:
    r = math.sqrt(5) * distance
    return (1 + r + r.square() / 3) * (-r).exp()
