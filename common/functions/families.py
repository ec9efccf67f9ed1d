"""Random families of differentiable functions on [-1, 1]^d with known minima: the ``tuning`` set.

Settings of our own optimizers are chosen on these functions; no published table uses them. The functions of a family
differ in scale, shape and difficulty: local searches from random points find the minimum always, sometimes or never.
A batch of ``F`` folds takes points ``F x n x d`` and gives values ``F x n``; `fold` gives one of them alone. Fold i is
a function of seed i, whatever the other seeds are.

Each family is a formula in u = x - x* with the proof, in its docstring, that it is at least 0 everywhere and 0
at u = 0; `sample_family` rotates, scales and offsets it. A further family is one class and a line in ``FAMILIES``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from common.functions.transforms import Rotated, Scaled, random_rotation
from common.training.keys import key_seed, numpy_generator

Draws = dict[str, np.ndarray]


class Family(nn.Module, ABC):
    """Functions of one family: a batch of ``F`` folds, or one alone (``folds`` is None). Minimum 0, anywhere in space.

    A subclass draws the constants of one fold in `_draw` and computes the values in `_values`. A constant is drawn
    with the shape (``1 x d``, ``m x d``, ...) that broadcasts against points ``n x d``, so that the constants of a
    batch, stacked, broadcast against ``F x n x d``.

    Attributes:
        bounds: ``2 x d``, the box [-1, 1]^d.
        optimal_value: the minimum.
        optimizers: x*, ``F x 1 x d``, or ``1 x d`` for a fold alone; uniform in [-0.5, 0.5]^d.
        region: ``2 x d``, where no value is below ``optimal_value``: the whole space.
    """

    optimal_value: ClassVar[float] = 0.0
    bounds: Tensor
    optimizers: Tensor
    region: Tensor

    def __init__(self, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = tuple(constants)
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)
        self.dim = self.optimizers.shape[-1]
        self.folds = len(self.optimizers) if self.optimizers.ndim == 3 else None
        sides = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, self.dim)
        self.register_buffer("bounds", sides.clone(), persistent=False)
        self.register_buffer("region", sides * math.inf, persistent=False)

    @classmethod
    def sample(cls, dim: int, seeds: Sequence[int], condition: float = 1.0, oblique: bool = False) -> Self:
        """Draw one fold a seed; see `sample_family`. ``oblique``: the formula may leave the coordinates' directions."""
        folds: list[Draws] = []
        for seed in seeds:
            rng = numpy_generator(seed, "family", cls.__name__, dim)
            optimum = rng.uniform(-0.5, 0.5, dim)
            folds.append({"optimizers": optimum[None]} | cls._draw(rng, optimum, condition, oblique))
        return cls({name: torch.from_numpy(np.stack([fold[name] for fold in folds])) for name in folds[0]})

    def forward(self, X: Tensor) -> Tensor:
        """Return the values (``n``, or ``F x n``, dtype of ``X``) at ``X`` (``n x d``, or ``F x n x d``).

        Raises:
            ValueError: ``X`` has another shape.
        """
        if X.shape[-1] != self.dim or (self.folds is not None and (X.ndim < 3 or X.shape[-3] != self.folds)):
            folds = "" if self.folds is None else f"{self.folds} x "
            raise ValueError(f"{type(self).__name__} takes points {folds}n x {self.dim}, not {tuple(X.shape)}")
        return self._values(X - self.optimizers.to(X))

    def evaluate_true(self, X: Tensor) -> Tensor:
        """Return the values; there is no noise."""
        return self(X)

    def fold(self, i: int) -> Self:
        """Return the function of fold ``i`` alone, which maps ``n x d`` to ``n``.

        Raises:
            ValueError: there are no folds.
        """
        if self.folds is None:
            raise ValueError(f"{type(self).__name__} is a single function, it has no folds")
        return type(self)({name: getattr(self, name)[i] for name in self._names})

    @classmethod
    @abstractmethod
    def _draw(cls, rng: np.random.Generator, optimum: np.ndarray, condition: float, oblique: bool) -> Draws:
        """Draw the constants of one fold, float64; ``optimum`` is its x* (``d``)."""

    @abstractmethod
    def _values(self, u: Tensor) -> Tensor:
        """Return the values (``(F x) n``) at u = x - x* (``(F x) n x d``)."""


