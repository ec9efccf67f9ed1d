"""DFP as a peer. Under exact line search it makes the steps of BFGS (Dixon, 1972); under any other it does not."""

from __future__ import annotations

import torch
from torch import Tensor

from papers.lgo.model import AGD, SMALL_CURVATURE, SMALL_SLOPE, DNet, MatrixMemory, Pair, Weights


class DFP(AGD):
    """Davidon's, Fletcher's and Powell's method, with the guards of `AGD`."""

    def __init__(self) -> None:
        super().__init__(MatrixMemory())

    def direction(self, g: Tensor, weights: Weights) -> Tensor:
        """Return -H g (``B x d``), H = H - H y y' H / y'Hy + s s' / s'y; there are no weights."""
        s, before = self._s, self._gradient
        if s is not None and before is not None:
            y = g - before
            image, one = self.memory.apply(y), torch.ones_like(y[..., :1])
            flat = _dot(s, y) <= SMALL_CURVATURE * s.norm(dim=-1, keepdim=True) * y.norm(dim=-1, keepdim=True)
            # Both parts are those of (16): R H R' with R = I - (H y) y' / y'Hy, and then rho = 1 with R = I.
            self.memory.absorb(Pair(image, y, _dot(y, image), one).neutral(flat), 0.0)
            self.memory.absorb(Pair(s, torch.zeros_like(y), one, _dot(s, y)).neutral(flat), 1.0)
        d = -self.memory.apply(g)
        uphill = ~(_dot(g, d) <= -SMALL_SLOPE * g.norm(dim=-1, keepdim=True) * d.norm(dim=-1, keepdim=True))
        if uphill.any():
            self.memory.reset(uphill)
            d = torch.where(uphill, -g, d)
        self.guarded = (uphill & (g != 0).any(-1, keepdim=True)).squeeze(-1)
        self._gradient, self._s = g, None
        return d


class DFPNet(DNet):
    """What runs DFP where a d-Net is expected."""

    def agd(self, preconditioner: Tensor | None = None, pairs: int | None = None) -> AGD:
        """Return a new `DFP`."""
        return DFP()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)
