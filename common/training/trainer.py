"""One way to train: Lightning's Trainer in a run directory, resumed from the last epoch that was finished."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from common.training.atomic import atomic_write
from common.training.distributed import is_first_process, share_batches
from common.training.rundir import RunDirectory, RunDirectoryError

TRAINER_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "accelerator": "cpu",
        "devices": 1,
        "deterministic": True,
        "num_sanity_val_steps": 0,
        "enable_model_summary": False,
    }
)

# Lightning's advice that does not apply here. Batches are made from keys on the fly, so a loader needs no workers; the
# CPU is chosen on purpose; steps are logged every n global steps, however long an epoch is; and the processes of a
# distributed training all validate on the same. LeafSpec is Lightning's own use of something that newer torch versions
# deprecate.
_NOT_APPLICABLE = (
    "does not have many workers",
    "GPU available but not used",
    "smaller than the logging interval",
    "recommended to use .*sync_dist",
    "isinstance\\(treespec, LeafSpec\\)",
)


def fit(
    module: LightningModule,
    datamodule: LightningDataModule,
    run: RunDirectory,
    *,
    max_epochs: int,
    checkpoint_every_n_epochs: int = 1,
    threads: int | None = None,
    batch_size: str = "batch_size",
    logger: bool | Logger | None = True,
    **trainer_options: Any,
) -> Trainer:
    """Train ``module`` up to ``max_epochs`` in the directory of ``run``; afterwards it has the final weights.

    A training that was interrupted goes on from ``last.ckpt``, bit for bit as if it had not been, provided that all its
    draws are keyed (see ``StepLoader``). A finished one is not trained again: its weights are loaded. Another process
    that trains the same run is waited for. The processes of a distributed training (``strategy="ddp"`` and ``devices``
    or ``num_nodes`` above 1) share the batches, see `share_batches`; the first one keeps the run directory.

    Args:
        checkpoint_every_n_epochs: epochs between checkpoints; the last epoch always has one.
        threads: number of torch threads, on which the last bits may depend; None leaves it as it is.
        batch_size: the attribute of ``datamodule`` with the size of a batch, which several processes share.
        logger: True for TensorBoard events in the run directory, False for none, which is fastest.
        trainer_options: options of Lightning's Trainer, over ``TRAINER_DEFAULTS``; None means not given.

    Raises:
        RunDirectoryError: the run directory cannot be written, or its checkpoint is damaged.
    """
    options = dict(TRAINER_DEFAULTS) | {key: value for key, value in trainer_options.items() if value is not None}
    options.setdefault("enable_progress_bar", sys.stdout.isatty())
    callbacks = _as_list(options.pop("callbacks", []))
    plugins = _as_list(options.pop("plugins", []))
    with run.lock() if is_first_process(options) else nullcontext(), quiet(), _torch_settings(threads):
        checkpoint = _read_checkpoint(run.last_checkpoint)
        if logger is True or logger is None:
            # Events that a killed process logged after its last checkpoint are going to be logged again.
            purge_step = checkpoint["global_step"] or None if checkpoint else None
            logger = TensorBoardLogger(run.path, name="", version="", default_hp_metric=False, purge_step=purge_step)
        trainer = Trainer(
            max_epochs=max_epochs,
            logger=logger,
            callbacks=[*callbacks, LastCheckpoint(run.last_checkpoint, checkpoint_every_n_epochs)],
            plugins=[*plugins, AtomicCheckpointIO()],
            default_root_dir=run.path,
            **options,
        )
        if trainer.world_size > 1:
            share_batches(datamodule, batch_size)
        if checkpoint and (checkpoint["epoch"] + 1 >= max_epochs or checkpoint["stopped"]):
            module.load_state_dict(checkpoint["state_dict"])
        else:
            path = run.last_checkpoint if checkpoint else None
            with _clear_errors(run):
                trainer.fit(module, datamodule=datamodule, ckpt_path=path, weights_only=True)
    return trainer


class LastCheckpoint(Checkpoint):
    """Write one checkpoint file at the end of every ``every_n_epochs``-th epoch and of the last one."""

    def __init__(self, path: Path, every_n_epochs: int) -> None:
        self.path = path
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epochs = trainer.current_epoch + 1
        if epochs % self.every_n_epochs == 0 or epochs == trainer.max_epochs or trainer.should_stop:
            trainer.save_checkpoint(self.path)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["stopped"] = trainer.should_stop


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replace a checkpoint in one step; Lightning's own writing may move the file across file systems."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            atomic_write(Path(path), content.getvalue())
        except OSError as error:
            raise RunDirectoryError(f"cannot write the checkpoint {path}: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's tips and its notes on devices and seeds; warnings with a cause and errors remain."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [log.level for log in loggers]
    with warnings.catch_warnings():
        for message in _NOT_APPLICABLE:
            warnings.filterwarnings("ignore", f".*{message}")
        try:
            for log in loggers:
                log.setLevel(logging.WARNING)
            yield
        finally:
            for log, level in zip(loggers, levels, strict=True):
                log.setLevel(level)


@contextmanager
def _clear_errors(run: RunDirectory) -> Iterator[None]:
    """Say of an error that it is about the run directory: TensorBoard writes there too, and does not say so."""
    try:
        yield
    except RunDirectoryError:
        raise
    except OSError as error:
        if isinstance(error.filename, str | bytes):
            own = run.path.resolve() in Path(os.fsdecode(error.filename)).resolve().parents
        else:
            own = error.errno in (errno.EDQUOT, errno.ENOSPC, errno.EROFS)
        if not own:
            raise
        raise RunDirectoryError(f"cannot write the run directory {run.path}: {error}") from error


@contextmanager
def _torch_settings(threads: int | None) -> Iterator[None]:
    """Set the number of threads, and give it and the deterministic mode, which the Trainer sets, back afterwards."""
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunDirectoryError(f"{path} is not a readable checkpoint; delete it to train anew: {error}") from error


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
