"""What the learned posterior needs to read: short trainings, on several seeds, with some of the features as zeros."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from common.experiments import map_rows
from common.reporting.rows import Row
from common.training.keys import key_seed
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.refine1d.posterior_data import Group, PosteriorBatch, PosteriorDataModule
from papers.refine1d.posterior_module import PosteriorModule
from papers.refine1d.spline_fits import KINDS

METRICS = ("error", "crps", "covered_90")


class PartialPosteriorData(PosteriorDataModule):
    """`PosteriorDataModule` without some features.

    Args:
        removed: those of ``KINDS`` that are zeros.
        settings: of `PosteriorDataModule`.

    Raises:
        ValueError: there is no such kind.
    """

    def __init__(self, removed: list[str], **settings: Any) -> None:
        super().__init__(**settings)
        if not set(removed) <= set(KINDS):
            raise ValueError(f"features are {', '.join(dict.fromkeys(KINDS))}, not {removed}")
        self.kept = torch.tensor([[float(kind not in removed)] for kind in KINDS])

    def collate(self, groups: list[Group]) -> PosteriorBatch:
        """Return groups as one batch."""
        batch = super().collate(groups)
        return batch._replace(features=batch.features * self.kept)


def run(params: dict[str, Any], cache: Path) -> list[Row]:
    """Train on every choice of features from as many seeds as there are replicates.

    All choices of a replicate see the same functions, and are judged by the same others, which no table uses.
    """
    tasks = [(name, replicate) for replicate in range(params["replicates"]) for name in params["removed"]]
    return map_rows(_training, params, cache, tasks)


def _training(params: dict[str, Any], cache: Path, task: tuple[str, int]) -> list[Row]:
    name, replicate = task
    seed = key_seed(params["seed"], "posterior ablation", replicate)
    data = PartialPosteriorData(params["removed"][name], seed=seed, **params["data"])
    module = PosteriorModule(seed=seed, **params["model"])
    # The cache is another one whenever code changes, so the name of a run in it need not tell of that.
    directory = RunDirectory(
        "refine1d", "posterior_ablation", {"features": name, "replicate": replicate}, "", root=cache
    )
    epochs = params["epochs"]
    fit(
        module, data, directory, max_epochs=epochs, gradient_clip_val=1.0, threads=1, logger=False,
        enable_progress_bar=False, check_val_every_n_epoch=epochs,
    )  # fmt: skip
    key = {"experiment": "posterior_ablation", "problem": data.prior_name, "d": 1, "method": name}
    seen = epochs * data.steps_per_epoch * data.groups * data.group
    found = module.curve[-1]
    return [
        {**key, "replicate": replicate, "evaluations": seen, "metric": metric, "value": round(found[metric], 4)}
        for metric in METRICS
    ]
