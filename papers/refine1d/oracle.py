"""The oracle: the posterior of the minimum's position under the very law that the functions and the noise come from.

Nothing that reads the same samples can be better on average, up to one piece of knowledge: the samples are taken as
they are up to shift and scale of y, by a flat prior on offset and log scale, as every other method here takes them.
For such a prior the posterior is the exact one given what shift and scale leave of y, and so it is calibrated.

The function is a + B c with basis B (``n x m``, K = m - 3 intervals), c ~ N(0, s^2 I), and noise of deviation
sigma = share * range(B c), eqs. (1), (2) and (59). It is sampled by importance: were sigma = r s for a known ratio r,
the posterior would be a multivariate t distribution of c with known evidence. The proposal is the mixture of these over
K and r by prior and evidence, and the weights follow from the densities of c, in which a and s are integrated out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.functions.splines import Sampling, SplinePrior, lowest, spline_basis
from common.training.keys import torch_generator
from papers.refine1d.baselines import MinimizerDraws

_ENTRIES = 4096  # samples that are worked on at a time, which bounds the memory


@dataclass(frozen=True)
class Oracle:
    """Posterior of the minimum's position for samples of ``prior``'s functions with the noise of ``sampling``.

    Where the design or n of ``sampling`` is not that of the samples, that of the samples counts: the posterior does not
    depend on how x was chosen. The same normal numbers serve all functions.

    Args:
        prior: the law of the functions; its window is where the minimum is known to be.
        sampling: its noise reading and multiplier; limits of the latter mean a level unknown between them.
        draws: how many weighted draws, s.
        seed: of the draws.

    Raises:
        ValueError: a prior with a bowl, whose coefficients are not Gaussian, or no noise.
    """

    prior: SplinePrior = field(default_factory=SplinePrior)
    sampling: Sampling = field(default_factory=Sampling)
    draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.prior.bowl:
            raise ValueError("there is no oracle for functions with a bowl")
        if not self._shares(2)[0] > 0:
            raise ValueError("the oracle needs noise, nu > 0")
        if self.draws < 1:
            raise ValueError(f"draws must be positive, not {self.draws}")

    def posterior(self, x: Tensor, y: Tensor) -> MinimizerDraws:
        """Return weighted draws of the minimum's position (``B x s``) given samples ``y`` at ``x``, both ``B x n``.

        Raises:
            ValueError: fewer than three samples, other shapes, or a row of y that is constant or not finite.
        """
        if x.ndim != 2 or x.shape != y.shape or x.shape[1] < 3:
            raise ValueError(f"x and y must be B x n with n >= 3, not {[*x.shape]} and {[*y.shape]}")
        x, y = x.double(), y.double()
        y = y - y.mean(1, keepdim=True)
        size = y.norm(dim=1, keepdim=True)
        if not (size.isfinite() & (size > 0)).all():
            raise ValueError("y must be finite, and not constant in a row")
        rows = max(1, _ENTRIES // x.shape[1])
        parts = [self._weighted(*part) for part in zip(x.split(rows), (y / size).split(rows), strict=True)]
        positions, weights = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return MinimizerDraws(positions, weights).within(self.prior.window)

    def _weighted(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions and weights, both ``B x s``, before the window is asked."""
        n, degrees = x.shape[1], x.shape[1] - 1
        ratios = self._ratios(n)
        intervals, probabilities = self.prior.interval_probabilities()
        models = [_Model.of(x, y, int(k)) for k in intervals]
        evidence = torch.stack([model.log_evidence(ratios) for model in models], 1) + probabilities.log()[:, None]
        shares = evidence.flatten(1).softmax(1).cumsum(1)
        strata = ((torch.arange(self.draws, dtype=torch.float64) + 0.5) / self.draws).expand(len(x), -1).contiguous()
        component = torch.searchsorted(shares, strata).clamp_max(shares.shape[1] - 1)  # ``B x s``, ascending
        width = int(intervals.max()) + 3
        generator = torch_generator(self.seed, "oracle")
        normal = torch.randn(self.draws, width, dtype=y.dtype, generator=generator)
        chi_square = torch.randn(self.draws, degrees, dtype=y.dtype, generator=generator).square().sum(1)
        positions, log_weights = torch.empty(2, *component.shape, dtype=y.dtype)
        for model, rows, draw, valid in _groups(models, component // len(ratios)):
            ratio = ratios[component[rows[:, None], draw] % len(ratios)]
            c = model.draw(rows, ratio, chi_square[draw], normal[draw])
            to = (rows[:, None].expand_as(draw)[valid], draw[valid])
            log_weights[to] = self._log_weights(model, rows, c, ratios)[valid]
            c = c[valid]
            positions[to], _ = lowest(c, torch.full((len(c),), model.intervals))
        return positions, log_weights.softmax(1)

    def _log_weights(self, model: _Model, rows: Tensor, c: Tensor, ratios: Tensor) -> Tensor:
        """Return log densities of coefficients ``c`` (``b x s x m``): target minus proposal, a and s integrated out."""
        m, degrees = c.shape[2], model.y.shape[1] - 1
        values = c @ model.basis[rows].mT
        misfit = (model.y[rows, None] - values).square().sum(2)
        size = c.square().sum(2)
        # integral of s^-p exp(-A / (2 s^2)) ds / s = (A / 2)^(-p/2) Gamma(p/2) / 2
        sigma = (values.amax(2) - values.amin(2))[..., None] * self._shares(degrees)
        likelihood = -degrees * sigma.log() - misfit[..., None] / (2 * sigma.square())
        likelihood = likelihood.logsumexp(2) - math.log(sigma.shape[2])
        target = likelihood + math.lgamma(m / 2) - m / 2 * (size / 2).log()
        p = m + degrees
        both = (size[..., None] + misfit[..., None] / ratios.square()) / 2
        proposal = (-degrees * ratios.log() - p / 2 * both.log()).logsumexp(2) - math.log(len(ratios))
        return target - proposal - math.lgamma(p / 2)

    def _shares(self, n: int) -> Tensor:
        """Return noise deviations as shares of the range: one, or equally likely ones, as dense as n samples tell."""
        nu = self.sampling.nu if isinstance(self.sampling.nu, tuple) else (self.sampling.nu,) * 2
        low, high = self.sampling.share(torch.tensor(nu, dtype=torch.float64)).tolist()
        return _log_grid(low, high, n) if low < high else torch.tensor([low], dtype=torch.float64)

    def _ratios(self, n: int) -> Tensor:
        """Return the r of the proposal: c ~ N(0, I) has a range of about 3 at the samples, less at few."""
        shares = self._shares(n)
        return _log_grid(0.1 * float(shares[0]), 6 * float(shares[-1]), n)


def _log_grid(low: float, high: float, n: int) -> Tensor:
    """Return middles of equal steps in log, twice as wide as the deviation 1 / sqrt(2 n) of sigma from n samples."""
    steps = math.ceil(math.log(high / low) * math.sqrt(n / 2))
    return low * (high / low) ** ((torch.arange(steps, dtype=torch.float64) + 0.5) / steps)


@dataclass(frozen=True, eq=False)
class _Model:
    """The functions with K intervals, given samples: y = a + B c + noise, a integrated out by centring.

    Attributes:
        intervals: K.
        basis: ``B x n x m``, centred, and ``y`` (``B x n``), centred.
        eigenvalues: ``B x m``, of basis^T basis, whose ``eigenvectors`` (``B x m x m``) are the columns.
        projected: ``B x m``, basis^T y in that system.
    """

    intervals: int
    basis: Tensor
    y: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    projected: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, intervals: int) -> _Model:
        basis = spline_basis(x, intervals)
        basis = basis - basis.mean(1, keepdim=True)
        eigenvalues, eigenvectors = torch.linalg.eigh(basis.mT @ basis)
        projected = (eigenvectors.mT @ (basis.mT @ y[..., None])).squeeze(2)
        return cls(intervals, basis, y, eigenvalues.clamp_min(0), eigenvectors, projected)

    def log_evidence(self, ratios: Tensor) -> Tensor:
        """Return log p(y | K, sigma = r s), ``B x r``, for the flat priors, up to what is the same for all K and r."""
        degrees, m = self.y.shape[1] - 1, self.basis.shape[2]
        ridge = self.eigenvalues[:, None] + ratios.square()[:, None]
        residual = self._residual(self.projected[:, None], ridge, ratios)
        determinant = ridge.log().sum(2) + 2 * (degrees - m) * ratios.log()
        return -(determinant + degrees * residual.log()) / 2

    def draw(self, rows: Tensor, ratios: Tensor, chi_square: Tensor, normal: Tensor) -> Tensor:
        """Return coefficients ``b x s x m`` of functions ``rows`` (``b``) given the ratios (``b x s``).

        Args:
            chi_square: ``b x s``, with n - 1 degrees of freedom.
            normal: ``b x s x m``, or more, of which the first count.
        """
        ridge = self.eigenvalues[rows, None] + ratios.square()[..., None]
        projected = self.projected[rows, None]
        sigma = ratios * (self._residual(projected, ridge, ratios) / chi_square).sqrt()
        vectors = self.eigenvectors[rows]
        normal = normal[..., : ridge.shape[2]] @ vectors  # else the draws would hang on the signs of the eigenvectors
        return (projected / ridge + sigma[..., None] * normal / ridge.sqrt()) @ vectors.mT

    @staticmethod
    def _residual(projected: Tensor, ridge: Tensor, ratios: Tensor) -> Tensor:
        """Return y^T (basis basis^T + r^2 I)^-1 y, where |y| = 1."""
        return (1 - (projected.square() / ridge).sum(2)) / ratios.square()


def _groups(models: list[_Model], choice: Tensor) -> Iterator[tuple[_Model, Tensor, Tensor, Tensor]]:
    """Yield every model that was chosen with the rows ``b`` that chose it and their draws ``b x s'``.

    Args:
        choice: ``B x s``, the model of every draw, ascending in a row: the draws of a model are neighbours. A third
            tensor (``b x s'``) says which of them are draws and which fill up.
    """
    for index, model in enumerate(models):
        counts = (choice == index).sum(1)
        rows = counts.nonzero().squeeze(1)
        if len(rows):
            first, position = (choice[rows] < index).sum(1, keepdim=True), torch.arange(int(counts.max()))
            yield model, rows, (first + position).clamp_max(choice.shape[1] - 1), position < counts[rows, None]
