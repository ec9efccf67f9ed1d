"""Gaussian smoothing with a moving mean (ours, not in the paper): what `GennesSigma` and `GennesHop` do in a round.

A population is y = tanh(G_theta(u) + s_t e), with noise e that the generator does not see. In the paper a generator
learns to cancel its input noise u long before that is annealed, and then looks at one place; it can't cancel e.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.training.keys import torch_generator
from papers.gennes.adam import EnsembleAdam
from papers.gennes.model import GeneratorEnsemble, pathwise_loss
from papers.gennes.noise import AnnealedNoise, annealing_rate

GENERATORS = ("network", "mean")
NOISE_SCALE = 2.0  # m_0 of the input noise, annealed to 1%
OUTPUT_NOISE, LAST_OUTPUT_NOISE = 0.3, 0.015  # s_0 and s_T
LAST_LR = 0.05  # of the first learning rate, by a cosine


class MeanVector(nn.Module):
    """The generator without a network, for ablations: one vector a member, whatever the noise."""

    def __init__(self, dim: int, seeds: Sequence[int]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(len(seeds), dim))

    def before_tanh(self, noise: Tensor) -> Tensor:
        """Map noise ``members x N x p`` to ``members x N x d``."""
        return self.theta.unsqueeze(1).expand(-1, noise.shape[1], -1)


class Smoothing(nn.Module):
    """One annealing of ``iterations`` populations, for independent members at once.

    Args:
        dim: number of variables d.
        seeds: one integer a member; its draws depend on it alone.
        population: N points a member and iteration.
        generator: "network" (`GeneratorEnsemble`) or "mean" (`MeanVector`).
        width, depth: of the network.

    Raises:
        ValueError: another generator.
    """

    def __init__(
        self, dim: int, seeds: Sequence[int], population: int, iterations: int, generator: str = "network",
        width: int = 64, depth: int = 5,
    ) -> None:  # fmt: skip
        super().__init__()
        if generator not in GENERATORS:
            raise ValueError(f"generator must be one of {', '.join(GENERATORS)}, not {generator!r}")
        self.dim, self.seeds, self.population, self.iterations = dim, list(seeds), population, iterations
        if generator == "network":
            network = GeneratorEnsemble(dim, seeds, width=width, depth=depth, last_std=0.3)
            self.generator: GeneratorEnsemble | MeanVector = network
            self.lr = 0.05 / math.sqrt(iterations)
        else:
            self.generator = MeanVector(dim, seeds)
            self.lr = 3.0 / iterations  # a mean moves by the rate itself, so its way must not depend on their number
        rate = annealing_rate("auto", iterations)
        self._noise = AnnealedNoise(self.seeds, population, dim, NOISE_SCALE, rate)

    def noise(self, step: int) -> tuple[Tensor, Tensor]:
        """Return input noise (``members x N x p``) and output noise (``members x N x d``) of iteration ``step``."""
        size = (self.population, self.dim)
        draws = [torch.randn(size, generator=torch_generator(seed, "output noise", step)) for seed in self.seeds]
        magnitude = OUTPUT_NOISE * (LAST_OUTPUT_NOISE / OUTPUT_NOISE) ** (step / self.iterations)
        return self._noise.draw(step), magnitude * torch.stack(draws)

    def forward(self, noise: Tensor, output_noise: Tensor) -> Tensor:
        """Map input and output noise to points ``members x N x d`` in [-1, 1]."""
        return torch.tanh(self.generator.before_tanh(noise) + output_noise)

    def loss(self, points: Tensor, gradient: Tensor) -> Tensor:
        """Return eq. (7)'s loss with every point's gradient scaled to length 1: only directions count.

        Args:
            points: ``members x N x d``, attached to the parameters; ``gradient``: the objective's there, as long.
        """
        length = gradient.norm(dim=-1, keepdim=True)
        direction = torch.where(length > 0, gradient / length, gradient)
        return pathwise_loss(points, direction.to(points))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of iteration ``step``: a cosine from ``lr`` down to 5% of it."""
        return self.lr * (LAST_LR + (1 - LAST_LR) * (1 + math.cos(math.pi * step / self.iterations)) / 2)

    def new_optimizer(self) -> EnsembleAdam:
        """Return Adam, which does not depend on the scale of the loss."""
        return EnsembleAdam(self.parameters(), self.lr, eps=1e-12)
