"""Random Gaussian functions -exp(-(x - mu)' A (x - mu)), and the quadratics in their exponents, many at once.

The training family of "Learning to be Global Optimizer" (arXiv:2003.04521). A monotone function of a quadratic has
its exact line search in closed form, which can be differentiated. `Gaussians` is a batch of ``B`` functions with one
point each, ``B x d``; indexed by an integer it is one function, which takes ``n x d`` points.

Function i of a seed is a function of the seed and i, whatever else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from common.training.streams import keyed_uniforms

WIDE = (1.0, 1e6)  # condition numbers from the sphere to badly scaled


@dataclass(frozen=True, eq=False)
class Quadratics:
    """Functions q(x) = (x - mu)' A (x - mu).

    Attributes:
        centers: mu, ``B x d``.
        matrices: A, ``B x d x d``, symmetric and positive definite.
        optimal_value: the minimum of each.
    """

    optimal_value: ClassVar[float] = 0.0
    centers: Tensor
    matrices: Tensor

    def __len__(self) -> int:
        return len(self.centers)

    def __getitem__(self, rows: int | slice | Tensor) -> Self:
        """Return the functions that a slice, mask or index tensor selects, or the one of an integer."""
        return type(self)(self.centers[rows], self.matrices[rows])

    def __call__(self, X: Tensor) -> Tensor:
        """Return the values (``B``) at ``X`` (``B x d``)."""
        return self._value(self._exponent(X)[0])

    def gap_and_gradient(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return f - f*, without cancellation of digits (``B``), and the gradients (``B x d``) at ``X`` (``B x d``)."""
        q, half_gradient = self._exponent(X)
        return self._gap(q), 2 * self._slope(q).unsqueeze(-1) * half_gradient

    def exact_step(self, X: Tensor, D: Tensor) -> Tensor:
        """Return the a (``B``) that minimizes f(x + a d) for points and directions ``B x d``; 0 where d = 0."""
        _, half_gradient = self._exponent(X)
        curvature = (D * self._product(D)).sum(-1)
        moves = curvature > 0
        step = -(D * half_gradient).sum(-1) / torch.where(moves, curvature, 1.0)
        return torch.where(moves, step, 0.0)

    def _exponent(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return q and A (x - mu)."""
        u = X - self.centers
        product = self._product(u)
        return (u * product).sum(-1), product

    def _product(self, V: Tensor) -> Tensor:
        return (V.unsqueeze(-2) @ self.matrices).squeeze(-2)

    def _value(self, q: Tensor) -> Tensor:
        return q

    def _gap(self, q: Tensor) -> Tensor:
        return q

    def _slope(self, q: Tensor) -> Tensor:
        """Return df/dq."""
        return torch.ones_like(q)


class Gaussians(Quadratics):
    """Functions f(x) = -exp(-q(x)) of quadratics q, convex near their minima only.

    >>> functions, start = GaussianFamily(dim=3).sample(0, range(5))
    >>> functions(start).shape, functions[2](start).shape
    (torch.Size([5]), torch.Size([5]))
    """

    optimal_value: ClassVar[float] = -1.0

    def _value(self, q: Tensor) -> Tensor:
        return -(-q).exp()

    def _gap(self, q: Tensor) -> Tensor:
        return -(-q).expm1()

    def _slope(self, q: Tensor) -> Tensor:
        return (-q).exp()


@dataclass(frozen=True)
class GaussianFamily:
    """The law of random Gaussian functions and of the points that searches start from.

    Args:
        dim: number of variables d.
        condition: c; the eigenvalues of A, in random directions, are log-uniform in [c^-1/2, c^1/2]. Limits instead of
            a number: each function has its own c, log-uniform between them; see ``WIDE``.
        spread: mu is uniform in [-spread, spread]^d.
        start: limits of q(x_0), uniform between them; x_0 - mu has a uniform direction.

    Raises:
        ValueError: ``dim`` below 1, or limits out of order or range.
    """

    dim: int
    condition: float | tuple[float, float] = 100.0
    spread: float = 3.0
    start: tuple[float, float] = (0.5, 4.0)

    def __post_init__(self) -> None:
        low, high = self._conditions
        if self.dim < 1:
            raise ValueError(f"dim must be at least 1, not {self.dim!r}")
        if not 1 <= low <= high < math.inf:
            raise ValueError(f"condition must be at least 1 and finite, limits in order, not {self.condition!r}")
        if not 0 <= self.spread < math.inf:
            raise ValueError(f"spread must not be negative, nor infinite: {self.spread!r}")
        if not 0 < self.start[0] <= self.start[1] < math.inf:
            raise ValueError(f"start must have 0 < low <= high, not {self.start!r}")

    def sample(self, seed: int, indices: Sequence[int] | Tensor) -> tuple[Gaussians, Tensor]:
        """Return the functions ``indices`` (``B`` whole numbers from 0) of ``seed`` and x_0 (``B x d``), float64."""
        rows, d = torch.as_tensor(indices), self.dim
        uniforms = keyed_uniforms(rows, d * d + 3 * d + 2, seed, "gaussians", d)
        of_condition, of_start, exponents, of_centers, normals = uniforms.split([1, 1, d, d, d * d + d], dim=1)
        low, high = self._conditions
        condition = low * (high / low) ** of_condition
        eigenvalues = condition ** (exponents - 0.5)
        # QR of a Gaussian matrix is a uniform rotation once the signs of R's diagonal are moved into Q.
        gaussian, direction = torch.special.ndtri(normals).split([d * d, d], dim=1)
        q, r = torch.linalg.qr(gaussian.view(-1, d, d))
        axes = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
        matrices = (axes * eigenvalues.unsqueeze(-2)) @ axes.mT
        functions = Gaussians(self.spread * (2 * of_centers - 1), (matrices + matrices.mT) / 2)
        exponent = self.start[0] + (self.start[1] - self.start[0]) * of_start
        scale = (exponent / (direction * functions._product(direction)).sum(1, keepdim=True)).sqrt()
        return functions, functions.centers + scale * direction

    @property
    def _conditions(self) -> tuple[float, float]:
        if isinstance(self.condition, int | float):
            return self.condition, self.condition
        low, high = self.condition
        return low, high
