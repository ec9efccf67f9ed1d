"""The search distribution as pictures in TensorBoard."""

from __future__ import annotations

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from papers.gennes.figures import population_figure
from papers.gennes.module import GennesModule


class SearchDistribution(Callback):
    """After every epoch, the first fold's population over the contours of its function (two of the d variables)."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and log the figure."""
        if not isinstance(pl_module, GennesModule) or pl_module.population is None:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                problem, points = pl_module.problem.fold(0), pl_module.population[0]
                figure = population_figure(problem, points.cpu(), pl_module.best_x[0].cpu())
                logger.experiment.add_figure("population/first_fold", figure, trainer.global_step)
