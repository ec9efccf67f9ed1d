"""Data-parallel training (DDP): every process draws its share of each batch, and their gradients are averaged."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from lightning.pytorch import LightningDataModule

from common.training.data import StepLoader

# What Lightning, torchrun and Slurm set: in a distributed training all are 0, or missing, in the first process only.
RANKS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "SLURM_PROCID")


def is_first_process(trainer_options: Mapping[str, Any]) -> bool:
    """Return whether this process stands for the training: it is the only one, or the first one of the first node."""
    alone = str(trainer_options.get("devices", 1)) == "1" and trainer_options.get("num_nodes") in (None, 1)
    return alone or not any(int(os.environ.get(name) or 0) for name in RANKS)


def share_batches(datamodule: LightningDataModule, size: str = "batch_size") -> None:
    """Let every process of the training draw its share of each training batch; the shares together are the batch.

    So the weights do not depend on the number of processes, apart from rounding, if the loss is a mean over the batch.
    This rests on keyed draws: batch i of size B has the draws i B to (i + 1) B - 1 of the seed, so the p-th of its P
    shares is batch ``i P + p`` of size ``B / P``.

    Args:
        size: the attribute of ``datamodule`` that is B.
    """
    datamodule.train_dataloader = partial(_share, datamodule, size)  # type: ignore[method-assign]


def _share(datamodule: LightningDataModule, size: str) -> StepLoader:
    """Return the loader of this process's shares.

    Raises:
        ValueError: the batches cannot be divided.
    """
    assert datamodule.trainer is not None
    processes, process = datamodule.trainer.world_size, datamodule.trainer.global_rank
    loader = type(datamodule).train_dataloader(datamodule)
    whole = getattr(datamodule, size, None)
    if not whole or getattr(getattr(loader, "batch", None), "__self__", None) is not datamodule:
        raise ValueError(f"the batches of {type(datamodule).__name__} cannot be divided: train in one process")
    if whole % processes:
        raise ValueError(f"{processes} processes cannot share batches with a {size} of {whole}: take a multiple")
    mine = copy.copy(datamodule)
    setattr(mine, size, whole // processes)
    return StepLoader(lambda step: mine.batch(step * processes + process), len(loader))
