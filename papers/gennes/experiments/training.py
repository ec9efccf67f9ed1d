"""What the experiments share: train an ensemble on one problem by Lightning's Trainer, and read its regret curves."""

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


def train(cache: Path, budget: int, population: int, alpha: Any = 0.99, **settings: Any) -> GennesModule:
    """Train ``GennesModule(**settings)`` with ``budget`` evaluations a member; continue what ``cache`` has of it.

    A budget that is no multiple of an epoch is trained in shorter epochs, never beyond.
    """
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


def regret_rows(trained: GennesModule, population: int, budget: int, methods: list[str], **key: Any) -> list[Row]:
    """Return the budget curves of all members as rows; ``methods`` names the settings, in their order."""
    trace = trained.trace.clamp(min=0)  # rounding may leave -1e-15 at the optimum
    assert float(trained.trace.min()) > -1e-9, "a regret is negative: the optimum is not the optimum"
    rows = []
    for evaluations in evaluation_grid(budget, start=population):
        best = trace[evaluations // population - 1].view(len(methods), trained.folds)
        for method, folds in zip(methods, best.tolist(), strict=True):
            for fold, value in enumerate(folds):
                rows.append(
                    {**key, "method": method, "replicate": fold, "evaluations": evaluations, "metric": "regret",
                     "value": value}
                )  # fmt: skip
    return rows
