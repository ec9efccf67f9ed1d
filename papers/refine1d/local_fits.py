"""What the learned posterior reads of the samples: polynomials fitted around every node, at several bandwidths.

Nothing here is learned. The cost is linear in the number of samples, which may be any, in any order and at equal x.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

NODES = 128  # middles of as many equal parts of [0, 1]
BANDWIDTHS = (0.006, 0.015, 0.035, 0.09)  # deviations of Gaussian kernels
_PLACES = 2 * NODES + 1  # equidistant from 0 to 1; each sample is shared between the two next to it
_RIDGE = (0.02, 0.02, 0.1)  # on value, slope and curvature, in samples
_SHRINKAGE = 3.0  # samples of value 0 that the local mean has besides
_LEAST_VARIANCE = 1e-5  # of y, whose variance is 1
_ROUNDING = 1e-9  # by which x may miss [0, 1]
_TYPICAL_LOG_COUNT = math.log(50)


class Standardized(NamedTuple):
    """Samples in ascending order of x, then y, of which y has mean 0 and deviation 1; float64.

    Attributes:
        x, y: ``B x n``.
        mean, deviation: ``B x 1``, of y as it was.
    """

    x: Tensor
    y: Tensor
    mean: Tensor
    deviation: Tensor


def standardized(x: Tensor, y: Tensor) -> Standardized:
    """Sort and standardize samples ``y`` at ``x`` in [0, 1], both ``B x n``: their order and units are gone for good.

    Raises:
        ValueError: other shapes, fewer than two samples, numbers that are not finite, x outside of [0, 1], or a row
            whose y are all equal.
    """
    if x.ndim != 2 or x.shape != y.shape or x.shape[1] < 2:
        raise ValueError(f"x and y must be B x n with n >= 2, not {[*x.shape]} and {[*y.shape]}")
    x, y = x.detach().double(), y.detach().double()
    if not (x.isfinite().all() and y.isfinite().all()):
        raise ValueError("samples must be finite")
    if x.min() < -_ROUNDING or x.max() > 1 + _ROUNDING:
        raise ValueError("x must be in [0, 1]")
    x = x.clamp(0, 1)
    y, by_y = y.sort(1)
    x, by_x = x.gather(1, by_y).sort(dim=1, stable=True)
    y = y.gather(1, by_x)
    mean, deviation = y.mean(1, keepdim=True), y.std(1, keepdim=True, correction=0)
    if not (y.amax(1) > y.amin(1)).all():
        raise ValueError("the y of a row must not all be equal")
    return Standardized(x, (y - mean) / deviation, mean, deviation)


class LocalFits(nn.Module):
    """Maps samples to features at the nodes, ``B x features x nodes``, float32.

    With kernel k and u = (x - node) / bandwidth the moments sum k u^i and sum k u^i y give, in closed form, the ridge
    regression of y on 1, u and on 1, u, u^2. Of each bandwidth there are: how many samples are near, their shrunk mean,
    and value, slope (curvature) and residual variance of both fits.

    Attributes:
        nodes: ``nodes``, float64.
        parity: ``features x 1``; mirroring x reverses the nodes, and changes the sign of the features with -1.
    """

    parity: Tensor
    nodes: Tensor
    moments: Tensor
    constant: Tensor

    def __init__(self) -> None:
        super().__init__()
        nodes = (torch.arange(NODES, dtype=torch.float64) + 0.5) / NODES
        places = torch.linspace(0, 1, _PLACES, dtype=torch.float64)
        u = (places[:, None, None] - nodes) / torch.tensor(BANDWIDTHS, dtype=torch.float64)[:, None]
        kernel = (-u.square() / 2).exp()
        moments = torch.stack([kernel * u**i for i in range(5)], 1)  # places x powers x bandwidths x nodes
        constant = torch.stack([4 * nodes * (1 - nodes), 2 * nodes - 1])
        signs = torch.tensor([1.0, 1, 1, -1, 1, 1, -1, 1, 1]).repeat_interleave(len(BANDWIDTHS))
        parity = torch.cat([signs, torch.tensor([1.0, 1, 1, -1])])[:, None]
        self.register_buffer("moments", moments.float().flatten(2), persistent=False)
        self.register_buffer("constant", constant.float(), persistent=False)
        self.register_buffer("parity", parity, persistent=False)
        self.register_buffer("nodes", nodes, persistent=False)

    @torch.no_grad()
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the features of `standardized` samples, both ``B x n``."""
        deposits = _deposits(x, torch.stack([torch.ones_like(y), y, y.square()])).to(self.moments)
        m0, m1, m2, m3, m4 = self._sums(deposits[0], 5)
        t0, t1, t2 = self._sums(deposits[1], 3)
        (squares,) = self._sums(deposits[2], 1)
        # Gaussian elimination of the normal equations, all nodes and bandwidths at once
        a = m0 + _RIDGE[0]
        p, q = m1 / a, m2 / a
        d, e, f = m2 + _RIDGE[1] - p * m1, m3 - p * m2, m4 + _RIDGE[2] - q * m2
        t1, t2 = t1 - p * t0, t2 - q * t0
        r = e / d
        f, t2 = f - r * e, t2 - r * t1
        curvature = t2 / f
        slope, slope_1 = (t1 - e * curvature) / d, t1 / d
        residual_1 = squares - t0.square() / a - t1.square() / d
        residual = residual_1 - t2.square() / f
        fits = [
            m0.log1p(),
            t0 / (m0 + _SHRINKAGE),
            *(t0 / a - p * slope_1, slope_1, _log_variance(residual_1, m0)),
            *(t0 / a - p * slope - q * curvature, slope, curvature, _log_variance(residual, m0)),
        ]
        local = torch.cat(fits, 1).asinh()
        edge, place = self.constant.expand(len(x), -1, -1).unbind(1)
        whole = [torch.full_like(edge, math.log(x.shape[1]) - _TYPICAL_LOG_COUNT), y.amin(1).to(edge)[:, None] + 2]
        return torch.cat([local, torch.stack([edge, *(t.expand_as(edge) for t in whole), place], 1)], 1)

    def _sums(self, deposit: Tensor, powers: int) -> list[Tensor]:
        """Return sums over the samples times u^0, u^1, ..., each ``B x bandwidths x nodes``."""
        sums = deposit @ self.moments[:, :powers].flatten(1)
        return list(sums.view(len(deposit), powers, len(BANDWIDTHS), NODES).unbind(1))


def _deposits(x: Tensor, values: Tensor) -> Tensor:
    """Share ``values`` (``k x B x n``) between the places next to ``x`` (``B x n``) so that the mean place is x."""
    u = x * (_PLACES - 1)
    left = u.long().clamp_max(_PLACES - 2)
    index = left.expand(values.shape)
    share = u - left
    sums = values.new_zeros(*values.shape[:2], _PLACES)
    return sums.scatter_add_(2, index, values * (1 - share)).scatter_add_(2, index + 1, values * share)


def _log_variance(residual: Tensor, count: Tensor) -> Tensor:
    return (residual.clamp_min(0) / (count + 0.05) + _LEAST_VARIANCE).log() / 2
