"""The oracle of the general prior: the posterior of the minimum where level and kind of the noise are unknown as well.

It is the fair limit of a network that is trained on that prior. `papers.refine1d.oracle` is the case of equal normal
noise. As there, offset and scale of y have a flat prior, and the function is a + B c with basis B (K = m - 3
intervals), c ~ N(0, s^2 I), and sigma = share * range(B c).

Sampled by importance: given K, relative deviations of the noise, and were sigma = r s for a known ratio r, the
posterior of (a, c, sigma) is known. The proposal is the mixture of these over K, a grid of ratios, and deviations:
equal ones, exponentials in x, and for heavy tails those under which a robust fit has normal residuals, where samples
are few those with one outlier, and a wide part. The weights follow from the densities of (a, c, sigma) under the prior,
where s, the kind of noise and the slope of unequal noise are summed out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from common.functions.splines import Splines, lowest, spline_basis
from common.training.keys import torch_generator
from papers.refine1d.baselines import MinimizerDraws
from papers.refine1d.prior import DEGREES, STEEPEST, GeneralPrior

_ENTRIES = 1_000_000  # samples times draws that are worked on at a time, which bounds the memory
_RATIOS = 20
_SLOPES = (-1.0, -0.5, 0.5, 1.0)  # of the proposal, in units of the steepest
_ROBUST_INTERVALS = (5, 9, 16, 33)
_ROBUST_ROUNDS = 4
_FEW = 12  # samples, up to which each may be the outlier in a part of its own
_OUTLIER, _OUTLIER_SHARE = 10.0, 0.05  # its deviation, and the weight of its part
_EXTRA_INFORMATION = ((DEGREES + 1) / (DEGREES + 3), 0.3)  # of a sample in the last two parts, robust and wide
_EXTRA_SHARES = (1.0, 0.5)  # draws of them, those of the others together being 1


@dataclass(frozen=True)
class GeneralOracle:
    """Posterior of the minimum's position for samples of a general prior.

    Design and n may be any, since the posterior does not depend on their law. The same normal numbers serve all
    functions.

    Args:
        prior: of functions and noise.
        draws: how many weighted draws, s.
        seed: of the draws.

    Raises:
        ValueError: functions with a bowl, whose coefficients are not Gaussian, or a level of noise that is known.
    """

    prior: GeneralPrior = field(default_factory=GeneralPrior)
    draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.prior.functions.bowl:
            raise ValueError("there is no oracle for functions with a bowl")
        if not self.prior.shares[0] < self.prior.shares[1]:
            raise ValueError("this oracle is for noise of an unknown level; for a known one there is `Oracle`")

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
        rows = max(1, _ENTRIES // (x.shape[1] * self.draws))
        parts = [self._weighted(*part) for part in zip(x.split(rows), (y / size).split(rows), strict=True)]
        positions, weights = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return MinimizerDraws(positions, weights).within(self.prior.functions.window)

    def _weighted(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions and weights, both ``B x s``, before the window is asked."""
        ratios = self._ratios()
        intervals, probabilities = self.prior.functions.interval_probabilities()
        log_deviations = self._log_deviations(x, y, ratios)  # J x B x n
        n, extra = x.shape[1], len(_EXTRA_INFORMATION)
        counts = [n] * (len(log_deviations) - extra) + [max(2, round(share * n)) for share in _EXTRA_INFORMATION]
        models = [
            [_Model.of(x, y, k, log_deviation, count) for k in intervals.tolist()]
            for log_deviation, count in zip(log_deviations, counts, strict=True)
        ]
        evidence = torch.stack(
            [
                torch.stack([model.log_evidence(ratios) for model in row], 1) + probabilities.log()[:, None]
                for row in models
            ],
            1,
        )  # B x J x K x r
        log_shares = self._log_shares(evidence.flatten(2).logsumexp(2))
        shares = (evidence + log_shares[..., None, None]).flatten(1).softmax(1).cumsum(1)
        strata = ((torch.arange(self.draws, dtype=torch.float64) + 0.5) / self.draws).expand(len(x), -1).contiguous()
        component = torch.searchsorted(shares, strata).clamp_max(shares.shape[1] - 1)
        model_of, ratio_of = component // len(ratios), ratios[component % len(ratios)]
        interval_of = intervals[model_of % len(intervals)]
        drawn = self._drawn(x, y, models, model_of, ratio_of, interval_of)
        target = self._log_target(x, drawn, interval_of)
        log_weights = target - self._log_proposal(drawn, interval_of, log_deviations, counts, log_shares)
        positions, _ = lowest(drawn.coefficients.flatten(0, 1), interval_of.flatten())
        return positions.view(log_weights.shape), log_weights.softmax(1)

    def _drawn(
        self, x: Tensor, y: Tensor, models: list[list[_Model]], model_of: Tensor, ratio_of: Tensor, intervals: Tensor
    ) -> _Drawn:
        """Draw from the posterior of each draw's component."""
        generator, width = torch_generator(self.seed, "oracle"), int(intervals.max()) + 3
        normal = torch.randn(self.draws, width + 1, dtype=torch.float64, generator=generator)
        chi_square = torch.randn(self.draws, x.shape[1], dtype=torch.float64, generator=generator).square().cumsum(1)
        offset, deviation = torch.empty(2, *model_of.shape, dtype=torch.float64)
        coefficients = torch.zeros(*model_of.shape, width, dtype=torch.float64)
        for number, model in enumerate(model for row in models for model in row):
            b, s = (model_of == number).nonzero(as_tuple=True)
            if len(b):
                a, c, sigma = model.draw(b, ratio_of[b, s], chi_square[s, model.count - 2], normal[s])
                offset[b, s], deviation[b, s] = a, sigma
                coefficients[b, s, : c.shape[1]] = c
        values = _values(coefficients, intervals, x)
        residual = (y[:, None] - offset[..., None] - values) / deviation[..., None]
        return _Drawn(coefficients, deviation, residual, values.amax(2) - values.amin(2))

    def _log_target(self, x: Tensor, drawn: _Drawn, intervals: Tensor) -> Tensor:
        """Return log densities of draws under the prior given their K, ``B x s``, up to a constant.

        Here and in the proposal sigma^-(n + 1) is left out.
        """
        m, size = intervals.double() + 3, drawn.coefficients.square().sum(2)
        share = drawn.deviation / drawn.range
        low, high = self.prior.shares
        # integral of s^-m exp(-|c|^2 / (2 s^2)) ds / s
        coefficients = torch.lgamma(m / 2) - m / 2 * (size / 2).log()
        density = coefficients + self._log_likelihood(x, drawn.residual)
        return density.masked_fill((share < low) | (share > high), -torch.inf)

    def _log_proposal(
        self, drawn: _Drawn, intervals: Tensor, log_deviations: Tensor, counts: list[int], log_shares: Tensor
    ) -> Tensor:
        """Return log densities of draws under the proposal given their K, ``B x s``, up to a constant."""
        sigma, size = drawn.deviation, drawn.coefficients.square().sum(2)
        precision = (self._ratios() / sigma[..., None]).square()
        m = intervals[..., None].double() + 3
        coefficients = (m * precision.log() - size[..., None] * precision).div(2).logsumexp(2)
        missing = drawn.residual.shape[2] - torch.tensor(counts, dtype=torch.float64)
        parts = _log_normal(drawn.residual, log_deviations) + missing[:, None, None] * sigma.log()
        return coefficients + (parts + log_shares.T[..., None]).logsumexp(0)

    def _log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(z | x) of standardized residuals (``B x s x n``), with all kinds of noise, up to a constant."""
        noises, n = self.prior.noises, x.shape[1]
        parts = []
        if "equal" in noises:
            parts.append(_log_normal(z, torch.zeros_like(x)[None])[0] + math.log(noises.count("equal")))
        if "heavy" in noises:
            log_density = -(DEGREES + 1) / 2 * (z.square() / DEGREES).log1p().sum(2) + n * _LOG_T_AT_0
            parts.append(log_density + math.log(noises.count("heavy")))
        if "unequal" in noises:
            steps = 2 * math.ceil(STEEPEST * math.sqrt(n / 12))  # steps as wide as n samples tell slopes apart
            slopes = STEEPEST * ((2 * torch.arange(steps, dtype=torch.float64) + 1) / steps - 1)
            log_density = _log_normal(z, slopes[:, None, None] * (x - 0.5))
            parts.append(log_density.logsumexp(0) - math.log(steps) + math.log(noises.count("unequal")))
        return torch.stack(parts).logsumexp(0)

    def _log_shares(self, evidence: Tensor) -> Tensor:
        """Return factors of the proposal's parts (``B x J``): the last two get fixed shares of the draws."""
        outliers = evidence.shape[1] - 1 - len(_SLOPES) - len(_EXTRA_SHARES)
        weights = [0.5, *[0.5 / len(_SLOPES)] * len(_SLOPES), *[_OUTLIER_SHARE] * outliers]
        others = torch.tensor(weights, dtype=torch.float64).log().expand(len(evidence), -1)
        total = (evidence[:, : len(weights)] + others).logsumexp(1, keepdim=True)
        extra = total - evidence[:, len(weights) :] + torch.tensor(_EXTRA_SHARES, dtype=torch.float64).log()
        return torch.cat([others, extra], 1)

    def _log_deviations(self, x: Tensor, y: Tensor, ratios: Tensor) -> Tensor:
        """Return the log deviations of the proposal's parts, ``J x B x n``."""
        slopes = STEEPEST * torch.tensor([0.0, *_SLOPES], dtype=torch.float64)
        n = x.shape[1]
        outliers = math.log(_OUTLIER) * torch.eye(n if n <= _FEW else 0, n, dtype=torch.float64)
        information = torch.tensor(_EXTRA_INFORMATION, dtype=torch.float64)[:, None, None]
        extra = torch.stack([_robust(x, y, ratios), torch.zeros_like(x)]) - information.log() / 2
        return torch.cat([slopes[:, None, None] * (x - 0.5), outliers[:, None].expand(-1, len(x), -1), extra])

    def _ratios(self) -> Tensor:
        """Return the r of the proposal: c ~ N(0, I) has a range of about 3 at the samples, less at few."""
        low, high = 0.1 * self.prior.shares[0], 6 * self.prior.shares[1]
        return low * (high / low) ** ((torch.arange(_RATIOS, dtype=torch.float64) + 0.5) / _RATIOS)


