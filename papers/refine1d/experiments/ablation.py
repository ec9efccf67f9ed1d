"""Which of the four inputs the network needs: short trainings with some of them replaced by zeros."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.keys import key_seed
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.refine1d.data import Batch, SplineDataModule
from papers.refine1d.module import RefineModule, accuracy

INPUTS = ("x", "y", "slopes", "coefficients")
METRICS = ("error", "success_10")


class PartialDataModule(SplineDataModule):
    """`SplineDataModule` without some of the inputs.

    Args:
        removed: those of ``INPUTS`` that are zeros.
        settings: of `SplineDataModule`.
    """

    def __init__(self, removed: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.kept = torch.tensor([float(name not in removed) for name in INPUTS])

    def batch(self, step: int) -> Batch:
        """Return the training batch of a global step."""
        return self._without(super().batch(step))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the whole validation set as one batch."""
        batches = [self._without(batch) for batch in super().val_dataloader()]
        return DataLoader(batches, batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]

    def _without(self, batch: Batch) -> Batch:
        return batch._replace(inputs=batch.inputs * self.kept)


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train on every choice of inputs from as many seeds as there are replicates; test all on the same functions."""
    tasks = [(name, replicate) for replicate in range(params["replicates"]) for name in params["removed"]]
    return map_rows(_training, params, cache, tasks)


def _training(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    name, replicate = task
    seed = key_seed(params["seed"], "ablation", replicate)
    settings = {**params["data"], "noise": params["noise"], "seed": seed, "validation": params["functions"]}
    data = PartialDataModule(params["removed"][name], **settings)
    module = RefineModule(seed=seed, **params["model"])
    # The cache is another one whenever code changes, so the name of a run in it need not tell of that.
    directory = RunDirectory("refine1d", "ablation", {"inputs": name, "replicate": replicate}, "", root=cache)
    fit(
        module, data, directory, max_epochs=params["epochs"], gradient_clip_val=1.0, threads=1, logger=False,
        enable_progress_bar=False, limit_val_batches=0,
    )  # fmt: skip
    (test,) = data.val_dataloader()
    with torch.no_grad():
        answers = module.network(test.inputs, test.start).answer
    found = accuracy(answers, test.target)
    key = {"experiment": "ablation", "problem": params["noise"], "d": 1, "method": name, "replicate": replicate}
    seen = params["epochs"] * data.steps_per_epoch * data.batch_size
    return [{**key, "evaluations": seen, "metric": metric, "value": round(found[metric], 4)} for metric in METRICS]
