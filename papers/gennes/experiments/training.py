"""What the experiments share: an ensemble trained on one problem by Lightning's Trainer, its regret curves as rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common import functions
from common.metrics.curves import evaluation_grid
from common.reporting.rows import Row
from common.training.hashing import code_hash
from common.training.rundir import RunDirectory
from common.training.trainer import fit
from papers.gennes import adam, data, model, module, noise, problems
from papers.gennes.data import NoiseDataModule
from papers.gennes.module import GennesModule

ITERATIONS_PER_EPOCH = 100
CODE = [adam, data, functions, model, module, noise, problems]


NETWORK = ("width", "depth", "init", "last_std")


def train(params: dict[str, Any], cache: Path, function: str, dim: int, **changed: Any) -> GennesModule:
    """Train on all folds of a problem with the settings of ``params``, where ``changed`` does not say otherwise.

    ``lr`` and ``alpha`` may be lists, one value a setting. What ``cache`` has of the run is continued. A budget that is
    no multiple of an epoch is trained in shorter epochs, never beyond.
    """
    settings = {key: params[key] for key in NETWORK if key in params} | changed
    if "lr" not in changed:
        settings["lr"] = params["lr"][function]
    alpha = settings.pop("alpha", params.get("alpha"))
    settings.setdefault("shift", params.get("shift"))
    settings |= {"function": function, "dim": dim, "folds": params["replicates"], "seed": params["seed"]}
    budget, population = params["budget"], params["population"]
    iterations = budget // population
    per_epoch = next(n for n in range(min(ITERATIONS_PER_EPOCH, iterations), 0, -1) if iterations % n == 0)
    trained = GennesModule(**settings)
    config = {"budget": budget, "population": population, "alpha": alpha, **settings}
    run = RunDirectory("gennes", "training", config, code_hash(*CODE), root=cache)
    fit(
        trained,
        NoiseDataModule(population, alpha, per_epoch),
        run,
        max_epochs=iterations // per_epoch,
        checkpoint_every_n_epochs=10,
        threads=1,
        logger=False,
        enable_progress_bar=False,
    )
    return trained


def levels(params: dict[str, Any]) -> list[int]:
    """Return after how many evaluations an experiment's rows say the regret: its own list, or a whole curve."""
    if "evaluations" not in params:
        return evaluation_grid(params["budget"], start=params["population"])
    return [evaluations for evaluations in params["evaluations"] if evaluations <= params["budget"]]


def regret_rows(trained: GennesModule, params: dict[str, Any], methods: list[str], **key: Any) -> list[Row]:
    """Return regrets of all members as rows; ``methods`` names the settings, in their order."""
    trace = trained.trace.clamp(min=0)  # rounding may leave -1e-15 at the optimum
    assert float(trained.trace.min()) > -1e-9, "a regret is negative: the optimum is not the optimum"
    rows = []
    for evaluations in levels(params):
        best = trace[evaluations // params["population"] - 1].view(len(methods), trained.folds)
        for method, folds in zip(methods, best.tolist(), strict=True):
            for fold, value in enumerate(folds):
                rows.append(
                    {**key, "problem": trained.hparams["function"], "d": trained.hparams["dim"], "method": method,
                     "replicate": fold, "evaluations": evaluations, "metric": "regret", "value": value}
                )  # fmt: skip
    return rows
