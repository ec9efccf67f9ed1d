"""Separable natural evolution strategy (Schaul, Glasmachers, Schmidhuber, GECCO 2011; Wierstra et al., JMLR 2014)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from common.optimizers.base import AskTellOptimizer, as_population
from common.training.keys import torch_generator


class SNES(AskTellOptimizer):
    """A Gaussian search distribution with diagonal covariance, moved along the natural gradient of ranked values.

    A sample outside the box is moved to its nearest point; the distance, in half-widths of the box, times
    ``penalty`` times the spread of the population's values is added to what the ranking sees.

    Args:
        population: samples an iteration; default ``4 + floor(3 ln d)``.
        sigma: initial standard deviation in half-widths of the box.
        penalty: weight of the distance from the box (see above).
        tolerance: stop when every standard deviation is below it (in half-widths).
    """

    def __init__(
        self, population: int | None = None, sigma: float = 1.0, penalty: float = 1.0, tolerance: float = 1e-12
    ) -> None:
        if not sigma > 0 or not penalty >= 0 or not 0 <= tolerance <= sigma:
            raise ValueError("sigma must be positive, penalty not negative, and tolerance from 0 to sigma")
        self.population, self.sigma, self.penalty, self.tolerance = population, sigma, penalty, tolerance

    def _start(self) -> None:
        n = self._size = as_population(self.population, 4 + math.floor(3 * math.log(self.dim)))
        self._rate = (3 + math.log(self.dim)) / (5 * math.sqrt(self.dim))
        raw = torch.clamp(math.log(n / 2 + 1) - torch.arange(1, n + 1, dtype=torch.float64).log(), min=0)
        self._utilities = raw / raw.sum() - 1 / n
        self._centre = (self.bounds[0] + self.bounds[1]) / 2
        self._half_width = (self.bounds[1] - self.bounds[0]) / 2
        # The state lives in units of the box: [-1, 1]^d.
        start = torch_generator(self.seed, "snes", "mean")
        self.mean = 2 * torch.rand(self.dim, generator=start, dtype=torch.float64) - 1
        self.std = torch.full((self.dim,), float(self.sigma), dtype=torch.float64)

    def _ask(self) -> Tensor:
        generator = torch_generator(self.seed, "snes", self.iteration)
        self._noise = torch.randn(self._size, self.dim, generator=generator, dtype=torch.float64)
        sample = self.mean + self.std * self._noise
        inside = sample.clamp(-1, 1)
        self._outside = (sample - inside).abs().sum(1)
        return self._centre + self._half_width * inside

    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        spread = y.max() - y.min()
        order = (y + self.penalty * spread * self._outside).argsort(stable=True)
        noise = self._noise[order]
        self.mean = self.mean + self.std * (self._utilities @ noise)
        self.std = self.std * torch.exp(self._rate / 2 * (self._utilities @ (noise**2 - 1)))

    def _stop(self) -> dict[str, Any]:
        largest = float(self.std.max())
        return {"sigma": largest} if largest < self.tolerance else {}
