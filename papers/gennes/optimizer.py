"""GENNES as an optimizer for one's own differentiable function (Algorithm 1), ask/tell."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from common.optimizers.base import AskTellOptimizer, as_population
from common.training.keys import key_seed
from papers.gennes.adam import EnsembleAdam
from papers.gennes.model import UNIFORM_STD, GeneratorEnsemble, pathwise_loss, to_box
from papers.gennes.noise import AnnealedNoise, annealing_rate


class Gennes(AskTellOptimizer):
    """A generative network as search distribution, trained by the objective's gradients.

    Faury, Vasile, Calauzenes, Fercoq, "Neural Generative Models for Global Optimization with Gradients" (2018). The
    best point ever queried is the answer; all points of a population weigh equally.

    Args:
        population: N points an iteration and restart.
        lr: Adam's learning rate; 1e-3 explores faster, 3e-4 ends more precisely on rugged functions.
        alpha: noise annealing an iteration (eq. 10); "auto" ends at 1% of the initial noise when the budget is spent.
        restarts: independent generators trained as one batch, each with its own population.
        width, depth, noise_dim, noise_scale, init, last_std, output_std: see `GeneratorEnsemble`.
        dtype: precision of the network; the objective is queried in float64.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(
        self,
        population: int = 20,
        lr: float = 3e-4,
        alpha: float | str = "auto",
        restarts: int = 1,
        width: int = 128,
        depth: int = 5,
        noise_dim: int | None = None,
        noise_scale: float = 2.0,
        init: str = "authors",
        last_std: float = 1.0,
        output_std: float = UNIFORM_STD,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        annealing_rate(alpha, None)  # a bad value is refused here, not at the first iteration
        if not lr > 0:
            raise ValueError(f"lr must be positive, not {lr!r}")
        self.population = as_population(population, population)
        self.restarts = as_population(restarts, restarts)
        self.lr, self.alpha, self.noise_scale, self.dtype = lr, alpha, noise_scale, dtype
        self._network = {
            "noise_dim": noise_dim, "width": width, "depth": depth, "init": init, "last_std": last_std,
            "output_std": output_std, "noise_scale": noise_scale, "dtype": dtype,
        }  # fmt: skip

    def _start(self) -> None:
        seeds = [self.seed, *(key_seed(self.seed, "restart", k) for k in range(1, self.restarts))]
        self.generator = GeneratorEnsemble(self.dim, seeds, **self._network)  # type: ignore[arg-type]
        self._adam = EnsembleAdam(self.generator.parameters(), self.lr)
        batch = self.population * self.restarts
        iterations = None if self.budget is None else self.budget // batch
        alpha = annealing_rate(self.alpha, iterations)
        self._noise = AnnealedNoise(
            seeds, self.population, self.generator.noise_dim, self.noise_scale, alpha, self.dtype
        )

    def _ask(self) -> Tensor:
        self._points = to_box(self.generator(self._noise.draw(self.iteration)), self.bounds)
        return self._points.reshape(-1, self.dim)

    def _tell(self, X: Tensor, y: Tensor, grad: Tensor | None, outputs: Tensor | None) -> None:
        assert grad is not None
        self._adam.zero_grad(set_to_none=True)
        pathwise_loss(self._points, grad.view_as(self._points)).backward()  # eq. (7)
        self._adam.step()
