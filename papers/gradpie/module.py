"""The offline surrogate under Lightning (Algorithm A1, part A): its loss, Adam, and how good its gradients are."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from common.training.keys import key_seed
from papers.gradpie.model import (
    Surrogate,
    check_loss,
    gradient_errors,
    jacobian,
    new_adam,
    surrogate_loss,
)
from papers.gradpie.queries import Batch


class SurrogateModule(LightningModule):
    """Trains a surrogate of an oscillator network for every replicate, all as one batch; replicates never interact.

    Args:
        dim: oscillators N, inputs and outputs of the surrogate.
        replicates: repetitions with weights, data and test points of their own; ``seed`` keys all of them.
        loss: "gradpie", eq. (10), or "mae", eq. (6); norm: of eq. (10), "l1" or "squared".
        hidden, layer_norm: see `Surrogate`.
        lr: eta_theta of Adam.

    Attributes:
        curve: one entry a validation: ``step``, ``relative_error`` and ``cosine`` of the Jacobian, means over the test
            points, one number a replicate.
    """

    def __init__(
        self, dim: int = 20, replicates: int = 1, seed: int = 0, loss: str = "gradpie", norm: str = "l1",
        hidden: list[int] | tuple[int, ...] = (256, 256), layer_norm: bool = False, lr: float = 1e-3,
    ) -> None:  # fmt: skip
        super().__init__()
        check_loss(loss, norm)
        self.save_hyperparameters()
        self.dim, self.loss, self.norm, self.lr = dim, loss, norm, lr
        self.seeds = [key_seed(seed, "replicate", k) for k in range(replicates)]
        self.surrogate = Surrogate(dim, dim, self.seeds, hidden, layer_norm)
        self.curve: list[dict[str, Any]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss on a batch, the sum over replicates: each keeps its own gradient.

        Raises:
            FloatingPointError: it is not finite.
        """
        loss = surrogate_loss(self.surrogate, batch, self.loss, self.norm)
        if not torch.isfinite(loss).all():
            raise FloatingPointError(f"a loss of step {self.global_step} is not finite; a lower lr may help")
        # Only when Lightning writes it, for a log call costs much of a step.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.loggers and (self.global_step + 1) % every == 0:
            self.log("train/loss", loss.detach().mean())
        return loss.sum()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add an entry to the curve: how far the Jacobians are from the exact ones."""
        x, exact = batch
        errors = {name: values.mean(1) for name, values in gradient_errors(jacobian(self.surrogate, x), exact).items()}
        self.curve.append({"step": self.global_step, **{name: values.tolist() for name, values in errors.items()}})
        if self.loggers:
            self.log_dict({f"jacobian/{name}": values.mean() for name, values in errors.items()}, batch_size=len(x))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return new_adam(self.surrogate, self.lr)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint besides the weights."""
        return {"curve": list(self.curve)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back from a checkpoint."""
        self.curve = list(state["curve"])

    def on_train_end(self) -> None:
        """Put settings beside the final metrics in TensorBoard."""
        if self.curve:
            last = self.curve[-1]
            final = {f"final/{name}": sum(last[name]) / len(self.seeds) for name in ("relative_error", "cosine")}
            for logger in self.loggers:
                logger.log_hyperparams(dict(self.hparams), final)