class GaussianMixture(Family):
    """Gaussian wells g_k = exp(-q_k) of random depths a_k and widths on a shallow bowl b >= 0, the deepest at x*.

    f = (1 - g_0) (1 + b - sum_k a_k s_k), with the shares s_k = g_k / (1 + sum_{j != k} g_j) of the other wells. A well
    far from all others has the share g_k, so this is the negative sum of Gaussians, except where wells overlap.

    Proof: g_k <= 1 makes s_k <= g_k / sum_j g_j, so sum_k a_k s_k <= max a_k <= 0.95 and the second factor is at least
    0.05; the first is 0 at x* and positive elsewhere. The Hessian at x* is (1 + b - sum_k a_k s_k) times that of q_0.
    """

    _wells = 8  # beside the deepest; most are far shallower where the fold's depths fall fast
    coefficients: Tensor
    levels: Tensor
    depths: Tensor

    @classmethod
    def _draw(cls, rng: np.random.Generator, optimum: np.ndarray, condition: float, oblique: bool) -> Draws:
        """-q_0, ..., -q_K, -(1 + b) are (u^2, u) @ ``coefficients`` (2d x K+2) + ``levels``; ``depths`` hold a."""
        rows, dim = cls._wells + 2, len(optimum)
        centers = rng.uniform(-0.7, 0.7, (rows, dim)) - optimum
        centers[0] = 0.0
        # Widths are root mean squares over the coordinates, so the wells meet in many dimensions as in few.
        widths = _log_uniform(rng, 0.1, 0.4) * _log_uniform(rng, 0.6, 1.5, (rows, 1))
        curvatures = widths**-2
        curvatures[-1] = _log_uniform(rng, 0.01, 1.0)
        spectra = np.stack([_spectrum(rng, dim, condition) for _ in range(rows)])
        squares = -curvatures * spectra / (2 * dim)
        levels = (squares * centers**2).sum(1)
        levels[-1] -= 1.0
        return {
            "coefficients": np.concatenate([squares, -2 * squares * centers], axis=1).T,
            "levels": levels[None],
            "depths": 0.95 * rng.uniform(size=(1, cls._wells)) ** _log_uniform(rng, 0.1, 10.0),
        }

    def _values(self, u: Tensor) -> Tensor:
        # No digits cancel at x*: q_0 has neither a linear term nor a constant.
        exponents = torch.cat([u.square(), u], dim=-1) @ self.coefficients.to(u) + self.levels.to(u)
        deepest, others, bowl = exponents.split([1, self._wells, 1], dim=-1)
        g = others.exp()
        shares = g / (g.sum(-1, keepdim=True) - g + 1)
        return (deepest.expm1() * (bowl + (shares * self.depths.to(u)).sum(-1, keepdim=True))).squeeze(-1)


class CosineSeries(Family):
    """A quadratic bowl and 2 d waves: sum_i c_i u_i^2 / 2 + sum_k a_k (1 - cos(w_k . u)), a_k >= 0.

    Frequencies are between half a period and sixteen in a unit of length, each along one coordinate, so that the
    function is separable; if ``oblique``, every second is along a random direction. The ruggedness, the ratio of waves
    to bowl, is the fold's: from a few further local minima to one in almost every trough.

    Proof: no term is negative, and the bowl is positive where u is not 0.
    """

    curvatures: Tensor
    frequencies: Tensor
    amplitudes: Tensor

    @classmethod
    def _draw(cls, rng: np.random.Generator, optimum: np.ndarray, condition: float, oblique: bool) -> Draws:
        """``curvatures`` 1 x d and ``frequencies`` 2d x d hold half of c and w, ``amplitudes`` 1 x 2d twice a."""
        dim = len(optimum)
        curvatures = _spectrum(rng, dim, condition) / dim
        lengths = math.pi * _log_uniform(rng, 1.0, 4.0) * _log_uniform(rng, 1.0, 8.0, (2 * dim, 1))
        weights = _log_uniform(rng, 0.03, 1.0) * rng.uniform(0.5, 1.0, 2 * dim)
        directions = np.repeat(np.eye(dim), 2, axis=0)
        if oblique:
            gaussian = rng.standard_normal((dim, dim))
            directions[::2] = gaussian / np.linalg.norm(gaussian, axis=1, keepdims=True)
        # A wave is as strong as the bowl is steep along it.
        amplitudes = weights * (directions**2 @ curvatures)
        return {
            "curvatures": curvatures[None] / 2,
            "frequencies": directions * lengths / 2,
            "amplitudes": amplitudes[None] * 2,
        }

    def _values(self, u: Tensor) -> Tensor:
        waves = (u @ self.frequencies.to(u).mT).sin().square()  # 1 - cos(2 t) = 2 sin(t)^2
        return (u.square() * self.curvatures.to(u)).sum(-1) + (waves * self.amplitudes.to(u)).sum(-1)


