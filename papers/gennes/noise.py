"""The annealed input noise of GENNES (section 3.3, appendix C), keyed by member seed and iteration."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.training.keys import torch_generator

AUTO_END = 0.01


def annealing_rate(alpha: float | str, iterations: int | None, default: float = 0.99) -> float:
    """Return alpha of eq. (10): the number given, or for "auto" the rate that ends at 1% of the initial noise.

    Where "auto" meets an open budget (``iterations`` is None), it is ``default``, the paper's 0.99.

    Raises:
        ValueError: a number outside (0, 1], or another word.
    """
    if alpha == "auto":
        return default if iterations is None else AUTO_END ** (1 / max(iterations, 1))
    if isinstance(alpha, str) or not 0 < alpha <= 1:
        raise ValueError(f'alpha must lie in (0, 1] or be "auto", not {alpha!r}')
    return float(alpha)


class AnnealedNoise:
    """Uniform noise on [-m_t, m_t]^p with m_t = m_0 alpha^t (eq. 10), one stream a member.

    Args:
        seeds: one integer a member.
        population: N points a member and iteration; ``noise_dim``: p.
        scale: m_0; ``alpha``: one rate, or one a member.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        population: int,
        noise_dim: int,
        scale: float = 2.0,
        alpha: float | Sequence[float] = 0.99,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.seeds, self.population, self.noise_dim, self.scale, self.dtype = seeds, population, noise_dim, scale, dtype
        self.alpha = torch.as_tensor(alpha, dtype=torch.float64).expand(len(seeds))

    def draw(self, step: int) -> Tensor:
        """Return the noise of iteration ``step`` (from 0), ``members x N x p``."""
        size = (self.population, self.noise_dim)
        unit = torch.stack(
            [torch.rand(size, generator=torch_generator(seed, "noise", step), dtype=self.dtype) for seed in self.seeds]
        )
        magnitude = (self.scale * self.alpha**step).to(self.dtype).view(-1, 1, 1)
        return magnitude * (2 * unit - 1)
