"""The generator G_theta of GENNES (section 3, appendix B), many independent ones evaluated as one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.training.keys import torch_generator

INITS = ("authors", "eq9", "calibrated")
UNIFORM_STD = 1 / math.sqrt(3)  # of U(-1, 1): an output that covers the box
CALIBRATION_NOISES = 4096


def eq9_last_std(output_std: float, noise_scale: float, width: int, depth: int) -> float:
    """Return the last layer's standard deviation lambda that eq. (9) asks for.

    Args:
        output_std: wanted standard deviation beta of the output, in units of tanh.
        noise_scale: half-width m_0 of the uniform noise, so nu^2 = m_0^2 / 3.
        width, depth: h neurons in each of n hidden layers.
    """
    variance = noise_scale**2 / 3
    return math.sqrt(output_std**2 / (width * 0.3**depth) / variance)  # eq. (9): lambda^2 nu^2 = beta^2 / (h 0.3^n)


class GeneratorEnsemble(nn.Module):
    """``members`` independent networks R^p -> (-1, 1)^d: leaky ReLU layers, then a tanh layer (section 3.3).

    All weights lie in one parameter ``theta`` of shape ``members x P``, so that an optimizer can treat every member by
    itself (learning rate, moments) and one batched product serves all of them. A member's weights depend on its own
    seed alone.

    Args:
        dim: number of variables d.
        seeds: one integer a member.
        noise_dim: p; default d (appendix B: "important to have p close to d").
        width, depth: neurons a hidden layer, number of hidden layers.
        slope: of the leaky ReLU for negative input.
        init: "authors" (Glorot uniform, last layer truncated normal with standard deviation ``last_std``), "eq9"
            (Gaussian with variance 1 / fan-in, last layer by eq. (9) for ``output_std``), or "calibrated" (as
            "authors", then the last layer rescaled until the standard deviation before tanh measures ``output_std``).
        last_std: standard deviation of the last layer before truncation, for "authors".
        output_std: wanted standard deviation of the output, in half-widths of the box, for "eq9" and "calibrated".
        noise_scale: half-width m_0 of the initial noise.

    Raises:
        ValueError: an unknown ``init`` or a size below 1.
    """

    def __init__(
        self,
        dim: int,
        seeds: Sequence[int],
        noise_dim: int | None = None,
        width: int = 128,
        depth: int = 5,
        slope: float = 0.2,
        init: str = "authors",
        last_std: float = 1.0,
        output_std: float = UNIFORM_STD,
        noise_scale: float = 2.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dim, self.seeds, self.noise_dim = dim, list(seeds), noise_dim or dim
        self.width, self.depth, self.slope, self.noise_scale = width, depth, slope, noise_scale
        if init not in INITS:
            raise ValueError(f"init must be one of {', '.join(INITS)}, not {init!r}")
        if min(self.dim, self.noise_dim, self.width, self.depth, len(self.seeds)) < 1:
            raise ValueError("dim, noise_dim, width, depth and the number of seeds must be at least 1")
        sizes = [self.noise_dim, *[width] * depth, dim]
        self._shapes = list(pairwise(sizes))
        self._lengths = [length for a, b in self._shapes for length in (a * b, b)]
        with torch.no_grad():
            members = [self._initial(seed, init, last_std, output_std, dtype) for seed in self.seeds]
        self.theta = nn.Parameter(torch.stack(members))
        if init == "calibrated":
            self._calibrate(output_std)

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise ``members x N x p`` to points ``members x N x d`` in [-1, 1]."""
        return torch.tanh(self.before_tanh(noise))

    def before_tanh(self, noise: Tensor) -> Tensor:
        """Map noise ``members x N x p`` to the last layer's activation ``members x N x d``."""
        members = len(self.theta)
        parts = self.theta.split(self._lengths, dim=1)
        hidden = noise
        for layer, (fan_in, fan_out) in enumerate(self._shapes):
            weight = parts[2 * layer].view(members, fan_in, fan_out)
            hidden = torch.baddbmm(parts[2 * layer + 1].unsqueeze(1), hidden, weight)
            if layer < self.depth:
                hidden = functional.leaky_relu(hidden, self.slope)
        return hidden

    def _initial(self, seed: int, init: str, last_std: float, output_std: float, dtype: torch.dtype) -> Tensor:
        generator = torch_generator(seed, "weights")
        parts = []
        for layer, (fan_in, fan_out) in enumerate(self._shapes):
            weight = torch.empty(fan_in, fan_out, dtype=dtype)
            last = layer == self.depth
            if init == "eq9":
                last_by_eq9 = eq9_last_std(output_std, self.noise_scale, self.width, self.depth)
                weight.normal_(0, last_by_eq9 if last else fan_in**-0.5, generator=generator)
            elif last:
                nn.init.trunc_normal_(weight, 0, last_std, -2 * last_std, 2 * last_std, generator=generator)
            else:
                nn.init.xavier_uniform_(weight, generator=generator)
            parts += [weight.flatten(), torch.zeros(fan_out, dtype=dtype)]
        return torch.cat(parts)

    @torch.no_grad()
    def _calibrate(self, output_std: float) -> None:
        """Rescale each last layer so that the standard deviation over noise, before tanh, is ``output_std``."""
        noise = torch.stack([self._calibration_noise(seed) for seed in self.seeds])
        measured = self.before_tanh(noise).std(dim=1).square().mean(dim=1).sqrt()
        first_of_last = sum(self._lengths[:-2])
        self.theta[:, first_of_last:] *= (output_std / measured).unsqueeze(1)

    def _calibration_noise(self, seed: int) -> Tensor:
        generator = torch_generator(seed, "calibration")
        unit = torch.rand(CALIBRATION_NOISES, self.noise_dim, generator=generator, dtype=self.theta.dtype)
        return self.noise_scale * (2 * unit - 1)


def pathwise_loss(points: Tensor, gradient: Tensor) -> Tensor:
    """Return a scalar whose theta-gradient is eq. (7) for every member: the mean of (dx/dtheta)^T grad f(x).

    Args:
        points: ``members x N x d``, attached to theta.
        gradient: ``members x N x d``, the objective's gradient at the points.
    """
    return (points * gradient.detach()).sum() / points.shape[1]  # a sum over members: each keeps its own gradient


def to_box(unit: Tensor, bounds: Tensor) -> Tensor:
    """Map points in [-1, 1] (``... x d``) to float64 points in the box ``bounds`` (``2 x d``), affinely."""
    return (bounds[0] + bounds[1]) / 2 + (bounds[1] - bounds[0]) / 2 * unit.to(torch.float64)
