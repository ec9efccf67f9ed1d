"""The training data of GENNES are noise: a LightningDataModule over `AnnealedNoise`."""

from __future__ import annotations

from typing import cast

from lightning.pytorch import LightningDataModule

from common.training.data import StepLoader
from papers.gennes.noise import AnnealedNoise, annealing_rate


class NoiseDataModule(LightningDataModule):
    """Batches ``members x N x p`` of annealed noise, one an iteration, keyed by member seed and iteration.

    Seeds, noise dimension and initial magnitude are the generator's (appendix B ties them to the weights); the rest of
    the schedule is here.

    Args:
        population: N.
        alpha: annealing rate an iteration (eq. 10), "auto", or a list with one for every setting of the module.
        iterations_per_epoch: an epoch is what lies between two possible checkpoints.
    """

    def __init__(
        self, population: int = 20, alpha: float | str | list[float] = 0.99, iterations_per_epoch: int = 100
    ) -> None:
        super().__init__()
        self.population, self.alpha, self.iterations_per_epoch = population, alpha, iterations_per_epoch

    def setup(self, stage: str) -> None:
        """Make the noise of every member of the module that is trained."""
        from papers.gennes.module import GennesModule

        assert self.trainer is not None
        module = cast(GennesModule, self.trainer.lightning_module)
        iterations = (self.trainer.max_epochs or 0) * self.iterations_per_epoch
        rates = [
            annealing_rate(alpha, iterations)
            for alpha in (self.alpha if isinstance(self.alpha, list) else [self.alpha] * module.settings)
        ]
        generator = module.generator
        self.noise = AnnealedNoise(
            generator.seeds, self.population, generator.noise_dim, generator.noise_scale, module.by_member(rates)
        )

    def train_dataloader(self) -> StepLoader:
        """Return the loader of the epoch's noise."""
        return StepLoader(self.noise.draw, self.iterations_per_epoch)
