"""What else the learned posterior reads of the samples: Bayesian regression on splines of several densities.

Local fits cannot say how a smooth function goes on beyond the last sample; at low noise that is most of what is to be
known. Here the coefficients of a spline are normal and its level is free, as in the functions that the network is
trained on, and noise is normal. Nothing here is learned.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.functions.splines import spline_bases, spline_basis

INTERVALS = (5, 7, 10, 14, 21, 33)  # of the splines; all that the network is trained on are near one of them
RATIOS = (0.02, 0.06, 0.2, 0.6, 1.8)  # of the noise's deviation to that of the coefficients
_LEAST_VARIANCE = 1e-5  # of the noise; that of y is 1
_LEAST_DEVIATION = 1e-6  # squared, of what is said of the function
_STEP = 1e-4  # of the difference that gives slopes
_FAR = 50.0  # log likelihoods that are lower than the best by this are alike


class Systems(NamedTuple):
    """Normal equations of ``B`` sample sets, one for each ratio, in Cholesky factors.

    Attributes:
        right: ``B x m x 1``, their right hand sides.
        factors: ``B x ratios x m x m``.
        residual: ``B x ratios``, log of the square root of what penalized least squares leave of y.
        determinant: ``B x ratios``, log of the determinants' square roots.
    """

    right: Tensor
    factors: Tensor
    residual: Tensor
    determinant: Tensor


class SplineFit(nn.Module):
    """Bayesian regression on the splines with K = ``intervals`` equal knot intervals, evaluated at ``nodes``."""

    values: Tensor
    slopes: Tensor
    precisions: Tensor
    unit: Tensor

    def __init__(self, intervals: int, nodes: Tensor) -> None:
        super().__init__()
        self.size = intervals + 3
        above, below = (spline_basis(nodes + step, intervals) for step in (_STEP, -_STEP))
        values, slopes = spline_basis(nodes, intervals).T.float(), ((above - below).T / (2 * _STEP * intervals)).float()
        # The basis sums to 1, so a free level is a prior that does not see the mean of the coefficients.
        unit = torch.eye(self.size, dtype=torch.float64)
        precisions = torch.tensor(RATIOS, dtype=torch.float64).square()[:, None, None] * (unit - 1 / self.size)
        self.register_buffer("unit", unit, persistent=False)
        self.register_buffer("values", values.contiguous(), persistent=False)
        self.register_buffer("slopes", slopes, persistent=False)
        # one row and column more, for y
        self.register_buffer("precisions", nn.functional.pad(precisions, (0, 1, 0, 1)), persistent=False)

    def systems(self, basis: Tensor, y: Tensor) -> Systems:
        """Return the normal equations for samples ``y`` (``B x n``) at which the basis is ``basis`` (``B x n x m``)."""
        m = self.size
        bordered = torch.cat([basis, y[..., None]], 2)
        gram = bordered.mT @ bordered
        gram[:, m, m] += y.shape[1] * _LEAST_VARIANCE
        # Of the normal equations bordered with those of y, the last pivot is what penalized least squares leave of y.
        factors = torch.linalg.cholesky(gram[:, None] + self.precisions)
        logs = factors.diagonal(dim1=2, dim2=3).log()
        return Systems(gram[:, :m, m:], factors, logs[:, :, m], logs[:, :, :m].sum(2))

    def at_nodes(self, systems: Systems, ratios: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return posterior mean, its derivative (x in knot intervals) and variance, all ``B x nodes``.

        Args:
            ratios: ``B``, which.
        """
        m = self.size
        factor = systems.factors[torch.arange(len(ratios)), ratios, :m, :m]
        sides = torch.cat([systems.right, self.unit.expand(len(ratios), -1, -1)], 2)
        solved = torch.cholesky_solve(sides, factor).float()  # all that is delicate is done
        mean, covariance = solved[:, :, 0], solved[:, :, 1:]
        return mean @ self.values, mean @ self.slopes, ((covariance @ self.values) * self.values).sum(1)


class SplineFits(nn.Module):
    """Maps samples to features at ``nodes``, ``B x features x nodes``, float32.

    Of each density there are value, slope and uncertainty of the fit at the nodes, with the likeliest ratio, and the
    same at all of them: the noise, and by how much the evidence is below that of the best density. Besides there are
    value and uncertainty of the mixture of all, weighted by their evidence.

    Attributes:
        parity: ``features x 1``; mirroring x reverses the nodes, and changes the sign of the features with -1.
    """

    parity: Tensor
    log_ratios: Tensor
    log_sizes: Tensor

    def __init__(self, nodes: Tensor) -> None:
        super().__init__()
        self.densities = nn.ModuleList(SplineFit(intervals, nodes) for intervals in INTERVALS)
        sizes = torch.tensor(INTERVALS, dtype=torch.float64)[:, None] + 3
        self.register_buffer("log_ratios", (sizes - 1) * torch.tensor(RATIOS, dtype=torch.float64).log(), False)
        self.register_buffer("log_sizes", sizes.log() / 2, persistent=False)
        signs = torch.tensor([1.0, -1, 1, 1, 1]).repeat_interleave(len(INTERVALS))
        self.register_buffer("parity", torch.cat([signs, torch.ones(2)])[:, None], persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the features of `papers.refine1d.local_fits.standardized` samples, both ``B x n``."""
        n, densities = y.shape[1], [*self.densities]
        systems = [fit.systems(basis, y) for fit, basis in zip(densities, spline_bases(x, INTERVALS), strict=True)]
        residual, determinant = (torch.stack(part, 1) for part in [*zip(*systems, strict=True)][2:])
        noises = 2 * residual - math.log(n)  # B x densities x ratios
        evidences = -(n - 1) / 2 * noises - determinant + self.log_ratios - self.log_sizes
        best = evidences.argmax(2)
        noise = noises.gather(2, best[..., None]).exp().float()
        evidence = evidences.logsumexp(2).float()  # of the mean likelihood of all ratios, up to a constant
        fits = [fit.at_nodes(*of_one) for fit, *of_one in zip(densities, systems, best.unbind(1), strict=True)]
        value, slope, variance = (torch.stack(part, 1) for part in zip(*fits, strict=True))
        variance = variance * noise
        share = evidence.softmax(1)[..., None]
        mean = (share * value).sum(1, keepdim=True)
        mixture = (share * (variance + (value - mean).square())).sum(1, keepdim=True)
        below = (evidence.amax(1, keepdim=True) - evidence).clamp_max(_FAR).log1p()
        everywhere = torch.cat([noise.squeeze(2).log() / 4, below], 1)[..., None].expand(-1, -1, value.shape[2])
        at_nodes = [value.asinh(), slope.asinh(), _log_deviation(variance)]
        return torch.cat([*at_nodes, everywhere, mean.asinh(), _log_deviation(mixture)], 1)


def _log_deviation(variance: Tensor) -> Tensor:
    return (variance.clamp_min(0) + _LEAST_DEVIATION).log() / 4  # rounding may make it negative
