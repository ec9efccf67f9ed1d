"""The learned direction with values of f under Lightning: it is taught the factor that no search can see."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from common.functions.gaussians import Quadratics
from papers.lgo.closed_form import ClosedForm, Observed, Step, observe
from papers.lgo.model import DNet, iterations_to_tolerance
from papers.lgo.plus_data import PlusBatch, TransformsDataModule
from papers.lgo.transforms import log_slope

MOST_ITERATIONS = 100
MORE_STEPS = 2  # than variables, of the searches that are learned from
SMALL_ERROR = 1e-4  # of log tau, below which less matters little


class PlusModule(LightningModule):
    """Trains the network of a `ClosedForm` to say log tau, on the line searches that it makes itself.

    With the true tau a search ends in d steps, so its error is what there is to lose; and as tau is known of a training
    function, nothing is differentiated through the searches.

    Args:
        hidden, seed: see `ClosedForm`.
        lr: the learning rate of Adam.

    Attributes:
        curve: one entry a validation: ``step`` and the `measures`.
        best: the weights with the lowest loss on the validation set.
    """

    def __init__(self, hidden: int = 8, seed: int = 0, lr: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net, self.lr = ClosedForm(hidden, seed), lr
        self.curve: list[dict[str, float]] = []
        self.best = self._weights()

    def best_net(self) -> ClosedForm:
        """Return the direction with the best weights."""
        net = ClosedForm(self.net.hidden)
        net.load_state_dict(self.best)
        return net.requires_grad_(False)

    def training_step(self, batch: list[PlusBatch], batch_idx: int) -> Tensor:
        """Return the loss on the batches of a step."""
        loss = batches_loss(self.net, batch, self._transforms)
        # Only when Lightning writes it.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.loggers and (self.global_step + 1) % every == 0:
            self.log("train/loss", loss.detach(), batch_size=1)
        return loss

    def validation_step(self, batch: list[PlusBatch], batch_idx: int) -> None:
        """Add an entry to the curve, and keep the weights if they are the best."""
        metrics = measures(self.net, batch, self._transforms)
        if not self.curve or metrics["loss"] < min(entry["loss"] for entry in self.curve):
            self.best = self._weights()
        self.curve.append({"step": self.global_step, **metrics})
        if self.loggers:
            self.log_dict({f"validation/{name}": value for name, value in metrics.items()}, batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.net.parameters(), self.lr)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint besides the weights."""
        return {"curve": list(self.curve), "best": self.best}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back from a checkpoint."""
        self.curve, self.best = list(state["curve"]), dict(state["best"])

    @property
    def _transforms(self) -> Sequence[str]:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, TransformsDataModule)
        return data.transforms

    def _weights(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()}


def scale_loss(net: ClosedForm, functions: Quadratics, start: Tensor) -> Tensor:
    """Return the mean over functions of the sum over line searches of log(1e-4 + |error of log tau|) - log(1e-4).

    The logarithm, for a search that is to end in d steps needs every digit. Counted from the second line search on,
    where both show a change of scale: only there can the network do anything.
    """
    now, last, log_tau = _examples(net, functions, start)
    known = (now.delta != 0) & (last.delta != 0)
    error = (net.log_scale(now, last)[0] - log_tau).abs()
    return torch.where(known, (1 + error / SMALL_ERROR).log(), 0.0).sum(0).mean()


def batches_loss(net: ClosedForm, batches: Sequence[PlusBatch], transforms: Sequence[str]) -> Tensor:
    """Return the mean of `scale_loss` over batches and transforms."""
    losses = [scale_loss(net, batch.functions(name), batch.start) for batch in batches for name in transforms]
    return torch.stack(losses).mean()


@torch.no_grad()
def measures(net: ClosedForm, batches: Sequence[PlusBatch], transforms: Sequence[str]) -> dict[str, float]:
    """Return means over batches and transforms.

    ``loss``, see `scale_loss`; ``iterations``, see `iterations_to_tolerance`, at most ``MOST_ITERATIONS``.
    """
    needed = [
        iterations_to_tolerance(cast(DNet, net), batch.functions(name), batch.start, "last", limit=MOST_ITERATIONS)
        for batch in batches
        for name in transforms
    ]
    return {
        "loss": float(batches_loss(net, batches, transforms)),
        "iterations": float(torch.stack(needed).double().mean()),
    }


@torch.no_grad()
def _examples(net: ClosedForm, functions: Quadratics, start: Tensor) -> tuple[Observed, Observed, Tensor]:
    """Return the net's line searches from the second on, those before, and the true log tau, ``T x B x 1``."""
    path = list(islice(net.iterates(functions, start), start.shape[-1] + MORE_STEPS + 1))
    x, gradients = torch.stack([it.x for it in path]), torch.stack([it.gradient for it in path])
    values = torch.stack([it.gap for it in path])[..., None] + functions.optimal_value
    seen = observe(values[1:], Step(values[:-1], gradients[:-1], x[1:] - x[:-1]))
    now, last = (Observed(*(part[rows] for part in seen)) for rows in (slice(1, None), slice(-1)))
    return now, last, log_slope(functions, x)[..., None].diff(dim=0)[1:]
