"""Uniform random search: the floor under every comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from common.optimizers.base import AskTellOptimizer, as_population
from common.training.keys import torch_generator


class RandomSearch(AskTellOptimizer):
    """Points uniform in the box, independent of all values."""

    def __init__(self, population: int = 100) -> None:
        self.population = as_population(population, population)

    def _start(self) -> None:
        pass

    def _ask(self) -> Tensor:
        generator = torch_generator(self.seed, "random", self.iteration)
        unit = torch.rand(self.population, self.dim, generator=generator, dtype=torch.float64)
        return self.bounds[0] + (self.bounds[1] - self.bounds[0]) * unit

    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        pass
