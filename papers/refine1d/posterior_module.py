"""The learned posterior under Lightning: AdamW, and how good the distributions are on other functions."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from papers.refine1d.positions import Positions
from papers.refine1d.posterior import LearnedPosterior, PosteriorSettings, posterior_loss
from papers.refine1d.posterior_data import PosteriorBatch


class PosteriorModule(LightningModule):
    """Trains a `LearnedPosterior` on functions whose minima are known.

    The weights are not averaged over steps, since the cosine's slow end does much the same.

    Args:
        widths: see `PosteriorSettings`.
        window: where the minima of the training are; the distributions are trained given that.
        seed: keys the initial weights.
        lr: AdamW's highest learning rate.
        warmup: steps in which the rate grows to it linearly, to fall to 0 as a cosine.

    Attributes:
        curve: one entry a validation: ``step``; ``training_loss``, the mean since the last one; and on the validation
            set, in percent of the domain, ``error`` and ``median_error`` of the distributions' medians and their
            ``crps``; ``covered_90`` is how often their central 90% hold the minimum, in percent.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = PosteriorSettings().widths,
        window: tuple[float, float] = (0.0, 1.0),
        seed: int = 0,
        lr: float = 3e-3,
        warmup: int = 100,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = LearnedPosterior(PosteriorSettings(tuple(widths)), seed)
        self.window, self.lr, self.warmup = window, lr, warmup
        self.curve: list[dict[str, float]] = []
        self._losses: list[float] = []  # of the training batches since the last validation

    def training_step(self, batch: PosteriorBatch, batch_idx: int) -> Tensor:
        """Return `posterior_loss` on a batch.

        Raises:
            FloatingPointError: it is not finite.
        """
        loss = posterior_loss(self.network(batch.features), batch.truth, self.window)
        if not loss.isfinite():
            raise FloatingPointError(f"the loss of step {self.global_step} is {loss.item()}; a lower lr may help")
        self._losses.append(loss.item())
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.loggers and (self.global_step + 1) % every == 0:
            self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: PosteriorBatch, batch_idx: int) -> None:
        """Add an entry to the curve."""
        positions = Positions.of_logits(self.network(batch.features).logits).within(self.window)
        target = batch.truth.position.double()
        error = 100 * (positions.median() - target).abs()
        chance = torch.linspace(0, 1, len(target), dtype=torch.float64)  # of ranks within a point mass
        metrics = {
            "training_loss": sum(self._losses) / max(len(self._losses), 1),
            "error": error.mean().item(),
            "median_error": error.median().item(),
            "crps": 100 * positions.crps(target).mean().item(),
            "covered_90": 100 * ((positions.rank(target, chance) - 0.5).abs() <= 0.45).double().mean().item(),
        }
        self._losses.clear()
        self.curve.append({"step": self.global_step, **metrics})
        if self.loggers:
            self.log_dict({f"validation/{name}": value for name, value in metrics.items()}, batch_size=len(target))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return AdamW with its schedule over the steps of this training."""
        optimizer = torch.optim.AdamW(self.parameters(), self.lr, betas=(0.9, 0.98))
        total = int(self.trainer.estimated_stepping_batches)

        def factor(step: int) -> float:
            return min(1.0, (step + 1) / (self.warmup + 1)) * (1 + math.cos(math.pi * step / total)) / 2

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def get_extra_state(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint besides the weights."""
        return {"curve": list(self.curve), "losses": list(self._losses)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back from a checkpoint."""
        self.curve, self._losses = list(state["curve"]), list(state["losses"])
