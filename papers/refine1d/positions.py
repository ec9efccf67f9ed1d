"""Distributions over the position of the minimum that are uniform between edges, with point masses at both ends.

A minimum at the end of the interval is no rare case: there the function need not be flat.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Window = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Positions:
    """``B`` distributions on [0, 1], float64.

    Attributes:
        edges: ``m + 1``, ascending; equal neighbours enclose nothing.
        mass: ``B x (m + 2)``: of the first edge itself, between the edges, and of the last edge itself; sums to 1.
    """

    edges: Tensor
    mass: Tensor

    @classmethod
    def of_logits(cls, logits: Tensor) -> Positions:
        """Return the distributions of logits ``B x (m + 2)``, on m equal cells."""
        edges = torch.linspace(0, 1, logits.shape[1] - 1, dtype=torch.float64)
        return cls(edges, logits.detach().double().softmax(1))

    def within(self, window: Window | None) -> Positions:
        """Return the distributions given that the minimum is in the window.

        Raises:
            ValueError: not 0 <= low < high <= 1.
        """
        if window is None:
            return self
        if not 0 <= window[0] < window[1] <= 1:
            raise ValueError(f"a window must have 0 <= low < high <= 1, not {window}")
        edges = self.edges.clamp(*window)
        mass = self.mass * window_shares(self.edges, window)
        return Positions(edges, mass / mass.sum(1, keepdim=True))

    def cdf(self) -> Tensor:
        """Return the probability up to every edge, ``B x (m + 1)``: the point mass of the last one is not in it."""
        return self.mass[:, :-1].cumsum(1)

    def quantile(self, q: Tensor | float) -> Tensor:
        """Return the quantiles at one level, ``B``, or at ``k``, ``B x k``."""
        levels = torch.as_tensor(q, dtype=torch.float64)
        cdf, inside = self.cdf(), self.mass[:, 1:-1]
        wanted = levels.reshape(-1).expand(len(cdf), -1).contiguous()
        right = torch.searchsorted(cdf, wanted).clamp(1, cdf.shape[1] - 1)
        left = right - 1
        share = (wanted - cdf.gather(1, left)) / inside.gather(1, left).clamp_min(torch.finfo(torch.float64).tiny)
        answer = torch.lerp(self.edges[left], self.edges[right], share.clamp(0, 1))
        return answer if levels.ndim else answer.squeeze(1)

    def median(self) -> Tensor:
        """Return the medians, ``B``: the best answer for the mean absolute error."""
        return self.quantile(0.5)

    def mean(self) -> Tensor:
        """Return the means, ``B``: the best answer for the squared error."""
        return self.mass @ self._centers()

    def densest(self, radius: float) -> Tensor:
        """Return the middles, ``B``, of the intervals of this radius with the most mass: the best for its success rate.

        The intervals begin or end at an edge; of those with equal mass it is the first.
        """
        starts = torch.cat([self.edges, self.edges - 2 * radius]).clamp(float(self.edges[0]), float(self.edges[-1]))
        ends = (starts + 2 * radius).clamp_max(float(self.edges[-1]))
        best = (self._below(ends, right=True) - self._below(starts, right=False)).argmax(1)
        return (starts[best] + ends[best]) / 2

    def interval(self, level: float) -> Tensor:
        """Return the central intervals of this probability, ``B x 2``, or of more where an end has a point mass."""
        return self.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))

    def spread(self) -> Tensor:
        """Return the expected distance from the median, ``B``: the error that the answer expects of itself."""
        lower = self.edges[1:]
        # E|X - median| = integral of min(F, 1 - F), by trapezia
        nearer = torch.minimum(self.cdf(), 1 - self.cdf())
        return ((nearer[:, 1:] + nearer[:, :-1]) / 2) @ (lower - self.edges[:-1])

    def crps(self, target: Tensor) -> Tensor:
        """Return the continuous ranked probability scores of targets, ``B``, exactly; see `common.metrics.crps`."""
        target = target.double().clamp(float(self.edges[0]), float(self.edges[-1]))[:, None]
        low, high = self.edges[:-1].expand(len(target), -1), self.edges[1:].expand(len(target), -1)
        cdf = self.cdf()
        start, end = cdf[:, :-1], cdf[:, 1:]
        cut = torch.minimum(torch.maximum(target, low), high)
        width = (high - low).clamp_min(torch.finfo(torch.float64).tiny)
        middle = start + (end - start) * (cut - low) / width
        before = (cut - low) * (start.square() + start * middle + middle.square())
        after = (high - cut) * ((1 - middle).square() + (1 - middle) * (1 - end) + (1 - end).square())
        return ((before + after) / 3).sum(1)

    def rank(self, target: Tensor, chance: Tensor) -> Tensor:
        """Return the probability below targets (``B``), and of a point mass at one the share ``chance`` (``B``).

        Where the distributions are right, these are uniform on [0, 1] for uniform chances.
        """
        target = target.double()
        below, up_to = (self._below(target[:, None], right=right).squeeze(1) for right in (False, True))
        return torch.lerp(below, up_to, chance.double())

    def _centers(self) -> Tensor:
        return torch.cat([self.edges[:1], (self.edges[1:] + self.edges[:-1]) / 2, self.edges[-1:]])

    def _below(self, x: Tensor, right: bool) -> Tensor:
        """Return the probability below ``x`` (``k`` for all, or ``B x k``), or up to it where ``right``."""
        x = x.expand(len(self.mass), -1).contiguous()
        cdf = self.cdf()
        after = torch.searchsorted(self.edges, x, right=True).clamp(1, len(self.edges) - 1)
        before = after - 1
        width = (self.edges[after] - self.edges[before]).clamp_min(torch.finfo(torch.float64).tiny)
        share = ((x - self.edges[before]) / width).clamp(0, 1)
        value = torch.lerp(cdf.gather(1, before), cdf.gather(1, after), share)
        if right:
            value = torch.where(x >= self.edges[-1], 1.0, value)
            return torch.where(x < self.edges[0], 0.0, value)
        return torch.where(x <= self.edges[0], 0.0, value)


def window_shares(edges: Tensor, window: Window) -> Tensor:
    """Return which share of each mass (``m + 2``, see `Positions`) is in the window: 0 or 1, but where it cuts."""
    inside = edges.clamp(*window).diff() / edges.diff().clamp_min(torch.finfo(edges.dtype).tiny)
    ends = [(window[0] <= edges[:1]).to(edges), (window[1] >= edges[-1:]).to(edges)]
    return torch.cat([ends[0], inside, ends[1]])
