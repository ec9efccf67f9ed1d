"""All that the learned posterior reads of a sample set: local and global fits, and what they do when x is mirrored."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from papers.refine1d.local_fits import LocalFits
from papers.refine1d.spline_fits import SplineFits


class Fits(nn.Module):
    """Maps samples to features at the nodes, ``B x features x nodes``, float32; nothing in it is learned.

    Attributes:
        nodes: ``nodes``, float64.
        parity: ``features x 1``; mirroring x reverses the nodes, and changes the sign of the features with -1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.local = LocalFits()
        self.splines = SplineFits(self.local.nodes)

    @property
    def nodes(self) -> Tensor:
        return self.local.nodes

    @property
    def parity(self) -> Tensor:
        return torch.cat([self.local.parity, self.splines.parity])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the features of `papers.refine1d.local_fits.standardized` samples, both ``B x n``."""
        return torch.cat([self.local(x, y), self.splines(x, y)], 1)
