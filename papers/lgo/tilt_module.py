"""Training of a `LearnedTilt` under Lightning: Algorithm 5 on the tilts, where what it earns is the measure itself."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from papers.lgo.environments import better_minima
from papers.lgo.policy import policy_gradient_loss
from papers.lgo.policy_data import PolicyBatch
from papers.lgo.tilt import LearnedTilt, Lengths, Tilted, explore_tilted


class TiltModule(LightningModule):
    """Trains a `LearnedTilt` by the policy gradient on batches of functions, one trajectory on each.

    Args:
        dim: number of variables d.
        steps: directions in a trajectory.
        hidden: see `LearnedTilt`.
        local_search: gradients that one from a promising point costs.
        price: gradients that a distinct better minimum is worth; a direction earns 1 for such a minimum, less its share
            of what it costs. At about the number that one costs, what is learned is to find more of 1000 gradients.
        lr: Adam's learning rate.
        seed: keys the initial weights.
    """

    def __init__(
        self,
        dim: int = 10,
        steps: int = 40,
        hidden: int = 8,
        local_search: float = 25.0,
        price: float = 250.0,
        lr: float = 2e-2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.dim, self.initial, self.steps = dim, 1, steps
        self.local_search, self.price, self.lr = local_search, price, lr
        self.escape, self.policy = Lengths(), LearnedTilt(hidden, seed)

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Return the loss whose gradient is the policy gradient's, on a batch of trajectories."""
        explored, rewards = self._explore(batch)
        # What follows a choice begins with the next direction.
        later = torch.cat([rewards[:, 1:], torch.zeros_like(rewards[:, :1])], dim=1)
        return policy_gradient_loss(explored.log_probability, later)

    def validation_step(self, batch: PolicyBatch, batch_idx: int) -> None:
        """Log the mean of what a trajectory earns."""
        self.log("validation/return", self._explore(batch)[1].sum(1).mean(), batch_size=len(batch.seeds))

    def _explore(self, batch: PolicyBatch) -> tuple[Tilted, Tensor]:
        """Return one trajectory on each function, and what its directions earn, ``B x P``."""
        score = batch.functions.score(self.escape, record=True)
        explored = explore_tilted(score, batch.seeds, self.dim, self.steps, policy=self.policy)
        escapes = explored.escapes
        new = better_minima(batch.functions, escapes)[1].double()
        return explored, new - (escapes.evaluations + self.local_search * escapes.promising) / self.price

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.policy.parameters(), self.lr)
