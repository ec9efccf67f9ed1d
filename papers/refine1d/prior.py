"""The general prior: what a sample set may look like, whose minimum is asked for without knowing more about it.

Groups of functions share how they are measured: how many samples, where, and with which kind of noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from common.functions.splines import Indices, Samples, Sampling, SplinePrior, Splines
from common.training.keys import numpy_generator
from common.training.streams import keyed_uniforms

DEGREES = 3  # of freedom of heavy-tailed noise, Student's t
STEEPEST = math.log(9.0)  # of unequal noise: by which factor, at most, it grows or falls between 0 and 1


NOISES = ("equal", "heavy", "unequal")


@dataclass(frozen=True)
class Setting:
    """How a group of functions is measured: n samples, a design of `common.functions.splines`, a kind of noise."""

    count: int
    design: str = "uniform"
    noise: str = "equal"


@dataclass(frozen=True)
class GeneralPrior:
    """The law of functions, of measurements, and of noise.

    Args:
        functions: the law of the functions.
        counts: limits of n, log-uniform.
        shares: limits of sigma as a share of the range of the noiseless samples, log-uniform for every function.
        designs: of x, equally likely. By default half have samples at both ends, as one's own have if it is only asked
            for the minimum between the first and the last.
        noises: kinds of noise, of `NOISES`, equally likely; a kind may be there twice. Heavy is Student's t with scale
            sigma; the deviation of unequal noise grows or falls exponentially along x, and is sigma in the middle.

    Raises:
        ValueError: an unknown kind of noise, or no design.
    """

    functions: SplinePrior = field(
        default_factory=lambda: SplinePrior(spacing=(0.03, 0.2), log_uniform=True, window=(0.0, 1.0))
    )
    counts: tuple[int, int] = (5, 500)
    shares: tuple[float, float] = (0.01, 0.4)
    designs: tuple[str, ...] = ("uniform", "ends", "grid", "clustered")
    noises: tuple[str, ...] = ("equal", "equal", "heavy", "unequal")

    def __post_init__(self) -> None:
        if not self.designs or not self.noises or not set(self.noises) <= set(NOISES):
            raise ValueError(f"designs and noises must not be empty, and noises be among {', '.join(NOISES)}")

    def setting(self, seed: int, group: int) -> Setting:
        """Return how a group of functions is measured."""
        rng = numpy_generator(seed, "setting", group)
        low, high = self.counts
        count = min(high, math.floor(low * ((high + 1) / low) ** rng.random()))
        return Setting(count, str(rng.choice(self.designs)), str(rng.choice(self.noises)))

    def measure(self, functions: Splines, setting: Setting, seed: int, indices: Indices) -> Samples:
        """Return samples of ``functions``, row b drawn by its index, and ``sigma``, which made the noise."""
        samples = self.sampling(setting).draw(functions, seed, indices)
        deviations = noise_scale(setting.noise, samples.x, seed, indices)
        if setting.noise == "heavy":
            deviations = deviations * _tails(samples.x, seed, indices)
        values = functions(samples.x)
        return Samples(samples.x, values + deviations * (samples.y - values), samples.sigma)

    def sampling(self, setting: Setting) -> Sampling:
        """Return the sampling of a setting, with normal noise of equal deviation."""
        low, high = self.shares
        return Sampling(setting.count, setting.design, noise="percent", nu=(10 * low, 10 * high))


def noise_scale(noise: str, at: Tensor, seed: int, indices: Indices) -> Tensor:
    """Return the scale of the noise at places (``B x n``) relative to sigma: 1, but exponential in x if unequal."""
    if noise != "unequal":
        return torch.ones_like(at)
    slope = STEEPEST * (2 * keyed_uniforms(_rows(indices), 1, seed, "slope") - 1)
    return (slope * (at - 0.5)).exp()


def _tails(x: Tensor, seed: int, indices: Indices) -> Tensor:
    """Return factors (``B x n``) that make normal noise one of Student's t distribution."""
    words = keyed_uniforms(_rows(indices), DEGREES * x.shape[1], seed, "tails")
    chi_square = torch.special.ndtri(words).square().view(*x.shape, DEGREES).sum(2)
    return (DEGREES / chi_square).sqrt()


def _rows(indices: Indices) -> Tensor:
    return torch.from_numpy(np.asarray(indices, dtype=np.int64))


def formula_prior() -> GeneralPrior:
    """Return the paper's setting, with its noise by the formula, as a case of the general prior."""
    share = float(Sampling().share(torch.tensor(Sampling().nu)))
    return GeneralPrior(SplinePrior(), (40, 40), (share, share), ("uniform",), ("equal",))


PRIORS: dict[str, Callable[[], GeneralPrior]] = {"general": GeneralPrior, "formula": formula_prior}
