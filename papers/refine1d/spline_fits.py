"""What the learned posterior reads of the samples: Bayesian regression on splines of all densities.

The coefficients of a spline are normal and its level is free, as in the functions that the network is trained on, and
noise is normal. A spline of another density than the function's is not good enough where there is little noise, so all
are there, in a few groups. Nothing here is learned.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from common.functions.splines import spline_basis
from papers.refine1d.banded import evidence, normal_equations, posterior

NODES = 128  # middles of as many equal parts of [0, 1]
GROUPS = ((5, 6), (7, 8), (9, 11), (12, 15), (16, 22), (23, 33))  # first and last number of knot intervals
RATIOS = (0.02, 0.06, 0.2, 0.6, 1.8)  # of the noise's deviation to that of the coefficients
OF_GROUPS = ("value", "slope", "deviation", "height", "noise", "evidence")
OF_ALL = ("value", "deviation", "height")
KINDS = (*(kind for kind in OF_GROUPS for _ in GROUPS), *OF_ALL)
"""What each of the features is, see `SplineFits`."""

_INTERVALS = np.arange(GROUPS[0][0], GROUPS[-1][1] + 1)
_LEAST_VARIANCE = 1e-5  # of the noise; that of y is 1
_LEAST_DEVIATION = 1e-6  # squared, of what is said of the function
_STEP = 1e-4  # of the difference that gives slopes
_FAR = 50.0  # log likelihoods that are lower than the best by this are alike
_ROWS = 96  # sample sets at a time, so that what they take stays in the cache


class SplineFits(nn.Module):
    """Maps samples to features at the nodes, ``B x features x nodes``, float32.

    Of each group of densities, a mixture weighted by evidence, there are ``value``, ``slope`` (x in knot intervals) and
    ``deviation`` of the fit; ``height``, by how many deviations it is above its own lowest node; and the same at all
    nodes, ``noise``, and ``evidence``, by how much that is below the best group's. Besides there are value, deviation
    and height of the mixture of all. See `KINDS`.

    Attributes:
        nodes: ``nodes``, float64.
        parity: ``features x 1``; mirroring x reverses the nodes, and changes the sign of the features with -1.
    """

    nodes: Tensor
    parity: Tensor
    curves: Tensor
    products: Tensor
    groups: Tensor

    def __init__(self) -> None:
        super().__init__()
        nodes = (torch.arange(NODES, dtype=torch.float64) + 0.5) / NODES
        size, count = int(_INTERVALS[-1]) + 3, len(_INTERVALS)
        values = torch.zeros(count, size + 3, NODES, dtype=torch.float64)
        slopes = torch.zeros_like(values)
        groups = torch.zeros(len(GROUPS), count, dtype=torch.float64)
        for group, (first, last) in enumerate(GROUPS):
            for intervals in range(first, last + 1):
                k, unit = intervals - GROUPS[0][0], (first * last) ** 0.5
                below, at, above = (spline_basis(nodes + step, intervals).T for step in (-_STEP, 0, _STEP))
                values[k, : intervals + 3], slopes[k, : intervals + 3] = at, (above - below) / (2 * _STEP * unit)
                groups[group, k] = 1
        # b' C b for a symmetric C with three diagonals beside the main one
        products = [values[:, :size] * values[:, i : size + i] * (1 if i == 0 else 2) for i in range(4)]
        self.register_buffer("nodes", nodes, persistent=False)
        self.register_buffer("curves", torch.cat([values, slopes], 2)[:, :size].contiguous(), persistent=False)
        self.register_buffer("products", torch.cat(products, 1), persistent=False)
        self.register_buffer("groups", groups, persistent=False)
        signs = torch.tensor([-1.0 if kind == "slope" else 1.0 for kind in KINDS])
        self.register_buffer("parity", signs[:, None], persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the features of `papers.refine1d.standardized.standardized` samples, both ``B x n``."""
        return torch.cat([self._features(*part) for part in zip(x.split(_ROWS), y.split(_ROWS), strict=True)])

    def _features(self, x: Tensor, y: Tensor) -> Tensor:
        normal = normal_equations(x.numpy(), y.numpy(), _INTERVALS)
        ratios = np.array(RATIOS)
        evidences, noises = evidence(normal, ratios, _LEAST_VARIANCE)  # B x densities x ratios
        best = evidences.argmax(2)
        mean, diagonals = posterior(normal, ratios[best])
        log_noise = torch.from_numpy(np.take_along_axis(noises, best[..., None], 2))  # B x densities x 1
        # of the mean likelihood of all ratios; densities are as likely as if the distance of the knots is log-uniform
        likelihood = torch.from_numpy(evidences).logsumexp(2) - torch.from_numpy(np.log(_INTERVALS))
        curves = _at_nodes(mean, self.curves)  # B x densities x 2 nodes, values and slopes
        variance = _at_nodes(diagonals.reshape(-1, *mean.shape[1:]), self.products) * log_noise.exp()

        grouped = torch.where(self.groups > 0, likelihood[:, None], -torch.inf)  # B x groups x densities
        of_group = grouped.logsumexp(2)
        share, share_of_all = (grouped - of_group[..., None]).exp(), of_group.softmax(1)[:, None]
        value, slope = (share @ curves).chunk(2, 2)
        square = share @ (variance + curves[..., :NODES].square())
        all_value, all_square = (share_of_all @ torch.cat([value, square], 2)).chunk(2, 2)
        below = (of_group.amax(1, keepdim=True) - of_group).clamp_max(_FAR).log1p()
        everywhere = torch.cat([(share @ log_noise).squeeze(2) / 4, below], 1)
        variance, all_variance = square - value.square(), all_square - all_value.square()
        features = [
            *(value.asinh(), slope.asinh(), _log_deviation(variance), _height(value, variance)),
            everywhere[..., None].expand(-1, -1, NODES),
            *(all_value.asinh(), _log_deviation(all_variance), _height(all_value, all_variance)),
        ]
        return torch.cat(features, 1).float()  # heights are differences of nearly equal numbers, hence not before


def _at_nodes(coefficients: np.ndarray, basis: Tensor) -> Tensor:
    """Return ``B x densities x nodes`` from coefficients ``m x densities x B`` and basis ``densities x m x nodes``."""
    return (torch.from_numpy(coefficients).permute(1, 2, 0) @ basis).transpose(0, 1)


def _log_deviation(variance: Tensor) -> Tensor:
    return (variance.clamp_min(0) + _LEAST_DEVIATION).log() / 4  # rounding may make it negative


def _height(value: Tensor, variance: Tensor) -> Tensor:
    """Return how far curves (``B x curves x nodes``) are above their lowest node, in deviations of both, as asinh."""
    lowest, where = value.min(2, keepdim=True)
    spread = variance.clamp_min(0) + _LEAST_DEVIATION
    return ((value - lowest) / (spread + spread.gather(2, where)).sqrt()).asinh()
