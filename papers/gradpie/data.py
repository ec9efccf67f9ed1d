"""The training data of the offline surrogate: queries of the oscillator network, uniform in a box."""

from __future__ import annotations

from typing import cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from common.training.data import StepLoader
from common.training.keys import torch_generator
from papers.gradpie.neighbours import Neighbours
from papers.gradpie.queries import MiniBatches
from papers.gradpie.simulators.oscillators import sample_oscillators


class OscillatorDataModule(LightningDataModule):
    """One data set for every replicate of the module that is trained, and test points with exact Jacobians.

    Args:
        network: keys the oscillator network, which all replicates share.
        samples: n, queries of each replicate, uniform on [``low``, ``high``]^N.
        neighbours: k of eq. (10).
        batch_size: None for full batches.
        test_points: uniform on the same box.
    """

    def __init__(
        self, network: int = 0, samples: int = 1000, low: float = -0.5, high: float = 1.5, neighbours: int = 5,
        batch_size: int | None = 64, test_points: int = 200,
    ) -> None:  # fmt: skip
        super().__init__()
        if samples < 2 or not low < high:
            raise ValueError(f"at least two samples in a box, not {samples} in [{low}, {high}]")
        self.network, self.samples, self.low, self.high = network, samples, low, high
        self.neighbours, self.batch_size, self.test_points = neighbours, batch_size, test_points

    def setup(self, stage: str) -> None:
        """Make the data of every replicate of the module that is trained."""
        from papers.gradpie.module import SurrogateModule

        assert self.trainer is not None
        module = cast(SurrogateModule, self.trainer.lightning_module)
        self.make(module.dim, module.seeds)

    def make(self, dim: int, seeds: list[int]) -> MiniBatches:
        """Make the data for replicates with these seeds and return their mini-batches.

        Afterwards ``x`` holds the points of the data, ``S x n x N`` float64, and ``oscillators`` the network.
        """
        self.dim, self.seeds = dim, seeds
        self.oscillators = sample_oscillators(self.network, dim)
        self.x = self._uniform("data", self.samples)
        neighbours = Neighbours(self.x, self.neighbours).index
        y = self.oscillators(self.x)
        self.batches = MiniBatches(self.x.float(), y.float(), neighbours, self.batch_size, seeds)
        return self.batches

    def train_dataloader(self) -> StepLoader:
        """Return the loader of the epoch's mini-batches."""
        return StepLoader(self.batches.batch, self.batches.steps_per_epoch)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return the loader of one batch: test points ``S x t x N`` and exact Jacobians ``S x t x N x N``, float32."""
        x = self._uniform("test", self.test_points)
        exact = self.oscillators.jacobian(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        generator = torch.Generator()  # or the loader draws from the global one
        return DataLoader([(x.float(), exact.float())], batch_size=None, generator=generator)  # type: ignore[arg-type]

    def _uniform(self, part: str, count: int) -> Tensor:
        size = (count, self.dim)
        unit = [torch.rand(size, generator=torch_generator(s, part), dtype=torch.float64) for s in self.seeds]
        return self.low + (self.high - self.low) * torch.stack(unit)
