"""The training data of the escaping policy: fresh functions and trajectories for every batch, keyed by their number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol, cast

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from common.training.data import StepLoader
from common.training.keys import key_seed
from papers.lgo.environments import Mixtures
from papers.lgo.policy import Draws, draw


class PolicyBatch(NamedTuple):
    """``B`` functions, and the random numbers of one trajectory on each, with the seeds of both."""

    functions: Mixtures
    draws: Draws
    seeds: list[int]


class Trajectories(Protocol):
    """What the module that is trained says of a trajectory: the dimension, N_0 random and P chosen directions."""

    dim: int
    initial: int
    steps: int


class PolicyDataModule(LightningDataModule):
    """Batches of `Mixtures`, never the same function twice, and a fixed set to validate on.

    The dimension and the lengths of a trajectory are those of the module that is trained.

    Args:
        wells, distance: see `Mixtures.sample`.
        seed: keys all functions and trajectories.
        batch_size: trajectories in a batch, N_T of Algorithm 5.
        steps_per_epoch: an epoch is what lies between two validations and possible checkpoints.
        validation: trajectories to validate on, which are one batch.
    """

    def __init__(
        self,
        wells: int = 3,
        distance: float = 5.0,
        seed: int = 0,
        batch_size: int = 256,
        steps_per_epoch: int = 10,
        validation: int = 512,
    ) -> None:
        super().__init__()
        self.wells, self.distance, self.seed = wells, distance, seed
        self.batch_size, self.steps_per_epoch, self.validation = batch_size, steps_per_epoch, validation
        self.dim, self.initial, self.steps = 2, 10, 40

    def setup(self, stage: str) -> None:
        """Take the dimension and the lengths of a trajectory from the module that is trained."""
        assert self.trainer is not None
        module = cast(Trajectories, self.trainer.lightning_module)
        self.dim, self.initial, self.steps = module.dim, module.initial, module.steps

    def draw(self, part: str, indices: Iterable[int]) -> PolicyBatch:
        """Return the functions and trajectories ``indices`` of the part ``training`` or ``validation``."""
        seeds = [key_seed(self.seed, part, index) for index in indices]
        functions = Mixtures.sample(self.dim, seeds, self.wells, self.distance)
        return PolicyBatch(functions, draw(seeds, self.dim, self.initial, self.steps), seeds)

    def batch(self, step: int) -> PolicyBatch:
        """Return the training batch of a global step."""
        return self.draw("training", range(step * self.batch_size, (step + 1) * self.batch_size))

    def train_dataloader(self) -> StepLoader:
        """Return the loader of the epoch's batches."""
        return StepLoader(self.batch, self.steps_per_epoch)

    def val_dataloader(self) -> DataLoader[PolicyBatch]:
        """Return the loader of the whole validation set as one batch."""
        batch = self.draw("validation", range(self.validation))
        generator = torch.Generator()  # or the loader draws from the global one
        return DataLoader([batch], batch_size=None, generator=generator)  # type: ignore[arg-type]
