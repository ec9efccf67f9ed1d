"""What `GradPIEPlus` knows of a black box near a point: a linear part with its uncertainty, and networks for the rest.

Both learn differences between neighbouring queries, as GradPIE does: a constant is never learnt, nor is it needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from papers.gradpie.model import Surrogate, gradpie_loss, new_adam
from papers.gradpie.neighbours import Neighbours


class Jacobian(NamedTuple):
    """A Jacobian from measured slopes.

    Attributes:
        mean: its transpose, ``d x o``; deviation: a draw of what is not known of it, ``d x o``, of the prior's unit.
        unknown: how much is not known, from 0 to 1, the whole prior's standard deviation.
    """

    mean: Tensor
    deviation: Tensor
    unknown: float


class Slopes:
    """The last slopes between queries and the points that they came from, and the Jacobian that follows from them.

    Args:
        inputs: d; outputs: o.
        window: slopes that are kept.
    """

    def __init__(self, inputs: int, outputs: int, window: int) -> None:
        self.units = torch.empty(window, inputs, dtype=torch.float64)
        self.slopes = torch.empty(window, outputs, dtype=torch.float64)
        self.gram = torch.empty(window, window, dtype=torch.float64)
        self.lengths = torch.empty(window, dtype=torch.float64)
        self.told = 0

    def __len__(self) -> int:
        return min(self.told, len(self.units))

    def add(self, step: Tensor, change: Tensor) -> None:
        """Take in a step (``d``, not 0) and how the outputs changed (``o``), in the place of the oldest."""
        row, length = self.told % len(self.units), step.norm()
        self.units[row], self.slopes[row], self.lengths[row] = step / length, change / length, length
        self.told += 1
        known = self.units[: len(self)] @ self.units[row]
        self.gram[row, : len(self)], self.gram[: len(self), row] = known, known

    def jacobian(self, noise: Tensor, generator: torch.Generator) -> Jacobian:
        """Return the posterior of a Jacobian whose entries are normal, with one variance, a priori.

        By Matheron's rule a draw of the posterior costs as little as its mean.

        Args:
            noise: standard deviations of the slopes over that of the Jacobian's entries, ``n``, in the order of rows.
        """
        unit, slopes = self.units[: len(self)], self.slopes[: len(self)]
        prior = torch.randn(unit.shape[1], slopes.shape[1], generator=generator, dtype=unit.dtype)
        error = noise.unsqueeze(1) * torch.randn(slopes.shape, generator=generator, dtype=unit.dtype)
        factor = torch.linalg.cholesky(self.gram[: len(self), : len(self)] + (noise.square() + 1e-12).diag())
        mean = unit.mT @ torch.cholesky_solve(slopes, factor)
        deviation = prior - unit.mT @ torch.cholesky_solve(unit @ prior + error, factor)
        return Jacobian(mean, deviation, min(float(deviation.norm() / prior.norm()), 1.0))


class ResidualNetworks:
    """A small ensemble that learns by the GradPIE loss what a linear function leaves, warm from fit to fit.

    How far they are believed is measured: ``trust`` is the control variate's coefficient, the least-squares factor from
    what they predicted for the last queries before those were made to what was found, within 0 and 1.

    Args:
        inputs: d; outputs: o.
        seeds: one integer a member.
        neighbours: k of eq. (10); epochs: in every fit; lr: eta_theta.
    """

    def __init__(
        self, inputs: int, outputs: int, seeds: Sequence[int], hidden: Sequence[int], neighbours: int, epochs: int,
        lr: float,
    ) -> None:  # fmt: skip
        self.networks = Surrogate(inputs, outputs, seeds, hidden)
        self.adam = new_adam(self.networks, lr)
        self.neighbours, self.epochs = neighbours, epochs
        self.agreement, self.power = 0.0, 0.0

    @property
    def trust(self) -> float:
        return min(max(self.agreement / self.power, 0.0), 1.0) if self.power > 0 else 0.0

    def fit(self, x: Tensor, residual: Tensor, centre: Tensor) -> None:
        """Learn residuals ``n x o`` at points ``n x d``, at least two, near ``centre`` (``d``)."""
        self.centre = centre
        self.width = float((x - centre).norm(dim=1).mean()) / math.sqrt(x.shape[1]) or 1.0
        self.size = torch.where((size := residual.std(0)) > 0, size, 1.0)
        scaled, wanted = self._scaled(x), (residual / self.size).to(torch.float32)
        nearest = Neighbours(scaled[:1], self.neighbours).index.expand(len(self.networks), -1, -1)
        for _ in range(self.epochs):
            self.adam.zero_grad(set_to_none=True)
            gradpie_loss(self.networks(scaled) - wanted, nearest).sum().backward()
            self.adam.step()

    def change(self, x: Tensor, member: int) -> Tensor:
        """Return what a member says of F(x) - F(centre) beyond the linear part, ``n x o`` for ``n x d``."""
        at = self._scaled(torch.cat([self.centre.unsqueeze(0), x]))
        values = self.networks(at)[member].to(x)
        return (values[1:] - values[:1]) * self.size

    def compare(self, predicted: Tensor, found: Tensor) -> None:
        """Take in a prediction of `change` and what was found beyond the linear part, ``o`` each."""
        predicted, found = predicted / self.size, found / self.size
        self.agreement = 0.9 * self.agreement + float(predicted @ found)
        self.power = 0.9 * self.power + float(predicted @ predicted)

    def _scaled(self, x: Tensor) -> Tensor:
        return ((x - self.centre) / self.width).to(torch.float32).expand(len(self.networks), -1, -1)
