"""The command line ``python -m papers.<paper>.train``: LightningCLI over one section of params.yaml."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import yaml
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from common.params import read_section
from common.reporting.timing import record_time
from common.training.distributed import is_first_process
from common.training.hashing import code_hash
from common.training.rundir import RunDirectory
from common.training.trainer import TRAINER_DEFAULTS, fit, quiet


class Trained(NamedTuple):
    """What a training command leaves: the module with its final weights, and where it was trained."""

    module: LightningModule
    datamodule: LightningDataModule
    trainer: Trainer
    run: RunDirectory


def train_command(
    module_class: type[LightningModule],
    datamodule_class: type[LightningDataModule],
    *,
    paper: str,
    params_file: str | Path,
    section: str = "train",
    batch_size: str = "batch_size",
    code: Iterable[str | Path | ModuleType] = (),
    args: Sequence[str] | None = None,
    root: str | Path = "runs",
) -> Trained:
    """Train as the command line says, over the values in a section of params.yaml, and return what was trained.

    The section has the keys of LightningCLI: ``seed_everything``, ``model``, ``data`` and ``trainer``; the last also
    takes ``threads`` and ``checkpoint_every_n_epochs``. Flags and ``--config`` files override its values. How long it
    took goes into ``reports/times``, unless there are flags or it goes on from a checkpoint.

    With ``--trainer.strategy ddp --trainer.devices D --trainer.num_nodes N`` the command, given on each of N machines,
    trains in D processes on each; see `share_batches`. The first process of all returns, the others end.

    Args:
        batch_size: the attribute of the data module with the size of a batch, which several processes share.
        code: what the result depends on besides the files of the two classes, e.g. model and function family; a run
            is resumed only while these sources stay as they are.
        args: the command line's words; None for those of this process.

    Raises:
        SystemExit: an unknown key or flag, a wrong value, or no such section; also after ``--help``, and at the end of
            a process that is not the first.
    """
    flags = sys.argv[1:] if args is None else args
    try:
        words = ["--config", json.dumps(read_section(Path(params_file), section), default=str), *flags]
    except ValueError as error:
        sys.exit(str(error))
    with quiet():
        cli = _TrainCLI(
            module_class,
            datamodule_class,
            args=words,
            run=False,
            save_config_callback=None,  # the run directory keeps the configuration
            trainer_defaults=dict(TRAINER_DEFAULTS),
            seed_everything_default=0,
            parser_kwargs={"allow_abbrev": False},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )
    classes = [sys.modules[cls.__module__] for cls in (module_class, datamodule_class)]
    run = RunDirectory(paper, section, cli.resolved_config(), code_hash(*classes, *code), root)
    options = cli.config_init.trainer
    first = is_first_process(options)
    if first:
        print(f"run directory: {run.path}\nto watch it:   tensorboard --logdir {Path(root) / paper}", flush=True)
    # The stage's own training, from its first step: a part of one, or another, would tell a wrong time.
    timed = not flags and not run.last_checkpoint.exists()
    with record_time(paper, section) if timed else nullcontext():
        trainer = fit(cli.model, cli.datamodule, run, batch_size=batch_size, **options)
    if not first:
        sys.exit(0)
    return Trained(cli.model, cli.datamodule, trainer, run)


class _TrainCLI(LightningCLI):
    """LightningCLI whose trainer options are those of ``fit``, which makes the Trainer."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--trainer.threads", type=int | None, default=None, help="Number of torch threads.")
        parser.add_argument(
            "--trainer.checkpoint_every_n_epochs", type=int, default=1, help="Epochs between checkpoints."
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        # Lightning's own warns where a program passes arguments while it has some itself, as ours always does.
        self.config = parser.parse_args(args)
        if self.config.trainer.max_epochs is None:
            parser.error("trainer.max_epochs is not set")

    def instantiate_classes(self) -> None:
        # Lightning's own would make the Trainer, by a jsonargparse method that is deprecated.
        self.config_init = self.parser.instantiate(self.config)
        self.datamodule, self.model = self.config_init.data, self.config_init.model

    def resolved_config(self) -> dict[str, Any]:
        return yaml.safe_load(self.parser.dump(self.config, skip_unset=False))