_LOG_T_AT_0 = (
    math.lgamma((DEGREES + 1) / 2)
    - math.lgamma(DEGREES / 2)
    - math.log(DEGREES * math.pi) / 2
    + math.log(2 * math.pi) / 2
)  # of Student's density, relative to the normal one


class _Drawn(NamedTuple):
    """Draws, ``B x s``: coefficients (``... x m``), sigma, residuals in units of it (``... x n``), and the range."""

    coefficients: Tensor
    deviation: Tensor
    residual: Tensor
    range: Tensor


@dataclass(frozen=True, eq=False)
class _Model:
    """The posterior of ``B`` functions given K, relative deviations of the noise, and the ratio r of sigma and s.

    Basis and y are divided by the deviations, after the projection of what an offset explains. ``count`` is how many
    samples they are worth.
    """

    count: int
    basis: Tensor
    y: Tensor
    mean_basis: Tensor
    mean_y: Tensor
    precision: Tensor
    log_determinant: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    projected: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, intervals: int, log_deviation: Tensor, count: int) -> _Model:
        basis, weight = spline_basis(x, intervals), (-2 * log_deviation).exp()
        precision = weight.sum(1)
        mean_basis = (weight[..., None] * basis).sum(1) / precision[:, None]
        mean_y = (weight * y).sum(1) / precision
        root = weight.sqrt()
        basis = root[..., None] * (basis - mean_basis[:, None])
        y = root * (y - mean_y[:, None])
        eigenvalues, eigenvectors = torch.linalg.eigh(basis.mT @ basis)
        projected = (eigenvectors.mT @ (basis.mT @ y[..., None])).squeeze(2)
        log_determinant = log_deviation.sum(1) + precision.log() / 2
        eigenvalues = eigenvalues.clamp_min(0)
        return cls(
            count, basis, y, mean_basis, mean_y, precision, log_determinant, eigenvalues, eigenvectors, projected
        )

    def log_evidence(self, ratios: Tensor) -> Tensor:
        """Return log p(y | K, deviations, r), ``B x r``, up to what is the same for all of them."""
        degrees = self.count - 1
        ridge = self.eigenvalues[:, None] + ratios.square()[:, None]
        residual = self._residual(self.projected[:, None], ridge, self.y.square().sum(1)[:, None])
        determinant = (ridge / ratios.square()[:, None]).log().sum(2)
        constant = math.lgamma(degrees / 2) + degrees / 2 * math.log(2)
        return constant - (determinant + degrees * residual.log()) / 2 - self.log_determinant[:, None]

    def draw(self, rows: Tensor, ratios: Tensor, chi_square: Tensor, normal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return offsets, coefficients ``p x m`` and deviations of ``p`` draws of functions ``rows`` given the ratios.

        Args:
            chi_square: ``p``, with ``count - 1`` degrees of freedom.
            normal: ``p x (m + 1)``, or more, of which the first count.
        """
        ridge = self.eigenvalues[rows] + ratios.square()[:, None]
        projected, vectors = self.projected[rows], self.eigenvectors[rows]
        sigma = (self._residual(projected, ridge, self.y.square().sum(1)[rows]) / chi_square).sqrt()
        m = ridge.shape[1]
        turned = torch.einsum("pi,pij->pj", normal[:, 1 : m + 1], vectors)  # else the signs of the vectors would matter
        c = torch.einsum("pij,pj->pi", vectors, projected / ridge + sigma[:, None] * turned / ridge.sqrt())
        offset = self.mean_y[rows] - (self.mean_basis[rows] * c).sum(1)
        return offset + sigma * normal[:, 0] / self.precision[rows].sqrt(), c, sigma

    def fit(self, ratios: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return residuals ``B x n`` at the ratio of most evidence, their deviation, and that log evidence (``B``)."""
        evidence, best = self.log_evidence(ratios).max(1)
        ridge = self.eigenvalues + ratios[best].square()[:, None]
        c = (self.eigenvectors @ (self.projected / ridge)[..., None]).squeeze(2)
        sigma = (self._residual(self.projected, ridge, self.y.square().sum(1)) / (self.count - 1)).sqrt()
        return self.y - (self.basis @ c[..., None]).squeeze(2), sigma, evidence

    @staticmethod
    def _residual(projected: Tensor, ridge: Tensor, square: Tensor) -> Tensor:
        """Return y^T (basis basis^T / r^2 + I)^-1 y."""
        return (square - (projected.square() / ridge).sum(-1)).clamp_min(1e-12 * square)


def _robust(x: Tensor, y: Tensor, ratios: Tensor) -> Tensor:
    """Return log deviations (``B x n``) that make a fit with Student's t noise one with normal noise, by EM."""
    log_deviation = torch.zeros_like(x)
    for _ in range(_ROBUST_ROUNDS):
        fits = [_Model.of(x, y, k, log_deviation, x.shape[1]).fit(ratios) for k in _ROBUST_INTERVALS]
        residuals, sigmas, evidence = (torch.stack(parts) for parts in zip(*fits, strict=True))
        best = evidence.argmax(0)
        rows = torch.arange(len(x))
        z = residuals[best, rows] * log_deviation.exp() / sigmas[best, rows, None]
        log_deviation = ((DEGREES + z.square()) / (DEGREES + 1)).log() / 2
    return log_deviation


def _log_normal(z: Tensor, log_deviations: Tensor) -> Tensor:
    """Return log densities of ``z`` (``B x s x n``) with deviations ``J x B x n``, up to a constant: ``J x B x s``."""
    misfit = torch.einsum("bsn,jbn->jbs", z.square(), (-2 * log_deviations).exp())
    return -misfit / 2 - log_deviations.sum(2)[..., None]


def _values(coefficients: Tensor, intervals: Tensor, x: Tensor) -> Tensor:
    """Return the values ``B x s x n`` of splines (``B x s x m``, intervals ``B x s``) at ``x`` (``B x n``)."""
    flat, unused = coefficients.flatten(0, 1), torch.empty(0)
    splines = Splines(flat, intervals.flatten(), unused, unused, unused)
    places = x[:, None].expand(-1, intervals.shape[1], -1).flatten(0, 1)
    return splines(places).view(*intervals.shape, -1)
