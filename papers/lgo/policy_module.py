"""The learned escaping policy under Lightning: Algorithm 5, one epoch of the paper's a step."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from papers.lgo.escape import FastEscape
from papers.lgo.policy import Exploration, FixedPolicy, LearnedPolicy, Policy, explore, policy_gradient_loss
from papers.lgo.policy_data import PolicyBatch


class PolicyModule(LightningModule):
    """Trains a `LearnedPolicy` by the policy gradient on batches of functions, one trajectory on each.

    The paper trains on one minimum of one function; here it is a distribution of them, so that what is learned may
    help elsewhere.

    Args:
        dim: number of variables d.
        initial, steps: N_0 random and P chosen directions in a trajectory.
        hidden, features, sigma: see `LearnedPolicy`.
        reward: what a promising direction earns, the constant of eq. (23).
        estimator: see `policy_gradient_loss`.
        lr: Adam's learning rate.
        seed: keys the initial weights.
        escape: settings of `FastEscape` that are not its defaults.

    Attributes:
        curve: one entry a validation: ``step``; ``trajectories`` and ``gradients`` (queried in training until then);
            ``training_hit_rate``, the mean since the last one; and, on the validation set, ``return``, ``hit_rate``,
            the share of promising directions among the chosen, and ``fixed_hit_rate``, that of the fixed policy with
            the same draws.
    """

    def __init__(
        self,
        dim: int = 2,
        initial: int = 10,
        steps: int = 40,
        hidden: int = 32,
        features: str = "cosines",
        sigma: float = 0.1,
        reward: float = 1.0,
        estimator: str = "to_go",
        lr: float = 3e-3,
        seed: int = 0,
        escape: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.dim, self.initial, self.steps = dim, initial, steps
        self.reward, self.estimator, self.lr = reward, estimator, lr
        self.escape = FastEscape(**(escape or {}))
        self.policy = LearnedPolicy(initial, dim, hidden, features, sigma, seed)
        self.fixed = FixedPolicy(sigma)
        self.trajectories, self.gradients = 0, 0
        self.curve: list[dict[str, float]] = []
        self._hit_rates: list[float] = []  # of the training batches since the last validation

    def rewards(self, exploration: Exploration) -> Tensor:
        """Return the rewards of the chosen directions, ``B x P``."""
        return self.reward * exploration.hits.double()  # eq. (23): the constant times the indicator of u > 0

    def training_step(self, batch: PolicyBatch, batch_idx: int) -> Tensor:
        """Return the loss whose gradient is the policy gradient's, on a batch of trajectories."""
        explored = self._explore(batch, self.policy)
        rewards = self.rewards(explored)
        loss = policy_gradient_loss(explored.log_probability, rewards, self.estimator)
        self.trajectories += len(rewards)
        self.gradients += int(explored.escapes.evaluations.sum())
        hit_rate = explored.hits.double().mean().item()
        self._hit_rates.append(hit_rate)
        # Only when Lightning writes them.
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if self.loggers and (self.global_step + 1) % every == 0:
            self.log("train/return", rewards.sum(1).mean(), batch_size=len(rewards))
            self.log("train/hit_rate", hit_rate, batch_size=len(rewards))
        return loss

    def validation_step(self, batch: PolicyBatch, batch_idx: int) -> None:
        """Add an entry to the curve."""
        explored, fixed = (self._explore(batch, policy) for policy in (self.policy, self.fixed))
        metrics = {
            "training_hit_rate": sum(self._hit_rates) / max(len(self._hit_rates), 1),
            "return": self.rewards(explored).sum(1).mean().item(),
            "hit_rate": explored.hits.double().mean().item(),
            "fixed_hit_rate": fixed.hits.double().mean().item(),
        }
        self._hit_rates.clear()
        seen = {"step": self.global_step, "trajectories": self.trajectories, "gradients": self.gradients}
        self.curve.append(seen | metrics)
        if self.loggers:
            self.log_dict({f"validation/{name}": value for name, value in metrics.items()}, batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.policy.parameters(), self.lr)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what belongs into a checkpoint besides the weights."""
        counts = {"trajectories": self.trajectories, "gradients": self.gradients}
        return counts | {"curve": list(self.curve), "hit_rates": list(self._hit_rates)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it back from a checkpoint."""
        self.trajectories, self.gradients = state["trajectories"], state["gradients"]
        self.curve, self._hit_rates = list(state["curve"]), list(state["hit_rates"])

    def on_train_end(self) -> None:
        """Put settings beside the final metrics in TensorBoard."""
        if self.curve:
            final = {f"final/{name}": self.curve[-1][name] for name in ("return", "hit_rate", "fixed_hit_rate")}
            for logger in self.loggers:
                logger.log_hyperparams(dict(self.hparams), final)

    def _explore(self, batch: PolicyBatch, policy: Policy) -> Exploration:
        return explore(batch.functions.score(self.escape), policy, batch.draws)
