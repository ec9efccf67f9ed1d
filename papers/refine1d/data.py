"""The training data of refine1d: fresh functions for every batch, each a function of the seed and its number."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from common.functions.splines import Indices, Samples, Sampling, SplinePrior, Splines
from common.training.data import StepLoader
from common.training.keys import key_seed
from papers.refine1d.features import spline_features


class Batch(NamedTuple):
    """What the network is trained on, float32.

    Attributes:
        inputs: ``B x n x 4``, the features of the samples.
        start: ``B``, x_0.
        target: ``B``, the minimizers on the grid of equation (57).
    """

    inputs: Tensor
    start: Tensor
    target: Tensor


def labelled_features(functions: Splines, samples: Samples, scaling: str = "asinh") -> Batch:
    """Return the features of the ``samples`` of ``functions``, and the labels; see `spline_features`."""
    features = spline_features(samples.x, samples.y, scaling)
    return Batch(features.inputs.float(), features.start.float(), functions.grid_minimizers().float())


class SplineDataModule(LightningDataModule):
    """Batches of the paper's random splines, never the same function twice, and a fixed set to validate on.

    Training batch i has the functions ``i * batch_size``, ... of the seed, so a resumed training sees what an
    uninterrupted one would have seen; the validation functions have a key of their own. The scaling of the features is
    that of the module that is trained.

    Args:
        noise: the reading of the paper's noise, ``formula`` or ``percent``, see `Sampling`.
        seed: keys all functions, samples and noise.
        batch_size: functions in a batch.
        steps_per_epoch: an epoch is what lies between two validations and possible checkpoints.
        validation: functions to validate on, which are one batch.
        chunk: functions that are drawn at a time, which is faster; the batches do not depend on it.
    """

    def __init__(
        self,
        noise: str = "formula",
        seed: int = 0,
        batch_size: int = 32,
        steps_per_epoch: int = 250,
        validation: int = 500,
        chunk: int = 1024,
    ) -> None:
        super().__init__()
        self.prior, self.sampling = SplinePrior(), Sampling(noise=noise)
        self.seed, self.validation = seed, validation
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.scaling = "asinh"
        self._steps_per_chunk = max(1, chunk // batch_size)
        self._drawn: tuple[int, Batch] | None = None

    def setup(self, stage: str) -> None:
        """Take the scaling of the features from the module that is trained."""
        from papers.refine1d.module import RefineModule

        assert self.trainer is not None
        self.scaling = cast(RefineModule, self.trainer.lightning_module).network.settings.scaling

    def draw(self, part: str, indices: Indices) -> tuple[Splines, Samples]:
        """Return the functions ``indices`` of the part ``training`` or ``validation``, and their samples."""
        seed = key_seed(self.seed, part)
        functions = self.prior.sample(seed, indices)
        return functions, self.sampling.draw(functions, seed, indices)

    def batch(self, step: int) -> Batch:
        """Return the training batch of a global step."""
        chunk, position = divmod(step, self._steps_per_chunk)
        if self._drawn is None or self._drawn[0] != chunk:
            size = self._steps_per_chunk * self.batch_size
            drawn = self.draw("training", range(chunk * size, (chunk + 1) * size))
            self._drawn = chunk, labelled_features(*drawn, self.scaling)
        rows = slice(position * self.batch_size, (position + 1) * self.batch_size)
        return Batch(*(tensor[rows] for tensor in self._drawn[1]))

    def train_dataloader(self) -> StepLoader:
        """Return the loader of the epoch's batches."""
        return StepLoader(self.batch, self.steps_per_epoch)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the whole validation set as one batch."""
        batch = labelled_features(*self.draw("validation", range(self.validation)), self.scaling)
        generator = torch.Generator()  # or the loader draws from the global one
        return DataLoader([batch], batch_size=None, generator=generator)  # type: ignore[arg-type]
