"""The training data of the learned posterior: fresh functions of a prior for every batch, measured in many ways."""

from __future__ import annotations

from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from common.functions.splines import Samples, Splines
from common.training.data import StepLoader
from common.training.keys import key_seed
from papers.refine1d.posterior import Truth
from papers.refine1d.prior import PRIORS, Setting, noise_scale
from papers.refine1d.spline_fits import SplineFits
from papers.refine1d.standardized import standardized


class PosteriorBatch(NamedTuple):
    """What the network is trained on: features ``B x features x nodes``, and what is true."""

    features: Tensor
    truth: Truth


class Group(NamedTuple):
    """Functions that were measured in the same way, their samples, and the scale of the noise at the nodes."""

    setting: Setting
    functions: Splines
    samples: Samples
    scale: Tensor


class PosteriorDataModule(LightningDataModule):
    """Batches of groups of functions, never the same function twice, and a fixed set to validate on.

    Group g has the functions ``g * group``, ... of the seed, so a resumed training sees what an uninterrupted one would
    have seen; the validation's functions have a key of their own.

    Args:
        prior: a key of `papers.refine1d.prior.PRIORS`.
        seed: keys all functions, settings, samples and noise.
        groups: in a batch.
        group: functions in a group.
        steps_per_epoch: an epoch is what lies between two validations and possible checkpoints.
        validation: groups to validate on.
        chunk: batches whose functions are drawn at a time, which is faster; the batches do not depend on it.
    """

    def __init__(
        self,
        prior: str = "general",
        seed: int = 0,
        groups: int = 4,
        group: int = 32,
        steps_per_epoch: int = 250,
        validation: int = 32,
        chunk: int = 8,
    ) -> None:
        super().__init__()
        if prior not in PRIORS:
            raise ValueError(f"priors are {', '.join(PRIORS)}, not {prior!r}")
        self.prior_name, self.prior, self.seed = prior, PRIORS[prior](), seed
        self.groups, self.group, self.steps_per_epoch = groups, group, steps_per_epoch
        self.validation, self.chunk = validation, chunk
        self.fits = SplineFits()
        self._drawn: tuple[int, Splines] | None = None

    def draw(self, part: str, first: int, last: int, functions: Splines | None = None) -> list[Group]:
        """Return the groups from ``first`` on and before ``last`` of the part ``training`` or ``validation``."""
        seed = key_seed(self.seed, part)
        if functions is None:
            functions = self.prior.functions.sample(seed, range(first * self.group, last * self.group))
        drawn = []
        for number in range(first, last):
            setting = self.prior.setting(seed, number)
            indices = range(number * self.group, (number + 1) * self.group)
            rows = functions[slice((number - first) * self.group, (number - first + 1) * self.group)]
            samples = self.prior.measure(rows, setting, seed, indices)
            nodes = self.fits.nodes.expand(self.group, -1)
            drawn.append(Group(setting, rows, samples, noise_scale(setting.noise, nodes, seed, indices)))
        return drawn

    def batch(self, step: int) -> PosteriorBatch:
        """Return the training batch of a global step."""
        chunk, position = divmod(step, self.chunk)
        size = self.groups * self.group
        if self._drawn is None or self._drawn[0] != chunk:
            indices = range(chunk * self.chunk * size, (chunk + 1) * self.chunk * size)
            self._drawn = chunk, self.prior.functions.sample(key_seed(self.seed, "training"), indices)
        functions = self._drawn[1][slice(position * size, (position + 1) * size)]
        return self.collate(self.draw("training", step * self.groups, (step + 1) * self.groups, functions))

    def collate(self, groups: list[Group]) -> PosteriorBatch:
        """Return groups as one batch."""
        parts = [self._labelled(group) for group in groups]
        features, truths = zip(*parts, strict=True)
        return PosteriorBatch(torch.cat(features), Truth(*map(torch.cat, zip(*truths, strict=True))))

    def train_dataloader(self) -> StepLoader:
        """Return the loader of the epoch's batches."""
        return StepLoader(self.batch, self.steps_per_epoch)

    def val_dataloader(self) -> DataLoader[PosteriorBatch]:
        """Return the loader of the whole validation set as one batch."""
        batch = self.collate(self.draw("validation", 0, self.validation))
        generator = torch.Generator()  # or the loader draws from the global one
        return DataLoader([batch], batch_size=None, generator=generator)  # type: ignore[arg-type]

    def _labelled(self, group: Group) -> tuple[Tensor, Truth]:
        samples = standardized(group.samples.x, group.samples.y)
        curve = (group.functions(self.fits.nodes) - samples.mean) / samples.deviation
        log_noise = (group.scale * group.samples.sigma[:, None] / samples.deviation).log()
        truth = Truth(group.functions.minimizers.float(), curve.float(), log_noise.float())
        return self.fits(samples.x, samples.y), truth