class Ridges(Family):
    """Curved narrow valleys: ridge functions with ripples of the bent coordinates z_i = u_i + b_i u_{i-1}^2 (b_1 = 0).

    f = sum_i c_i (log(1 + (s z_i)^2) / (2 s^2) + r (1 - cos(w_i z_i)) / w_i^2). The fold's s leads from quadratic walls
    to ones that flatten out, its r from smooth to many ripples.

    Proof: no term is negative, and all are 0 only where z = 0, that is u_1 = 0, then u_2 = 0, and so on. The Hessian
    at x* is diagonal, (1 + r) c_i, so the ratio of the largest c_i to the smallest is its condition number.
    """

    bends: Tensor
    sharpness: Tensor
    walls: Tensor
    frequencies: Tensor
    ripples: Tensor

    @classmethod
    def _draw(cls, rng: np.random.Generator, optimum: np.ndarray, condition: float, oblique: bool) -> Draws:
        """``walls`` are c / (2 s^2), ``frequencies`` w / 2, ``ripples`` 2 r c / w^2; all 1 x d, ``sharpness`` 1 x 1."""
        dim = len(optimum)
        curvatures = _spectrum(rng, dim, condition) / dim
        bends = rng.uniform(-1.0, 1.0, dim) * rng.uniform(0.0, 2.0)
        bends[0] = 0.0
        sharpness = _log_uniform(rng, 0.3, 5.0)
        frequency = math.pi * _log_uniform(rng, 2.0, 6.0)
        frequencies = frequency * _log_uniform(rng, 0.7, 1.4, dim)
        ripple = _log_uniform(rng, 0.002, 0.2) * frequency**2
        return {
            "bends": bends[None],
            "sharpness": np.full((1, 1), sharpness),
            "walls": curvatures[None] / (2 * sharpness**2),
            "frequencies": frequencies[None] / 2,
            "ripples": 2 * ripple * (curvatures / frequencies**2)[None],
        }

    def _values(self, u: Tensor) -> Tensor:
        z = torch.addcmul(u, u.roll(1, -1).square(), self.bends.to(u))
        walls = (z * self.sharpness.to(u)).square().log1p() * self.walls.to(u)
        ripples = (z * self.frequencies.to(u)).sin().square() * self.ripples.to(u)
        return (walls + ripples).sum(-1)


FAMILIES: dict[str, type[Family]] = {
    "gaussian_mixture": GaussianMixture,
    "cosine_series": CosineSeries,
    "ridges": Ridges,
}


def sample_family(name: str, dim: int, seeds: Sequence[int], rotated: bool = False, condition: float = 1.0) -> Scaled:
    """Return functions of the family called ``name``, a key of ``FAMILIES``: a batch with one fold a seed.

    Each is scaled by a factor 10^U(-3, 3); its minimum is up to ten such factors from 0, so ``optimal_value`` has shape
    ``F``. Fold i depends on ``seeds[i]``, never on the other seeds.

    Args:
        rotated: each fold turned about its x* by a random rotation of its own, cosines in oblique directions as well;
            else the formula's axes are the coordinates. All other constants are the same either way.
        condition: the largest ratio of curvatures, of the smooth part of the function at x*; that of a fold is
            ``condition ** U(0.5, 1)``, the same power for every condition.

    Raises:
        ValueError: unknown name, no seeds, ``dim`` not a positive integer, or a condition below 1 or not finite.

    >>> batch = sample_family("ridges", 3, seeds=[0, 1])
    >>> batch(torch.zeros(2, 5, 3)).shape, batch.fold(1)(torch.zeros(5, 3)).shape
    (torch.Size([2, 5]), torch.Size([5]))
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}; known are {', '.join(FAMILIES)}")
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
        raise ValueError(f"dim must be a positive integer, not {dim!r}")
    if not 1 <= condition < math.inf:
        raise ValueError(f"condition must be at least 1 and finite, not {condition!r}")
    if len(seeds) == 0:
        raise ValueError("seeds must name at least one fold")
    function: Any = FAMILIES[name].sample(dim, seeds, condition, rotated)
    if rotated:
        rotations = [random_rotation(key_seed(seed, "family", name), dim) for seed in seeds]
        function = Rotated(function, torch.stack(rotations))
    scales = [numpy_generator(seed, "family", name, dim, "scale") for seed in seeds]
    factors = [_log_uniform(rng, 1e-3, 1e3) for rng in scales]
    offsets = [rng.uniform(-10.0, 10.0) * factor for rng, factor in zip(scales, factors, strict=True)]
    return Scaled(function, factors, offsets)


def _log_uniform(rng: np.random.Generator, low: float, high: float, size: Any = None) -> Any:
    return np.exp(rng.uniform(math.log(low), math.log(high), size))


def _spectrum(rng: np.random.Generator, dim: int, condition: float) -> np.ndarray:
    """Return ``d`` curvatures of mean 1, in random order, whose extremes have the ratio ``condition ** U(0.5, 1)``."""
    exponents = rng.uniform(size=dim)
    exponents = (exponents - exponents.min()) / (np.ptp(exponents) or 1.0)
    curvatures = condition ** (rng.uniform(0.5, 1.0) * exponents)
    return curvatures / curvatures.mean()
