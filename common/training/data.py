"""Training data keyed by the global step, so that a resumed training sees what an uninterrupted one would have seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import Sampler


class StepSampler(Sampler[int]):
    """Yield the global steps ``epoch * steps_per_epoch + i`` of one epoch.

    Lightning calls ``set_epoch`` before each epoch, also before the first one after a resume.

    >>> sampler = StepSampler(3)
    >>> sampler.set_epoch(2)
    >>> list(sampler)
    [6, 7, 8]
    """

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[int]:
        # A generator, for Lightning makes the first epoch's iterator before it calls set_epoch.
        first = self.epoch * self.steps_per_epoch
        yield from range(first, first + self.steps_per_epoch)


class StepLoader:
    """Load ``batch(step)`` for each global step of the epoch, in this process and without touching random state.

    A torch ``DataLoader`` over a ``StepSampler`` does the same, but draws from the global generator at each epoch; it
    must not have workers, which would fetch before Lightning has set the epoch.

    Args:
        batch: makes the whole batch of a step, with draws keyed by the step.
    """

    def __init__(self, batch: Callable[[int], Any], steps_per_epoch: int) -> None:
        self.batch = batch
        self.sampler = StepSampler(steps_per_epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        return map(self.batch, self.sampler)
