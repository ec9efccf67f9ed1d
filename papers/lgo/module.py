"""d-Net under Lightning: its loss on fresh functions, and how soon it is at their minima."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from papers.lgo.data import Batch
from papers.lgo.model import LOSSES, TAILS, DNet, iterations_to_tolerance, trajectory_loss

MOST_ITERATIONS = 100
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


class DNetModule(LightningModule):
    """Trains a `DNet`. A batch whose gradients are not finite is skipped and counted.

    Args:
        layers, memory, init, seed: see `DNet`.
        loss: see `trajectory_loss`.
        optimizer: ``adam``, or ``sgd``, the paper's steepest descent.
        lr: the learning rate.

    Attributes:
        curve: one entry a validation: ``step``, ``loss`` and the other `measures`, and ``skipped`` batches so far.
        best: the weights of the d-Net with the lowest loss on the validation set.

    Raises:
        ValueError: an unknown loss or optimizer, or as `DNet`.
    """

    def __init__(
        self,
        layers: int = 10,
        memory: str = "recursive",
        init: str = "ones",
        seed: int = 0,
        loss: str = "log",
        optimizer: str = "adam",
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {loss!r}")
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {optimizer!r}")
        self.save_hyperparameters()
        self.net = DNet(layers, memory, init, seed)
        self.loss, self.optimizer, self.lr = loss, optimizer, lr
        self.skipped = 0
        self.curve: list[dict[str, float]] = []
        self.best = self._weights()

    def best_net(self) -> DNet:
        """Return a d-Net with the best weights."""
        net = DNet(self.net.layers, self.net.memory)
        net.load_state_dict(self.best)
        return net.requires_grad_(False)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss on a batch."""
        gaps = self.net(batch.functions, batch.start)
        loss = trajectory_loss(gaps, batch.functions.optimal_value, self.loss)
        # Only when Lightning writes them.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.loggers and (self.global_step + 1) % every == 0:
            self.log("train/loss", loss.detach())
            self.log("train/gap", gaps[-1].detach().mean())
            self.log("train/skipped", float(self.skipped))
        return loss

    def on_after_backward(self) -> None:
        """Take away gradients that are not finite; optimizers pass over parameters without any."""
        if not all(p.grad is None or p.grad.isfinite().all() for p in self.net.parameters()):
            self.skipped += 1
            for parameter in self.net.parameters():
                parameter.grad = None

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add an entry to the curve, and keep the weights if they are the best."""
        metrics = measures(self.net, batch, self.loss)
        if not self.curve or metrics["loss"] < min(entry["loss"] for entry in self.curve):
            self.best = self._weights()
        self.curve.append({"step": self.global_step, **metrics, "skipped": self.skipped})
        if self.loggers:
            self.log_dict({f"validation/{name}": value for name, value in metrics.items()}, batch_size=len(batch.start))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return OPTIMIZERS[self.optimizer](self.net.parameters(), self.lr)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint besides the weights."""
        return {"curve": list(self.curve), "best": self.best, "skipped": self.skipped}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back from a checkpoint."""
        self.curve, self.best, self.skipped = list(state["curve"]), dict(state["best"]), state["skipped"]

    def on_train_end(self) -> None:
        """Put settings beside the best metrics in TensorBoard."""
        if self.curve:
            best = min(self.curve, key=lambda entry: entry["loss"])
            for logger in self.loggers:
                logger.log_hyperparams(dict(self.hparams), {f"best/{name}": value for name, value in best.items()})

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()}


@torch.no_grad()
def measures(net: DNet, batch: Batch, loss: str) -> dict[str, float]:
    """Return means over the functions of a batch.

    ``loss``, see `trajectory_loss`; ``gap``, f(x_T) - f*; ``iterations_<tail>``, see `iterations_to_tolerance`, at most
    ``MOST_ITERATIONS``.
    """
    functions = batch.functions
    gaps = net(functions, batch.start)
    needed = {tail: iterations_to_tolerance(net, functions, batch.start, tail, limit=MOST_ITERATIONS) for tail in TAILS}
    return {
        "loss": float(trajectory_loss(gaps, functions.optimal_value, loss)),
        "gap": float(gaps[-1].mean()),
        **{f"iterations_{tail}": float(iterations.double().mean()) for tail, iterations in needed.items()},
    }
