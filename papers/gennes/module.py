"""GENNES under Lightning: an ensemble of generators, one for every fold and setting, trained on a benchmark problem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from papers.gennes.adam import EnsembleAdam
from papers.gennes.model import UNIFORM_STD, GeneratorEnsemble, pathwise_loss, to_box
from papers.gennes.problems import benchmark_problem, fold_seeds


class GennesModule(LightningModule):
    """Algorithm 1 on ``folds`` translations of one function, for one or several settings at once.

    Member ``setting * folds + fold`` has the fold's translation, weights and noise; members never interact.

    Args:
        function: rastrigin, ackley, styblinski_tang, schwefel or alpine1.
        dim: number of variables d.
        folds: independent repetitions; ``seed`` keys all of them.
        shift: half-width of the uniform translation of the optimum.
        lr: Adam's learning rate, or a list with one for every setting.
        record: iterations (from 0) whose populations are kept, see ``populations``.
        noise_dim, width, depth, init, last_std, output_std, noise_scale: see `GeneratorEnsemble`.
    """

    best_value: Tensor
    best_x: Tensor

    def __init__(
        self,
        function: str = "rastrigin",
        dim: int = 10,
        folds: int = 10,
        seed: int = 0,
        shift: float = 0.5,
        lr: float | list[float] = 3e-4,
        record: Sequence[int] = (),
        noise_dim: int | None = None,
        width: int = 128,
        depth: int = 5,
        init: str = "authors",
        last_std: float = 1.0,
        output_std: float = UNIFORM_STD,
        noise_scale: float = 2.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        rates = lr if isinstance(lr, list) else [lr]
        self.settings, self.folds = len(rates), folds
        self.rates = self.by_member(rates)
        seeds = fold_seeds(seed, folds) * self.settings
        self.problem = benchmark_problem(function, dim, seeds, shift)
        self.generator = GeneratorEnsemble(
            dim, seeds, noise_dim, width, depth, init=init, last_std=last_std, output_std=output_std,
            noise_scale=noise_scale,
        )  # fmt: skip
        members = len(seeds)
        self.register_buffer("best_value", torch.full((members,), math.inf, dtype=torch.float64))
        self.register_buffer("best_x", torch.full((members, dim), math.nan, dtype=torch.float64))
        self.record = frozenset(record)
        self.populations: dict[int, Tensor] = {}
        self.population: Tensor | None = None
        self._trace: list[Tensor] = []

    def by_member(self, values: Sequence[float]) -> list[float]:
        """Repeat one value a setting over the folds: one a member.

        Raises:
            ValueError: the number of values is not the number of settings.
        """
        if len(values) != self.settings:
            raise ValueError(f"{len(values)} values for {self.settings} settings")
        return [value for value in values for _ in range(self.folds)]

    @property
    def trace(self) -> Tensor:
        """Best regret after every iteration, ``iterations x members``."""
        return torch.stack(self._trace) - self.problem.optimal_value

    def training_step(self, noise: Tensor, batch_idx: int) -> Tensor:
        """Query the population that ``noise`` (``members x N x p``) makes; return the loss of eq. (7)."""
        bounds = self.problem.bounds
        points = to_box(self.generator(noise), bounds)
        query = points.detach().clamp(bounds[0], bounds[1]).requires_grad_()
        values = self.problem(query)
        (gradient,) = torch.autograd.grad(values.sum(), query)
        if not (torch.isfinite(values).all() and torch.isfinite(gradient).all()):
            raise FloatingPointError(f"{self.hparams['function']} is not finite in iteration {self.global_step}")
        self._keep(query.detach(), values.detach())
        return pathwise_loss(points, gradient)

    def configure_optimizers(self) -> EnsembleAdam:
        """Return Adam with one learning rate a member."""
        return EnsembleAdam(self.generator.parameters(), self.rates)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint besides weights and buffers."""
        return {"trace": list(self._trace), "populations": self.populations}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back from a checkpoint."""
        self._trace, self.populations = list(state["trace"]), dict(state["populations"])

    def on_train_end(self) -> None:
        """Put settings beside the final metric in TensorBoard."""
        for logger in self.loggers:
            logger.log_hyperparams(dict(self.hparams), {"regret/final": float(self.trace[-1].mean())})

    def _keep(self, points: Tensor, values: Tensor) -> None:
        lowest, index = values.min(dim=1)
        better = lowest < self.best_value
        chosen = points[torch.arange(len(points)), index]
        self.best_value = torch.where(better, lowest, self.best_value)
        self.best_x = torch.where(better.unsqueeze(1), chosen, self.best_x)
        self.population = points
        if self.global_step in self.record:
            self.populations[self.global_step] = points.clone()
        self._trace.append(self.best_value.clone())
        # Only when Lightning writes them, for a log call costs a tenth of a step.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.loggers and (self.global_step + 1) % every == 0:
            self.log("regret/best", (self.best_value - self.problem.optimal_value).mean())
            self.log("regret/population", (values - self.problem.optimal_value).mean())
            half_width = (self.problem.bounds[1] - self.problem.bounds[0]) / 2
            self.log("population/spread", (points.std(dim=1) / half_width).mean())
