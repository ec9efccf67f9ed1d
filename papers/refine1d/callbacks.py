"""What the network does, as pictures in TensorBoard."""

from __future__ import annotations

from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from common.functions.splines import Samples, Splines
from common.reporting.figures import method_style, style
from papers.refine1d.data import SplineDataModule, labelled_features
from papers.refine1d.model import Trajectory
from papers.refine1d.module import RefineModule


class ExampleTrajectories(Callback):
    """Every so many epochs, where the search goes on the first functions of the validation set.

    Args:
        count: functions to show.
        every_n_epochs: epochs between figures.
    """

    def __init__(self, count: int = 6, every_n_epochs: int = 10) -> None:
        self.count, self.every_n_epochs = count, every_n_epochs

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and log the figure."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not loggers or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        data = cast(SplineDataModule, trainer.datamodule)  # type: ignore[attr-defined]
        functions, samples = data.draw("validation", range(self.count))
        batch = labelled_features(functions, samples, data.scaling)
        figure = trajectories_figure(
            functions, samples, cast(RefineModule, pl_module).network(batch.inputs, batch.start)
        )
        for logger in loggers:
            logger.experiment.add_figure("validation/trajectories", figure, trainer.global_step)


def trajectories_figure(functions: Splines, samples: Samples, trajectory: Trajectory) -> Figure:
    """Draw every function with its samples, and x_0, ..., x_T on it, from the start (cross) to the answer (star)."""
    columns = min(3, len(functions))
    rows = -(-len(functions) // columns)
    grid = torch.linspace(0, 1, 401, dtype=torch.float64)
    x = trajectory.x.double().clamp(0, 1)  # the paper's network may leave [0, 1], where there is no function
    curves, heights = functions(grid), functions(x)
    color = method_style("gennes")["color"]
    with style():
        figure = Figure(figsize=(3 * columns, 2 * rows), layout="constrained", facecolor="white")
        axes = figure.subplots(rows, columns, sharex=True, squeeze=False).flat
        for i, axis in zip(range(len(functions)), axes, strict=False):
            axis.plot(grid, curves[i], color="#767676", linewidth=1)
            axis.plot(samples.x[i], samples.y[i], ".", color="#767676", markersize=3)
            axis.plot(x[i], heights[i], ".:", color=color)
            axis.plot(x[i, 0], heights[i, 0], "x", color=color)
            axis.plot(x[i, -1], heights[i, -1], "*", color=color, markersize=10)
            axis.axvline(float(functions.minimizers[i]), color="#767676", linestyle="--", linewidth=0.8)
    return figure
