"""The training data of the learned direction with values of f: fresh transforms of quadratics for every batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from common.functions.gaussians import GaussianFamily, Quadratics
from common.training.data import StepLoader
from common.training.keys import key_seed
from papers.lgo.transforms import transformed


class PlusBatch(NamedTuple):
    """Quadratics by their ``centers`` (``B x d``) and ``matrices`` (``B x d x d``), ``start`` x_0 (``B x d``)."""

    centers: Tensor
    matrices: Tensor
    start: Tensor

    def functions(self, transform: str) -> Quadratics:
        """Return a transform of them."""
        return transformed(Quadratics(self.centers, self.matrices), transform)


class TransformsDataModule(LightningDataModule):
    """Batches of random quadratics, never the same twice, whose transforms are trained on, and a fixed validation set.

    The batches of a step are one for each number of variables, keyed by the step.

    Args:
        transforms: names in ``TRANSFORMS``.
        dims: numbers of variables.
        condition, start: see `GaussianFamily`.
        seed: keys all functions and starts.
        batch_size: quadratics of a number of variables in a batch.
        steps_per_epoch: an epoch is what lies between two validations and possible checkpoints.
        validation: quadratics of each number of variables to validate on.
    """

    def __init__(
        self,
        transforms: Sequence[str] = ("log", "sqrt", "square"),
        dims: Sequence[int] = (3, 6, 12),
        condition: float | tuple[float, float] = (1.0, 1e4),
        start: tuple[float, float] = (0.5, 10.0),
        seed: int = 0,
        batch_size: int = 32,
        steps_per_epoch: int = 50,
        validation: int = 200,
    ) -> None:
        super().__init__()
        self.transforms = tuple(transforms)
        self.families = [GaussianFamily(dim, condition, start=start) for dim in dims]
        self.seed, self.validation = seed, validation
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        for name in self.transforms:
            transformed(Quadratics(torch.zeros(1, 1), torch.ones(1, 1, 1)), name)

    def batch(self, step: int) -> list[PlusBatch]:
        """Return the training batches of a global step."""
        return self._draw("training", range(step * self.batch_size, (step + 1) * self.batch_size))

    def validation_batch(self) -> list[PlusBatch]:
        """Return the whole validation set."""
        return self._draw("validation", range(self.validation))

    def train_dataloader(self) -> StepLoader:
        """Return the loader of the epoch's batches."""
        return StepLoader(self.batch, self.steps_per_epoch)

    def val_dataloader(self) -> DataLoader[list[PlusBatch]]:
        """Return the loader of the validation set as one batch."""
        generator = torch.Generator()  # or the loader draws from the global one
        return DataLoader([self.validation_batch()], batch_size=None, generator=generator)  # type: ignore[arg-type]

    def _draw(self, part: str, indices: range) -> list[PlusBatch]:
        drawn = [family.sample(key_seed(self.seed, part), indices) for family in self.families]
        return [PlusBatch(functions.centers, functions.matrices, start) for functions, start in drawn]
