"""The network under Lightning: equation (58), Adam, and how far the answers are from the minima."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from papers.refine1d.data import Batch
from papers.refine1d.model import Refiner
from papers.refine1d.settings import preset as preset_settings

SCHEDULES = ("cosine", "constant")


class RefineModule(LightningModule):
    """Trains a `Refiner` on functions whose minimizers are known, all of T_max iterations for every function.

    The defaults are the recipe that trains well; the paper's own is ``preset="paper"``, ``lr=2e-4``, ``warmup=0`` and
    ``schedule="constant"``, without the Trainer's gradient clipping. The weights are not averaged over steps, since the
    cosine's slow end does much the same.

    Args:
        preset: ``stable`` or ``paper``, see `papers.refine1d.settings`, but computed in the fused form.
        settings: what differs from the preset.
        seed: keys the initial weights.
        lr: Adam's highest learning rate.
        warmup: steps in which the rate grows to it linearly.
        schedule: ``cosine`` lets it fall to 0 by the end of the training, ``constant`` leaves it.

    Attributes:
        curve: one entry a validation: ``step``; ``training_error``, the mean since the last one; the `accuracy` on the
            validation set after all iterations, and with the stop rule (``stopped_...``); ``stopped_steps`` until then.
    """

    def __init__(
        self,
        preset: str = "stable",
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        lr: float = 7e-4,
        warmup: int = 100,
        schedule: str = "cosine",
    ) -> None:
        super().__init__()
        if schedule not in SCHEDULES:
            raise ValueError(f"schedules are {', '.join(SCHEDULES)}, not {schedule!r}")
        self.save_hyperparameters()
        self.network = Refiner(preset_settings(preset, **{"form": "fused"} | (settings or {})), seed)
        self.lr, self.warmup, self.schedule = lr, warmup, schedule
        self.curve: list[dict[str, float]] = []
        self._errors: list[float] = []  # of the training batches since the last validation

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return equation (58) on a batch.

        Raises:
            FloatingPointError: it is not finite.
        """
        trajectory = self.network(batch.inputs, batch.start)
        loss = self.network.loss(trajectory, batch.target)
        if not loss.isfinite():
            raise FloatingPointError(f"the loss of step {self.global_step} is {loss.item()}; a lower lr may help")
        error = 100 * (trajectory.answer.detach() - batch.target).abs().mean()
        self._errors.append(float(error))
        # Only when Lightning writes them.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.loggers and (self.global_step + 1) % every == 0:
            self.log("train/loss", loss.detach())
            self.log("train/error", error)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add an entry to the curve: the errors on the whole validation set, without and with the stop rule.

        Raises:
            FloatingPointError: an answer is not finite.
        """
        free, stopped = (self.network(batch.inputs, batch.start, stop) for stop in (False, True))
        if not free.answer.isfinite().all():
            raise FloatingPointError(f"an answer is not finite after step {self.global_step}")
        metrics = {
            "training_error": sum(self._errors) / max(len(self._errors), 1),
            **accuracy(free.answer, batch.target),
            **{f"stopped_{name}": value for name, value in accuracy(stopped.answer, batch.target).items()},
            "stopped_steps": stopped.taken.float().mean().item(),
        }
        self._errors.clear()
        self.curve.append({"step": self.global_step, **metrics})
        if self.loggers:
            self.log_dict({f"validation/{name}": value for name, value in metrics.items()}, batch_size=len(batch.start))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return Adam with its schedule over the steps of this training."""
        optimizer = torch.optim.Adam(self.parameters(), self.lr)
        total = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / (self.warmup + 1))
            return warm if self.schedule == "constant" else warm * (1 + math.cos(math.pi * step / total)) / 2

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def get_extra_state(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint besides the weights."""
        return {"curve": list(self.curve), "errors": list(self._errors)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back from a checkpoint."""
        self.curve, self._errors = list(state["curve"]), list(state["errors"])

    def on_train_end(self) -> None:
        """Put settings beside the final metrics in TensorBoard."""
        if self.curve:
            final = {f"final/{name}": self.curve[-1][name] for name in ("error", "success_10", "success_15")}
            for logger in self.loggers:
                logger.log_hyperparams(dict(self.hparams), final)


def accuracy(answers: Tensor, target: Tensor) -> dict[str, float]:
    """Return mean and median distance of ``answers`` from ``target`` (both ``B``), in percent of the domain [0, 1],
    and the percentages of answers that are nearer than 10% and 15% of it.
    """
    error = 100 * (answers - target).abs()
    return {
        "error": error.mean().item(),
        "median_error": error.median().item(),
        "success_10": 100 * (error < 10).float().mean().item(),
        "success_15": 100 * (error < 15).float().mean().item(),
    }
