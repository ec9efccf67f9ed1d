"""Consensus-based optimization (Pinnau, Totzeck, Tse, Martin, M3AS 27, 2017) with the component-wise noise of Carrillo,
Jin, Li and Zhu (ESAIM: COCV 27, 2021) and the adaptive weights of Carrillo, Hoffmann, Stuart and Vaes (Studies in
Applied Mathematics 148, 2022)."""

from __future__ import annotations

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from common.optimizers.base import AskTellOptimizer, as_population
from common.training.keys import torch_generator


class CBO(AskTellOptimizer):
    """Particles drift to the mean of the good ones, with noise in proportion to their distance from it.

    The state lives in units of the box; a particle that leaves it is moved to the nearest point. Once the particles
    have met, fresh ones begin anew, so the run ends by the budget.

    Args:
        particles: evaluations a step; default 50. This, ``drift``, ``sigma``, ``step``: as in the experiments of 2021.
        drift: ``lambda`` of the papers, the rate of the drift.
        sigma: strength of the noise.
        step: ``dt``, the time step of the Euler-Maruyama scheme.
        alpha: inverse temperature of the weights, in units of ``1 / f``. By default each step takes the one at which
            the effective number of weighted particles is ``effective`` times their number (2022), so that a run is
            the same for ``f`` and ``a f + b``, ``a > 0``.
        effective: see ``alpha``, between 0 and 1.
        tolerance: begin anew when every coordinate of the particles has a smaller range.
    """

    def __init__(
        self,
        particles: int | None = None,
        drift: float = 1.0,
        sigma: float = 5.1,
        step: float = 0.01,
        alpha: float | None = None,
        effective: float = 0.05,
        tolerance: float = 1e-6,
    ) -> None:
        if not drift > 0 or not sigma >= 0 or not step > 0:
            raise ValueError("drift and step must be positive, sigma not negative")
        if not drift * step < 2:
            raise ValueError(f"drift * step must be below 2, or the particles fly apart; it is {drift * step:g}")
        if alpha is not None and not alpha > 0:
            raise ValueError(f"alpha must be positive, not {alpha!r}")
        if not 0 < effective < 1 or not 0 < tolerance < 1:
            raise ValueError("effective and tolerance must be between 0 and 1")
        self.particles = as_population(particles, 50)
        if self.particles < 2:
            raise ValueError("a consensus takes at least 2 particles")
        self.drift, self.sigma, self.step = drift, sigma, step
        self.alpha, self.effective, self.tolerance = alpha, effective, tolerance

    def _start(self) -> None:
        self.restarts = -1
        self._scatter()

    def _scatter(self) -> None:
        self.restarts += 1
        generator = torch_generator(self.seed, "cbo", "start", self.restarts)
        self.positions = torch.rand(self.particles, self.dim, generator=generator, dtype=torch.float64)

    def _ask(self) -> Tensor:
        return self.bounds[0] + (self.bounds[1] - self.bounds[0]) * self.positions

    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        generator = torch_generator(self.seed, "cbo", "noise", self.iteration)
        noise = torch.randn(self.particles, self.dim, generator=generator, dtype=torch.float64)
        away = self.positions - self.consensus(y)
        # dX = -lambda (X - v) dt + sigma diag(X - v) dW: the noise component by component (2021)
        moved = self.positions - self.drift * self.step * away + self.sigma * self.step**0.5 * away * noise
        self.positions = moved.clamp(0, 1)
        if float((self.positions.amax(0) - self.positions.amin(0)).max()) < self.tolerance:
            self._scatter()

    def consensus(self, y: Tensor) -> Tensor:
        """Return the mean (``d``, in units of the box) of the particles, weighted by their values ``y`` (``n``)."""
        # v = sum_i X_i w_i / sum_i w_i, w_i = exp(-alpha f(X_i)) (2017); the least value is taken off against underflow
        if self.alpha is None:
            weights = torch.from_numpy(effective_weights(y.numpy(), self.effective))
        else:
            weights = torch.exp(-self.alpha * (y - y.min()))
        return weights @ self.positions / weights.sum()


def effective_weights(values: np.ndarray, effective: float) -> np.ndarray:
    """Return ``exp(-alpha values)``, the largest scaled to 1, with ``(sum w)^2 / sum w^2 = effective n`` (2022).

    Where so many of the ``n`` values are least that no ``alpha`` is large enough, all weight goes to them.
    """
    spread = values.max() - values.min()
    excess = (values - values.min()) / (spread or 1.0)

    def surplus(alpha: float) -> float:
        weights = np.exp(-alpha * excess)
        return float(weights.sum() ** 2 / (weights**2).sum()) - effective * len(values)

    low, high = 0.0, 1.0
    while surplus(high) > 0:
        if high > 1e18:  # beyond what float64 tells apart
            return np.exp(-high * excess)
        low, high = high, 2 * high
    return np.exp(-scipy.optimize.brentq(surplus, low, high) * excess)
