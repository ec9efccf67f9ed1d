"""The offline surrogate of a network, trained by Lightning's Trainer (Algorithm A1, part A)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.training.keys import key_seed
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.gradpie.data import OscillatorDataModule
from papers.gradpie.module import SurrogateModule


def train_surrogate(
    params: dict[str, Any], cache: Path, replicate: int, dim: int, k: int | None, epochs: int, **drawn: Any
) -> tuple[SurrogateModule, OscillatorDataModule]:
    """Train on the network of a replicate: by eq. (10) with ``k`` neighbours, or the base model, eq. (6), if None.

    All surrogates of a network begin with the same weights and see the same data in the same order.

    Args:
        drawn: ``samples``, ``low`` and ``high``, see `OscillatorDataModule`.
    """
    network = key_seed(params["seed"], "network", replicate)
    data = OscillatorDataModule(network, neighbours=k or 1, **drawn, **params["data"])
    module = SurrogateModule(dim, seed=network, loss="mae" if k is None else "gradpie", **params["model"])
    data.make(dim, module.seeds)  # the Trainer does not where a finished training is only loaded
    # The cache is another one whenever code or parameters change, so the name of a run in it need not tell of that.
    run = RunDirectory("gradpie", "surrogate", {"replicate": replicate, "dim": dim, "k": k, **drawn}, "", root=cache)
    fit(
        module, data, run, max_epochs=epochs, checkpoint_every_n_epochs=epochs, threads=1, logger=False,
        enable_progress_bar=False, limit_val_batches=0,
    )  # fmt: skip
    return module, data
