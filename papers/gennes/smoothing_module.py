"""A round of GENNES-sigma under Lightning: `Smoothing` on the folds of a benchmark problem, one member a fold."""

from __future__ import annotations

import math
from typing import cast

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor

from common.training.data import StepLoader
from papers.gennes.adam import EnsembleAdam
from papers.gennes.model import to_box
from papers.gennes.problems import fold_seeds
from papers.gennes.smoothing import Smoothing
from papers.gennes.suites import suite_problem


class SmoothingModule(LightningModule):
    """One annealing of ``iterations`` populations on every fold of `suite_problem`; no polish follows.

    Args:
        suite, function, dim: see `suite_problem`; ``folds`` of it, all keyed by ``seed``.
        population, iterations, generator, width, depth: see `Smoothing`.
    """

    best_value: Tensor
    best_x: Tensor

    def __init__(
        self, suite: str = "rotated", function: str = "rastrigin", dim: int = 10, folds: int = 10, seed: int = 0,
        population: int = 10, iterations: int = 100, generator: str = "network", width: int = 64, depth: int = 5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.save_hyperparameters()
        seeds = fold_seeds(seed, folds)
        self.problem = suite_problem(suite, function, dim, seeds)
        self.smoothing = Smoothing(dim, seeds, population, iterations, generator, width, depth)
        self.register_buffer("best_value", torch.full((folds,), math.inf, dtype=torch.float64))
        self.register_buffer("best_x", torch.full((folds, dim), math.nan, dtype=torch.float64))

    def training_step(self, noise: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Query the population that input and output ``noise`` make; return its loss."""
        lower, upper = self.problem.bounds
        points = self.smoothing(*noise)
        query = to_box(points.detach(), self.problem.bounds).clamp(lower, upper).requires_grad_()
        values = self.problem(query)
        (gradient,) = torch.autograd.grad(values.sum(), query)
        if not (torch.isfinite(values).all() and torch.isfinite(gradient).all()):
            raise FloatingPointError(f"{self.hparams['function']} is not finite in iteration {self.global_step}")
        lowest, index = values.detach().min(dim=1)
        better = lowest < self.best_value
        self.best_value = torch.where(better, lowest, self.best_value)
        chosen = query.detach()[torch.arange(len(query)), index]
        self.best_x = torch.where(better.unsqueeze(1), chosen, self.best_x)
        if self.loggers and (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log("regret/best", (self.best_value - self.problem.optimal_value).mean())
            self.log("regret/population", (values.detach() - self.problem.optimal_value).mean())
            self.log("population/spread", points.detach().std(dim=1).mean())
        return self.smoothing.loss(points, gradient * ((upper - lower) / 2))

    def configure_optimizers(self) -> EnsembleAdam:
        """Return Adam."""
        return self.smoothing.new_optimizer()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the learning rate of this iteration."""
        optimizer.param_groups[0]["lr"] = self.smoothing.learning_rate(self.global_step)

    def on_train_end(self) -> None:
        """Put settings beside the final metric in TensorBoard."""
        final = float((self.best_value - self.problem.optimal_value).mean())
        for logger in self.loggers:
            logger.log_hyperparams(dict(self.hparams), {"regret/final": final})


class SmoothingDataModule(LightningDataModule):
    """Batches of input and output noise, one an iteration; an epoch is what lies between two possible checkpoints."""

    def __init__(self, iterations_per_epoch: int = 10) -> None:
        super().__init__()
        self.iterations_per_epoch = iterations_per_epoch

    def train_dataloader(self) -> StepLoader:
        """Return the loader of the epoch's noise; a training longer than the annealing is a ValueError."""
        assert self.trainer is not None
        smoothing = cast(SmoothingModule, self.trainer.lightning_module).smoothing
        if (self.trainer.max_epochs or 0) * self.iterations_per_epoch > smoothing.iterations:
            raise ValueError(f"the annealing ends after {smoothing.iterations} iterations, the training later")
        return StepLoader(smoothing.noise, self.iterations_per_epoch)
