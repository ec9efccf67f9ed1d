"""What else the learned posterior reads of the samples: splines fitted to all of them, at several penalties.

Local fits cannot say how a smooth function goes on beyond the last sample; at low noise that is most of what is to be
known. These are P-splines (Eilers and Marx, Statistical Science 1996). Nothing here is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.functions.splines import spline_basis

INTERVALS = 40  # of the splines
ORDER = 3  # of the differences of neighbouring coefficients that are penalized; quadratic functions are free
PENALTIES = tuple(10.0 ** (1.5 * i - 2) for i in range(7))  # in samples; from hardly smooth to nearly quadratic
_RIDGE = 1e-3  # on the coefficients, in samples: fewer than three different x leave even a quadratic open
_LEAST_VARIANCE = 1e-5  # of y, whose variance is 1
_STEP = 1e-4  # of the difference that gives slopes
_FAR = 50.0  # log likelihoods that are lower than the best by this are alike


class SplineFits(nn.Module):
    """Maps samples to features at ``nodes``, ``B x features x nodes``, float32.

    Of each penalty there are value and slope of the fit at the nodes, and the same at all of them: the deviation of the
    samples from it, and by how much its restricted likelihood is below that of the best penalty.

    Attributes:
        parity: ``features x 1``; mirroring x reverses the nodes, and changes the sign of the features with -1.
    """

    parity: Tensor
    values: Tensor
    slopes: Tensor
    penalty: Tensor
    penalties: Tensor

    def __init__(self, nodes: Tensor) -> None:
        super().__init__()
        size = INTERVALS + 3
        differences = torch.eye(size, dtype=torch.float64).diff(n=ORDER, dim=0)
        above, below = (spline_basis(nodes + step, INTERVALS) for step in (_STEP, -_STEP))
        signs = torch.tensor([1.0, -1, 1, 1]).repeat_interleave(len(PENALTIES))
        self.register_buffer("values", spline_basis(nodes, INTERVALS).T, persistent=False)
        self.register_buffer("slopes", (above - below).T / (2 * _STEP * INTERVALS), persistent=False)
        self.register_buffer("penalty", differences.T @ differences, persistent=False)
        self.register_buffer("penalties", torch.tensor(PENALTIES, dtype=torch.float64), persistent=False)
        self.register_buffer("parity", signs[:, None], persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the features of `papers.refine1d.local_fits.standardized` samples, both ``B x n``."""
        coefficients, misfit, log_determinant = self.solve(x, y)
        n, rank = y.shape[1], len(self.penalty) - ORDER
        # minus the log of the restricted likelihood, up to a constant, with the best deviation of the noise
        loss = (n - ORDER) / 2 * (misfit / n + _LEAST_VARIANCE).log() + log_determinant / 2
        loss = loss - rank / 2 * self.penalties.log()
        below = (loss - loss.amin(1, keepdim=True)).clamp_max(_FAR)
        log_deviation = (misfit / n + _LEAST_VARIANCE).log() / 4
        everywhere = torch.cat([log_deviation, below.log1p()], 1)[..., None].expand(-1, -1, self.values.shape[1])
        return torch.cat(
            [(coefficients @ self.values).asinh(), (coefficients @ self.slopes).asinh(), everywhere], 1
        ).float()

    def solve(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return coefficients ``B x penalties x m``, penalized sums of squares, and log determinants ``B x penalties``.

        The coefficients c minimize |y - B c|^2 + penalty |D c|^2 (and a small ridge), the determinant is that of their
        normal equations.
        """
        basis = spline_basis(x, INTERVALS)
        gram, products = basis.mT @ basis, basis.mT @ y[..., None]
        ridge = _RIDGE * torch.eye(len(self.penalty), dtype=torch.float64)
        normal = gram[:, None] + self.penalties[:, None, None] * self.penalty + ridge
        factor = torch.linalg.cholesky(normal)
        products = products[:, None].expand(-1, len(PENALTIES), -1, -1)
        coefficients = torch.cholesky_solve(products, factor)
        misfit = y.square().sum(1, keepdim=True) - (coefficients * products).sum((2, 3))  # at the minimum
        log_determinant = 2 * factor.diagonal(dim1=2, dim2=3).log().sum(2)
        return coefficients.squeeze(3), misfit.clamp_min(0), log_determinant
