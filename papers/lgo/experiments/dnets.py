"""The d-Nets of the experiments, trained as ``python -m papers.lgo.train`` trains the ones that are shipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.lgo.data import GaussianDataModule
from papers.lgo.model import DNet
from papers.lgo.module import DNetModule


def train_dnet(
    settings: Mapping[str, Any], seed: int, cache: Path, name: str, make: Callable[..., DNetModule] = DNetModule
) -> DNet:
    """Return the best d-Net of a training from ``seed``; 0 gives the net that is shipped, at its settings.

    Args:
        settings: a section of params.yaml such as ``train_dnet``.
        cache: folder that keeps a training that was interrupted, under ``name``.
        make: the module, from the settings of the model.
    """
    module = make(**{**settings["model"], "seed": seed})
    data = GaussianDataModule(**{**settings["data"], "seed": seed})
    # The cache is another one whenever code or parameters change, so the name of a run in it need not tell of that.
    run = RunDirectory("lgo", name, {"seed": seed}, "", root=cache)
    fit(module, data, run, logger=False, enable_progress_bar=False, **settings["trainer"])
    return module.best_net()
