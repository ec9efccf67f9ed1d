"""The training data of d-Net: fresh functions for every batch, each a function of the seed and its number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from common.functions.gaussians import GaussianFamily, Gaussians
from common.training.data import StepLoader
from common.training.keys import key_seed


class Batch(NamedTuple):
    """Functions by their ``centers`` (``B x d``) and ``matrices`` (``B x d x d``), and ``start`` x_0 (``B x d``)."""

    centers: Tensor
    matrices: Tensor
    start: Tensor

    @property
    def functions(self) -> Gaussians:
        """The functions."""
        return Gaussians(self.centers, self.matrices)


class GaussianDataModule(LightningDataModule):
    """Batches of random Gaussian functions, never the same twice, and a fixed set to validate on.

    Training batch i has the functions ``i * batch_size``, ... of the seed, so a resumed training sees what an
    uninterrupted one would have seen; the validation functions have a key of their own.

    Args:
        dim, condition, spread, start: see `GaussianFamily`.
        seed: keys all functions and starts.
        batch_size: functions in a batch.
        steps_per_epoch: an epoch is what lies between two validations and possible checkpoints.
        validation: functions to validate on, which are one batch.
    """

    def __init__(
        self,
        dim: int = 5,
        condition: float | tuple[float, float] = 100.0,
        spread: float = 3.0,
        start: tuple[float, float] = (0.5, 4.0),
        seed: int = 0,
        batch_size: int = 128,
        steps_per_epoch: int = 50,
        validation: int = 1000,
    ) -> None:
        super().__init__()
        self.family = GaussianFamily(dim, condition, spread, start)
        self.seed, self.validation = seed, validation
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch

    def batch(self, step: int) -> Batch:
        """Return the training batch of a global step."""
        return self._draw("training", range(step * self.batch_size, (step + 1) * self.batch_size))

    def validation_batch(self) -> Batch:
        """Return the whole validation set."""
        return self._draw("validation", range(self.validation))

    def train_dataloader(self) -> StepLoader:
        """Return the loader of the epoch's batches."""
        return StepLoader(self.batch, self.steps_per_epoch)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the validation set as one batch."""
        generator = torch.Generator()  # or the loader draws from the global one
        return DataLoader([self.validation_batch()], batch_size=None, generator=generator)  # type: ignore[arg-type]

    def _draw(self, part: str, indices: range) -> Batch:
        functions, start = self.family.sample(key_seed(self.seed, part), indices)
        return Batch(functions.centers, functions.matrices, start)
